"""The kinds of columns: one frozen record for each column of the user's table.

There are three, `ConstantColumn` here, `NumberColumn` and `LevelsColumn`, and `AtomsColumn`, which adds atoms to a
number. A record has the number of encoded coordinates of its column (`width`), the maps between its values, (n,), and
coordinates, (n, `width`), and how reports describe, draw and compare it. NaN marks a missing value, in values and in
all coordinates.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterable
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from backwalk.table.dtypes import numpy_dtype
from backwalk.table.maps import Asinh, BoolArray, Chain, check_floats
from backwalk.table.schema import FloatArray

if TYPE_CHECKING:
    from backwalk.table.number_column import NumberColumn


@dataclass(frozen=True, eq=False)
class Block:
    """The L levels of one column, and their codes in encoded rows.

    - `column`: the number of the user's column.
    - `coordinates`: the coordinates of the codes in an encoded row, of width w.
    - `frequencies`: the share of each level in the fitted rows, (L,), positive.
    - `values`: the value of each level in the user's units, (L,); NaN for a missing value and for `other`.
    - `listed_codes`: the code of each level, (L, w), or None for one-hot codes, the unit vectors.
    - `basis`: for ordered levels, the functions by which a network reads and tilts them, (L, K) (`basis.py`), or None
      where each level has its own.
    - `number`: for a number with atoms, its coordinate. It applies at the level `other`; at the other levels the column
      equals an atom, and the coordinate is NaN in encoded rows. None for other columns.
    """

    column: int
    coordinates: slice
    frequencies: FloatArray
    values: FloatArray
    listed_codes: FloatArray | None = None
    number: int | None = None
    basis: FloatArray | None = None

    @property
    def is_category(self) -> bool:
        """Whether the levels are few or have no order, rather than the values of a number."""
        return self.number is None and self.basis is None

    @property
    def n_features(self) -> int:
        """The number of functions of the basis, K, or of levels."""
        return self.n_levels if self.basis is None else self.basis.shape[1]

    @property
    def n_levels(self) -> int:
        """The number of levels, L."""
        return len(self.frequencies)

    @property
    def other(self) -> int:
        """The last level, at which the number of a column with atoms applies."""
        return self.n_levels - 1

    @property
    def atoms(self) -> FloatArray:
        """The values of the levels without `other`, of a number with atoms."""
        return self.values[: self.other]

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

    def places(self, levels: FloatArray) -> NDArray[np.intp]:
        """Return the numbers of levels by their values, (n,), which should be some of `values`."""
        order = np.argsort(self.values)
        return np.asarray(order[np.searchsorted(self.values[order], levels).clip(max=self.n_levels - 1)])

    def nearest_level(self, z: FloatArray) -> NDArray[np.intp]:
        """Return the number of the level whose code is nearest in encoded rows, (n, k): (n,)."""
        return nearest_code(z[:, self.coordinates], self.listed_codes)


def off_atoms(blocks: Iterable[Block], z: FloatArray) -> NDArray[np.bool_]:
    """Return which encoded rows, (n, k), are at no atom of numbers with atoms, whose `blocks` are given: (n,)."""
    is_off = np.ones(len(z), dtype=bool)
    for block in blocks:
        is_off &= block.nearest_level(z) == block.other
    return is_off


def nearest_code(z: FloatArray, codes: FloatArray | None) -> NDArray[np.intp]:
    """Return the number of the code nearest to coordinates z, (n, w), among codes, (L, w); None for the unit vectors.

    >>> import numpy as np
    >>> from backwalk.table.columns import nearest_code
    >>> nearest_code(np.array([[0.9, 0.2]]), np.array([[0.0, 0.0], [1.0, 0.0], [0.0, 1.0]]))
    array([1])
    """
    likeness = z if codes is None else z @ codes.T - 0.5 * np.square(codes).sum(axis=1)
    return np.asarray(likeness.argmax(axis=1))


class Column(ABC):
    """A column of the user's table. Its kinds are frozen dataclasses of plain numbers."""

    @property
    @abstractmethod
    def kind_name(self) -> str:
        """The kind as users know it: "constant", "levels", "number", "heavy-tailed", "integer", "rounded", "atoms"."""

    @property
    @abstractmethod
    def width(self) -> int:
        """The number of encoded coordinates."""

    @property
    @abstractmethod
    def description(self) -> str:
        """The column's kind and encoding, in one line."""

    @property
    @abstractmethod
    def value_range(self) -> tuple[float, float]:
        """The least and the largest value that the column makes; infinite where there is no bound."""

    @property
    def levels(self) -> tuple[float, ...]:
        """The values of a column of levels, in the order of their codes and without a missing one; otherwise none."""
        return ()

    @property
    def has_ranks(self) -> bool:
        """Whether the levels have an order, by which they are coded."""
        return False

    @property
    def atom_shares(self) -> dict[float, float]:
        """The share of rows of each value that a number equals in many rows, largest first; NaN is a missing value."""
        return {}

    @property
    def number_column(self) -> NumberColumn | None:
        """The density of the column's numbers, atoms aside; None for other kinds."""
        return None

    @property
    def requirement(self) -> str:
        """What values should do to be encoded, as the end of the sentence "Values should ..."."""
        return "be numbers" if self.number_column is None else self.number_column.requirement

    @property
    def least(self) -> float | None:
        """The least new number; None where there is no bound."""
        return None if self.number_column is None else self.number_column.least

    @property
    def largest(self) -> float | None:
        """The largest new number; None where there is no bound."""
        return None if self.number_column is None else self.number_column.largest

    @property
    def chain(self) -> Chain | None:
        """The maps of the numbers, before they are rounded; None for other kinds."""
        return None if self.number_column is None else self.number_column.chain

    @property
    def asinh(self) -> Asinh | None:
        """The map of numbers with heavy tails, which gives the axis of their pictures; otherwise None."""
        return None if self.number_column is None else self.number_column.asinh

    @property
    def is_integer(self) -> bool:
        """Whether the numbers are integers without a common step, so that bins end half-way between them."""
        return self.number_column is not None and self.number_column.is_integer

    @property
    def is_linear(self) -> bool:
        """Whether the mean of the coordinate gives the mean of the values."""
        return False

    @property
    def cell_width(self) -> float:
        """The width of the interval of numbers that are decoded to the same value; 0 on a continuous scale."""
        return 0.0 if self.number_column is None else self.number_column.cell_width

    @property
    def comes_first(self) -> bool:
        """Whether the column is drawn before all others, which may follow the phases of its periods."""
        return False

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

    def deviation_in_user_units(self, deviation: FloatArray, z: FloatArray) -> FloatArray:
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

    def on_grid(self, x: FloatArray) -> FloatArray:
        """Return computed values, (n,), rounded to levels, atoms, or the grid, which may go on beyond its ends."""
        return x

    def within_range(self, x: FloatArray) -> FloatArray:
        """Return new values within the range of the fitted ones: (n,)."""
        return x

    def dequantise(self, x: FloatArray, place: FloatArray) -> FloatArray:
        """Return values moved to places in (-1/2, 1/2) of their cells: (n,)."""
        return x

    def log_dequantisation(self, x: FloatArray, values: FloatArray) -> FloatArray:
        """Return ln q of the places of dequantised values in their cells: (n,), nats."""
        return np.zeros(x.shape)


