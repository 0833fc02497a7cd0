"""The kind of columns that have levels: values with a probability each, rather than a density."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from itertools import pairwise
from typing import Literal, get_args

import numpy as np
from numpy.typing import NDArray
from scipy.spatial import KDTree

from backwalk.errors import InvalidInput
from backwalk.formatting import listed
from backwalk.limits import ONE_HOT_LEVELS, is_whole
from backwalk.streams import Stream
from backwalk.table.basis import level_basis, normal_scores
from backwalk.table.columns import Block, Column, nearest_index, same_numbers
from backwalk.table.maps import BoolArray
from backwalk.table.schema import FloatArray

Coding = Literal["one-hot", "ordered", "random"]
RANDOM_WIDTH = 16
_ROUNDING = 1e-9  # of a sum of frequencies
_CODINGS: dict[str, str] = {
    "one-hot": "one-hot codes",
    "ordered": "coded by their normal scores",
    "random": f"random codes of {RANDOM_WIDTH} numbers",
}


@dataclass(frozen=True)
class LevelsColumn(Column):
    """A column of L levels: distinct `values`, increasing, and their `frequencies` in the fitted rows.

    The levels' codes c_1..c_L are in R^w. For `coding` "one-hot" they are the unit vectors, w = L. For "ordered" they
    are normal scores, w = 1, of mean 0 and variance 1 in the rows, and the values may be in any order of a user's. For
    "random" they are fixed pseudo-random unit vectors, w = 16. NaN, at the end, stands for a missing value that is
    generated. More than 16 ordered levels have a basis (`basis.py`), by the number of rows that were counted.

    A value that is no level has infinite coordinates, which `Codec.encode` refuses. Coordinates are decoded to the
    level of the nearest code.
    """

    values: tuple[float, ...]
    frequencies: tuple[float, ...]
    coding: Coding
    n_rows: int | None = None

    def __post_init__(self) -> None:
        if self.coding not in get_args(Coding):
            raise InvalidInput(f"coding should be one of {', '.join(_CODINGS)}, but got {self.coding!r}.")
        in_order = check_levels(self.values, self.frequencies, is_one_hot=self.coding == "one-hot")
        if not in_order and self.coding != "ordered":
            raise InvalidInput("values of levels should increase: fit the codec again.")
        check_rows(self.n_rows)
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
    def levels(self) -> tuple[float, ...]:
        return self.values[:-1] if math.isnan(self.values[-1]) else self.values

    @property
    def value_range(self) -> tuple[float, float]:
        return min(self.levels), max(self.levels)

    @property
    def has_ranks(self) -> bool:
        return self.coding == "ordered"

    @property
    def kind_name(self) -> str:
        return "levels"

    @property
    def description(self) -> str:
        return f"{self.n_levels:,} levels, {_CODINGS[self.coding]}"

    @property
    def requirement(self) -> str:
        return f"be one of the {self.n_levels:,} fitted levels, {listed(map(level_text, self.values))}"

    def block(self, column: int, coordinates: slice) -> Block:
        shares = np.array(self.frequencies)
        is_missing = math.isnan(self.values[-1])
        basis = level_basis(shares, int(is_missing), self.n_rows) if self.coding == "ordered" else None
        return Block(column, coordinates, shares, np.array(self.values), self._codes, basis=basis)

    def encode(self, x: FloatArray, place: FloatArray | None = None) -> FloatArray:
        level = self._level(x)
        if self._codes is None:
            codes = np.zeros((len(x), self.n_levels))
            codes[np.arange(len(x)), level] = 1.0
        else:
            codes = self._codes[level]
        is_level = self._is_level(x, level, None)
        if not is_level.all():
            codes[~is_level] = np.where(np.isnan(x[~is_level]), np.nan, np.inf)[:, None]
        return codes

    def decode(self, z: FloatArray) -> FloatArray:
        is_missing = np.asarray(np.isnan(z).any(axis=1))
        x = np.array(self.values)[self._nearest_code(np.where(is_missing[:, None], 0.0, z))]
        x[is_missing] = np.nan
        return x

    def supports(self, x: FloatArray, dtype: str | None) -> BoolArray:
        return self._is_level(x, self._level(x), dtype)

    def nearest(self, x: FloatArray) -> FloatArray:
        level = np.array(self.values)[self._level(x)]
        return np.where(np.isnan(x), np.nan, level)

    def on_grid(self, x: FloatArray) -> FloatArray:
        return self.nearest(x)

    @cached_property
    def _codes(self) -> FloatArray | None:
        """The code of each level, (L, w); None for the unit vectors."""
        if self.coding == "one-hot":
            return None
        if self.coding == "random":
            return _random_codes(self.n_levels)
        return normal_scores(np.array(self.frequencies))[:, None]

    @cached_property
    def _in_order(self) -> tuple[NDArray[np.intp], FloatArray]:
        """The numbers of the levels that are not missing by increasing value, and these values."""
        levels = np.array(self.levels)
        order = levels.argsort()
        return order, levels[order]

    def _level(self, x: FloatArray) -> NDArray[np.intp]:
        """Return the number of the nearest level to each value, (n,), and the last one of a missing value."""
        order, values = self._in_order
        level = order[nearest_index(x, values)]
        level[np.isnan(x)] = self.n_levels - 1
        return level

    def _is_level(self, x: FloatArray, level: NDArray[np.intp], dtype: str | None) -> BoolArray:
        values = np.array(self.values)[level]
        return np.asarray(same_numbers(x, values, dtype) | (np.isnan(x) & np.isnan(values)))

    def _nearest_code(self, z: FloatArray) -> NDArray[np.intp]:
        """Return the number of the level with the nearest code to coordinates (n, w)."""
        if self._codes is None:
            return np.asarray(z.argmax(axis=1))
        if self.coding == "random":
            return np.asarray(self._tree.query(z)[1])
        order, codes = self._in_code_order
        return np.asarray(order[nearest_index(z[:, 0], codes)])

    @cached_property
    def _in_code_order(self) -> tuple[NDArray[np.intp], FloatArray]:
        """The numbers of the levels by increasing code, and these codes, of one coordinate."""
        assert self._codes is not None
        order = self._codes[:, 0].argsort()
        return order, self._codes[order, 0]

    @cached_property
    def _tree(self) -> KDTree:
        return KDTree(self._codes)


def _random_codes(n: int) -> FloatArray:
    codes = Stream(0).child("codes of levels").normal(0, n, RANDOM_WIDTH).numpy()
    return np.asarray(codes / np.linalg.norm(codes, axis=1, keepdims=True))


def one_nan(values: tuple[float, ...]) -> tuple[float, ...]:
    """Return values with one object for every NaN, so that equal columns compare equal."""
    return tuple(math.nan if math.isnan(value) else value for value in values)


def level_text(value: float) -> str:
    """Return the value of a level in a message."""
    return "missing" if math.isnan(value) else f"{value:.6g}"


def check_rows(n_rows: object) -> None:
    """Raise InvalidInput unless a number of rows is a positive integer or None."""
    if n_rows is not None and (not is_whole(n_rows) or n_rows < 1):
        raise InvalidInput(f"n_rows of levels should be a positive integer or None, but got {n_rows!r:.60}.")


def check_levels(
    values: Sequence[float], frequencies: Sequence[float], *, n_others: int = 0, is_one_hot: bool = True
) -> bool:
    """Return whether the values of levels increase, where NaN may come last.

    Raises InvalidInput unless they are distinct, and they and `n_others` more have frequencies.
    """
    for name, numbers in (("values", values), ("frequencies", frequencies)):
        if not isinstance(numbers, tuple) or not all(isinstance(number, float) for number in numbers):
            raise InvalidInput(f"{name} of levels should be a tuple of floats, but got {numbers!r:.60}.")
    if is_one_hot and len(frequencies) > ONE_HOT_LEVELS:
        raise InvalidInput(
            f"There should be at most {ONE_HOT_LEVELS} levels with one-hot codes, but got {len(frequencies):,}: fit "
            "the codec again."
        )
    finite = values[:-1] if values and math.isnan(values[-1]) else values
    if not all(map(math.isfinite, finite)) or len(set(finite)) < len(finite):
        raise InvalidInput("values of levels should be finite and distinct: fit the codec again.")
    if len(frequencies) < 2 or len(frequencies) != len(values) + n_others:
        raise InvalidInput(f"There should be a frequency for each of two or more levels, but got {len(frequencies)}.")
    if not all(share > 0.0 for share in frequencies) or abs(math.fsum(frequencies) - 1.0) > _ROUNDING:
        raise InvalidInput("frequencies of levels should be positive and sum to 1: fit the codec again.")
    return all(a < b for a, b in pairwise(finite))
