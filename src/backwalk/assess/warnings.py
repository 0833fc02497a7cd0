"""The warnings of a report: each says what is wrong, by how much, and what to do."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from backwalk.assess.fidelity import RowChecks
from backwalk.assess.margins import MARGINS, WORST_COLUMN
from backwalk.assess.posterior_scores import PosteriorScores
from backwalk.assess.statistics import Estimate, Figure
from backwalk.assess.table_fidelity import TableScores
from backwalk.assess.words import column_name, percent, with_error
from backwalk.estimates import student_quantile
from backwalk.formatting import listed
from backwalk.model import DiffusionModel, mismatch_warning, time_limit_words

_FEW_ROWS = 500
_SOUND_SHARE = 0.5  # of the usual number of training steps
_GAIN_THAT_MATTERS = 0.05  # nats per row
_SHARE_THAT_MATTERS = 0.55
_Z = 4.0
_FALSE_ALARM = 0.01  # over all columns of a table
_COPIES_THAT_MATTER = 0.01
_BEYOND_THAT_MATTERS = 0.001  # of the rows
_CALIBRATION_THAT_MATTERS = 0.01
_MISCOVERAGE_THAT_MATTERS = 0.03  # the largest difference of shares over all levels
_CONTRADICTION_THAT_MATTERS = 0.5  # nats per row


def warnings_of(
    model: DiffusionModel,
    columns: Sequence[Figure],
    nearest_row_share: Estimate | None,
    training_gain: Estimate | None,
    checks: RowChecks,
    table: TableScores | None = None,
    posterior: PosteriorScores | None = None,
) -> Iterator[str]:
    """Yield the warnings about a model, from its scores as in `Fidelity`."""
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
    if failed and table is None:
        yield (
            f"Generated values are distributed differently from real ones in {listed(failed)}; in brackets, the "
            "largest difference of the cumulative distributions, minus that between real rows. Train for longer; if a "
            "column holds the same number in many rows, fit a separate model to the other rows."
        )
    elif failed:
        yield (
            f"Generated values are distributed differently from real ones in {listed(failed)}; in brackets, the "
            "distance of cumulative distributions or of the levels' frequencies, minus that between real rows. Train "
            "for longer, or check the kinds of these columns."
        )
    if table is not None:
        yield from _about_tables(model, table)
    if posterior is not None:
        yield from _about_posteriors(model, posterior)


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
            f"A third of the rows or more hold the same number in {listed(checks.repeated)}. A density cannot "
            "represent that: generated values scatter around the number, and nats mostly measure how closely. Compare "
            "models by the distances, or fit a separate model to the rows with other numbers."
        )
    if checks.n_unseen < _FEW_ROWS:
        yield (
            f"There are only {checks.n_unseen} unseen rows, so that standard errors are large. Hold out more rows if "
            "you can."
        )


def _about_tables(model: DiffusionModel, table: TableScores) -> Iterator[str]:
    rare = table.rare_copies
    if rare is not None and rare.excess.value > max(_COPIES_THAT_MATTER, _Z * rare.excess.standard_error):
        yield (
            f"The model repeats rare rows of the training rows: {percent(rare.of_training)} of generated rows have a "
            f"combination of levels that one training row alone holds, and {percent(rare.of_unseen)} one that one of "
            "equally many unseen rows alone holds. Train for fewer steps, or on more rows."
        )
    outside = [
        f"{column_name(model.schema, beyond.column)} ({percent(beyond.generated)} of them, and "
        f"{percent(beyond.unseen)} of unseen numbers)"
        for beyond in table.beyond
        if beyond.generated > _BEYOND_THAT_MATTERS + 2.0 * beyond.unseen
    ]
    if outside:
        yield (
            f"Generated numbers lie beyond the range of the training rows in {listed(outside)}. If a column has a "
            "bound, give it when you fit."
        )
    unsure = [
        f"{column_name(model.schema, scores.column)} ({scores.reliability.error:.3f}, by chance "
        f"{scores.reliability.null:.3f})"
        for scores in table.levels
        if scores.reliability.error - scores.reliability.null > _CALIBRATION_THAT_MATTERS
        and scores.reliability.excess > _Z
    ]
    if unsure:
        yield (
            f"Stated probabilities of levels differ from the frequencies found in unseen rows, on average, in "
            f"{listed(unsure)}. Train on more rows or for fewer steps before you use them as probabilities."
        )
    test = table.self_test
    if test is not None:
        for estimate, what in (
            (test.halves, "ln p(A, B) and ln p(B) + ln p(A | B) of two halves of the columns"),
            (test.orders, "ln p with the levels in their order and in reverse"),
        ):
            if estimate is not None and estimate.value > _CONTRADICTION_THAT_MATTERS:
                yield (
                    f"The model's probabilities contradict each other: {what} differ by "
                    f"{with_error(estimate.value, estimate.standard_error)} nats per row on average. Differences of "
                    "log-probabilities below that mean little."
                )


def _about_posteriors(model: DiffusionModel, posterior: PosteriorScores) -> Iterator[str]:
    least = _FALSE_ALARM / (len(posterior.ranks) + 2)
    failed = [
        f"the ranks of {column_name(model.schema, j)} (p = {ranks.p_value:.1g})"
        for j, ranks in zip(posterior.parameters, posterior.ranks, strict=True)
        if ranks.p_value < least and ranks.distance > _MISCOVERAGE_THAT_MATTERS
    ]
    failed += [
        f"{what} (off by up to {percent(curve.deviation)}, by chance {percent(curve.limit)})"
        for what, curve in (("expected coverage", posterior.expected_coverage), ("TARP", posterior.tarp))
        if curve.p_value < least and curve.deviation > _MISCOVERAGE_THAT_MATTERS
    ]
    if failed:
        yield (
            f"Posteriors given {listed(column_name(model.schema, j) for j in posterior.given)} are not calibrated, by "
            f"{listed(failed)}. Fit to more simulations, or for longer, and with conditions on these columns alone."
        )


def _fails(figure: Figure, n_columns: int) -> bool:
    quantile = student_quantile(figure.n_pairs - 1, tail=_FALSE_ALARM / n_columns)
    return figure.difference > max(MARGINS[WORST_COLUMN], quantile * figure.difference_standard_error)
