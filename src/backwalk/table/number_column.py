"""The kind of columns that hold numbers: a density, on a continuous scale or on a grid, and atoms beside it.

An atom is a value that many rows share, such as 0 among amounts. `Column` (`columns.py`) says what each method returns.
A chain of maps (`maps.py`) encodes a number; numbers on a grid are dequantised before, as `dequantisation.py` says.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property
from typing import ClassVar, get_args

import numpy as np

from backwalk.errors import InvalidInput
from backwalk.formatting import listed
from backwalk.table.columns import Axis, Block, Column, same_numbers
from backwalk.table.dequantisation import Cells, Dequantisation
from backwalk.table.grids import Grid
from backwalk.table.level_column import check_levels, level_text, one_nan
from backwalk.table.maps import Affine, Asinh, BoolArray, Boundary, Chain, NumberMap, Spline, reflect
from backwalk.table.schema import FloatArray

PARTS = {"asinh": Asinh, "bounds": Boundary, "spline": Spline, "grid": Grid}
"""The fields of a `NumberColumn` that hold a record or None, with the records' classes."""
_OFF_BOUNDS = 0.3  # of the margin: nearer to a bound, learnt densities are rough (research/defaults.md, *Known bounds*)


@dataclass(frozen=True)
class NumberColumn(Column):
    """A number, which is encoded by the maps `asinh`, `centre` and `scale`, `bounds`, `spline`, in this order.

    - `asinh`: the map for heavy tails, or None.
    - `centre`, `scale`: the mean and the standard deviation of the number, or of what `asinh` makes of it.
    - `bounds`: the map that moves known bounds to infinity, or None.
    - `spline`: the map to about a standard normal, or None.
    - `least`, `largest`: the range of new values apart from atoms, if given.
    - `grid`: the rounded numbers that are decoded. They are dequantised by the density `dequantisation`; if it is None,
      as where steps are finer than the model resolves, decoded numbers are rounded and nothing else is done.
    - `atoms`: values that the number equals in many rows, increasing. NaN, at the end, stands for a missing value that
      is generated.
    - `frequencies`: the shares of rows at each atom and, last, at all other values.

    Without atoms there is one coordinate. With L atoms there are L + 2: a one-hot code of the atoms and of "other", and
    the coordinate of the number, which is NaN at an atom.
    """

    centre: float
    scale: float
    least: float | None = None
    largest: float | None = None
    asinh: Asinh | None = None
    bounds: Boundary | None = None
    spline: Spline | None = None
    grid: Grid | None = None
    dequantisation: Dequantisation | None = None
    atoms: tuple[float, ...] = ()
    frequencies: tuple[float, ...] = ()
    kind: ClassVar[str] = "number"

    def __post_init__(self) -> None:
        for name, part_class in PARTS.items():
            part = getattr(self, name)
            if not isinstance(part, part_class) and part is not None:
                raise InvalidInput(f"{name} of a column should be a {part_class.__name__}, but got {part!r:.60}.")
        for name in ("least", "largest"):
            end = getattr(self, name)
            if end is not None and not (isinstance(end, float) and math.isfinite(end)):
                raise InvalidInput(
                    f"{name} of a column should be a finite float, but got {end!r}: fit the codec again."
                )
        if self.least is not None and self.largest is not None and self.least > self.largest:
            raise InvalidInput(f"least should be at most largest, but got {self.least} and {self.largest}.")
        if self.dequantisation not in (None, *get_args(Dequantisation)):
            raise InvalidInput(f'dequantisation should be "uniform" or "cosine", but got {self.dequantisation!r}.')
        if self.grid is None and self.dequantisation is not None:
            raise InvalidInput("Numbers that are dequantised should lie on a grid: fit the codec again.")
        if self.grid is not None and self.bounds is not None:
            raise InvalidInput("Numbers on a grid should have no bounds at infinity: fit the codec again.")
        if self.atoms or self.frequencies:
            if not check_levels(self.atoms, self.frequencies, n_others=1):
                raise InvalidInput("atoms should increase: fit the codec again.")
            object.__setattr__(self, "atoms", one_nan(self.atoms))
        _ = self.chain  # the maps check centre and scale

    @cached_property
    def chain(self) -> Chain:
        maps: list[NumberMap | None] = [self.asinh, Affine(self.centre, self.scale), self.bounds, self.spline]
        return Chain(tuple(each for each in maps if each is not None))

    @property
    def width(self) -> int:
        return len(self.atoms) + 2 if self.atoms else 1

    @property
    def words(self) -> str:
        if self.atoms:
            return "atoms"
        if self.grid is not None:
            return "integer" if self.cell == 1.0 else "rounded"
        return "heavy-tailed" if self.asinh is not None and self.is_plain else "number"

    @property
    def description(self) -> str:
        if self.asinh is not None:
            words = (
                "number with heavy tails, transformed by asinh "
                f"(linear within {self.asinh.scale:.4g} of {self.asinh.centre:.4g})"
            )
        elif self.centre == 0.0 and self.scale == 1.0:
            words = "number, as it is"
        else:
            words = f"number of mean {self.centre:.4g} and standard deviation {self.scale:.4g}"
        if self.bounds is not None:
            ends = [f"{end:.6g}" for end in (self.least, self.largest) if end is not None]
            words += f", with {'bounds' if len(ends) == 2 else 'the bound'} {' and '.join(ends)} at infinity"
        if self.spline is not None:
            words += f", mapped to a normal through {len(self.spline.knots)} quantiles"
        if self.grid is not None:
            numbers = "integers" if self.grid == Grid() else "numbers"
            steps = "" if self.cell == 1.0 else f" in steps of {self.cell:.6g}"
            least, largest = ("any" if end is None else f"{end:.6g}" for end in (self.least, self.largest))
            drawn = f"dequantised by a {self.dequantisation} density" if self.dequantisation else "rounded"
            words = f"{numbers} {least} to {largest}{steps}, {drawn}; {words}"
        if self.atoms:
            shares = [f"{level_text(atom)} in {share:.0%}" for atom, share in self.atom_shares.items()]
            words = f"{listed(shares)} of rows; otherwise {words}"
        return words

    @property
    def accepted(self) -> str:
        return super().accepted if self.bounds is None else "lie within their bounds"

    @property
    def axis(self) -> Axis:
        asinh = None if self.asinh is None else (self.asinh.centre, self.asinh.scale)
        return Axis(asinh, integers=self.grid == Grid())

    @property
    def ends(self) -> tuple[float, float]:
        atoms = [atom for atom in self.atoms if not math.isnan(atom)]
        least, largest = self._range
        return min([least, *atoms]), max([largest, *atoms])

    @property
    def atom_shares(self) -> dict[float, float]:
        return dict(zip(self.atoms, self.frequencies[:-1], strict=True))

    @property
    def is_plain(self) -> bool:
        """Whether neither bounds nor a spline follow the scaling."""
        return self.bounds is None and self.spline is None

    @property
    def is_linear(self) -> bool:
        return self.is_plain and self.asinh is None and not self.atoms

    @property
    def is_scaled(self) -> bool:
        return not self.is_linear or self.centre != 0.0 or self.scale != 1.0

    @property
    def cell(self) -> float:
        return 0.0 if self.grid is None else self.grid.cell

    @property
    def cosine(self) -> float | None:
        return None if self.dequantisation is None else float(self.dequantisation == "cosine")

    def block(self, column: int, coordinates: slice) -> Block | None:
        if not self.atoms:
            return None
        number = coordinates.stop - 1
        code = slice(coordinates.start, number)
        values, other = np.array([*self.atoms, math.nan]), len(self.atoms)
        return Block(column, code, np.array(self.frequencies), values, number=number, continuous=other)

    def encode(self, x: FloatArray, place: FloatArray | None = None) -> FloatArray:
        if not self.atoms:
            return self._coordinate(x, place)[:, None]
        is_atom = self._is_atom(x)
        at_atom = is_atom.any(axis=1)
        z = np.empty((len(x), self.width))
        z[:, :-2], z[:, -2] = is_atom, ~at_atom
        z[~at_atom & np.isnan(x)] = np.nan  # a missing value that is not generated
        z[:, -1] = self._coordinate(np.where(at_atom, np.nan, x), place)
        return z

    def decode(self, z: FloatArray) -> FloatArray:
        number = self.chain.decode(z[:, -1])
        if self._cells is not None:
            number = self._cells.round(number)
        if not self.atoms:
            return number
        # No cell within the range rounds to an atom: a number that equals one lies beyond, and is moved inside.
        number = np.where(self._is_atom(number).any(axis=1), self._number_within_range(number), number)
        code, other = z[:, :-1], len(self.atoms)
        level = code.argmax(axis=1)
        x = np.where(level == other, number, np.array([*self.atoms, np.nan])[level])
        return np.where(np.isnan(code).any(axis=1), np.nan, x)

    def log_slope(self, x: FloatArray) -> FloatArray:
        return self._off_atoms(x, 0.0, self.chain.log_slope)

    def in_user_units(self, deviation: FloatArray, z: FloatArray) -> FloatArray:
        """Return a small deviation of the coordinates at z in the user's units, 0 at atoms: (n,)."""
        units = self.chain.in_user_units(deviation[:, -1], z[:, -1])
        return np.where(np.isnan(z[:, -1]), 0.0, units) if self.atoms else units

    def supports(self, x: FloatArray, dtype: str | None) -> BoolArray:
        is_supported = np.ones(x.shape, dtype=bool)
        if self._cells is not None and self.dequantisation is not None:
            is_supported = same_numbers(x, self._cells.round(x), dtype)
        elif self.bounds is not None:
            is_supported = np.isfinite(self.chain.encode(x))
        return is_supported | self._is_atom(x).any(axis=1) if self.atoms else is_supported

    def nearest(self, x: FloatArray) -> FloatArray:
        if self.grid is None:
            return x
        assert self._cells is not None
        atoms = np.array([atom for atom in self.atoms if not math.isnan(atom)])
        if not len(atoms):
            return self._cells.round(x)
        number = self._cells.round(np.clip(x, *self._range))
        candidates = np.column_stack([np.broadcast_to(atoms, (len(x), len(atoms))), number])
        return np.asarray(candidates[np.arange(len(x)), np.abs(candidates - x[:, None]).argmin(axis=1)])

    def within_range(self, x: FloatArray) -> FloatArray:
        return self._off_atoms(x, x, self._number_within_range)

    def off_bounds(self, x: FloatArray) -> FloatArray:
        if self.bounds is None or self.spline is not None:  # a spline spreads the rows beside a bound
            return x
        scaling = Chain(self.chain.maps[:-1])  # `bounds` is the last map
        y = scaling.encode(x)
        inside = self.bounds.inside(y, _OFF_BOUNDS)
        return np.where(self.supports(x, None) & (y != inside), scaling.decode(inside), x)

    def dequantise(self, x: FloatArray, place: FloatArray) -> FloatArray:
        if self._cells is None or self.dequantisation is None:
            return x
        moved = self._cells.dequantise(x, place)
        return np.where(self._is_atom(x).any(axis=1), x, moved) if self.atoms else moved

    def log_dequantisation(self, x: FloatArray, weight: float = 1.0) -> FloatArray:
        cells, cosine = self._cells, self.cosine
        if cells is None or cosine is None:
            return np.zeros(x.shape)
        return self._off_atoms(x, 0.0, lambda numbers: cells.log_density(numbers, weight * cosine))

    @property
    def _range(self) -> tuple[float, float]:
        """`least` and `largest`, infinite where there is no bound."""
        least = -math.inf if self.least is None else self.least
        return least, math.inf if self.largest is None else self.largest

    @cached_property
    def _cells(self) -> Cells | None:
        """The intervals of numbers that are rounded to each number of the grid."""
        return None if self.grid is None else Cells(self.grid, *self._range, self.atoms)

    def _coordinate(self, x: FloatArray, place: FloatArray | None) -> FloatArray:
        """Return the coordinate of numbers that are no atoms: (n,). With places, they are dequantised first."""
        if place is not None and self._cells is not None and self.dequantisation is not None:
            x = self._cells.dequantise(x, place)
        return self.chain.encode(x)

    def _number_within_range(self, x: FloatArray) -> FloatArray:
        return reflect(x, *self._range) if self._cells is None else self._cells.reflect(x)

    def _off_atoms(
        self, x: FloatArray, at_atoms: FloatArray | float, of_numbers: Callable[[FloatArray], FloatArray]
    ) -> FloatArray:
        """Return of_numbers(x), and `at_atoms` instead where x equals an atom."""
        if not self.atoms:
            return of_numbers(x)
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
