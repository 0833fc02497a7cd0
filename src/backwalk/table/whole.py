"""Facts of all rows of a table, which the encodings of its columns need: ranges, gaps, frequencies, grids.

`RunningNumbers` and `RunningLabels` take the rows of a column block by block and keep none. All facts are exact, and
none depends on how the rows lie in blocks. Tables of distinct values have bounds: a number with more than `MOST_VALUES`
has no counts, and of more than `limits.LEVELS_OF_A_PASS` texts no table is kept. `WholeTable` answers for rows of
files that were read once, and for rows in memory (`facts_of_rows`).
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
import numpy.typing as npt

from backwalk import limits
from backwalk.errors import InvalidInput
from backwalk.table.grids import Grid, RunningGrid
from backwalk.table.schema import FloatArray, shown

MOST_VALUES = 1_000  # of a number whose distinct values are counted
_FEW_VALUES, _ROWS_OF_FEW = 200, 20  # at most, and rows of each at least on average
_TRIED = 2 * MOST_VALUES  # values, before all of a block


@dataclass(frozen=True)
class NumberFacts:
    """The range of a column's numbers, without its atoms, and the coarsest grid that has them all."""

    least: float
    largest: float
    grid: Grid | None = None


class RunningNumbers:
    """The facts of a column of numbers. `most` distinct values are counted, and beyond them none.

    Numbers that equal one of the `atoms`, (m,), are counted separately, and are in no other fact.
    """

    def __init__(
        self, dtype: str, *, most: float = MOST_VALUES, atoms: FloatArray | None = None, has_grid: bool = True
    ) -> None:
        atoms = np.empty(0) if atoms is None else atoms[~np.isnan(atoms)]
        self.least, self.largest = np.nan, np.nan
        self.n_missing = self.n_observed = 0
        self.weight_missing: float = 0
        self.weight_observed: float = 0
        self.grid = RunningGrid(dtype) if has_grid else None
        self.values: FloatArray | None = np.empty(0)
        self.counts: npt.NDArray[Any] = np.zeros(0, dtype=np.int64)
        self.increases, self._last, self._most = True, -np.inf, most
        self._order = atoms.argsort()
        self._atoms, self.counts_of_atoms = atoms[self._order], np.zeros(len(atoms))

    def add(self, x: FloatArray, factor: float = 1.0, weights: FloatArray | None = None) -> None:
        """Take the next values, (n,), with gaps, times a factor. Counts are sums of the rows' weights, (n,)."""
        x = x if factor == 1.0 else x * factor
        missing = np.isnan(x)
        n_missing = int(missing.sum())
        if n_missing:
            self.n_missing += n_missing
            self.weight_missing += n_missing if weights is None else float(weights[missing].sum())
            x, weights = _without(missing, x, weights)
        if len(self._atoms):
            at = np.searchsorted(self._atoms, x).clip(max=len(self._atoms) - 1)
            is_atom = self._atoms[at] == x
            rows_of_atoms = np.bincount(
                at[is_atom], None if weights is None else weights[is_atom], minlength=len(self._atoms)
            )
            self.counts_of_atoms[self._order] += rows_of_atoms
            x, weights = _without(is_atom, x, weights)
        if not len(x):
            return
        self.n_observed += len(x)
        self.weight_observed += len(x) if weights is None else float(weights.sum())
        self.least, self.largest = np.fmin(self.least, x.min()), np.fmax(self.largest, x.max())
        if self.increases:
            self.increases = bool(self._last < x[0]) and bool((x[1:] > x[:-1]).all())
            self._last = x[-1]
        if self.grid is not None:
            self.grid.add(x)
        self._count(x, weights)

    def scale(self, factor: float) -> None:
        """Multiply all values so far, which are integers, by another integer."""
        self.least, self.largest, self._last = self.least * factor, self.largest * factor, self._last * factor
        if self.grid is not None:
            self.grid.scale(factor)
        if self.values is not None:
            self.values = self.values * factor

    @property
    def facts(self) -> NumberFacts:
        """The range and the grid."""
        n_distinct = MOST_VALUES if self.values is None else len(self.values)
        grid = None if self.grid is None else self.grid.grid(n_distinct)
        return NumberFacts(float(self.least), float(self.largest), grid)

    def _count(self, x: FloatArray, weights: FloatArray | None) -> None:
        if self.values is None:
            return
        if len(self.values):
            at = np.searchsorted(self.values, x).clip(max=len(self.values) - 1)
            is_counted = self.values[at] == x
            of_counted = None if weights is None else weights[is_counted]
            self.counts = self.counts + np.bincount(at[is_counted], of_counted, minlength=len(self.values))
            x, weights = _without(is_counted, x, weights)
        if self._most < np.inf:
            for some in (x[:_TRIED], x):
                if len(np.unique(some)) + len(self.values) > self._most:
                    self.values = None
                    return
        new, index = np.unique(x, return_inverse=True)
        values, counts = np.append(self.values, new), np.append(self.counts, np.bincount(index, weights))
        order = values.argsort()
        self.values, self.counts = values[order], counts[order]


