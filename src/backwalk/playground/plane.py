"""The plane of a picture: two columns of a model in encoded units, ticks in the user's, and points as bytes.

Bytes are packed so: uint32, little-endian, the length of a header; the header as JSON in UTF-8, with `arrays` = [{name,
dtype, shape, offset}]; padding to a multiple of 8; the arrays, each at its offset from the first one. Coordinates of
points are uint16 within the plane's limits.
"""

from __future__ import annotations

import base64
import json
import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import NDArray

from backwalk.errors import InvalidInput
from backwalk.formatting import as_json
from backwalk.model import DiffusionModel, column_numbers
from backwalk.table import Block, Schema, from_values, off_atoms

Array = NDArray[Any]
Limits = tuple[float, float, float, float]
"""(left, right, bottom, top)."""
_DTYPES = {"u2": "<u2", "f4": "<f4", "f8": "<f8"}
_LARGEST = 2**16 - 1
_NOISE = 3.3  # standard deviations of x_N that a picture shows
_MARGIN, _SHARE_OUTSIDE = 0.06, 0.0005
_N_TICKS = 5


@dataclass(frozen=True)
class Packed:
    """A header of JSON values, and arrays by name: (numbers, dtype), with dtype "u2", "f4" or "f8"."""

    header: Mapping[str, Any]
    arrays: Mapping[str, tuple[Array, str]] = field(repr=False)

    def to_base64(self) -> str:
        """Return the bytes as base64."""
        return base64.b64encode(self.to_bytes()).decode()

    def to_bytes(self) -> bytes:
        """Return the bytes that the page reads (`source.js`)."""
        described, parts, offset = [], list[bytes](), 0
        for name, (numbers, dtype) in self.arrays.items():
            part = np.ascontiguousarray(numbers, dtype=_DTYPES[dtype]).tobytes()
            described.append({"name": name, "dtype": dtype, "shape": list(numbers.shape), "offset": offset})
            parts.append(_pad(part))
            offset += len(parts[-1])
        text = json.dumps(as_json({**self.header, "arrays": described}), allow_nan=False).encode()
        return b"".join([_pad(len(text).to_bytes(4, "little") + text), *parts])


def _pad(part: bytes) -> bytes:
    return part + b"\0" * (-len(part) % 8)


@dataclass(frozen=True, eq=False)
class Plane:
    """Two columns of a model, or one column twice, whose points are spread out along the other axis."""

    model: DiffusionModel
    columns: tuple[int, int]
    limits: Limits = (0.0, 1.0, 0.0, 1.0)

    @property
    def is_single(self) -> bool:
        """Whether there is one column."""
        return self.columns[0] == self.columns[1]

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
        """Return the columns, the limits and the ticks as JSON values.

        `ends` of an axis are its limits in the user's units, where those are a linear function of the place.
        """
        axes = [self._axis(k) for k in range(1 if self.is_single else 2)]
        if self.is_single:
            axes.append({"name": "spread out", "ticks": [], "ends": None})
        return {"columns": list(self.columns), "limits": list(self.limits), "axes": axes}

    def _axis(self, k: int) -> dict[str, Any]:
        schema, column = self.model.schema, self.columns[k]
        low, high = self.limits[2 * k : 2 * k + 2]
        of_column, ends = self.model.codec.columns[column], None
        if of_column.is_linear and not of_column.cell_width:
            ends = self._in_user_units(k, np.array([low, high]))
            values = nice_numbers(float(ends[0]), float(ends[1]))
        else:
            there = self._in_user_units(k, np.linspace(max(low, -2.0), min(high, 2.0), _N_TICKS))
            values = np.unique([float(f"{value:.2g}") for value in there])
        if schema.units[column] is not None:  # dates and times: whole units
            values, ends = np.unique(np.rint(values)), None
        labels = zip(self._encoded(k, values), texts_of(schema, column, values), strict=True)
        ticks = [{"at": float(place), "label": label} for place, label in labels if low <= place <= high]
        return {"name": schema.names[column], "ticks": ticks, "ends": None if ends is None else ends.tolist()}

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


def choose_plane(model: DiffusionModel, columns: tuple[str | int, str | int] | None, z: Array) -> Plane:
    """Return the plane of two columns, by default the first two that hold numbers.

    Its limits hold the encoded rows `z`, (n, k), and noise.
    """
    plottable = model.codec.plottable
    if columns is None:
        chosen = plottable[0], plottable[min(1, len(plottable) - 1)]
    else:
        chosen = column_numbers(model.schema, [columns[0]])[0], column_numbers(model.schema, [columns[1]])[0]
    for column in chosen:
        if column not in plottable:
            names = ", ".join(model.schema.names[j] for j in plottable)
            raise InvalidInput(
                f"columns should be two of {names}, but got {model.schema.label(column)}: the page shows numbers."
            )
    plane = Plane(model, chosen)
    points = plane.points(z)
    left, right, bottom, top = common_limits(
        np.array([[-_NOISE, -_NOISE], [_NOISE, _NOISE]]), points[~np.isnan(points).any(axis=1)]
    )
    return Plane(model, chosen, (left, right, 0.0, 1.0) if plane.is_single else (left, right, bottom, top))


def common_limits(*sets: Array) -> Limits:
    """Return limits that hold all but the farthest thousandth of each set of points, (m, 2), with a margin."""
    quantiles = np.stack(
        [np.quantile(points, [_SHARE_OUTSIDE, 1.0 - _SHARE_OUTSIDE], axis=0) for points in sets if len(points)]
    )
    low, high = quantiles[:, 0].min(axis=0), quantiles[:, 1].max(axis=0)
    margin = np.where(high > low, _MARGIN * (high - low), 1.0)
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


def row_record(model: DiffusionModel, z: Array) -> dict[str, Any]:
    """Return an encoded row, (k,), in the user's units, as JSON values by column."""
    values = model.codec.decode(np.nan_to_num(z)[None])
    cells = from_values(values, model.schema.as_arrow()).to_pylist()[0]
    return {name: as_json(cell) if isinstance(cell, (int, float, bool)) else str(cell) for name, cell in cells.items()}
