"""The kinds of columns: one frozen record for each column of the user's table.

There are three: `ConstantColumn` here, `NumberColumn` and `LevelsColumn`. A record has the number of encoded
coordinates of its column (`width`), the maps between its values, (n,), and coordinates, (n, `width`), and how reports
describe, draw and compare it. NaN marks a missing value, in values and in all coordinates.
"""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from collections.abc import Iterable
from dataclasses import dataclass, fields, is_dataclass
from typing import Any, ClassVar

import numpy as np
from numpy.typing import NDArray

from backwalk.table.dtypes import numpy_dtype
from backwalk.table.maps import BoolArray, Chain, check_floats
from backwalk.table.schema import FloatArray


@dataclass(frozen=True, eq=False)
class Block:
    """The L levels of one column, and their codes in encoded rows.

    - `column`: the number of the user's column.
    - `coordinates`: the coordinates of the codes in an encoded row, of width w.
    - `frequencies`: the share of each level in the fitted rows, (L,), positive.
    - `values`: the value of each level in the user's units, (L,); NaN for a missing value and for `continuous`.
    - `listed_codes`: the code of each level, (L, w), or None for one-hot codes, the unit vectors.
    - `number`, `continuous`: for a number with atoms, the coordinate of the number, and the level at which it applies;
      at the other levels the column equals an atom, and the coordinate is NaN in encoded rows. Otherwise None.
    """

    column: int
    coordinates: slice
    frequencies: FloatArray
    values: FloatArray
    listed_codes: FloatArray | None = None
    number: int | None = None
    continuous: int | None = None

    @property
    def n_levels(self) -> int:
        """The number of levels, L."""
        return len(self.frequencies)

    @property
    def width(self) -> int:
        """The number of coordinates of a code, w."""
        return int(self.coordinates.stop - self.coordinates.start)

    @property
    def is_one_hot(self) -> bool:
        """Whether the codes are the unit vectors."""
        return self.listed_codes is None

    @property
    def codes(self) -> FloatArray:
        """The code of each level, (L, w). Those of one-hot codes are L^2 numbers, made when they are asked for."""
        return np.eye(self.n_levels) if self.listed_codes is None else self.listed_codes


def off_atoms(blocks: Iterable[Block], z: FloatArray) -> NDArray[np.bool_]:
    """Return which encoded rows, (n, k), are at no atom of numbers with atoms, whose `blocks` are given: (n,).

    They have the levels `continuous`, at which the numbers apply.
    """
    is_off = np.ones(len(z), dtype=bool)
    for block in blocks:
        is_off &= z[:, block.coordinates].argmax(axis=1) == block.continuous
    return is_off


@dataclass(frozen=True)
class Axis:
    """How pictures draw a column's values.

    The axis is linear, or asinh((x - centre) / scale) if `asinh` is (centre, scale). With `integers`, the bins of
    histograms end half-way between integers. With `levels`, there is a bar for each of these values.
    """

    asinh: tuple[float, float] | None = None
    integers: bool = False
    levels: tuple[float, ...] | None = None


