"""Which numbers are mapped to a normal through their quantiles, by the log-density of held-out rows.

A map that makes each column normal helps a density of skewed or bounded columns, and bends one that is smooth as it is.
Gaussian mixtures of a few sizes are fitted to half of some rows in both encodings, and the better of each compared on
the other half, in the same units.
"""

from __future__ import annotations

import math
import warnings
from collections.abc import Mapping, Sequence
from dataclasses import replace

import numpy as np
from scipy import special
from threadpoolctl import threadpool_limits

from backwalk.streams import Stream
from backwalk.table.bounded_columns import BoundedColumn
from backwalk.table.columns import Column, HeavyTailedColumn, NumberColumn
from backwalk.table.quantile_columns import QuantileColumn
from backwalk.table.rounded_columns import IntegerColumn
from backwalk.table.schema import FloatArray

_ROWS_PER_KNOT = 50
_FEWEST_KNOTS, _MOST_KNOTS = 5, 100
_FEWEST_BEYOND = 10  # rows beyond an outer knot
_STEEPEST = 30.0  # slope between knots, which repeated values would exceed

_FEWEST_ROWS, _MOST_ROWS = 1_000, 6_000  # half of them held out
_MOST_COLUMNS = 16  # compared
_SIZES = (8, 32)  # of the mixtures
_ROWS_A_COMPONENT = 10
_LEAST_GAIN = 0.02  # nats a column and a row
_MOST_GAIN = 5.0  # nats a column, of a single row: some rows are far from all in one encoding
_MOST_REPEATED = 0.05  # of rows with the same value, whose density has no bound
_STANDARD_ERRORS = 4.0


