"""The plane of a picture: two columns of a model in encoded units, ticks in the user's, and arrays as text."""

from __future__ import annotations

import base64
import math
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import NDArray

from backwalk.errors import InvalidInput
from backwalk.model import DiffusionModel, column_numbers
from backwalk.table import Block, Schema, from_values, off_atoms

Array = NDArray[Any]
Limits = tuple[float, float, float, float]
"""(left, right, bottom, top)."""
_LARGEST = 2**16 - 1
_NOISE = 3.3  # standard deviations of x_N that a picture shows
_MARGIN, _SHARE_OUTSIDE = 0.06, 0.0005
_N_TICKS = 5


def packed(array: Array, dtype: str) -> dict[str, Any]:
    """Return an array as JSON values; `dtype` is "u2" or "f4"."""
    numbers = np.ascontiguousarray(array, dtype=f"<{dtype}")
    return {"dtype": dtype, "shape": list(numbers.shape), "base64": base64.b64encode(numbers.tobytes()).decode()}


@dataclass(frozen=True, eq=False)
class Plane:
    """Two columns of a model."""

    model: DiffusionModel
    columns: tuple[int, int]
    limits: Limits = (0.0, 1.0, 0.0, 1.0)

    @cached_property
    def places(self) -> list[int]:
        """The coordinates of the two columns in encoded rows."""
        codec = self.model.codec
        numbers = {block.column: block.number for block in codec.blocks if block.number is not None}
        return [numbers.get(column, codec.slices[column].start) for column in self.columns]

    @cached_property
    def blocks(self) -> tuple[Block, ...]:
        """The levels of the columns that are numbers with atoms."""
        blocks = self.model.codec.blocks
        return tuple(block for block in blocks if block.number is not None and block.column in self.columns)

    def applies(self, z: Any) -> NDArray[np.bool_]:
        """Return which encoded rows, (n, k), have no atom in the two columns: (n,)."""
        return off_atoms(self.blocks, z)

    def points(self, z: Any) -> Array:
        """Return the two coordinates of encoded rows, (n, k): (n, 2)."""
        return np.asarray(z[:, self.places], dtype=np.float64)

    def rows(self, points: Array) -> Array:
        """Return encoded rows, (m, k), at points of the plane, (m, 2), with other coordinates at their mean, 0.

        The two columns have no atom there.
        """
        z = np.zeros((len(points), self.model.codec.n_encoded))
        for block in self.blocks:
            z[:, block.coordinates] = block.codes[block.other]
        z[:, self.places] = points
        return z

    def grid(self, size: int) -> tuple[Array, Array, Array]:
        """Return the two axes of a grid, (size,), and its points, (size^2, 2), rows of equal y after each other."""
        left, right, bottom, top = self.limits
        x, y = np.linspace(left, right, size), np.linspace(bottom, top, size)
        return x, y, np.stack([np.tile(x, size), np.repeat(y, size)], axis=1)

    def coordinates(self, points: Array) -> Array:
        """Return points, (..., 2), as uint16 from 0 at the left and bottom to 65,535 at the right and top."""
        left, right, bottom, top = self.limits
        unit = (np.asarray(points, dtype=np.float64) - [left, bottom]) / [right - left, top - bottom]
        return np.asarray(np.rint(np.clip(unit, 0.0, 1.0) * _LARGEST), dtype="<u2")

    def record(self) -> dict[str, Any]:
        """Return the limits and the ticks as JSON values."""
        return {"limits": list(self.limits), "axes": [self._axis(k) for k in (0, 1)]}

    def _axis(self, k: int) -> dict[str, Any]:
        schema, column = self.model.schema, self.columns[k]
        low, high = self.limits[2 * k : 2 * k + 2]
        values = nice_numbers(*self._in_user_units(k, np.array([low, high])).tolist())
        gaps = np.diff(self._encoded(k, values))
        if gaps.sum() < 0.4 * (high - low) or gaps.min() < 0.5 * gaps.max():  # the map bends: even in the picture
            there = self._in_user_units(k, np.linspace(max(low, -2.0), min(high, 2.0), _N_TICKS))
            values = np.unique([float(f"{value:.2g}") for value in there])
        if schema.units[column] is not None:  # dates and times: whole units
            values = np.unique(np.rint(values))
        labels = zip(self._encoded(k, values), texts_of(schema, column, values), strict=True)
        ticks = [{"at": float(place), "label": label} for place, label in labels if low <= place <= high]
        return {"name": schema.names[column], "ticks": ticks}

    def _in_user_units(self, k: int, places: Array) -> Array:
        z = self.rows(np.zeros((len(places), 2)))
        z[:, self.places[k]] = places
        return np.asarray(self.model.codec.decode(z)[:, self.columns[k]])

    def _encoded(self, k: int, values: Array) -> Array:
        codec, column = self.model.codec, self.columns[k]
        kind = codec.columns[column]
        if kind.chain is not None:  # ticks may be at atoms
            return kind.chain.encode(values)
        rows = np.repeat(codec.decode(np.zeros((1, codec.n_encoded))), len(values), axis=0)
        rows[:, column] = values
        return np.asarray(codec.encode(rows)[:, self.places[k]])


