"""Columns of numbers whose bounds are known: the map to all numbers, fitted to the rows."""

from __future__ import annotations

import numpy as np

from backwalk.table.bounded_columns import BoundedColumn
from backwalk.table.column_statistics import moments
from backwalk.table.columns import LEAST_SCALE, Column, HeavyTailedColumn, NumberColumn
from backwalk.table.number_choice import Bounds
from backwalk.table.schema import FloatArray

_AT_BOUND = 0.01
"""By how much the map ends beyond a bound that rows reach: a share of the distance of half of the rows from it."""


def within_bounds(column: Column, x: FloatArray, bounds: Bounds, weights: FloatArray | None) -> Column:
    """Return a column of numbers x, (n,), mapped such that its values lie within known bounds.

    Where rows lie at a bound, the map ends a little beyond it. The column itself is returned where there is no bound,
    or the mapped numbers have no spread.
    """
    low, high = bounds
    if (low is None and high is None) or not isinstance(column, (NumberColumn, HeavyTailedColumn)):
        return column
    observed = x[~np.isnan(x)]
    reached_low, reached_high = (_beyond(observed, bound, sign) for bound, sign in ((low, -1.0), (high, 1.0)))
    plain = BoundedColumn(reached_low, reached_high, 0.0, 1.0, low, high)
    centre, spread = moments(plain.maps.encode(x[:, None]), np.zeros(1), weights)
    if not spread[0] > LEAST_SCALE:
        return column
    return BoundedColumn(reached_low, reached_high, float(centre[0]), float(spread[0]), low, high)


def _beyond(observed: FloatArray, bound: float | None, sign: float) -> float | None:
    """Return where the map ends: at the bound, or a little beyond it where one of the observed numbers lies at it."""
    if bound is None or not (observed == bound).any():
        return bound
    return bound + sign * _AT_BOUND * float(np.median(np.abs(observed[observed != bound] - bound)))
