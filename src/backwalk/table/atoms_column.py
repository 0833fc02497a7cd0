"""The kind of columns that hold a number with atoms: values that many rows share, such as 0 among amounts.

A level says which atom a row has, or that it has none; the number applies in the rows without one.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from backwalk.errors import InvalidInput
from backwalk.formatting import listed
from backwalk.table.basis import level_basis, rank_scores
from backwalk.table.columns import Block, Column, nearest_code, nearest_index, same_numbers
from backwalk.table.level_column import check_levels, check_rows, level_text, one_nan
from backwalk.table.maps import BoolArray
from backwalk.table.number_column import NumberColumn
from backwalk.table.schema import FloatArray

_MOST_ONE_HOT = 3  # atoms
_ROWS_PER_ATOM = 100  # from which on each has a function of its own


@dataclass(frozen=True)
class AtomsColumn(Column):
    """A number with L atoms, encoded in the code of an atom or of "other", and the number.

    Up to 3 atoms have one-hot codes. The codes of more say how large each is: a code has the atom's normal score among
    all atoms, Phi^-1 of the share of rows at smaller ones (and half of its own), then a 1 for "other" and, if there is
    one, a 1 for a missing value.

    - `number`: the density of the other values, the atoms left out of its grid. Its coordinate is NaN at an atom.
    - `atoms`: increasing. NaN, at the end, stands for a missing value that is generated.
    - `frequencies`: the shares of rows at each atom and, last, at all other values.
    - `n_rows`: the number of rows that were counted. Of fewer than 100 for each level, more than 16 atoms have a basis
      (`basis.py`); with more each has a function of its own, as atoms that follow each other need not be alike.
    """

    number: NumberColumn
    atoms: tuple[float, ...]
    frequencies: tuple[float, ...]
    n_rows: int | None = None

    def __post_init__(self) -> None:
        if not isinstance(self.number, NumberColumn):
            raise InvalidInput(f"Atoms should be beside a number, but got {self.number!r:.60}: fit the codec again.")
        if not check_levels(self.atoms, self.frequencies, n_others=1, is_one_hot=self._has_one_hot):
            raise InvalidInput("atoms should increase: fit the codec again.")
        check_rows(self.n_rows)
        object.__setattr__(self, "atoms", one_nan(self.atoms))
        object.__setattr__(self, "number", replace(self.number, left_out=self._finite))

    @property
    def _finite(self) -> tuple[float, ...]:
        """The atoms that are numbers."""
        return tuple(atom for atom in self.atoms if not math.isnan(atom))

    @property
    def number_column(self) -> NumberColumn:
        return self.number

    @property
    def width(self) -> int:
        return 1 + (len(self.atoms) + 1 if self._codes is None else self._codes.shape[1])

    @property
    def _has_one_hot(self) -> bool:
        return len(self.atoms) <= _MOST_ONE_HOT

    @cached_property
    def _codes(self) -> FloatArray | None:
        """The codes of the atoms and of "other", (L + 1, w); None for the unit vectors."""
        if self._has_one_hot:
            return None
        n_finite, n_levels = len(self._finite), len(self.frequencies)
        codes = np.zeros((n_levels, 1 + n_levels - n_finite))
        codes[:n_finite, 0] = rank_scores(np.array(self.frequencies[:n_finite]))
        codes[n_finite:, 1:] = np.eye(n_levels - n_finite)
        return codes

    @property
    def value_range(self) -> tuple[float, float]:
        least, largest = self.number.value_range
        return min([least, *self._finite]), max([largest, *self._finite])

    @property
    def kind_name(self) -> str:
        return "atoms"

    @property
    def description(self) -> str:
        shares = [f"{level_text(atom)} in {100.0 * share:.2g}%" for atom, share in self.atom_shares.items()]
        return f"{listed(shares)} of rows; otherwise {self.number.description}"

    @property
    def atom_shares(self) -> dict[float, float]:
        shares = zip(self.atoms, self.frequencies[:-1], strict=True)
        return dict(sorted(shares, key=lambda atom_and_share: -atom_and_share[1]))

    def block(self, column: int, coordinates: slice) -> Block:
        number = coordinates.stop - 1
        values = np.array([*self.atoms, math.nan])
        of_codes = slice(coordinates.start, number)
        shares, n_apart = np.array(self.frequencies), len(self.frequencies) - len(self._finite)
        have_many = self.n_rows is not None and self.n_rows >= _ROWS_PER_ATOM * len(shares)
        basis = None if have_many else level_basis(shares, n_apart, self.n_rows)
        return Block(column, of_codes, shares, values, self._codes, number, basis)

    def encode(self, x: FloatArray, place: FloatArray | None = None) -> FloatArray:
        level = self._level(x)
        at_atom = level < len(self.atoms)
        z = np.empty((len(x), self.width))
        z[:, :-1] = np.eye(self.width - 1)[level] if self._codes is None else self._codes[level]
        z[~at_atom & np.isnan(x)] = np.nan  # a missing value that is not generated
        z[:, -1:] = self.number.encode(np.where(at_atom, np.nan, x), place)
        return z

    def decode(self, z: FloatArray) -> FloatArray:
        number = self.number.decode(z[:, -1:])
        # No cell within the range rounds to an atom: a number that equals one lies beyond, and is moved inside.
        number = np.where(self._level(number) < len(self.atoms), self.number.within_range(number), number)
        code = z[:, :-1]
        level, other = nearest_code(code, self._codes), len(self.atoms)
        x = np.where(level == other, number, np.array([*self.atoms, np.nan])[level])
        return np.where(np.isnan(code).any(axis=1), np.nan, x)

    def log_slope(self, x: FloatArray) -> FloatArray:
        return self._apply_to_numbers(x, 0.0, self.number.log_slope)

    def deviation_in_user_units(self, deviation: FloatArray, z: FloatArray) -> FloatArray:
        units = self.number.deviation_in_user_units(deviation[:, -1:], z[:, -1:])
        return np.where(np.isnan(z[:, -1]), 0.0, units)

    def supports(self, x: FloatArray, dtype: str | None) -> BoolArray:
        return self.number.supports(x, dtype) | (self._level(x) < len(self.atoms))

    def nearest(self, x: FloatArray) -> FloatArray:
        if not self.cell_width or not self._finite:
            return self.number.nearest(x)
        closest = self._or_atom(x, self.number.nearest(np.clip(x, *self.number.value_range)))
        return np.where(np.isnan(x), np.nan, closest)

    def on_grid(self, x: FloatArray) -> FloatArray:
        number = self.number.on_grid(x)
        return number if self.number.grid is None or not self._finite else self._or_atom(x, number)

    def _or_atom(self, x: FloatArray, number: FloatArray) -> FloatArray:
        """Return the nearest atom of each value, (n,), where it is as near as a number, (n,)."""
        atom = self._finite_values[nearest_index(x, self._finite_values)]
        return np.where(np.abs(atom - x) <= np.abs(number - x), atom, number)

    def within_range(self, x: FloatArray) -> FloatArray:
        return self._apply_to_numbers(x, x, self.number.within_range)

    def dequantise(self, x: FloatArray, place: FloatArray) -> FloatArray:
        return self._apply_to_numbers(x, x, lambda number: self.number.dequantise(number, place))

    def log_dequantisation(self, x: FloatArray, values: FloatArray) -> FloatArray:
        at_atom = self._level(values) < len(self.atoms)
        return np.where(at_atom, 0.0, self.number.log_dequantisation(x, values))

    def _apply_to_numbers(
        self, x: FloatArray, at_atoms: FloatArray | float, of_numbers: Callable[[FloatArray], FloatArray]
    ) -> FloatArray:
        """Return of_numbers(x), and `at_atoms` instead where x equals an atom."""
        at_atom = self._level(x) < len(self.atoms)
        return np.where(at_atom, at_atoms, of_numbers(np.where(at_atom, np.nan, x)))

    @cached_property
    def _finite_values(self) -> FloatArray:
        return np.array(self._finite)

    def _level(self, x: FloatArray) -> NDArray[np.intp]:
        """Return the number of the atom that each value, (n,), or its rounding to float32, equals; L for no atom."""
        n_finite, missing = len(self._finite), np.isnan(x)
        level = np.full(len(x), len(self.atoms))
        if n_finite:
            nearest = nearest_index(x, self._finite_values)
            is_atom = same_numbers(x, self._finite_values[nearest])
            level[is_atom] = nearest[is_atom]
        if n_finite < len(self.atoms):
            level[missing] = n_finite
        return level
