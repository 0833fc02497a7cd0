"""What the encodings of columns need to know of all rows of a table: ranges, gaps, frequencies, grids.

Two sources answer alike: `RowsInMemory`, where all rows are at hand, and `running_facts.FactsOfPass`, where a pass over
files has seen rows that were not kept.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Protocol

import numpy as np
import numpy.typing as npt

from backwalk.table.column_statistics import observed_range
from backwalk.table.grids import Grid, grid_of
from backwalk.table.schema import FloatArray

MOST_VALUES = 200  # of a number with few distinct values
ROWS_PER_VALUE = 20  # at least, of a number with few distinct values


@dataclass(frozen=True)
class NumberFacts:
    """The range of a column's numbers, without its atoms, and the coarsest grid that has them all."""

    least: float
    largest: float
    grid: Grid | None = None


class WholeTable(Protocol):
    """Facts of all rows of a table, by the number of the column."""

    @property
    def n_missing(self) -> npt.NDArray[np.int64]:
        """The number of missing values of each column, (d,)."""
        ...

    @property
    def ends(self) -> tuple[FloatArray, FloatArray]:
        """The least and the largest value of each column, (d,) each; NaN where there is none."""
        ...

    def has_few_values(self, j: int, some: FloatArray) -> bool:
        """Return whether a number has two distinct values, or few: at most 200, and one in 20 rows.

        `some`, (m,), are random values of the column.
        """
        ...

    def frequencies(self, j: int, *, missing: bool) -> tuple[FloatArray, FloatArray]:
        """Return the distinct values of a column, with NaN at the end if it is `missing` in some rows; and their
        shares.
        """
        ...

    def numbers(self, atoms: Mapping[int, FloatArray], gridded: Collection[int]) -> dict[int, NumberFacts]:
        """Return the facts of some columns of numbers, without their `atoms`; a grid only for those `gridded`."""
        ...

    def shares_of_atoms(self, j: int, atoms: FloatArray) -> FloatArray:
        """Return the shares of atoms, of which NaN is a missing value, and last that of all other values."""
        ...

    def a_fraction(self, j: int) -> float:
        """Return a value of a column that is no integer, or any value if all are."""
        ...


@dataclass(frozen=True, eq=False)
class RowsInMemory:
    """The facts of rows x, (n, d), of dtypes (d,), whose weights are (n,) or None."""

    x: FloatArray
    dtypes: tuple[str, ...]
    weights: FloatArray | None = None

    @cached_property
    def n_missing(self) -> npt.NDArray[np.int64]:
        return np.asarray(np.isnan(self.x).sum(axis=0))

    @cached_property
    def ends(self) -> tuple[FloatArray, FloatArray]:
        return observed_range(self.x)

    def has_few_values(self, j: int, some: FloatArray) -> bool:
        observed = self._observed(j)
        most = most_values(len(observed))
        return len(np.unique(some)) <= most and len(np.unique(observed)) <= most

    def frequencies(self, j: int, *, missing: bool) -> tuple[FloatArray, FloatArray]:
        keep = slice(None) if missing else ~np.isnan(self.x[:, j])
        return _shares_of(self.x[keep, j], None if self.weights is None else self.weights[keep])

    def numbers(self, atoms: Mapping[int, FloatArray], gridded: Collection[int]) -> dict[int, NumberFacts]:
        found = {}
        for j, of_column in atoms.items():
            observed = self._observed(j)
            others = observed[~np.isin(observed, of_column)] if len(of_column) else observed
            grid = grid_of(others, self.dtypes[j]) if j in gridded else None
            found[j] = NumberFacts(float(others.min()), float(others.max()), grid)
        return found

    def shares_of_atoms(self, j: int, atoms: FloatArray) -> FloatArray:
        x = self.x[:, j]
        is_atom = (x[:, None] == atoms) | (np.isnan(x)[:, None] & np.isnan(atoms))
        level = np.where(is_atom.any(axis=1), is_atom.argmax(axis=1), len(atoms))
        keep = ~np.isnan(x) | is_atom.any(axis=1)
        return _shares_of(level[keep].astype(float), None if self.weights is None else self.weights[keep])[1]

    def a_fraction(self, j: int) -> float:
        observed = self._observed(j)
        return float(next((number for number in observed if number != np.rint(number)), observed[0]))

    def _observed(self, j: int) -> FloatArray:
        x = self.x[:, j]
        return x[~np.isnan(x)] if self.n_missing[j] else x


def most_values(n: int) -> float:
    """Return how many distinct values of n count as few."""
    return max(2.0, min(MOST_VALUES, n / ROWS_PER_VALUE))


def _shares_of(x: FloatArray, weights: FloatArray | None) -> tuple[FloatArray, FloatArray]:
    """Return the distinct values of x, (n,), with NaN at the end if there is one, and their shares of the weight."""
    values, index = np.unique(x, return_inverse=True)
    share = np.bincount(index, weights)
    return values, share / share.sum()