def fitted_knots(y: FloatArray) -> tuple[FloatArray, FloatArray]:
    """Return increasing knots at quantiles of y, (n,), and the quantiles of a standard normal there: (K,) each.

    There is a knot for every 50 rows, at most about 100. A repeated value has the middle of its ranks; knots so close
    that the map would be steeper than 30 are left out.
    """
    y, n = np.sort(y), len(y)
    k = int(np.clip(n // _ROWS_PER_KNOT, _FEWEST_KNOTS, _MOST_KNOTS))
    inner = np.arange(1, k) / k
    halvings = max(0, math.floor(math.log2(n / k / _FEWEST_BEYOND))) if n > k * _FEWEST_BEYOND else 0
    tail = 0.5 ** np.arange(halvings, 0, -1) / k
    share = np.concatenate([tail, inner, 1.0 - tail[::-1]])
    at = np.unique(y[np.minimum((share * n).astype(np.intp), n - 1)])
    middle = (np.searchsorted(y, at, side="left") + np.searchsorted(y, at, side="right")) / (2.0 * n)
    z, kept = special.ndtri(middle), [0]
    for i in range(1, len(at)):
        if z[i] - z[kept[-1]] <= _STEEPEST * (at[i] - at[kept[-1]]):
            kept.append(i)
    return at[kept], z[kept]


def mapped(
    columns: Sequence[Column],
    x: FloatArray,
    asked: Mapping[int, bool],
    among: Sequence[int],
    *,
    is_table: bool,
) -> list[Column]:
    """Return the columns of numbers x, (n, d) random rows, with a map through quantiles where it helps.

    `asked` says for some columns whether they are to be mapped; those `among` are chosen together.
    """
    found = list(columns)
    for j, column in enumerate(columns):
        if asked.get(j):
            found[j] = _with_map(column, x[:, j])
    free = [j for j in among if j not in asked and _can_be_mapped(columns[j], x[:, j])]
    if free:
        compared = [free[i] for i in np.linspace(0, len(free) - 1, min(len(free), _MOST_COLUMNS)).astype(int)]
        rows = x[~np.isnan(x[:, compared]).any(axis=1)]
        if _map_helps([columns[j] for j in compared], rows[:, compared], is_table=is_table):
            for j in free:
                found[j] = _with_map(columns[j], x[:, j])
    return found


def _can_be_mapped(column: Column, x: FloatArray) -> bool:
    """Return whether a column of values x, (n,), may be mapped: not few integers, nor one value in many rows."""
    if isinstance(column, IntegerColumn) and column.dequantisation:
        return column.dequantisation != "cosine"
    counts = np.unique(x[~np.isnan(x)], return_counts=True)[1]
    return len(counts) > 0 and counts.max() <= _MOST_REPEATED * counts.sum()


def _with_map(column: Column, x: FloatArray) -> Column:
    """Return a column with a map fitted to its values x, (n,); the column itself if they have a single knot."""
    if isinstance(column, IntegerColumn):
        if not isinstance(column.number, (NumberColumn, HeavyTailedColumn)):
            return column
        drawn = x[~np.isnan(x), None]
        if column.dequantisation:
            drawn = column.maps.dequantise(drawn, Stream(0).child("knots").uniform(0, len(drawn), 1).numpy())
        number = _with_map(column.number, drawn[:, 0])
        return replace(column, number=number) if isinstance(number, QuantileColumn) else column
    if not isinstance(column, (NumberColumn, HeavyTailedColumn, BoundedColumn)):
        return column
    y = column.maps.encode(x[~np.isnan(x), None])[:, 0]
    knots, quantiles = fitted_knots(y)
    if len(knots) < 2:
        return column
    return QuantileColumn(column, tuple(knots.tolist()), tuple(quantiles.tolist()))


def _map_helps(columns: Sequence[Column], x: FloatArray, *, is_table: bool) -> bool:
    """Return whether columns with maps give held-out rows of x, (n, d), a clearly higher log-density."""
    if len(x) < _FEWEST_ROWS:
        return False
    some = x[Stream(0).child("map").permutation(len(x))[:_MOST_ROWS]]
    half = len(some) // 2
    v = Stream(0).child("map places")
    encoded = list[FloatArray]()
    slope = np.zeros(len(some) - half)
    maps = [_with_map(column, some[:half, j]) for j, column in enumerate(columns)]
    for kind in (columns, maps):
        z = np.empty(some.shape)
        for j, column in enumerate(kind):
            draws = v.child(j).uniform(0, len(some), 1).numpy() if column.n_uniforms else None
            z[:, [j]] = column.maps.encode(some[:, [j]], draws)
            sign = 1.0 if kind is maps else -1.0
            slope += sign * np.broadcast_to(column.maps.log_slope(some[half:, [j]]), (len(slope), 1))[:, 0]
        encoded.append(z)
    plain, through = encoded
    d = len(columns)
    # Each column alone, as a normal one: where the map gains nothing here, it has nothing to mend.
    alone = slope + 0.5 * (np.square(plain[half:]) - np.square(through[half:])).sum(axis=1)
    if not _is_clear(alone, d):
        return False
    if d == 1:
        return is_table
    of_plain, of_map = (_best_log_density(z[:half], z[half:]) for z in (plain, through))
    return _is_clear(of_map + slope - of_plain, d)


def _is_clear(gain: FloatArray, d: int) -> bool:
    gain = np.clip(gain, -_MOST_GAIN * d, _MOST_GAIN * d)
    error = float(gain.std()) / math.sqrt(len(gain))
    return float(gain.mean()) > max(_LEAST_GAIN * d, _STANDARD_ERRORS * error)


def _best_log_density(rows: FloatArray, unseen: FloatArray) -> FloatArray:
    """Return the log-density of unseen rows by the mixture of those fitted to rows that gives them the highest."""
    from sklearn.exceptions import ConvergenceWarning  # takes a second
    from sklearn.mixture import GaussianMixture

    scores = list[FloatArray]()
    for size in _SIZES:
        # On a busy machine BLAS's threads wait for each other after each of the many small products.
        with warnings.catch_warnings(), threadpool_limits(1):
            warnings.simplefilter("ignore", ConvergenceWarning)
            # Means that start at rows: k-means would start OpenMP's threads.
            mixture = GaussianMixture(
                min(size, len(rows) // _ROWS_A_COMPONENT),
                init_params="random_from_data",
                reg_covar=1e-4,
                max_iter=30,
                random_state=0,
            ).fit(rows)
        scores.append(mixture.score_samples(unseen))
    return max(scores, key=lambda score: float(score.mean()))
