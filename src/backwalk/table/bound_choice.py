"""Columns of numbers whose bounds are known: the map that has them at infinity."""

from __future__ import annotations

import numpy as np

from backwalk.table.bounded_columns import BoundedColumn
from backwalk.table.columns import Column, HeavyTailedColumn, NumberColumn
from backwalk.table.number_choice import Bounds
from backwalk.table.whole import NumberFacts

_MARGIN = 0.03  # standard deviations
_BEYOND = 0.1  # margins by which the map ends beyond a bound at which rows lie


def within_bounds(column: Column, numbers: NumberFacts, bounds: Bounds) -> Column:
    """Return a column of numbers, all of which lie within known bounds, mapped such that new ones do.

    Where rows lie at a bound, the map ends a little beyond it. The column itself is returned where there is no bound,
    or hardly room between two of them.
    """
    if bounds == (None, None) or not isinstance(column, (NumberColumn, HeavyTailedColumn)):
        return column
    low, high = (
        None if bound is None else _end(column, bound, sign, is_reached=bound == end)
        for bound, sign, end in zip(bounds, (-1.0, 1.0), (numbers.least, numbers.largest), strict=True)
    )
    if low is not None and high is not None and high - low < 2.0 * _MARGIN:
        return column
    return BoundedColumn(column, low, high, _MARGIN)


def _end(column: Column, bound: float, sign: float, *, is_reached: bool) -> float:
    at = float(column.maps.encode(np.array([[bound]]))[0, 0])
    return at + sign * _MARGIN * _BEYOND if is_reached else at