@dataclass(frozen=True)
class ConstantColumn(Column):
    """A column with the same `value` in every row. It has no coordinates, and is decoded exactly."""

    value: float

    def __post_init__(self) -> None:
        check_floats(vars(self))

    @property
    def width(self) -> int:
        return 0

    @property
    def value_range(self) -> tuple[float, float]:
        return self.value, self.value

    @property
    def kind_name(self) -> str:
        return "constant"

    @property
    def description(self) -> str:
        return f"constant, {self.value:.6g}"

    def encode(self, x: FloatArray, place: FloatArray | None = None) -> FloatArray:
        return np.empty((len(x), 0))

    def decode(self, z: FloatArray) -> FloatArray:
        return np.full(len(z), self.value)

    def supports(self, x: FloatArray, dtype: str | None) -> BoolArray:
        return same_numbers(x, np.array(self.value), dtype)

    def nearest(self, x: FloatArray) -> FloatArray:
        return np.where(np.isnan(x), np.nan, self.value)


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

    >>> import numpy as np
    >>> from backwalk.table.columns import nearest_index
    >>> nearest_index(np.array([0.4, 0.6, 9.0]), np.array([0.0, 1.0]))
    array([0, 1, 1])
    """
    between = 0.5 * values[:-1] + 0.5 * values[1:]
    return np.asarray(np.searchsorted(between, x, side="right"))
