"""Which columns have heavy tails, and the asinh transform of these."""

from __future__ import annotations

import math
from functools import partial

import numpy as np

from backwalk.table.column_statistics import rows_looked_at
from backwalk.table.columns import LEAST_SCALE
from backwalk.table.maps import asinh_log_slope, asinh_transform
from backwalk.table.schema import FloatArray

_IQR_OF_A_NORMAL = 1.3489795
# A column has heavy tails if its standard deviation is more than this factor times that of a normal column with the
# same quartiles. The factor is 1.2 for an exponential column, 1.5 for Student's t with 3 degrees of freedom and 2 for a
# log-normal one of sigma 1 (`docs/defaults.md`).
_HEAVY = 1.75


def fitted_tails(
    x: FloatArray,
    spread: FloatArray,
    cell: FloatArray,
    ends: tuple[FloatArray, FloatArray],
    weights: FloatArray | None = None,
) -> tuple[FloatArray, FloatArray]:
    """Return the centre and the scale of the asinh transform for each column of x, (n, d): (d,) each.

    The scale is infinite if the tails are not heavy. `spread`, (d,), has the columns' standard deviations, and `ends`,
    (d,) each, the least and the largest value of all rows. A column is heavy-tailed if its spread is more than 1.75
    times that of a normal column with the same quartiles; columns whose quartiles are equal are not, as they hold one
    value with exceptions. Of a few transforms the one is chosen under which the rows have the highest likelihood as
    draws of a normal distribution: around the median, with 1/8 to 4 times the interquartile range as scale; or, for
    rows of one sign, around 0 with a scale far below all of them, which is their logarithm. The scale is at least
    `cell`, (d,), the step of rounded columns and 0 for others. Quartiles and likelihoods are those of up to 10,000
    random rows; missing values do not count.

    >>> x = np.array([[-100.0], [-1.0], [0.0], [1.0], [100.0]])
    >>> fitted_tails(x, x.std(axis=0), np.zeros(1), (x.min(axis=0), x.max(axis=0)))
    (array([0.]), array([0.25]))
    """
    some = rows_looked_at(x, "tails", weights)
    quantiles = np.nanquantile if np.isnan(some).any() else np.quantile
    low, median, high = quantiles(some, [0.25, 0.5, 0.75], axis=0, method="inverted_cdf")  # rows, without arithmetic
    with np.errstate(over="ignore"):
        width = high - low
    centre, scale = np.zeros(x.shape[1]), np.full(x.shape[1], np.inf)
    for j in map(int, np.flatnonzero((spread / _HEAVY > width / _IQR_OF_A_NORMAL) & (width > 0.0))):
        least = max(cell[j], LEAST_SCALE)
        of_column, first, last = some[~np.isnan(some[:, j]), j], float(ends[0][j]), float(ends[1][j])
        candidates = [(float(median[j]), max(float(width[j]) * 2.0**k, least)) for k in range(-3, 3)]
        if first > -cell[j] or last < cell[j]:
            candidates.append((0.0, max(_far_below(min(abs(first), abs(last))), least)))
        centre[j], scale[j] = max(candidates, key=partial(_log_likelihood, of_column[:, None]))
    return centre, scale


def _far_below(x: float) -> float:
    """Return about a ten-millionth of a number: a power of two, which does not reveal the number.

    Numbers of the other sign are then 17 natural logarithms from the nearest row, where models have hardly any density.
    """
    return math.ldexp(0.5, math.frexp(x)[1] - 24)


def _log_likelihood(x: FloatArray, transform: tuple[float, float]) -> float:
    """Return the mean log-likelihood of rows (n, 1) whose asinh transform is normal, up to a constant: nats."""
    centre, scale = (np.array([number]) for number in transform)
    spread = float(asinh_transform(x, centre, scale).std())
    return float(asinh_log_slope(x, centre, scale).mean()) - math.log(spread) if spread > 0.0 else -math.inf
