"""Distances between two sets of points.

Two samples of the same density have a distance above 0, so that a value has to be compared with its null: the same
statistic of real rows against other real rows (`nulls.compare`). Memory is O(n).
"""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy.spatial import cKDTree
from scipy.stats import wasserstein_distance

from backwalk.errors import InvalidInput
from backwalk.estimates import Rows, as_two_sets
from backwalk.streams import Stream


def sliced_wasserstein(x: ArrayLike, y: ArrayLike, *, n_projections: int = 128, stream: Stream) -> float:
    """Return the sliced Wasserstein-1 distance of two sets of rows.

    Parameters
    ----------
    x : array-like of shape (n, d)
        The first set.
    y : array-like of shape (m, d)
        The second set.
    n_projections : int, default=128
        The number of random directions.
    stream : Stream
        The directions, which depend on it alone: a model and its null can share them.

    Returns
    -------
    float
        The mean over the directions of W1 of the projected points, in the unit of the columns.

    Raises
    ------
    InvalidInput
        For points that are not finite rows of the same space.

    See Also
    --------
    compare : The distance beside its null.
    c2st : A test by a classifier.

    Notes
    -----
    `SW1 = E_theta W1(<theta, x>, <theta, y>)`, with theta uniform on the unit sphere. Source: Bonneel et al. 2015.

    Examples
    --------
    >>> import numpy as np
    >>> from backwalk.assess.statistics import sliced_wasserstein
    >>> from backwalk.streams import Stream
    >>> x = np.array([[0.0, 0.0], [1.0, 0.0]])
    >>> sliced_wasserstein(x, x, stream=Stream(0))
    0.0
    """
    x_rows, y_rows = as_two_sets(x, y)
    if n_projections < 1:
        raise InvalidInput(f"n_projections should be at least 1, but got {n_projections}: 128 serves well.")
    directions = stream.normal(0, n_projections, x_rows.shape[1]).numpy()
    directions /= np.linalg.norm(directions, axis=1, keepdims=True)
    return float(np.mean([wasserstein_distance(x_rows @ theta, y_rows @ theta) for theta in directions]))


def coverage(real: ArrayLike, generated: ArrayLike, k: int = 5) -> float:
    """Return the share of real rows, (n, d), with a row of `generated`, (m, d), within their k-th nearest real row.

    For rows of the same density its mean is 1 - C(n-1, k) / C(n+m-1, k), about 1 - 2^-k for n = m, as the k nearest of
    a row are not all real. Distances are Euclidean, and the ball is closed, so that a copy of a repeated row covers it.
    Source: Naeem et al. 2020. Raises InvalidInput if n <= k or k < 1.

    >>> from backwalk.assess.statistics.distances import coverage
    >>> coverage([[0.0], [1.0], [5.0]], [[0.4]], k=1)
    0.6666666666666666
    """
    real_rows, generated_rows = as_two_sets(real, generated)
    if not 1 <= k < len(real_rows):
        raise InvalidInput(f"k should lie in 1..{len(real_rows) - 1}, below the number of real rows, but got {k}.")
    radius = cKDTree(real_rows).query(real_rows, k=[k + 1])[0][:, 0]  # the nearest is the row itself
    return float(np.mean(nearest(real_rows, generated_rows)[0] <= radius))


def nearest(queries: Rows, rows: Rows) -> tuple[NDArray[np.float64], NDArray[np.intp]]:
    """Return the Euclidean distance to the nearest of `rows`, and its number, for each query: (n,) and (n,)."""
    distance, index = cKDTree(rows).query(queries)
    return np.asarray(distance), np.asarray(index)
