"""The levels of a table's columns, as codes in encoded rows."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

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
