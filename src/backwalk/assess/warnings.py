"""What a reader should be told without asking: plain sentences, each with its number and a remedy."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from backwalk.assess.words import with_error
from backwalk.diffusion import NoiseSchedule
from backwalk.evaluation import Estimate, Figure
from backwalk.formatting import listed
from backwalk.model import mismatch_warning
from backwalk.t_quantile import student_quantile

_FEW_ROWS = 500
_GAIN_THAT_MATTERS = 0.05  # nats per row
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
    repeated: Sequence[str] = (),
    n_impossible: int = 0,
) -> Iterator[str]:
    """Yield the warnings that these numbers call for; none if all is well.

    `seen`: the judged rows are those of the fit. `overlap`: the share of them that stands among the training rows too.
    `other_training`: the training rows are not those of the fit, by the checksum in the model's card.
    `repeated`: columns in which one number stands in a third of the rows, with that number and its share.
    `n_impossible`: unseen rows, besides `n_unseen`, whose constant columns hold other values than the fit's.
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
    if n_impossible:
        yield (
            f"Of {n_impossible + n_unseen:,} unseen rows {n_impossible:,} hold another value in a column that was "
            "constant in the fit. The model never makes such rows: their log p is −∞. They are left out of all figures "
            "here. Fit it to some too, or leave the column out."
        )
    start = mismatch_warning(mismatch, schedule)
    if start is not None:
        yield start[:1].upper() + start[1:]
    if gain is not None and gain.value > max(_GAIN_THAT_MATTERS, _Z * gain.standard_error):
        yield (
            f"The model is overfitted: its bound is {with_error(gain.value, gain.standard_error)} nats per row better "
            "on training rows than on unseen ones. Train on more rows, for fewer steps, or with a smaller network."
        )
    if share is not None and share.value > max(_SHARE_THAT_MATTERS, 0.5 + _Z * share.standard_error):
        yield (
            f"The model repeats training rows: of generated rows, "
            f"{with_error(share.value, share.standard_error, percent=True)} lie nearer to a training row than to "
            "any of equally many unseen rows, where 50 % would be chance. Train for fewer steps, or on more rows."
        )
    if repeated:
        yield (
            f"One number stands in a third of the rows or more in {listed(repeated)}. A density cannot hold such a "
            "point mass: new rows scatter around the number, and nats mainly tell how narrow a spike on it is. Judge "
            "by the distances, or fit the rows that hold other numbers in a model of their own."
        )
    failed = [
        f"{figure.name} ({with_error(figure.difference, figure.difference_standard_error)})"
        for figure in columns
        if _fails(figure, len(columns))
    ]
    if failed:
        yield (
            f"Generated values differ in distribution from real ones in {listed(failed)} (in brackets: the "
            "Kolmogorov-Smirnov distance less that between real rows). Where a column holds one value in many rows, "
            "fit the others by themselves; otherwise train for longer."
        )
    if n_unseen < _FEW_ROWS:
        yield (
            f"There are only {n_unseen} unseen rows, so the errors are wide and small faults stay invisible. Hold back "
            "more rows if you can."
        )


def _fails(figure: Figure, n_columns: int) -> bool:
    quantile = student_quantile(figure.n_pairs - 1, tail=_FALSE_ALARM / n_columns)
    return figure.difference > max(_KS_THAT_MATTERS, quantile * figure.difference_standard_error)
