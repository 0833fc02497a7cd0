"""Memorisation: do generated rows lie nearer to training rows than to unseen rows, or repeat rare ones?

Take equally many training and unseen rows. If the model has learned the density and not the rows, the two kinds are
exchangeable, and the nearest real row of a generated row is a training row with probability 1/2. Likewise generated
rows repeat the rare combinations of levels of both kinds equally often. The shares measure copying; they are no measure
of privacy.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike

from backwalk.assess.statistics.distances import nearest
from backwalk.estimates import Estimate, Rows, as_rows, random_rows
from backwalk.streams import Stream


def draw_equally_many(trained: Rows, unseen: Rows, stream: Stream, most: int | None = None) -> tuple[Rows, Rows]:
    """Return equally many random rows of each: as many as the smaller set has, but at most `most`."""
    n = min(len(trained), len(unseen), len(trained) if most is None else most)
    return (
        random_rows(trained, n, stream=stream.child("training")),
        random_rows(unseen, n, stream=stream.child("unseen")),
    )


def nearest_row_share(generated: ArrayLike, training: ArrayLike, unseen: ArrayLike, *, stream: Stream) -> Estimate:
    """Return the share of generated rows whose nearest real row was trained on; 1/2 without memorisation.

    All are (., d) in one common scale. The larger of `training` and `unseen` is cut at random to the size of the
    smaller. A tie (the same row in both) counts one half, whatever the labels.

    The error is the exact one of exchangeable labels: with w_i the share of generated rows that are nearest to real
    row i of M, without ties, share = sum of w_i over training rows, and over random labels Var = M / (4 (M - 1))
    sum_i (w_i - mean w)^2. For few generated rows it is the binomial 1 / (4 n); for many, it includes the variation due
    to the real rows.

    Returns the share, its standard error and the number of generated rows. Raises InvalidInput for no rows
    and for another number of columns.

    >>> from backwalk.assess.statistics.memorisation import nearest_row_share
    >>> from backwalk.streams import Stream
    >>> rows = Stream(0).normal(0, 400, 2).numpy()
    >>> nearest_row_share(rows[:200], rows[:200], rows[200:], stream=Stream(1)).value
    1.0
    """
    rows = as_rows(generated, "generated")
    trained, other = (
        as_rows(real, name, d=rows.shape[1]) for real, name in ((training, "training"), (unseen, "unseen"))
    )
    trained, other = draw_equally_many(trained, other, stream)
    n_real = len(trained)
    (to_training, training_index), (to_unseen, unseen_index) = nearest(rows, trained), nearest(rows, other)
    won, lost = to_training < to_unseen, to_training > to_unseen
    weights = np.concatenate([np.bincount(training_index, won, n_real), np.bincount(unseen_index, lost, n_real)]) / len(
        rows
    )
    m = 2 * n_real
    variance = m / (4.0 * (m - 1)) * np.sum((weights - weights.mean()) ** 2)
    return Estimate(0.5 + 0.5 * float(won.mean() - lost.mean()), float(variance) ** 0.5, len(rows))


@dataclass(frozen=True)
class RareCopies:
    """The shares of generated rows that repeat a rare row: a combination of levels that one real row holds.

    Of `n_rare` real rows, all with combinations that no other one holds, about half are training rows and half unseen
    ones. `of_training` and `of_unseen` are the shares of generated rows with the combination of the former and of the
    latter; `excess` is their difference, 0 without copying.
    """

    of_training: float
    of_unseen: float
    excess: Estimate
    n_rare: int


def rare_copies(generated: ArrayLike, training: ArrayLike, unseen: ArrayLike, *, stream: Stream) -> RareCopies:
    """Return how often generated rows repeat the rare combinations of training rows, and those of unseen rows.

    All are (., d), the columns of levels alone, in one coding; two missing cells are equal. The larger of `training`
    and `unseen` is cut at random to the size of the smaller. Combinations that occur once in both together are rare.

    The error is that of exchangeable labels: with w_i the share of generated rows that repeat rare row i of r, the
    excess is sum_i s_i w_i with random signs s_i, whose variance is sum_i w_i^2. Raises InvalidInput as above.

    >>> import numpy as np
    >>> from backwalk.assess.statistics.memorisation import rare_copies
    >>> from backwalk.streams import Stream
    >>> rows = np.arange(8.0)[:, None]
    >>> copies = rare_copies(rows[[0, 0, 1, 4]], rows[:4], rows[4:], stream=Stream(0))
    >>> copies.of_training, copies.of_unseen, copies.n_rare
    (0.75, 0.25, 8)
    """
    rows = as_rows(generated, "generated", allow_gaps=True)
    d = rows.shape[1]
    trained, other = (
        as_rows(real, name, d=d, allow_gaps=True) for real, name in ((training, "training"), (unseen, "unseen"))
    )
    trained, other = draw_equally_many(trained, other, stream)
    n_real = len(trained)
    combination = _combinations(np.concatenate([trained, other, rows]))
    of_real, of_rows = combination[: 2 * n_real], combination[2 * n_real :]
    rare = np.bincount(of_real, minlength=len(combination))[of_real] == 1
    weights = np.bincount(of_rows, minlength=len(combination))[of_real[rare]] / len(rows)
    is_training = np.flatnonzero(rare) < n_real
    of_training, of_unseen = float(weights[is_training].sum()), float(weights[~is_training].sum())
    error = float(np.sum(weights**2)) ** 0.5
    return RareCopies(of_training, of_unseen, Estimate(of_training - of_unseen, error, len(rows)), int(rare.sum()))


def _combinations(rows: Rows) -> np.ndarray:
    """Return a number for each row, (n,), equal for equal rows only; NaN equals NaN."""
    number = np.zeros(len(rows), dtype=np.intp)
    for column in rows.T:
        _, index = np.unique(column, return_inverse=True)
        _, number = np.unique(number * (index.max() + 1) + index, return_inverse=True)
    return number
