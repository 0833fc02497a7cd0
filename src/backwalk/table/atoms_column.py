"""The kind of columns that hold a number with atoms: values that many rows share, such as 0 among amounts.

A level says which atom a row has, or that it has none; the number applies in the rows without one.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import cached_property

import numpy as np

from backwalk.errors import InvalidInput
from backwalk.formatting import listed
from backwalk.table.columns import Block, Column
from backwalk.table.level_column import check_levels, level_text, one_nan
from backwalk.table.maps import BoolArray
from backwalk.table.number_column import NumberColumn
from backwalk.table.schema import FloatArray


@dataclass(frozen=True)
class AtomsColumn(Column):
    """A number with L atoms, encoded in L + 2 coordinates: a one-hot code of the atoms and of "other", and the number.

    - `number`: the density of the other values, the atoms left out of its grid. Its coordinate is NaN at an atom.
    - `atoms`: increasing. NaN, at the end, stands for a missing value that is generated.
    - `frequencies`: the shares of rows at each atom and, last, at all other values.
    """

    number: NumberColumn
    atoms: tuple[float, ...]
    frequencies: tuple[float, ...]

    def __post_init__(self) -> None:
        if not isinstance(self.number, NumberColumn):
            raise InvalidInput(f"Atoms should be beside a number, but got {self.number!r:.60}: fit the codec again.")
        if not check_levels(self.atoms, self.frequencies, n_others=1):
            raise InvalidInput("atoms should increase: fit the codec again.")
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
        return len(self.atoms) + 2

    @property
    def value_range(self) -> tuple[float, float]:
        least, largest = self.number.value_range
        return min([least, *self._finite]), max([largest, *self._finite])

    @property
    def kind_name(self) -> str:
        return "atoms"

    @property
    def description(self) -> str:
        shares = [f"{level_text(atom)} in {share:.0%}" for atom, share in self.atom_shares.items()]
        return f"{listed(shares)} of rows; otherwise {self.number.description}"

    @property
    def atom_shares(self) -> dict[float, float]:
        return dict(zip(self.atoms, self.frequencies[:-1], strict=True))

    def block(self, column: int, coordinates: slice) -> Block:
        number = coordinates.stop - 1
        values = np.array([*self.atoms, math.nan])
        return Block(column, slice(coordinates.start, number), np.array(self.frequencies), values, number=number)

    def encode(self, x: FloatArray, place: FloatArray | None = None) -> FloatArray:
        is_atom = self._is_atom(x)
        at_atom = is_atom.any(axis=1)
        z = np.empty((len(x), self.width))
        z[:, :-2], z[:, -2] = is_atom, ~at_atom
        z[~at_atom & np.isnan(x)] = np.nan  # a missing value that is not generated
        z[:, -1:] = self.number.encode(np.where(at_atom, np.nan, x), place)
        return z

    def decode(self, z: FloatArray) -> FloatArray:
        number = self.number.decode(z[:, -1:])
        # No cell within the range rounds to an atom: a number that equals one lies beyond, and is moved inside.
        number = np.where(self._is_atom(number).any(axis=1), self.number.within_range(number), number)
        code = z[:, :-1]
        level, other = code.argmax(axis=1), len(self.atoms)
        x = np.where(level == other, number, np.array([*self.atoms, np.nan])[level])
        return np.where(np.isnan(code).any(axis=1), np.nan, x)

    def log_slope(self, x: FloatArray) -> FloatArray:
        return self._apply_to_numbers(x, 0.0, self.number.log_slope)

    def deviation_in_user_units(self, deviation: FloatArray, z: FloatArray) -> FloatArray:
        units = self.number.deviation_in_user_units(deviation[:, -1:], z[:, -1:])
        return np.where(np.isnan(z[:, -1]), 0.0, units)

    def supports(self, x: FloatArray, dtype: str | None) -> BoolArray:
        return self.number.supports(x, dtype) | self._is_atom(x).any(axis=1)

    def nearest(self, x: FloatArray) -> FloatArray:
        if not self.cell_width or not self._finite:
            return self.number.nearest(x)
        number = self.number.nearest(np.clip(x, *self.number.value_range))
        candidates = np.column_stack([np.broadcast_to(self._finite, (len(x), len(self._finite))), number])
        closest = np.abs(candidates - x[:, None]).argmin(axis=1)
        return np.where(np.isnan(x), np.nan, candidates[np.arange(len(x)), closest])

    def within_range(self, x: FloatArray) -> FloatArray:
        return self._apply_to_numbers(x, x, self.number.within_range)

    def dequantise(self, x: FloatArray, place: FloatArray) -> FloatArray:
        return self._apply_to_numbers(x, x, lambda number: self.number.dequantise(number, place))

    def log_dequantisation(self, x: FloatArray, cosine_factor: float = 1.0) -> FloatArray:
        return self._apply_to_numbers(x, 0.0, lambda number: self.number.log_dequantisation(number, cosine_factor))

    def _apply_to_numbers(
        self, x: FloatArray, at_atoms: FloatArray | float, of_numbers: Callable[[FloatArray], FloatArray]
    ) -> FloatArray:
        """Return of_numbers(x), and `at_atoms` instead where x equals an atom."""
        at_atom = self._is_atom(x).any(axis=1)
        return np.where(at_atom, at_atoms, of_numbers(np.where(at_atom, np.nan, x)))

    @cached_property
    def _atoms_in_float32(self) -> FloatArray:
        with np.errstate(over="ignore"):
            return np.array(self.atoms).astype(np.float32).astype(np.float64)

    def _is_atom(self, x: FloatArray) -> BoolArray:
        """Return which atom each value equals, or its rounding to float32: (n, n_atoms)."""
        values, atoms = x[:, None], np.array(self.atoms)
        return np.asarray((values == atoms) | (values == self._atoms_in_float32) | (np.isnan(values) & np.isnan(atoms)))
