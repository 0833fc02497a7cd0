"""The kinds of columns that have levels: values with a probability each, rather than a density.

A `LevelsColumn` has levels alone. An `AtomsColumn` is a number that equals some values, its atoms, in many rows: it has
a level for each atom and one for all other rows, in which its number applies.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from itertools import pairwise
from typing import ClassVar, Literal, Self, get_args

import numpy as np

from backwalk.errors import InvalidInput
from backwalk.formatting import listed
from backwalk.streams import Stream
from backwalk.table.blocks import Block
from backwalk.table.columns import Axis, Column, HeavyTailedColumn, NumberColumn
from backwalk.table.level_maps import AtomsMaps, OneHotMaps, RandomMaps, ScalarMaps
from backwalk.table.maps import Maps
from backwalk.table.quantile_columns import QuantileColumn
from backwalk.table.rounded_columns import IntegerColumn
from backwalk.table.rounded_maps import RoundedMaps
from backwalk.table.schema import FloatArray

Coding = Literal["one-hot", "value", "rank", "random"]
RANDOM_WIDTH = 16
_ROUNDING = 1e-9  # of a sum of frequencies
_CODINGS: dict[str, str] = {
    "one-hot": "one-hot codes",
    "value": "coded by their values",
    "rank": "coded by their ranks",
    "random": f"random codes of {RANDOM_WIDTH} numbers",
}


@dataclass(frozen=True)
class LevelsColumn(Column):
    """A column of L levels: distinct `values`, increasing, and their `frequencies` in the fitted rows.

    The levels' codes c_1..c_L are in R^w. For `coding` "one-hot" they are the unit vectors, w = L. For "value" they
    are the values, for "rank" the numbers 0..L-1, with w = 1, and are shifted and scaled such that the rows have mean 0
    and variance 1; with "rank" the values may be in any order. For "random" they are fixed pseudo-random unit vectors,
    w = 16. NaN, at the end, stands for a missing value that is generated.
    """

    values: tuple[float, ...]
    frequencies: tuple[float, ...]
    coding: Coding
    kind: ClassVar[str] = "levels"

    def __post_init__(self) -> None:
        if self.coding not in get_args(Coding):
            raise InvalidInput(f"coding should be one of {', '.join(_CODINGS)}, but got {self.coding!r}.")
        _check_levels(self.values, self.frequencies, in_order=self.coding != "rank")
        if math.isnan(self.values[-1]) and self.coding == "value":
            raise InvalidInput("A missing value has no value as its code: fit the codec again.")
        object.__setattr__(self, "values", one_nan(self.values))

    @property
    def n_levels(self) -> int:
        """The number of levels, L."""
        return len(self.values)

    @property
    def width(self) -> int:
        if self.coding == "one-hot":
            return self.n_levels
        return RANDOM_WIDTH if self.coding == "random" else 1

    @property
    def family(self) -> str:
        return f"{self.kind} {self.coding} {self.n_levels}"

    @property
    def axis(self) -> Axis:
        return Axis(levels=self.values)

    @property
    def description(self) -> str:
        return f"{self.n_levels:,} levels, {_CODINGS[self.coding]}"

    @property
    def accepted(self) -> str:
        return f"be one of the {self.n_levels:,} fitted levels, {listed(map(_shown, self.values))}"

    @cached_property
    def codes(self) -> FloatArray:
        """The code of each level, (L, w)."""
        if self.coding == "one-hot":
            return np.eye(self.n_levels)
        if self.coding == "random":
            return _random_codes(self.n_levels)
        numbers = np.array(self.values) if self.coding == "value" else np.arange(float(self.n_levels))
        numbers = numbers / np.abs(numbers).max()  # so that squares do not overflow
        numbers -= numbers @ self.frequencies
        return np.asarray(numbers / math.sqrt(np.square(numbers) @ self.frequencies))[:, None]

    def block(self, column: int, coordinates: slice) -> Block:
        return Block(column, coordinates, self.codes, np.array(self.frequencies), np.array(self.values))

    @classmethod
    def stacked(cls, columns: Sequence[Self]) -> Maps:
        values, coding = np.array([column.values for column in columns]), columns[0].coding
        if coding == "one-hot":
            return OneHotMaps(values)
        if coding == "random":
            return RandomMaps(values, columns[0].codes)
        order, codes = values.argsort(axis=1), np.stack([column.codes[:, 0] for column in columns])
        return ScalarMaps(np.take_along_axis(values, order, axis=1), np.take_along_axis(codes, order, axis=1))


@dataclass(frozen=True)
class AtomsColumn(Column):
    """A number that equals one of its `atoms` in many rows, and is `number` in the others.

    The atoms increase; NaN, at the end, stands for a missing value that is generated. `frequencies` are those of the
    atoms and, last, of the level "continuous". The coordinates are the one-hot code of these levels and the coordinate
    of `number`, which is NaN at an atom.
    """

    number: NumberColumn | HeavyTailedColumn | QuantileColumn | IntegerColumn
    atoms: tuple[float, ...]
    frequencies: tuple[float, ...]
    kind: ClassVar[str] = "atoms"

    def __post_init__(self) -> None:
        if not isinstance(self.number, (NumberColumn, HeavyTailedColumn, QuantileColumn, IntegerColumn)):
            raise InvalidInput(f"number should be a number or integers, but got {self.number!r}.")
        _check_levels(self.atoms, self.frequencies, n_others=1)
        object.__setattr__(self, "atoms", one_nan(self.atoms))

    @property
    def width(self) -> int:
        return len(self.atoms) + 2

    @property
    def family(self) -> str:
        return f"{self.kind} {len(self.atoms)} {self.number.family}"

    @property
    def n_uniforms(self) -> int:
        return self.number.n_uniforms

    @property
    def cell(self) -> float:
        return self.number.cell

    @property
    def axis(self) -> Axis:
        return self.number.axis

    @property
    def description(self) -> str:
        shares = [f"{_shown(atom)} in {share:.0%}" for atom, share in zip(self.atoms, self.frequencies, strict=False)]
        return f"{listed(shares)} of rows; otherwise {self.number.description}"

    def block(self, column: int, coordinates: slice) -> Block:
        m = len(self.frequencies)
        return Block(
            column,
            slice(coordinates.start, coordinates.start + m),
            np.eye(m),
            np.array(self.frequencies),
            np.array([*self.atoms, math.nan]),
            number=coordinates.start + m,
            continuous=m - 1,
        )

    @classmethod
    def stacked(cls, columns: Sequence[Self]) -> AtomsMaps:
        numbers = [column.number for column in columns]
        stacked = type(numbers[0]).stacked(numbers)  # type: ignore[arg-type]  # a family has numbers of one kind
        atoms = np.array([column.atoms for column in columns])
        return AtomsMaps(replace(stacked, atoms=atoms) if isinstance(stacked, RoundedMaps) else stacked, atoms)


def _random_codes(n: int) -> FloatArray:
    codes = Stream(0).child("codes of levels").normal(0, n, RANDOM_WIDTH).numpy()
    return np.asarray(codes / np.linalg.norm(codes, axis=1, keepdims=True))


def one_nan(values: tuple[float, ...]) -> tuple[float, ...]:
    """Return values with one object for every NaN, so that equal columns compare equal."""
    return tuple(math.nan if math.isnan(value) else value for value in values)


def _shown(value: float) -> str:
    return "missing" if math.isnan(value) else f"{value:.6g}"


def _check_levels(
    values: tuple[float, ...], frequencies: tuple[float, ...], *, n_others: int = 0, in_order: bool = True
) -> None:
    """Raise InvalidInput unless values increase, NaN last, and they and `n_others` more have frequencies."""
    for name, numbers in (("values", values), ("frequencies", frequencies)):
        if not isinstance(numbers, tuple) or not all(isinstance(number, float) for number in numbers):
            raise InvalidInput(f"{name} of levels should be a tuple of floats, but got {numbers!r:.60}.")
    finite = values[:-1] if values and math.isnan(values[-1]) else values
    increasing = finite if in_order else sorted(finite)
    if not all(map(math.isfinite, finite)) or any(a >= b for a, b in pairwise(increasing)):
        raise InvalidInput("values of levels should be finite and increase: fit the codec again.")
    if len(frequencies) < 2 or len(frequencies) != len(values) + n_others:
        raise InvalidInput(f"There should be a frequency for each of two or more levels, but got {len(frequencies)}.")
    if not all(share > 0.0 for share in frequencies) or abs(math.fsum(frequencies) - 1.0) > _ROUNDING:
        raise InvalidInput("frequencies of levels should be positive and sum to 1: fit the codec again.")
