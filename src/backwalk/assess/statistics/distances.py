"""Distances between two sets of points.

Two samples of the same density have a distance above 0, so that a value has to be compared with its null: the same
statistic of real rows against other real rows (`nulls.compare`). Memory is O(n).
"""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy.spatial import cKDTree
from scipy.spatial.distance import cdist, pdist

from backwalk.errors import InvalidInput
from backwalk.estimates import Estimate, Rows, as_rows, as_two_sets, log_ratio, mean_estimate
from backwalk.streams import Stream

_BLOCK = 2**21  # pairs of rows held at once: 16 MiB


def wasserstein_1d(x: NDArray[np.float64], y: NDArray[np.float64]) -> float:
    """Return W1 = integral over u in (0, 1) of |F_x^-1(u) - F_y^-1(u)|, for x (n,) and y (m,), in their unit.

    >>> import numpy as np
    >>> from backwalk.assess.statistics.distances import wasserstein_1d
    >>> wasserstein_1d(np.array([0.0, 1.0]), np.array([1.0, 2.0]))
    1.0
    """
    n, m = len(x), len(y)
    # Both quantile functions are constant between the points i/n and j/m; times n*m, these are whole numbers.
    ends = np.union1d(np.arange(1, n + 1) * m, np.arange(1, m + 1) * n)
    widths = np.diff(ends, prepend=0) / (n * m)
    return float(widths @ np.abs(np.sort(x)[(ends - 1) // m] - np.sort(y)[(ends - 1) // n]))


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
    energy_distance : Another distance.

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
    return float(np.mean([wasserstein_1d(x_rows @ theta, y_rows @ theta) for theta in directions]))


def energy_distance(x: ArrayLike, y: ArrayLike) -> float:
    """Return the energy distance of two sets of rows.

    It is 0 on average for equal densities, and sometimes negative. Time is O(n m d).

    Parameters
    ----------
    x : array-like of shape (n, d)
        The first set, of 2 rows at least.
    y : array-like of shape (m, d)
        The second set, of 2 rows at least.

    Returns
    -------
    float
        `2 E|X - Y| - E|X - X'| - E|Y - Y'|`, in the unit of the columns.

    Raises
    ------
    InvalidInput
        For points that are not finite rows of the same space.

    See Also
    --------
    compare : The distance beside its null.
    sliced_wasserstein : A distance that takes less time.

    Notes
    -----
    The pairs of a row with itself are left out of the last two means (the U-statistic). Source: Szekely and Rizzo 2013.

    Examples
    --------
    >>> from backwalk.assess.statistics import energy_distance
    >>> energy_distance([[0.0], [2.0]], [[1.0], [3.0]])
    -1.0
    """
    x_rows, y_rows = as_two_sets(x, y, at_least=2)
    n, m = len(x_rows), len(y_rows)
    within_x = _sum_within(x_rows) / (n * (n - 1))
    within_y = _sum_within(y_rows) / (m * (m - 1))
    return 2.0 * _sum_of_distances(x_rows, y_rows) / (n * m) - within_x - within_y


def marginal_ks(x: ArrayLike, y: ArrayLike) -> NDArray[np.float64]:
    """Return the Kolmogorov-Smirnov distance of each column of two sets of rows.

    Parameters
    ----------
    x : array-like of shape (n, d)
        The first set.
    y : array-like of shape (m, d)
        The second set.

    Returns
    -------
    ndarray of shape (d,)
        `sup |F_x - F_y|` of each column, in [0, 1].

    Raises
    ------
    InvalidInput
        For points that are not finite rows of the same space.

    See Also
    --------
    correlation_difference : A statistic of pairs of columns.

    Examples
    --------
    >>> from backwalk.assess.statistics import marginal_ks
    >>> marginal_ks([[0.0, 0.0], [1.0, 1.0]], [[0.0, 5.0], [1.0, 6.0]]).tolist()
    [0.0, 1.0]
    """
    x_rows, y_rows = as_two_sets(x, y)
    return np.array([ks_distance(a, b) for a, b in zip(x_rows.T, y_rows.T, strict=True)])


def correlation_matrix(x: ArrayLike) -> NDArray[np.float64]:
    """Return the matrix of correlations (d, d) of x (n, d); a constant column is correlated with nothing but itself."""
    rows = as_rows(x, at_least=2)
    centred = rows - rows.mean(axis=0)
    # The computed mean of a constant such as 0.1 may differ from it by rounding; the remainder is not spread.
    spread = np.where(np.ptp(rows, axis=0) > 0.0, np.linalg.norm(centred, axis=0), np.inf)
    matrix = (centred / spread).T @ (centred / spread)
    np.fill_diagonal(matrix, 1.0)
    return np.asarray(matrix)


def correlation_difference(x: ArrayLike, y: ArrayLike) -> float:
    """Return the mean absolute difference between the correlations of two sets of rows.

    Parameters
    ----------
    x : array-like of shape (n, d)
        The first set, of 2 rows at least.
    y : array-like of shape (m, d)
        The second set, of 2 rows at least.

    Returns
    -------
    float
        The mean over pairs of columns, in [0, 2]; 0 for a single column.

    Raises
    ------
    InvalidInput
        For points that are not finite rows of the same space.

    See Also
    --------
    marginal_ks : A statistic of single columns.

    Examples
    --------
    >>> from backwalk.assess.statistics import correlation_difference
    >>> round(correlation_difference([[0.0, 0.0], [1.0, 1.0]], [[0.0, 1.0], [1.0, 0.0]]), 6)
    2.0
    """
    x_rows, y_rows = as_two_sets(x, y, at_least=2)
    pairs = np.triu_indices(x_rows.shape[1], k=1)
    differences = (correlation_matrix(x_rows) - correlation_matrix(y_rows))[pairs]
    return float(np.abs(differences).mean()) if differences.size else 0.0


def total_variation(log_p_true: ArrayLike, log_p_model: ArrayLike) -> Estimate:
    """Estimate the total variation distance of a model from the truth.

    It is the largest `|P(A) - P_model(A)|` of any event A.

    Parameters
    ----------
    log_p_true : array-like of shape (n,)
        The true log-densities of rows drawn from the truth, in nats.
    log_p_model : array-like of shape (n,)
        The model's, at the same rows and in the same units of x.

    Returns
    -------
    Estimate
        A probability.

    Raises
    ------
    InvalidInput
        For NaN, or for a row that the truth could not have given.

    See Also
    --------
    paired_gap : The Kullback-Leibler divergence.

    Notes
    -----
    `TV = E_p[(1 - p_model/p)_+]`. Its terms lie in [0, 1], so that no heavy tail of the ratio can spoil the mean. It
    also counts mass that the model puts outside the support of p.

    Examples
    --------
    >>> from backwalk.assess.statistics import total_variation
    >>> total_variation([0.0, 0.0], [0.0, -float("inf")]).value
    0.5
    """
    return mean_estimate(-np.expm1(np.minimum(log_ratio(log_p_true, log_p_model), 0.0)))


def coverage(real: ArrayLike, generated: ArrayLike, k: int = 5) -> float:
    """Return the share of real rows that have a generated row nearby.

    Nearby is within the distance of a row's k-th nearest real neighbour.

    Parameters
    ----------
    real : array-like of shape (n, d)
        The real rows, more than k.
    generated : array-like of shape (m, d)
        The generated rows.
    k : int, default=5
        The number of neighbours, at least 1.

    Returns
    -------
    float
        The share, in [0, 1].

    Raises
    ------
    InvalidInput
        If n <= k or k < 1.

    See Also
    --------
    compare : The share beside its null.

    Notes
    -----
    For rows of the same density its mean is `1 - C(n-1, k) / C(n+m-1, k)`, about 1 - 2^-k for n = m, as the k nearest
    of a row are not all real. Distances are Euclidean, and the ball is closed, so that a copy of a repeated row covers
    it.

    Source: Naeem et al. 2020.

    Examples
    --------
    >>> from backwalk.assess.statistics import coverage
    >>> coverage([[0.0], [1.0], [5.0]], [[0.4]], k=1)
    0.6666666666666666
    """
    real_rows, generated_rows = as_two_sets(real, generated)
    if not 1 <= k < len(real_rows):
        raise InvalidInput(f"k should lie in 1..{len(real_rows) - 1}, below the number of real rows, but got {k}.")
    tree = cKDTree(real_rows)
    radius = tree.query(real_rows, k=[k + 1])[0][:, 0]  # the nearest is the row itself
    return float(np.mean(nearest(real_rows, generated_rows)[0] <= radius))


def nearest(queries: Rows, rows: Rows) -> tuple[NDArray[np.float64], NDArray[np.intp]]:
    """Return the Euclidean distance to the nearest of `rows`, and its number, for each query: (n,) and (n,)."""
    distance, index = cKDTree(rows).query(queries)
    return np.asarray(distance), np.asarray(index)


def _sum_of_distances(x: Rows, y: Rows) -> float:
    step = max(1, _BLOCK // len(y))
    return float(sum(cdist(x[i : i + step], y).sum() for i in range(0, len(x), step)))


def _sum_within(x: Rows) -> float:
    """Return the sum of the distances of all ordered pairs of rows; each pair is visited once."""
    step = max(1, _BLOCK // len(x))
    starts = range(0, len(x), step)
    inside = sum(pdist(x[i : i + step]).sum() for i in starts)
    across = sum(cdist(x[i : i + step], x[i + step :]).sum() for i in starts)
    return float(2.0 * (inside + across))


def ks_distance(a: NDArray[np.float64], b: NDArray[np.float64]) -> float:
    """Return the Kolmogorov-Smirnov distance sup |F_a - F_b| of two sets of numbers, (n,) and (m,)."""
    points = np.concatenate([a, b])
    shares = [np.searchsorted(np.sort(values), points, side="right") / len(values) for values in (a, b)]
    return float(np.abs(shares[0] - shares[1]).max())