class Column(ABC):
    """A column of the user's table. Its kinds are frozen dataclasses of plain numbers."""

    kind: ClassVar[str]
    """The kind in records (`to_dict`)."""
    least: float | None = None
    largest: float | None = None
    """The range of new numbers, without atoms; None where there is no bound."""

    @property
    def words(self) -> str:
        """The kind as users know it: "constant", "levels", "number", "heavy-tailed", "integer", "rounded", "atoms"."""
        return self.kind

    @property
    @abstractmethod
    def width(self) -> int:
        """The number of encoded coordinates."""

    @property
    @abstractmethod
    def description(self) -> str:
        """The column's kind and encoding, in one line."""

    @property
    def accepted(self) -> str:
        """The values that can be encoded, as the end of the sentence "Values should ..."."""
        return "lie within 1e308 scales of the fitted ones"

    @property
    def axis(self) -> Axis:
        """How pictures draw the column."""
        return Axis()

    @property
    @abstractmethod
    def ends(self) -> tuple[float, float]:
        """The least and the largest value that the column makes; infinite where there is no bound."""

    @property
    def levels(self) -> tuple[float, ...]:
        """The values of a column of levels, in the order of their codes and without a missing one; otherwise none."""
        return ()

    @property
    def has_ranks(self) -> bool:
        """Whether the levels are coded by their ranks."""
        return False

    @property
    def takes_nearest_level(self) -> bool:
        """Whether a given number between two levels stands for the nearest one: levels are coded by their values."""
        return False

    @property
    def atom_shares(self) -> dict[float, float]:
        """The share of rows of each value that a number equals in many rows; NaN is a missing value."""
        return {}

    @property
    def chain(self) -> Chain | None:
        """The maps of a number, without its atoms and before it is rounded; None for other kinds."""
        return None

    @property
    def is_linear(self) -> bool:
        """Whether the mean of the coordinate gives the mean of the values."""
        return False

    @property
    def is_scaled(self) -> bool:
        """Whether the coordinate differs from the value itself."""
        return True

    @property
    def cell(self) -> float:
        """The width of the interval of numbers that are decoded to the same value; 0 on a continuous scale."""
        return 0.0

    @property
    def cosine(self) -> float | None:
        """The weight of the cosine in the density by which values are dequantised; None where they are not."""
        return None

    @property
    def n_uniforms(self) -> int:
        """The number of uniform draws that encoding a value takes."""
        return 0 if self.cosine is None else 1

    def block(self, column: int, coordinates: slice) -> Block | None:
        """Return the levels of the column, the `column`-th of its table, or None if it has none."""
        return None

    @abstractmethod
    def encode(self, x: FloatArray, place: FloatArray | None = None) -> FloatArray:
        """Return coordinates, (n, w). Dequantised numbers go to the places in (-1/2, 1/2) of their cells, (n,).

        Without places they are at the centres of their cells.
        """

    @abstractmethod
    def decode(self, z: FloatArray) -> FloatArray:
        """Return values, rounded: (n,). What float64 cannot hold is clipped to its largest number."""

    def log_slope(self, x: FloatArray) -> FloatArray:
        """Return log |dz/dx|, 0 for levels and atoms: (n,), nats."""
        return np.zeros(x.shape)

    def in_user_units(self, deviation: FloatArray, z: FloatArray) -> FloatArray:
        """Return a small deviation of the coordinates, (n, w), at z in the user's units: (n,)."""
        return np.zeros(len(z))

    @abstractmethod
    def supports(self, x: FloatArray, dtype: str | None) -> BoolArray:
        """Return which values a model can make: (n,). `dtype` is that in which the column was fitted.

        Missing values have any answer.
        """

    def nearest(self, x: FloatArray) -> FloatArray:
        """Return the nearest level, atom or number of the grid to each value: (n,)."""
        return x

    def within_range(self, x: FloatArray) -> FloatArray:
        """Return new values within the range of the fitted ones: (n,)."""
        return x

    def off_bounds(self, x: FloatArray) -> FloatArray:
        """Return values, those within three tenths of the margin of a bound moved inwards to this distance: (n,)."""
        return x

    def dequantise(self, x: FloatArray, place: FloatArray) -> FloatArray:
        """Return values moved to places in (-1/2, 1/2) of their cells: (n,)."""
        return x

    def log_dequantisation(self, x: FloatArray, weight: float = 1.0) -> FloatArray:
        """Return ln q of the places of dequantised values in their cells: (n,), nats.

        `weight` multiplies the cosine of the density.
        """
        return np.zeros(x.shape)

    def to_dict(self) -> dict[str, Any]:
        """Return the record as plain JSON values, exactly."""
        return {"kind": self.kind, **_plain_fields(self)}


@dataclass(frozen=True)
class ConstantColumn(Column):
    """A column with the same `value` in every row. It has no coordinates, and is decoded exactly."""

    value: float
    kind: ClassVar[str] = "constant"

    def __post_init__(self) -> None:
        check_floats(self)

    @property
    def width(self) -> int:
        return 0

    @property
    def is_scaled(self) -> bool:
        return False

    @property
    def ends(self) -> tuple[float, float]:
        return self.value, self.value

    @property
    def description(self) -> str:
        return f"constant, {self.value:.6g}"

    def encode(self, x: FloatArray, place: FloatArray | None = None) -> FloatArray:
        return np.empty((len(x), 0))

    def decode(self, z: FloatArray) -> FloatArray:
        return np.full(len(z), self.value)

    def supports(self, x: FloatArray, dtype: str | None) -> BoolArray:
        return same_numbers(x, np.array(self.value), dtype)


def same_numbers(x: FloatArray, values: FloatArray, dtype: str | None = None) -> BoolArray:
    """Return where x equals `values`.

    The same table may be given in float32 or in float64. A value equals its rounding to float32, and numbers that round
    to it in the dtype in which its column was fitted.
    """
    with np.errstate(over="ignore"):
        same: BoolArray = (x == values) | (x == values.astype(np.float32))
        if dtype is not None and numpy_dtype(dtype) in ("float16", "float32"):
            same |= x.astype(numpy_dtype(dtype)) == values
    return same


def nearest_index(x: FloatArray, values: FloatArray) -> NDArray[np.intp]:
    """Return the indices of the nearest of increasing values, (L,), to x, (n,). NaN has the last one.

    >>> nearest_index(np.array([0.4, 0.6, 9.0]), np.array([0.0, 1.0]))
    array([0, 1, 1])
    """
    between = 0.5 * values[:-1] + 0.5 * values[1:]
    return np.asarray(np.searchsorted(between, x, side="right"))


def _plain_fields(record: Any) -> dict[str, Any]:
    return {field.name: _plain(getattr(record, field.name)) for field in fields(record)}


def _plain(value: Any) -> Any:
    if is_dataclass(value):
        return _plain_fields(value)
    # NaN is not JSON.
    return [None if math.isnan(number) else number for number in value] if isinstance(value, tuple) else value