def _without(
    is_left_out: npt.NDArray[np.bool_], x: FloatArray, weights: FloatArray | None
) -> tuple[FloatArray, FloatArray | None]:
    return x[~is_left_out], None if weights is None else weights[~is_left_out]


class RunningLabels:
    """The labels of a column of texts or categories, in the order in which they are seen.

    Of each label `counts` has the number of rows, and `first_rows` the number of the first, -1 where there is none.
    """

    def __init__(self) -> None:
        self.n_missing = self.n_observed = 0
        self.labels = list[str]()
        self.counts = np.zeros(0, dtype=np.int64)
        self.first_rows = np.zeros(0, dtype=np.int64)
        self.n_bytes = 0  # of the labels' texts
        self.is_lost = False
        self._code = dict[str, int]()
        self._labels_before: Sequence[str] | None = None  # those of the block before, and their codes
        self._codes_before = np.full(1, np.nan)

    def add(self, codes: FloatArray, labels: Sequence[str], rows: npt.NDArray[np.int64] | None = None) -> FloatArray:
        """Take the codes, (n,), of the next rows, and return those that their labels have in all rows.

        `rows`, (n,), are the rows' numbers, 0, 1, ... if they are not given.
        """
        missing = np.isnan(codes)
        self.n_missing += int(missing.sum())
        self.n_observed += len(codes) - int(missing.sum())
        if self.is_lost:
            return np.full(len(codes), np.nan)
        if labels != self._labels_before:
            new = [label for label in labels if label not in self._code]
            self._code.update(zip(new, range(len(self.labels), len(self.labels) + len(new)), strict=True))
            self.labels += new
            self.n_bytes += sum(map(len, new))
            self._codes_before = np.array([*map(self._code.__getitem__, labels), np.nan])
            self._labels_before = labels
            self.counts = np.append(self.counts, np.zeros(len(new), dtype=np.int64))
            self.first_rows = np.append(self.first_rows, np.full(len(new), -1))
        in_all = self._codes_before[np.where(missing, -1, codes).astype(np.intp)]
        observed = in_all[~missing].astype(np.intp)
        self.counts += np.bincount(observed, minlength=len(self.labels))
        rows = np.arange(len(codes)) if rows is None else rows
        seen_before = self.first_rows >= 0
        first_rows = self.first_rows.copy()
        first_rows[observed[::-1]] = rows[~missing][::-1]
        self.first_rows = np.where(seen_before, self.first_rows, first_rows)
        return in_all

    def forget(self) -> None:
        """Keep no labels from now on: there are too many."""
        self.is_lost, self.labels, self.n_bytes, self._code = True, [], 0, {}
        self._labels_before, self._codes_before = None, np.full(1, np.nan)
        self.counts = self.first_rows = np.zeros(0, dtype=np.int64)

    def finish(self, *, by_text: bool) -> FloatArray:
        """Bring the labels into their final order: sorted, without those of no row, or as they are.

        Return the final code of each, NaN for those without a row and, at the end, for a missing value.
        """
        order = np.arange(len(self.labels))
        if by_text:
            used = np.flatnonzero(self.counts)
            order = np.array(sorted(used, key=self.labels.__getitem__), dtype=np.int64)
        codes = np.full(len(self.labels) + 1, np.nan)
        codes[order] = np.arange(len(order))
        self.labels, self.counts = [self.labels[i] for i in order], self.counts[order]
        self.first_rows = self.first_rows[order]
        return codes


Again = Callable[[Mapping[str, RunningNumbers]], object]
"""Gives all rows of some columns, by name, to fresh facts of each."""
RowsOf = Callable[[Sequence[str]], Iterator[FloatArray]]
"""Yields all rows of some columns, by name, (m, c) at a time, with the codes that their labels have in all rows."""


