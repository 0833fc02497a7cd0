"""Facts of all rows of a table that are seen once, block by block, and not kept.

All are exact, and none depends on how the rows lie in blocks: ranges, numbers of gaps and of each level, grids. Tables
of distinct values have bounds: a number with more than `MOST_VALUES` has no few values, and of more than
`limits.LEVELS_OF_A_PASS` texts no table is kept.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, field, replace

import numpy as np
import numpy.typing as npt

from backwalk import limits
from backwalk.errors import InvalidInput
from backwalk.table.grids import RunningGrid
from backwalk.table.schema import FloatArray, shown
from backwalk.table.whole import MOST_VALUES, NumberFacts, most_values

_TRIED = 1_000  # values, before all of a block


class RunningNumbers:
    """The facts of a column of numbers. `most` distinct values are counted, and beyond them none."""

    def __init__(self, dtype: str, *, most: int = MOST_VALUES, but: FloatArray | None = None) -> None:
        self.least, self.largest = np.nan, np.nan
        self.n_missing = self.n_observed = 0
        self.grid = RunningGrid(dtype)
        self.values: FloatArray | None = np.empty(0)
        self.counts = np.zeros(0, dtype=np.int64)
        self.checksum = 0  # of the bits of all values, in any order
        self.increases, self._last, self._most, self._but = True, -np.inf, most, but
        self.of_atoms = np.zeros(0 if but is None else len(but), dtype=np.int64)

    def add(self, x: FloatArray, factor: float = 1.0) -> None:
        """Take the next values, (n,), with gaps, times a factor; those of the atoms `but` are counted apart."""
        self.checksum = (self.checksum + int(np.add.reduce(x.view(np.uint64)))) % 2**64
        x = x if factor == 1.0 else x * factor
        missing = np.isnan(x)
        n_missing = int(missing.sum())
        self.n_missing += n_missing
        if n_missing:
            x = x[~missing]
        for i, atom in enumerate(() if self._but is None else self._but):
            is_atom = x == atom
            self.of_atoms[i] += int(is_atom.sum())
            x = x[~is_atom]
        if not len(x):
            return
        self.n_observed += len(x)
        self.least, self.largest = np.fmin(self.least, x.min()), np.fmax(self.largest, x.max())
        if self.increases:
            self.increases = bool(self._last < x[0]) and bool((np.diff(x) > 0).all())
            self._last = x[-1]
        self.grid.add(x)
        self._count(x)

    def scale(self, factor: float) -> None:
        """Multiply all values so far, which are integers, by another integer."""
        self.least, self.largest, self._last = self.least * factor, self.largest * factor, self._last * factor
        self.grid.scale(factor)
        if self.values is not None:
            self.values = self.values * factor

    @property
    def facts(self) -> NumberFacts:
        """The range and the grid."""
        n_distinct = MOST_VALUES if self.values is None else len(self.values)
        return NumberFacts(float(self.least), float(self.largest), self.grid.grid(n_distinct))

    def _count(self, x: FloatArray) -> None:
        if self.values is None:
            return
        if len(self.values):
            at = np.searchsorted(self.values, x).clip(max=len(self.values) - 1)
            is_known = self.values[at] == x
            self.counts += np.bincount(at[is_known], minlength=len(self.values))
            x = x[~is_known]
        for some in (x[:_TRIED], x):
            if len(np.unique(some)) + len(self.values) > self._most:
                self.values = None
                return
        new, counts = np.unique(x, return_counts=True)
        both, all_counts = np.append(self.values, new), np.append(self.counts, counts)
        order = both.argsort()
        self.values, self.counts = both[order], all_counts[order]


class RunningLabels:
    """The labels of a column of texts or categories, in the order in which they are seen, and the rows of each."""

    def __init__(self) -> None:
        self.n_missing = self.n_observed = 0
        self.labels = list[str]()
        self.counts = np.zeros(0, dtype=np.int64)
        self.n_bytes = 0  # of the labels' texts
        self.is_lost = False
        self._place = dict[str, int]()
        self._known: tuple[Sequence[str], FloatArray] = (), np.full(1, np.nan)  # of the block before

    def add(self, codes: FloatArray, labels: Sequence[str]) -> FloatArray:
        """Take the codes, (n,), of the next rows, and return those that their labels have in all rows."""
        missing = np.isnan(codes)
        self.n_missing += int(missing.sum())
        self.n_observed += len(codes) - int(missing.sum())
        if self.is_lost:
            return np.full(len(codes), np.nan)
        if labels != self._known[0]:
            for label in labels:
                if label not in self._place:
                    self._place[label] = len(self.labels)
                    self.labels.append(label)
                    self.n_bytes += len(label)
            self._known = labels, np.array([*(float(self._place[label]) for label in labels), np.nan])
            self.counts = np.append(self.counts, np.zeros(len(self.labels) - len(self.counts), dtype=np.int64))
        own = self._known[1][np.where(missing, -1, codes).astype(np.intp)]
        self.counts += np.bincount(own[~missing].astype(np.intp), minlength=len(self.labels))
        return own

    def forget(self) -> None:
        """Keep no labels from now on: there are too many."""
        self.is_lost, self.labels, self.n_bytes, self._place = True, [], 0, {}
        self._known, self.counts = ((), np.full(1, np.nan)), np.zeros(0, dtype=np.int64)

    def ordered(self, *, by_text: bool) -> npt.NDArray[np.int64]:
        """Return the places of the labels in their final order: sorted, without those of no row, or as they are."""
        if not by_text:
            return np.arange(len(self.labels))
        used = np.flatnonzero(self.counts)
        return np.array(sorted(used, key=self.labels.__getitem__), dtype=np.int64)


Again = Callable[[Mapping[str, FloatArray]], Mapping[str, RunningNumbers]]
"""Reads some columns again, by name, to see their numbers without atoms."""


@dataclass(frozen=True, eq=False)
class FactsOfPass:
    """The facts of all rows of a table, by the number of the column; see `whole.WholeTable`.

    `n_rows` is their number, `columns` the running facts of each column at the end of the pass, and `counts` for each
    with labels the rows of each code, otherwise None. `again` reads columns again whose numbers have atoms.
    """

    n_rows: int
    names: tuple[str, ...]
    columns: tuple[RunningNumbers | RunningLabels, ...]
    counts: tuple[npt.NDArray[np.int64] | None, ...]
    again: Again
    of_atoms: dict[str, npt.NDArray[np.int64]] = field(default_factory=dict)  # the rows of each, by column

    def taken(self, columns: Sequence[int]) -> FactsOfPass:
        """Return the facts of some of the columns, by their numbers."""
        return replace(
            self,
            names=tuple(self.names[j] for j in columns),
            columns=tuple(self.columns[j] for j in columns),
            counts=tuple(self.counts[j] for j in columns),
        )

    @property
    def n_missing(self) -> npt.NDArray[np.int64]:
        return np.array([column.n_missing for column in self.columns], dtype=np.int64)

    @property
    def ends(self) -> tuple[FloatArray, FloatArray]:
        ends = [self._ends(j) for j in range(len(self.columns))]
        return np.array([low for low, _ in ends]), np.array([high for _, high in ends])

    def _ends(self, j: int) -> tuple[float, float]:
        column, counts = self.columns[j], self.counts[j]
        if isinstance(column, RunningNumbers):
            return float(column.least), float(column.largest)
        if column.is_lost or counts is None:
            raise self._too_many(j)
        used = np.flatnonzero(counts)
        return (float(used[0]), float(used[-1])) if len(used) else (np.nan, np.nan)

    def has_few_values(self, j: int, some: FloatArray) -> bool:
        column = self._numbers(j)
        return column.values is not None and len(column.values) <= most_values(column.n_observed)

    def frequencies(self, j: int, *, missing: bool) -> tuple[FloatArray, FloatArray]:
        column, counts = self.columns[j], self.counts[j]
        if isinstance(column, RunningLabels):
            assert counts is not None
            values, rows = np.flatnonzero(counts).astype(np.float64), counts[counts > 0]
        else:
            if column.values is None:
                raise self._too_many(j)
            values, rows = column.values, column.counts
        if missing and column.n_missing:
            values, rows = np.append(values, np.nan), np.append(rows, column.n_missing)
        return values, rows / rows.sum()

    def numbers(self, atoms: Mapping[int, FloatArray], gridded: Collection[int]) -> dict[int, NumberFacts]:
        # Those with atoms are read again.
        with_atoms = {self.names[j]: of_column for j, of_column in atoms.items() if len(of_column)}
        seen = self.again(with_atoms) if with_atoms else {}
        self.of_atoms.update({name: column.of_atoms for name, column in seen.items()})
        return {j: seen.get(self.names[j], self._numbers(j)).facts for j in atoms}

    def shares_of_atoms(self, j: int, atoms: FloatArray) -> FloatArray:
        column, of_atoms = self._numbers(j), self.of_atoms.get(self.names[j], np.zeros(0, dtype=np.int64))
        of_missing = [column.n_missing] if np.isnan(atoms).any() else []
        rows = np.array([*of_atoms, *of_missing, column.n_observed - of_atoms.sum()])
        return np.asarray(rows / rows.sum())

    def a_fraction(self, j: int) -> float:
        column = self._numbers(j)
        return float(column.largest) if column.grid.fraction is None else column.grid.fraction

    def _too_many(self, j: int) -> InvalidInput:
        return InvalidInput(
            f"A column with levels should have at most {limits.LEVELS_OF_A_PASS:,} of them in a table larger than "
            f"memory, but {shown(self.names[j])} has more: leave it out."
        )

    def _numbers(self, j: int) -> RunningNumbers:
        column = self.columns[j]
        assert isinstance(column, RunningNumbers)
        return column
