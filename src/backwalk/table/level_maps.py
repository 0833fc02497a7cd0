"""The maps of columns with levels, vectorised over columns that have the same number of levels.

A value that is no level has infinite coordinates, which `Codec.encode` refuses. Coordinates are decoded to the level of
the nearest code.
"""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np
import numpy.typing as npt
from scipy.spatial import KDTree

from backwalk.table.maps import BoolArray, Maps, same_numbers
from backwalk.table.schema import FloatArray

_IndexArray = npt.NDArray[np.intp]


def nearest(x: FloatArray, values: FloatArray) -> _IndexArray:
    """Return the numbers of the nearest values to x, (n, m): column j of x is compared with the increasing values[j].

    `values` is (m, L). NaN has any number.

    >>> nearest(np.array([[0.4, 0.4], [0.6, 9.0]]), np.array([[0.0, 1.0], [0.0, 5.0]]))
    array([[0, 0],
           [1, 1]])
    """
    m, n_values = values.shape
    between = 0.5 * values[:, :-1] + 0.5 * values[:, 1:]
    index = np.zeros(x.shape, dtype=np.intp)
    if m < n_values:  # a loop over the fewer of columns and levels
        for j in range(m):
            index[:, j] = np.searchsorted(between[j], x[:, j], side="right")
    else:
        for edge in between.T:
            index += x >= edge
    return np.asarray(np.minimum(index, n_values - 1))


@dataclass(frozen=True, eq=False)
class LevelMaps(Maps):
    """Columns of L levels each: `values`, (m, L), increasing; NaN, at the end, stands for a missing value."""

    values: FloatArray

    def encode(self, x: FloatArray, v: FloatArray | None = None) -> FloatArray:
        level = self._level(x)
        codes = self._codes(level)
        is_level = self._is_level(x, level)
        if not is_level.all():
            codes[~is_level] = np.inf
            codes[~is_level & np.isnan(x)] = np.nan
        return codes.reshape(len(x), -1)

    def decode(self, z: FloatArray) -> FloatArray:
        codes = z.reshape(len(z), len(self.values), -1)
        missing = np.asarray(np.isnan(codes).any(axis=2))
        rows = self._values(self._nearest(np.where(missing[:, :, None], 0.0, codes)))
        rows[missing] = np.nan
        return rows

    def log_slope(self, x: FloatArray) -> FloatArray:
        return np.zeros(len(self.values))

    def in_user_units(self, deviation: FloatArray, z: FloatArray) -> FloatArray:
        return np.zeros((len(z), len(self.values)))

    def supports(self, x: FloatArray, dtypes: Sequence[str] | None) -> BoolArray:
        return self._is_level(x, self._level(x), dtypes)

    def _level(self, x: FloatArray) -> _IndexArray:
        """Return the nearest level to each value, and the last one to a missing value: (n, m)."""
        level = nearest(x, np.where(np.isnan(self.values), np.inf, self.values))
        level[np.isnan(x)] = self.values.shape[1] - 1
        return level

    def _is_level(self, x: FloatArray, level: _IndexArray, dtypes: Sequence[str] | None = None) -> BoolArray:
        values = self._values(level)
        return same_numbers(x, values, dtypes) | (np.isnan(x) & np.isnan(values))

    def _values(self, level: _IndexArray) -> FloatArray:
        return np.asarray(self.values[np.arange(len(self.values)), level])

    @abstractmethod
    def _codes(self, level: _IndexArray) -> FloatArray:
        """Return the codes of levels (n, m): (n, m, w)."""

    @abstractmethod
    def _nearest(self, codes: FloatArray) -> _IndexArray:
        """Return the levels of the nearest codes, (n, m), to those of shape (n, m, w)."""


@dataclass(frozen=True, eq=False)
class OneHotMaps(LevelMaps):
    """Columns of L levels whose codes are the unit vectors."""

    def _codes(self, level: _IndexArray) -> FloatArray:
        codes = np.zeros((*level.shape, self.values.shape[1]))
        np.put_along_axis(codes, level[:, :, None], 1.0, axis=2)
        return codes

    def _nearest(self, codes: FloatArray) -> _IndexArray:
        return np.asarray(codes.argmax(axis=2))


@dataclass(frozen=True, eq=False)
class ScalarMaps(LevelMaps):
    """Columns of L levels with a number as the code of each: `codes`, (m, L)."""

    codes: FloatArray

    @cached_property
    def _by_code(self) -> _IndexArray:
        return np.asarray(self.codes.argsort(axis=1))

    def _codes(self, level: _IndexArray) -> FloatArray:
        return np.asarray(self.codes[np.arange(len(self.codes)), level])[:, :, None]

    def _nearest(self, codes: FloatArray) -> _IndexArray:
        place = nearest(codes[:, :, 0], np.take_along_axis(self.codes, self._by_code, axis=1))
        return np.asarray(self._by_code[np.arange(len(self.codes)), place])


