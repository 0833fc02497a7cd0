"""Memorisation: do generated rows lie nearer to training rows than to unseen rows?

Take equally many training and unseen rows. If the model has learned the density and not the rows, the two kinds are
exchangeable, and the nearest real row of a generated row is a training row with probability 1/2. The share measures
copying; it is no measure of privacy.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike

from backwalk.evaluation.distances import nearest
from backwalk.evaluation.estimates import Estimate
from backwalk.evaluation.rows import as_rows, random_rows
from backwalk.streams import Stream


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

    >>> rows = Stream(0).normal(0, 400, 2).numpy()
    >>> nearest_row_share(rows[:200], rows[:200], rows[200:], stream=Stream(1)).value
    1.0
    """
    rows = as_rows(generated, "generated")
    trained, other = (
        as_rows(real, name, d=rows.shape[1]) for real, name in ((training, "training"), (unseen, "unseen"))
    )
    n_real = min(len(trained), len(other))
    to_training, training_index = nearest(rows, random_rows(trained, n_real, stream=stream.child("training")))
    to_unseen, unseen_index = nearest(rows, random_rows(other, n_real, stream=stream.child("unseen")))
    won, lost = to_training < to_unseen, to_training > to_unseen
    weights = np.concatenate([np.bincount(training_index, won, n_real), np.bincount(unseen_index, lost, n_real)]) / len(
        rows
    )
    m = 2 * n_real
    variance = m / (4.0 * (m - 1)) * np.sum((weights - weights.mean()) ** 2)
    return Estimate(0.5 + 0.5 * float(won.mean() - lost.mean()), float(variance) ** 0.5, len(rows))
