"""The encoding of numbers: their scale, their tails, and the dequantisation of rounded ones."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np

from backwalk.errors import InvalidInput
from backwalk.table.column_statistics import moments
from backwalk.table.columns import LEAST_SCALE, Column, HeavyTailedColumn, NumberColumn
from backwalk.table.grids import Grid
from backwalk.table.heavy_tails import fitted_tails
from backwalk.table.maps import asinh_log_slope, asinh_transform
from backwalk.table.rounded_columns import Dequantisation, IntegerColumn
from backwalk.table.rounded_maps import COSINE_VARIANCE, UNIFORM_VARIANCE
from backwalk.table.schema import FloatArray

_COSINE = 0.75  # standard deviations: rounded numbers with wider cells are dequantised by the cosine
# Rounded numbers with narrower cells, in encoded units, are not dequantised: a density whose finest structure has a
# standard deviation of 0.016 varies by 3 % along a grid of twice that step.
_FINE = 0.032
Bounds = tuple[float | None, float | None]


@dataclass(frozen=True)
class NumberPlan:
    """What is known of a column of numbers beforehand: its name in messages, its range, its grid, its bounds.

    `dequantisation` is "chosen" where it follows from the rows.
    """

    label: str
    ends: tuple[float, float]
    grid: Grid | None = None
    bounds: Bounds = (None, None)
    dequantisation: Dequantisation | Literal["chosen"] | None = "chosen"


def fitted_numbers(
    x: FloatArray, plans: Sequence[NumberPlan], *, scale: bool, asinh: bool, weights: FloatArray | None
) -> list[Column]:
    """Return the encodings of numbers x, (n, d), with gaps: see `Codec.fit`."""
    d = len(plans)
    if not d:
        return []
    cell = np.array([0.0 if plan.grid is None else plan.grid.cell for plan in plans])
    kinds, variance = [plan.dequantisation for plan in plans], np.square(cell) * UNIFORM_VARIANCE
    centre, spread = moments(x, variance, weights)
    for j in np.flatnonzero(cell):
        if kinds[j] == "chosen":
            kinds[j] = "cosine" if spread[j] * _COSINE <= cell[j] else "uniform"
    is_cosine = np.array([kind == "cosine" for kind in kinds])
    if is_cosine.any():  # a second pass over all rows, which most tables do not need
        variance[is_cosine] = np.square(cell[is_cosine]) * COSINE_VARIANCE
        centre, spread = moments(x, variance, weights)
    _check_spread(spread, plans)
    if not scale:
        centre, spread = np.zeros(d), np.ones(d)
    asinh_centre, asinh_scale, steepest = np.zeros(d), np.full(d, np.inf), 1.0 / spread
    if scale and asinh:
        ends = np.array([plan.ends for plan in plans]).T
        asinh_centre, asinh_scale = fitted_tails(x, spread, cell, (ends[0], ends[1]), weights)
        asinh_scale[is_cosine] = np.inf  # few integers have no tails
        heavy = np.flatnonzero(np.isfinite(asinh_scale))
        if len(heavy):
            parameters = asinh_centre[heavy], asinh_scale[heavy]
            slope = np.exp(asinh_log_slope(x[:, heavy], *parameters))
            of_cells = np.nanmean(np.square(slope * cell[heavy]), axis=0) * UNIFORM_VARIANCE
            centre[heavy], spread[heavy] = moments(asinh_transform(x[:, heavy], *parameters), of_cells, weights)
            _check_spread(spread, plans)
            steepest[heavy] = np.nanmedian(slope, axis=0) / spread[heavy]

    def column(j: int) -> Column:
        plan, grid = plans[j], plans[j].grid
        low, high = plan.bounds if grid is None else (None, None)
        number: NumberColumn | HeavyTailedColumn = NumberColumn(float(centre[j]), float(spread[j]), low, high)
        if np.isfinite(asinh_scale[j]):
            tails = float(asinh_centre[j]), float(asinh_scale[j])
            number = HeavyTailedColumn(*tails, number.centre, number.scale, low, high)
        if grid is None:
            return number
        is_fine = plan.dequantisation == "chosen" and scale and cell[j] * steepest[j] <= _FINE
        dequantisation = None if is_fine else kinds[j]
        return IntegerColumn(number, *plan.bounds, dequantisation, grid.step, grid.offset, grid.per)  # type: ignore[arg-type]

    return [column(j) for j in range(d)]


def _check_spread(spread: FloatArray, plans: Sequence[NumberPlan]) -> None:
    for j in map(int, np.flatnonzero(spread < LEAST_SCALE)):
        raise InvalidInput(
            f"A column's standard deviation should be at least {LEAST_SCALE:.1e}, but {plans[j].label} "
            f"has {spread[j]:.1e}: give it in smaller units."
        )
