"""The warnings of a report: sentences with their number and a remedy, for what a user should know before all else."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from backwalk.assess.fidelity import RowChecks
from backwalk.assess.margins import MARGINS, WORST_COLUMN
from backwalk.assess.words import with_error
from backwalk.evaluation import Estimate, Figure
from backwalk.formatting import listed
from backwalk.model import DiffusionModel, mismatch_warning, time_limit_words
from backwalk.t_quantile import student_quantile

_FEW_ROWS = 500
_SOUND_SHARE = 0.5  # of the usual number of training steps
_GAIN_THAT_MATTERS = 0.05  # nats per row
_SHARE_THAT_MATTERS = 0.55
_Z = 4.0
_FALSE_ALARM = 0.01  # over all columns of a table
_COPIES_THAT_MATTER = 0.01


def warnings_of(
    model: DiffusionModel,
    columns: Sequence[Figure],
    nearest_row_share: Estimate | None,
    training_gain: Estimate | None,
    checks: RowChecks,
) -> Iterator[str]:
    """Yield the warnings that a model and its scores, as in `Fidelity`, call for; none if all is well."""
    yield from _about_rows(checks)
    if (
        model.card.get("stopped_by") == "time limit"
        and model.history.n_steps < _SOUND_SHARE * model.card["usual_steps"]
    ):
        words = time_limit_words(model.history.n_steps, model.card["usual_steps"])
        yield f"Training was {words}. Fit again with a larger max_time."
    start = mismatch_warning(model.prior_mismatch, model.schedule)
    if start is not None:
        yield start[:1].upper() + start[1:]
    if training_gain is not None and training_gain.value > max(_GAIN_THAT_MATTERS, _Z * training_gain.standard_error):
        yield (
            f"The model is overfitted: its bound on training rows is "
            f"{with_error(training_gain.value, training_gain.standard_error)} nats per row better than on unseen rows. "
            "Train on more rows, for fewer steps, or with a smaller network."
        )
    if nearest_row_share is not None and nearest_row_share.value > max(
        _SHARE_THAT_MATTERS, 0.5 + _Z * nearest_row_share.standard_error
    ):
        share = with_error(nearest_row_share.value, nearest_row_share.standard_error, percent=True)
        yield (
            f"The model repeats training rows: {share} of generated rows lie nearer to a training row than to any of "
            "equally many unseen rows (50 % without copying). Train for fewer steps, or on more rows."
        )
    failed = [
        f"{figure.name} ({with_error(figure.difference, figure.difference_standard_error)})"
        for figure in columns
        if _fails(figure, len(columns))
    ]
    if failed:
        yield (
            f"Generated values are distributed differently from real ones in {listed(failed)}; in brackets, the "
            "largest difference of the cumulative distributions, minus that between real rows. Train for longer; where "
            "a column holds one number in many rows, fit the other rows by themselves."
        )


def _about_rows(checks: RowChecks) -> Iterator[str]:
    if checks.is_of_fit:
        yield (
            "The scored rows are the rows that the model was fitted to. A model that repeats its training rows looks "
            "perfect on them: score rows that the fit never saw."
        )
    elif checks.copied_share > _COPIES_THAT_MATTER:
        yield (
            f"{checks.copied_share:.0%} of the scored rows are training rows too. Remove them from the scored rows, or "
            "from the training rows before you fit."
        )
    if checks.is_other_training:
        yield (
            "The given training rows are not the rows of the fit, or are in another order. If they are other rows, the "
            "baselines were fitted to other rows than the model, and copies of the model's training rows may go "
            "unnoticed: give the table that was fitted."
        )
    if checks.n_impossible:
        n = checks.n_impossible + checks.n_unseen
        yield (
            f"{checks.n_impossible:,} of {n:,} unseen rows hold a value that the model cannot make, such as another "
            "number in a column that was constant in the fit. No score counts these rows; their log-density is −∞. "
            "Include such rows in the fit, or drop the column."
        )
    if checks.repeated:
        yield (
            f"One number stands in a third of the rows or more in {listed(checks.repeated)}. A density cannot "
            "represent that: generated values scatter around it, and nats mostly measure how closely. Compare models "
            "by the distances, or fit the rows with other numbers by themselves."
        )
    if checks.n_unseen < _FEW_ROWS:
        yield (
            f"There are only {checks.n_unseen} unseen rows, so standard errors are wide and small faults stay hidden. "
            "Hold out more rows if you can."
        )


def _fails(figure: Figure, n_columns: int) -> bool:
    quantile = student_quantile(figure.n_pairs - 1, tail=_FALSE_ALARM / n_columns)
    return figure.difference > max(MARGINS[WORST_COLUMN], quantile * figure.difference_standard_error)