@dataclass(frozen=True, eq=False)
class RandomMaps(LevelMaps):
    """Columns of L levels with the same codes in all columns: `codes`, (L, w)."""

    codes: FloatArray

    @cached_property
    def _tree(self) -> KDTree:
        return KDTree(self.codes)

    def _codes(self, level: _IndexArray) -> FloatArray:
        return np.asarray(self.codes[level])

    def _nearest(self, codes: FloatArray) -> _IndexArray:
        return np.asarray(self._tree.query(codes)[1])


@dataclass(frozen=True, eq=False)
class AtomsMaps(Maps):
    """Numbers that equal `atoms`, (c, m), in some rows, and are mapped by `number` in the others.

    An atom of NaN is a missing value. The coordinates of a column are m + 1 of its level and one of `number`, whose
    values are never atoms.
    """

    number: Maps
    atoms: FloatArray

    def encode(self, x: FloatArray, v: FloatArray | None = None) -> FloatArray:
        is_atom = self._is_atom(x)
        elsewhere = ~is_atom.any(axis=2)
        z = np.empty((*x.shape, self.atoms.shape[1] + 2))
        z[:, :, :-2], z[:, :, -2] = is_atom, elsewhere
        z[elsewhere & np.isnan(x)] = np.nan
        z[:, :, -1] = self.number.encode(np.where(elsewhere, x, np.nan), v)
        return z.reshape(len(x), -1)

    def decode(self, z: FloatArray) -> FloatArray:
        codes, coordinate = self._parts(z)
        missing, level = np.isnan(codes).any(axis=2), codes.argmax(axis=2)
        values = np.concatenate([self.atoms, np.full((len(self.atoms), 1), np.nan)], axis=1)
        x = np.asarray(values[np.arange(len(values)), level])
        number = self.number.decode(coordinate)
        beyond = self._is_atom(number).any(axis=2)  # its range, as within it no number is decoded to an atom
        number = np.where(beyond, self.number.within_range(number), number)
        x = np.where(level == self.atoms.shape[1], number, x)
        return np.where(missing, np.nan, x)

    def log_slope(self, x: FloatArray) -> FloatArray:
        elsewhere = ~self._is_atom(x).any(axis=2)
        return np.where(elsewhere, self.number.log_slope(np.where(elsewhere, x, np.nan)), 0.0)

    def in_user_units(self, deviation: FloatArray, z: FloatArray) -> FloatArray:
        """Return the deviation of the numbers, and 0 at atoms."""
        coordinate = self._parts(z)[1]
        units = self.number.in_user_units(self._parts(deviation)[1], coordinate)
        return np.where(np.isnan(coordinate), 0.0, units)

    def supports(self, x: FloatArray, dtypes: Sequence[str] | None) -> BoolArray:
        return np.asarray(self._is_atom(x).any(axis=2) | self.number.supports(x, dtypes))

    def dequantise(self, x: FloatArray, v: FloatArray, weight: float = 1.0) -> FloatArray:
        return np.where(self._is_atom(x).any(axis=2), x, self.number.dequantise(x, v, weight))

    def log_dequantisation(self, x: FloatArray, weight: float = 1.0) -> FloatArray:
        return np.where(self._is_atom(x).any(axis=2), 0.0, self.number.log_dequantisation(x, weight))

    def within_range(self, x: FloatArray) -> FloatArray:
        return np.where(self._is_atom(x).any(axis=2), x, self.number.within_range(x))

    def _is_atom(self, x: FloatArray) -> BoolArray:
        """Return which atom each value equals, or its rounding to float32, (n, c, m)."""
        values = x[:, :, None]
        return np.asarray(
            (values == self.atoms) | (values == self._in_float32) | (np.isnan(values) & np.isnan(self.atoms))
        )

    @cached_property
    def _in_float32(self) -> FloatArray:
        with np.errstate(over="ignore"):
            return self.atoms.astype(np.float32).astype(np.float64)

    def _parts(self, z: FloatArray) -> tuple[FloatArray, FloatArray]:
        """Return the codes of levels, (n, c, m + 1), and the coordinates of numbers, (n, c)."""
        parts = z.reshape(len(z), len(self.atoms), -1)
        return parts[:, :, :-1], parts[:, :, -1]
