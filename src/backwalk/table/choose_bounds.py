"""The map of a number within known bounds: a spline through a few quantiles, and a power law beside each bound.

It makes the number about normal, which helps where little is known of it. Where it follows closely from what is given,
as a parameter from a measurement of it, the spline would bend a straight relation. Then all but a thin margin beside
each bound is left as it is.
"""

from __future__ import annotations

import math
from collections.abc import Collection, Sequence
from dataclasses import replace

import numpy as np

from backwalk.streams import Stream
from backwalk.table.choose_numbers import NumberPlan, numbers_looked_at
from backwalk.table.choose_splines import draw_places, normal_scores
from backwalk.table.maps import Boundary
from backwalk.table.number_column import NumberColumn
from backwalk.table.schema import FloatArray

# k knots follow a smooth density as closely as a network needs, and lose about k / (2 n) nats by chance.
_ROWS_PER_KNOT, _MOST_INTERVALS = 25, 8
_FEWEST_BESIDE, _MOST_BESIDE = 60, 500  # rows between a bound and the nearest knot
_POWERS = 0.2, 10.0
_SURPRISE = 10.83  # of twice a gain in log-likelihood: chance exceeds it once in 1,000
_MARGIN = 0.03  # standard deviations, of a map that leaves the rest as it is
_FEWEST_TOLD, _LEAST_VARIANCE = 30, 1e-12  # rows beside those that a regression takes, and of what it leaves
_NEAREST = 1e-6  # of a knot's distance from a bound: rows at the bound count as if they were so far from it


def end_at_bounds(
    column: NumberColumn, plan: NumberPlan, x: FloatArray, weights: FloatArray | None = None
) -> NumberColumn:
    """Return a column of numbers x, (n,) with gaps, with a map that ends at the bounds which a user states.

    Dequantised numbers end half a step beyond. The column itself is returned where there are no bounds.
    """
    if plan.stated == (None, None):
        return column
    some, bounds, half_step = numbers_looked_at(x, "bounds", weights), plan.stated, 0.0
    if column.dequantisation is not None:
        some = column.dequantise(some, draw_places(column.dequantisation, len(some), Stream(0).child("bounds")))
        bounds, half_step = plan.bounds, 0.5 * column.cell_width
    y = np.sort(column.chain.encode(some))
    low, high = (
        None if bound is None else float(column.chain.encode(np.array(bound + sign * half_step)))
        for bound, sign in zip(bounds, (-1.0, 1.0), strict=True)
    )
    first = 1.0 / np.clip(len(y) // _ROWS_PER_KNOT, 2, _MOST_INTERVALS)
    below, low_power = (0, 1.0) if low is None else _fit_law(y - low, first)
    above, high_power = (0, 1.0) if high is None else _fit_law((high - y)[::-1], first)
    shares = np.concatenate(
        [
            first * 0.5 ** np.arange(below, 0, -1),
            np.arange(first, 1.0 - 0.5 * first, first),
            1.0 - first * 0.5 ** np.arange(1, above + 1),
        ]
    )
    knots = np.unique(y[(shares * len(y)).astype(np.intp)])
    knots = knots[(knots > (-math.inf if low is None else low)) & (knots < (math.inf if high is None else high))]
    if len(knots) < 2:
        return column
    quantiles = normal_scores(y, knots)
    ends = Boundary(tuple(knots.tolist()), tuple(quantiles.tolist()), low, high, low_power, high_power)
    return replace(column, bounds=ends)


def _fit_law(distance: FloatArray, share: float) -> tuple[int, float]:
    """Return how often to halve a share of the rows, and k: the nearest ones have the distribution function u^k.

    The distances from the bound, (n,), increase. k is 1, a positive density, for the largest share of at most 500 rows
    that does not refute it; otherwise that of most rows. Source: Hill 1975.
    """
    laws = list[tuple[int, float]]()
    for n_halvings in range(64):
        beside = distance[: int(0.5**n_halvings * share * len(distance))]
        if len(beside) < _FEWEST_BESIDE or not beside[-1] > 0.0:
            break
        if len(beside) > _MOST_BESIDE:
            continue
        mean_log = float(np.log(np.maximum(beside[:-1] / beside[-1], _NEAREST)).mean())
        power = float(np.clip(-1.0 / mean_log, *_POWERS))
        if 2.0 * len(beside) * (math.log(power) + (power - 1.0) * mean_log) < _SURPRISE:
            return n_halvings, 1.0
        laws.append((n_halvings, power))
    return laws[0] if laws else (0, 1.0)


def straight_where_told(
    columns: Sequence[NumberColumn], rows: FloatArray, given: Collection[int]
) -> list[NumberColumn]:
    """Return the columns of random rows, (n, d), with straight maps of those that the `given` ones tell so better.

    A map is better if the numbers have a greater log-density under a normal linear regression on the given ones. Only
    maps whose density is positive at the bounds are made straight.
    """
    seen = ~np.isnan(rows)
    is_told = seen[:, list(given)].all(axis=1)

    def mean_log_density(column: NumberColumn, x: FloatArray, told: FloatArray) -> float:
        z, n_free = column.chain.encode(x), len(told) - told.shape[1]
        residual = z - told @ np.linalg.lstsq(told, z, rcond=None)[0]
        variance = max(float(np.square(residual).sum()) / n_free, _LEAST_VARIANCE)
        return float(column.chain.log_slope(x).mean()) - 0.5 * math.log(variance)

    chosen = list(columns)
    for j, column in enumerate(columns):
        some = rows[is_told & seen[:, j]]
        if j in given or len(some) < _FEWEST_TOLD + len(given):
            continue
        straight = _straight(column, some[:, j])
        if straight is not None:
            told = np.column_stack([np.ones(len(some)), *(columns[i].chain.encode(some[:, i]) for i in given)])
            before, after = (mean_log_density(each, some[:, j], told) for each in (column, straight))
            chosen[j] = straight if after > before else column
    return chosen


def _straight(column: NumberColumn, x: FloatArray) -> NumberColumn | None:
    """Return a column of numbers x, (n,), with a map that is straight but beside bounds, or None if there is none."""
    ends = column.bounds
    if ends is None or column.dequantisation is not None or (ends.low_power, ends.high_power) != (1.0, 1.0):
        return None
    y = column.before_bounds.encode(x)
    first = ends.knots[0] if ends.low is None else ends.low + _MARGIN
    last = ends.knots[-1] if ends.high is None else ends.high - _MARGIN
    if not first < last:
        return None
    beside = [(y < first).mean()] * (ends.low is not None) + [(y > last).mean()] * (ends.high is not None)
    share = float(np.clip(np.mean(beside), 0.5 / len(y), 0.4))
    return replace(column, bounds=Boundary((first, last), (first, last), ends.low, ends.high, share=share))
