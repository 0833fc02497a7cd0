"""Columns of one kind side by side: their places in rows and in encoded rows, and their maps."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from itertools import accumulate

import numpy as np
import numpy.typing as npt

from backwalk.table.columns import Column
from backwalk.table.maps import Maps
from backwalk.table.schema import FloatArray

Index = slice | npt.NDArray[np.intp]


@dataclass(frozen=True, eq=False)
class Family:
    """Columns of one kind, which are mapped together: their numbers, coordinates and uniforms, in order."""

    columns: Index
    coordinates: Index
    uniforms: Index
    maps: Maps


@dataclass(frozen=True, eq=False)
class Redraw:
    """Draws again the encoded coordinates that depend on random draws, those of integers, for each training batch.

    `coordinates`, (m,), are their numbers; encoding a row takes `n_uniforms` draws.
    """

    coordinates: npt.NDArray[np.intp]
    n_uniforms: int
    _parts: tuple[tuple[FloatArray, Index, Maps], ...]

    def of(self, rows: npt.NDArray[np.intp]) -> Redraw:
        """Return the `Redraw` of some of the rows."""
        return replace(self, _parts=tuple((x[rows], uniforms, maps) for x, uniforms, maps in self._parts))

    def __call__(self, rows: npt.NDArray[np.intp], v: FloatArray) -> FloatArray:
        """Return the coordinates of some rows, (b, m), given uniforms v in (0, 1), (b, `n_uniforms`)."""
        return np.concatenate([maps.encode(x[rows], v[:, uniforms]) for x, uniforms, maps in self._parts], axis=1)


def families_of(columns: Sequence[Column]) -> tuple[Family, ...]:
    """Group the columns of a table by `Column.family`."""
    numbers: dict[str, list[int]] = {}
    for j, column in enumerate(columns):
        numbers.setdefault(column.family, []).append(j)
    coordinate = list(accumulate((column.width for column in columns), initial=0))
    drawn = list(accumulate((column.n_uniforms for column in columns), initial=0))

    def family(found: list[int]) -> Family:
        of_family = [columns[j] for j in found]
        coordinates, uniforms = (
            [i for j in found for i in range(ends[j], ends[j + 1])] for ends in (coordinate, drawn)
        )
        return Family(_index(found), _index(coordinates), _index(uniforms), type(of_family[0]).stacked(of_family))

    return tuple(map(family, numbers.values()))


def size(index: Index) -> int:
    """Return the number of columns that an index selects."""
    return index.stop - index.start if isinstance(index, slice) else len(index)


def _index(numbers: Sequence[int]) -> Index:
    """Return the index of some columns of an array, in increasing order: a slice, which copies nothing, if possible."""
    if not numbers:
        return slice(0, 0)
    if numbers[-1] - numbers[0] + 1 == len(numbers):
        return slice(numbers[0], numbers[-1] + 1)
    return np.array(numbers, dtype=np.intp)
