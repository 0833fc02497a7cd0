"""The plane of a picture: two columns of a model, in encoded units, with ticks in the user's."""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import NDArray

from backwalk.formatting import as_json
from backwalk.model import DiffusionModel, column_numbers
from backwalk.table import AtomsColumn, Block, NumberColumn, Schema, from_values, off_atoms
from backwalk.web.packing import Limits, common_limits
from backwalk.web.requests import Refusal

Array = NDArray[np.float64]
_NOISE = 3.3  # standard deviations that a picture shows of x_N
_N_TICKS = 5


@dataclass(frozen=True, eq=False)
class View:
    """Two columns of a model, or one beside a spread, and the limits of the plane in encoded units."""

    model: DiffusionModel
    columns: tuple[int, int]
    limits: Limits

    @cached_property
    def places(self) -> list[int]:
        """The coordinates of the two columns in encoded rows."""
        codec = self.model.codec
        numbers = {block.column: block.number for block in codec.blocks if block.number is not None}
        return [numbers.get(column, codec.slices[column].start) for column in self.columns]

    @property
    def is_single(self) -> bool:
        """Whether there is one column, whose points are spread out along the other axis."""
        return self.columns[0] == self.columns[1]

    @cached_property
    def blocks(self) -> tuple[Block, ...]:
        """The levels of the columns that are numbers with atoms."""
        return tuple(
            block for block in self.model.codec.blocks if block.number is not None and block.column in self.columns
        )

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
            z[:, block.coordinates] = block.codes[block.continuous]
        z[:, self.places] = points
        return z

    def grid(self, size: int) -> tuple[Array, Array, Array]:
        """Return the two axes of a grid, (size,), and its points, (size^2, 2), rows of equal y after each other."""
        left, right, bottom, top = self.limits
        x, y = np.linspace(left, right, size), np.linspace(bottom, top, size)
        return x, y, np.stack([np.tile(x, size), np.repeat(y, size)], axis=1)

    def record(self) -> dict[str, Any]:
        """Return the columns, the limits and the ticks as JSON values."""
        axes = [self._axis(k) for k in range(1 if self.is_single else 2)]
        if self.is_single:
            axes.append({"name": "spread out", "ticks": [], "low": None, "high": None, "is_linear": False})
        return {"columns": list(self.columns), "limits": list(self.limits), "units": "encoded", "axes": axes}

    def _axis(self, k: int) -> dict[str, Any]:
        model, column = self.model, self.columns[k]
        low, high = self.limits[2 * k : 2 * k + 2]
        is_linear = isinstance(model.codec.columns[column], NumberColumn)
        ends = self._in_user_units(k, np.array([low, high]))
        if is_linear:
            values = nice_numbers(float(ends[0]), float(ends[1]))
        else:
            there = self._in_user_units(k, np.linspace(max(low, -2.0), min(high, 2.0), _N_TICKS))
            values = np.unique([float(f"{value:.2g}") for value in there])
        if model.schema.units[column] is not None:  # dates and times: whole units
            values = np.unique(np.rint(values))
        at = self._encoded(k, values)
        ticks = [
            {"at": float(place), "label": label}
            for place, label in zip(at, texts_of(model.schema, column, values), strict=True)
            if low <= place <= high
        ]
        return {
            "name": model.schema.names[column],
            "is_linear": is_linear,
            "low": float(ends[0]) if is_linear else None,
            "high": float(ends[1]) if is_linear else None,
            "ticks": ticks,
        }

    def _in_user_units(self, k: int, places: Array) -> Array:
        z = self.rows(np.zeros((len(places), 2)))
        z[:, self.places[k]] = places
        return np.asarray(self.model.codec.decode(z)[:, self.columns[k]])

    def _encoded(self, k: int, values: Array) -> Array:
        column = self.model.codec.columns[self.columns[k]]
        if isinstance(column, AtomsColumn):  # ticks may be at atoms
            return np.asarray(column.number.maps.encode(values[:, None])[:, 0])
        rows = np.repeat(self.model.codec.decode(np.zeros((1, self.model.codec.n_encoded))), len(values), axis=0)
        rows[:, self.columns[k]] = values
        return np.asarray(self.model.codec.encode(rows)[:, self.places[k]])


def view_of(model: DiffusionModel, asked: tuple[str | int, str | int] | None, z: Array | None) -> View:
    """Return the view of two columns, by default the first two that hold numbers.

    Its limits hold the encoded rows `z`, (n, k), and noise.
    """
    shown = model.codec.drawable
    if asked is None:
        columns = shown[0], shown[min(1, len(shown) - 1)]
    else:
        i, j = (column_numbers(model.schema, [each])[0] for each in asked)
        columns = i, j
    for column in columns:
        if column not in shown:
            names = ", ".join(model.schema.names[j] for j in shown)
            raise Refusal(400, f"columns should be among {names}, but got {model.schema.label(column)}.", "columns")
    view = View(model, columns, (0.0, 1.0, 0.0, 1.0))
    noise = np.array([[-_NOISE, -_NOISE], [_NOISE, _NOISE]])
    sets = [noise]
    if z is not None:
        points = view.points(z)
        points = points[~np.isnan(points).any(axis=1)]
        sets += [points] if len(points) else []
    left, right, bottom, top = common_limits(*sets)
    return View(model, columns, (left, right, 0.0, 1.0) if view.is_single else (left, right, bottom, top))


def nice_numbers(low: float, high: float) -> Array:
    """Return about five round numbers between two ends.

    >>> nice_numbers(-1.2, 2.1).tolist()
    [-1.0, 0.0, 1.0, 2.0]
    """
    rough = (high - low) / _N_TICKS
    decade = 10.0 ** math.floor(math.log10(rough))
    step = next(factor * decade for factor in (1.0, 2.0, 5.0, 10.0) if factor * decade >= rough * (1.0 - 1e-9))
    found = step * np.arange(math.ceil(low / step), math.floor(high / step) + 1)
    return np.asarray(found + 0.0)  # no -0


def texts_of(schema: Schema, column: int, values: Array) -> list[str]:
    """Return values of a column as texts, as a table file has them."""
    cells = from_values(values[:, None], schema.as_arrow().taken([column])).column(0).to_pylist()
    return [f"{cell:.6g}" if isinstance(cell, float) else str(cell) for cell in cells]


def row_record(model: DiffusionModel, z: Array) -> dict[str, Any]:
    """Return an encoded row, (k,), in the user's units, as JSON values by column."""
    values = model.codec.decode(np.nan_to_num(z)[None])
    cells = from_values(values, model.schema.as_arrow()).to_pylist()[0]
    return {name: as_json(cell) if isinstance(cell, (int, float, bool)) else str(cell) for name, cell in cells.items()}
