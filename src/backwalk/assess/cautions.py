"""What a reader should be told without asking: plain sentences, each with its number and a remedy."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from scipy.stats import t as student

from backwalk.assess.words import significant, with_error
from backwalk.diffusion import NoiseSchedule
from backwalk.evaluation import Estimate, Figure

MISMATCH_THAT_MATTERS = 0.01  # nats a row
_FEW_ROWS = 500
_GAIN_THAT_MATTERS = 0.05  # nats a row
_SHARE_THAT_MATTERS = 0.55
_KS_THAT_MATTERS = 0.01
_Z = 4.0
_FALSE_ALARM = 0.01  # over all columns of a table
_OVERLAP_THAT_MATTERS = 0.01


def cautions(
    schedule: NoiseSchedule,
    mismatch: float,
    columns: Sequence[Figure],
    share: Estimate | None,
    gain: Estimate | None,
    n_unseen: int,
    *,
    seen: bool,
    overlap: float,
    other_training: bool,
    heaped: Sequence[str] = (),
) -> Iterator[str]:
    """Yield the warnings that these numbers call for; none if all is well.

    `seen`: the judged rows are those of the fit. `overlap`: the share of them that stands among the training rows too.
    `other_training`: the training rows are not those of the fit, by the checksum in the model's card.
    `heaped`: columns in which one number stands in a third of the rows.
    """
    if seen:
        yield (
            "The model is judged by the very rows that it was fitted to: a model that repeats them would look perfect. "
            "Judge it by rows that the fit never saw."
        )
    elif overlap > _OVERLAP_THAT_MATTERS:
        yield (
            f"Of the judged rows {100.0 * overlap:.0f} % stand among the training rows too. Unless the data repeat "
            "themselves by nature, as whole numbers may, hold those rows back from the fit."
        )
    if other_training:
        yield (
            "The training rows given are not, number by number and in order, those that the model was fitted to. If "
            "they are others, the baselines had other rows than the model, and rows that it repeats may have gone "
            "unnoticed: give the very table of the fit."
        )
    if mismatch > MISMATCH_THAT_MATTERS:
        yield (
            f"The reverse chain starts from the wrong place. After the last step alpha_bar_N = "
            f"{significant(float(schedule.alpha_bar[-1]))} of the signal's variance is left, but sampling starts from "
            f"pure noise. This costs at least {mismatch:.3f} nats a row, in every sample, however well the network is "
            "trained. Use more steps, larger betas, or the default schedule."
        )
    if gain is not None and gain.value > max(_GAIN_THAT_MATTERS, _Z * gain.standard_error):
        yield (
            f"The model is overfitted: its bound is {with_error(gain.value, gain.standard_error)} nats a row better on "
            "training rows than on unseen ones. Train on more rows, for fewer steps, or with a smaller network."
        )
    if share is not None and share.value > max(_SHARE_THAT_MATTERS, 0.5 + _Z * share.standard_error):
        yield (
            f"The model repeats training rows: of generated rows, "
            f"{with_error(share.value, share.standard_error, percent=True)} lie nearer to a training row than to "
            "any of equally many unseen rows, where 50 % would be chance. Train for fewer steps, or on more rows."
        )
    if heaped:
        yield (
            f"One number stands in a third of the rows or more in {_listed(heaped)}. No density has such heaps: it "
            "gains nats without end by a spike on the number, so here they say more of how narrow a model may be than "
            "of how good it is. Judge by the distances, or fit the rows that hold other numbers by themselves."
        )
    failed = [
        f"{figure.name} ({with_error(figure.difference, figure.difference_standard_error)})"
        for figure in columns
        if _fails(figure, len(columns))
    ]
    if failed:
        yield (
            f"Generated values are distributed otherwise than real ones in {_listed(failed)}: their Kolmogorov-Smirnov "
            "distance less that of real rows. Where a column holds one value in many rows, fit the others by "
            "themselves; otherwise train for longer."
        )
    if n_unseen < _FEW_ROWS:
        yield (
            f"There are only {n_unseen} unseen rows, so the errors are wide and small faults stay invisible. Hold back "
            "more rows if you can."
        )


def _listed(names: Sequence[str]) -> str:
    return ", ".join(names[:8]) + (f" and {len(names) - 8} more" if len(names) > 8 else "")


def _fails(figure: Figure, n_columns: int) -> bool:
    quantile = float(student.ppf(1.0 - _FALSE_ALARM / n_columns, figure.n_pairs - 1))
    return figure.difference > max(_KS_THAT_MATTERS, quantile * figure.difference_standard_error)