def choose_plane(model: DiffusionModel, columns: Sequence[str | int] | None, z: Array) -> Plane:
    """Return the plane of two columns, by default the first two that hold numbers.

    Its limits hold the encoded rows `z`, (n, k), and noise.
    """
    plottable = model.codec.plottable if len(model.codec.numbers) else ()
    if len(plottable) < 2:
        raise InvalidInput(
            f"The page shows two columns that a fit took as numbers, but the model has {len(plottable)}: fit it with "
            'columns={"name": "number"} for two, as levels have no chain.'
        )
    chosen = plottable[:2] if columns is None else column_numbers(model.schema, columns)
    for column in chosen:
        if column not in plottable:
            names = ", ".join(model.schema.names[j] for j in plottable)
            raise InvalidInput(f"columns should be two of {names}, but got {model.schema.label(column)}: name others.")
    first, second = chosen
    points = Plane(model, (first, second)).points(z)
    points = points[~np.isnan(points).any(axis=1)]
    return Plane(model, (first, second), limits_of(points))


def limits_of(points: Array) -> Limits:
    """Return limits that hold noise and all but the farthest thousandth of points, (m, 2), with a margin."""
    low, high = np.full(2, -_NOISE), np.full(2, _NOISE)
    if len(points):
        ends = np.quantile(points, [_SHARE_OUTSIDE, 1.0 - _SHARE_OUTSIDE], axis=0)
        low, high = np.minimum(low, ends[0]), np.maximum(high, ends[1])
    margin = _MARGIN * (high - low)
    (left, bottom), (right, top) = (low - margin).tolist(), (high + margin).tolist()
    return left, right, bottom, top


def nice_numbers(low: float, high: float) -> Array:
    """Return about five round numbers between two ends.

    >>> from backwalk.playground.plane import nice_numbers
    >>> nice_numbers(-1.2, 2.1).tolist()
    [-1.0, 0.0, 1.0, 2.0]
    """
    rough = (high - low) / _N_TICKS
    decade = 10.0 ** math.floor(math.log10(rough))
    step = next(factor * decade for factor in (1.0, 2.0, 5.0, 10.0) if factor * decade >= rough * (1.0 - 1e-9))
    numbers = step * np.arange(math.ceil(low / step), math.floor(high / step) + 1)
    return np.asarray(numbers + 0.0)  # no -0


def texts_of(schema: Schema, column: int, values: Array) -> list[str]:
    """Return values of a column as texts, as a table file has them."""
    cells = from_values(values[:, None], schema.as_arrow().taken([column])).column(0).to_pylist()
    return [f"{cell:.6g}" if isinstance(cell, float) else str(cell) for cell in cells]