@dataclass(frozen=True, eq=False)
class WholeTable:
    """Facts of all rows of a table, by the number of the column.

    `n_rows` is their number, and `columns` has the facts of each column at the end of a pass over all rows. `again`
    goes over the rows once more, for numbers without their atoms, and so does `rows_of`, for rules between columns. Of
    rows `in_memory` any values are counted.
    """

    n_rows: int
    names: tuple[str, ...]
    dtypes: tuple[str, ...]
    columns: tuple[RunningNumbers | RunningLabels, ...]
    again: Again
    in_memory: bool = False
    rows_of: RowsOf | None = None
    _without_atoms: dict[str, RunningNumbers] = field(default_factory=dict)

    def taken(self, columns: Sequence[int]) -> WholeTable:
        """Return the facts of some of the columns, by their numbers."""
        return WholeTable(
            self.n_rows,
            tuple(self.names[j] for j in columns),
            tuple(self.dtypes[j] for j in columns),
            tuple(self.columns[j] for j in columns),
            self.again,
            self.in_memory,
            self.rows_of,
        )

    @property
    def n_missing(self) -> npt.NDArray[np.int64]:
        """The number of missing values of each column, (d,)."""
        return np.array([column.n_missing for column in self.columns], dtype=np.int64)

    @property
    def ends(self) -> tuple[FloatArray, FloatArray]:
        """The least and the largest value of each column, (d,) each; NaN where there is none."""
        ends = [self._ends(j) for j in range(len(self.columns))]
        return np.array([low for low, _ in ends]), np.array([high for _, high in ends])

    def _ends(self, j: int) -> tuple[float, float]:
        column = self.columns[j]
        if isinstance(column, RunningNumbers):
            return float(column.least), float(column.largest)
        if column.is_lost:
            raise self._too_many(j)
        used = np.flatnonzero(column.counts)
        return (float(used[0]), float(used[-1])) if len(used) else (np.nan, np.nan)

    def has_few_values(self, j: int) -> bool:
        """Return whether a number has two distinct values, or few: at most 200, and one in 20 rows."""
        column = self._numbers(j)
        most = max(2.0, min(_FEW_VALUES, column.n_observed / _ROWS_OF_FEW))
        return column.values is not None and len(column.values) <= most

    def has_two_values(self, j: int) -> bool:
        """Return whether a number has two distinct values; labels are no numbers."""
        column = self.columns[j]
        return isinstance(column, RunningNumbers) and column.values is not None and len(column.values) == 2

    def counted(self, j: int) -> tuple[FloatArray, FloatArray]:
        """Return a number's values, increasing, and in how many rows of mean weight each is; none if they are many."""
        column = self._numbers(j)
        if column.values is None or not column.n_observed:
            return np.empty(0), np.empty(0)
        return column.values, column.counts * (column.n_observed / column.weight_observed)

    def frequencies(self, j: int, *, missing: bool) -> tuple[FloatArray, FloatArray]:
        """Return the distinct values of a column, with NaN at the end if it is `missing` in some rows; and their
        shares.
        """
        column = self.columns[j]
        if isinstance(column, RunningLabels):
            values, rows = np.flatnonzero(column.counts).astype(np.float64), column.counts[column.counts > 0]
            weight_missing: float = column.n_missing
        else:
            if column.values is None and self.in_memory:
                column = RunningNumbers(self.dtypes[j], most=np.inf, has_grid=False)
                self.again({self.names[j]: column})
            if column.values is None:
                raise self._too_many(j)
            values, rows, weight_missing = column.values, column.counts, column.weight_missing
        if missing and column.n_missing:
            values, rows = np.append(values, np.nan), np.append(rows, weight_missing)
        return values, rows / rows.sum()

    def numbers(self, atoms: Mapping[int, FloatArray], gridded: Collection[int]) -> dict[int, NumberFacts]:
        """Return the facts of some columns of numbers, without their `atoms`; a grid only for those `gridded`."""
        fresh = {
            self.names[j]: RunningNumbers(self.dtypes[j], atoms=of_column, has_grid=j in gridded)
            for j, of_column in atoms.items()
            if len(of_column) or (j in gridded and self._numbers(j).grid is None)
        }
        if fresh:
            self.again(fresh)
            self._without_atoms.update(fresh)
        found = {j: fresh.get(self.names[j], self._numbers(j)).facts for j in atoms}
        return {j: facts if j in gridded else replace(facts, grid=None) for j, facts in found.items()}

    def shares_of_atoms(self, j: int, atoms: FloatArray) -> FloatArray:
        """Return the shares of atoms, of which NaN is a missing value, and last that of all other values."""
        column = self._without_atoms.get(self.names[j], self._numbers(j))
        of_missing = [column.weight_missing] if np.isnan(atoms).any() else []
        rows = np.array([*column.counts_of_atoms, *of_missing, column.weight_observed])
        return np.asarray(rows / rows.sum())

    def a_fraction(self, j: int) -> float:
        """Return a value of a column that is no integer, or any value if all are."""
        column = self._without_atoms.get(self.names[j], self._numbers(j))
        fraction = None if column.grid is None else column.grid.fraction
        return float(column.largest) if fraction is None else fraction

    def _too_many(self, j: int) -> InvalidInput:
        return InvalidInput(
            f"A column with levels should have at most {limits.LEVELS_OF_A_PASS:,} of them in a table larger than "
            f"memory, but {shown(self.names[j])} has more: leave it out."
        )

    def _numbers(self, j: int) -> RunningNumbers:
        column = self.columns[j]
        assert isinstance(column, RunningNumbers)
        return column


def facts_of_rows(x: FloatArray, dtypes: tuple[str, ...], weights: FloatArray | None = None) -> WholeTable:
    """Return the facts of rows in memory x, (n, d), of dtypes (d,), whose weights are (n,) or None."""

    def add_rows(columns: Mapping[str, RunningNumbers]) -> None:
        for name, column in columns.items():
            column.add(np.ascontiguousarray(x[:, int(name)]), weights=weights)

    columns = {str(j): RunningNumbers(dtype, has_grid=False) for j, dtype in enumerate(dtypes)}
    add_rows(columns)
    return WholeTable(len(x), tuple(columns), dtypes, tuple(columns.values()), add_rows, in_memory=True)
