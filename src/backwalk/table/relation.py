"""Rows of a table in DuckDB: the numbers of its columns, in the codes and units of a schema.

A relation is the same for rows in memory (`Relation.of_rows`) and for those of files of any size (`reading`). Whatever
a fit needs to know of all rows is a question to it: facts of columns, values and their frequencies, grids, and the rows
that meet a condition. Rows are chosen by their number: row i has a priority, uniform on [0, 1), which depends on i
alone. Of n rows those are chosen whose priority is below m / n, which are m but for about sqrt(m). So a smaller choice
is a part of every larger one, and the same however a table is read.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Hashable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from functools import cached_property
from typing import TYPE_CHECKING, Any, TypeVar

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from backwalk import limits
from backwalk.errors import InvalidInput
from backwalk.table.database import connect, explained
from backwalk.table.grids import Grid, find_grid, off_grid
from backwalk.table.schema import FloatArray, Schema, shown

if TYPE_CHECKING:
    import duckdb

_Name = TypeVar("_Name", bound=Hashable)
_Item = TypeVar("_Item")

MOST_VALUES = 1_000  # of a number whose distinct values are counted
_SURELY_MORE = 3 * MOST_VALUES  # by DuckDB's estimate, which errs by an eighth
_FEW_VALUES, _ROWS_OF_FEW = 200, 20  # at most, and rows of each at least on average
_COLUMNS_AT_ONCE = 64  # of a query: DuckDB takes long to plan those of thousands
_BLOCK_ROWS = 2**16
_ROWS_LOOKED_AT = 10_000  # for grids, which all rows have to confirm

_FACTS = (
    "count(cell), coalesce(sum(w) FILTER (WHERE cell IS NOT NULL), 0), min(cell), max(cell), "
    "approx_count_distinct(cell)"
)
_MIX = ((16, 0x21F0AAAD), (15, 0xD35A2D97), (15, 0))  # of a bijection of 32 bits: shifts and factors
_BITS = 2**32 - 1


def _is_unchanged() -> None:
    """Say that rows in memory do not change."""


def priorities_of(rows: npt.NDArray[np.int64]) -> FloatArray:
    """Return the priorities of rows by their numbers, (n,): no two of 2^32 rows have the same."""
    x = (rows ^ (rows >> 32)).astype(np.uint64) & np.uint64(_BITS)
    for shift, factor in _MIX:
        x ^= x >> np.uint64(shift)
        x = x * np.uint64(factor) & np.uint64(_BITS) if factor else x
    return np.asarray(x / 2.0**32)


def _below(share: float) -> str:
    """Return the clause of the rows whose priority is below a share."""
    if share >= 1.0:
        return ""
    x = f"(CAST(xor(row, row >> 32) & {_BITS} AS UBIGINT))"
    for shift, factor in _MIX:
        x = f"xor({x}, {x} >> {shift})"
        x = f"({x} * {factor} & {_BITS})" if factor else x
    return f"WHERE {x} < {share * 2.0**32!r}"


def _parts(items: Iterable[_Item]) -> Iterator[list[_Item]]:
    """Yield items in lists of those that one query may have."""
    remaining = list(items)
    for start in range(0, len(remaining), _COLUMNS_AT_ONCE):
        yield remaining[start : start + _COLUMNS_AT_ONCE]


@dataclass(frozen=True)
class NumberFacts:
    """The range of a column's numbers, without its atoms, and the coarsest grid that has them all."""

    least: float
    largest: float
    grid: Grid | None = None


@dataclass(frozen=True, eq=False)
class ColumnFacts:
    """Facts of a column in all rows.

    `n_observed` rows have a value, of the weight `weight`. `least` and `largest` are NaN where none has. `values`,
    increasing, are all of its distinct ones, and `counts` their rows, or the weights of these; None where there are
    more than 1,000 numbers.
    """

    n_observed: int
    weight: float
    least: float
    largest: float
    values: FloatArray | None
    counts: FloatArray


@dataclass(frozen=True, eq=False)
class Relation:
    """Rows of a table in DuckDB.

    - `schema`: that of the columns; labels are codes, and times numbers of its units.
    - `n_rows`: the number of rows, and `weight` that of all; without weights they are the same.
    - `source`: what DuckDB reads rows from, in SQL, with their numbers as `row` and their weights as `w`.
    - `cells`: for each column, the expression of its numbers: a DOUBLE, or null where it is missing.
    - `lost`: the columns of too many texts, whose values are not known.
    - `refuse_changed`: raises TableFileError if the source has changed.
    """

    connection: duckdb.DuckDBPyConnection
    schema: Schema
    n_rows: int
    weight: float
    source: str
    cells: tuple[str, ...]
    lost: frozenset[int] = frozenset()
    refuse_changed: Callable[[], object] = _is_unchanged

    @classmethod
    def of_rows(cls, x: FloatArray, schema: Schema, weights: FloatArray | None = None) -> Relation:
        """Return rows in memory x, (n, d), with gaps, as a relation; `weights` are (n,) or None.

        >>> import numpy as np
        >>> from backwalk.table import Schema
        >>> from backwalk.table.relation import Relation
        >>> schema = Schema(("low", "high"), ("float64", "float64"), "pyarrow")
        >>> rows = Relation.of_rows(np.array([[1.0, 2.0], [3.0, 2.0], [np.nan, 1.0]]), schema)
        >>> rows.facts[0].n_observed, rows.facts[0].largest, rows.facts[1].values
        (2, 3.0, array([1., 2.]))
        >>> rows.broken({"low <= high": f"{rows.cells[0]} > {rows.cells[1]}"})
        {'low <= high': (1, 1)}
        """
        connection = connect()
        columns = {f"x{j}": np.ascontiguousarray(x[:, j]) for j in range(x.shape[1])}
        connection.register("memory", pa.table(columns | ({} if weights is None else {"w": weights})))
        source = f"(SELECT row_number() OVER () - 1 AS row, *{', 1 AS w' if weights is None else ''} FROM memory)"
        cells = tuple(f"nullif(x{j}, 'nan'::DOUBLE)" for j in range(x.shape[1]))
        weight = float(len(x) if weights is None else weights.sum())
        return cls(connection, schema, len(x), weight, source, cells)

    def taken(self, columns: Sequence[int]) -> Relation:
        """Return a relation of some of the columns, by their numbers."""
        found = replace(
            self,
            schema=self.schema.taken(columns),
            cells=tuple(self.cells[j] for j in columns),
            lost=frozenset(i for i, j in enumerate(columns) if j in self.lost),
        )
        if "facts" in self.__dict__:
            found.__dict__["facts"] = tuple(self.facts[j] for j in columns)
        return found

    def with_clocks(self, columns: Sequence[int]) -> Relation:
        """Return a relation in which columns of numbers HHMM, by number, are clock times. Raises InvalidInput."""
        impossible = "cell % 1 > 0 OR cell < 0 OR cell > 2359 OR cell % 100 > 59"
        for j, (n, row) in self.broken({j: impossible.replace("cell", self.cells[j]) for j in columns}).items():
            if n:
                ((value,),) = self.query(self.cells[j], f"WHERE row = {row}")
                raise InvalidInput(
                    f"{self.schema.label(j)} should hold clock times HHMM, from 0 to 2359, but has {value:g} at row "
                    f"{row} (rows count from 0), and others in {n - 1:,} rows: mend them; midnight is 0."
                )
        cells = (f"({cell} - 40 * floor({cell} / 100))" if j in columns else cell for j, cell in enumerate(self.cells))
        return replace(self, schema=self.schema.with_clocks(columns), cells=tuple(cells))

    def with_columns(self, schema: Schema, cells: Sequence[str]) -> Relation:
        """Return a relation of a schema with further columns, whose numbers are `cells` in SQL."""
        return replace(self, schema=schema, cells=(*self.cells, *cells))

    def query(self, selected: str, after: str = "") -> list[tuple[Any, ...]]:
        """Return the rows of a query that selects from this relation. Raises TableFileError if a file has changed."""
        with self._watched():
            return self.connection.execute(f"SELECT {selected} FROM {self.source} {after}").fetchall()

    @contextmanager
    def _watched(self) -> Iterator[None]:
        """Turn errors of DuckDB into ours; that the source has changed comes first."""
        try:
            with explained():
                yield
        finally:
            self.refuse_changed()

    def broken(self, conditions: Mapping[_Name, str]) -> dict[_Name, tuple[int, int]]:
        """Return for each condition in SQL in how many rows it is true, and the number of the first, -1 for none."""
        found = dict[_Name, tuple[int, int]]()
        for some in _parts(conditions.items()):
            asked = (f"count(*) FILTER (WHERE {each}), min(row) FILTER (WHERE {each})" for _, each in some)
            (answers,) = self.query(", ".join(asked))
            for i, (name, _) in enumerate(some):
                n, first = answers[2 * i : 2 * i + 2]
                found[name] = (n, -1 if first is None else first)
        return found

    def blocks(self, share: float = 1.0) -> Iterator[tuple[npt.NDArray[np.int64], FloatArray]]:
        """Yield the numbers of rows, (m,), and their values, (m, d), of those whose priority is below a share."""
        selected = ", ".join(["row", *(f"{cell} AS c{j}" for j, cell in enumerate(self.cells))])
        with self._watched():
            found = self.connection.sql(f"SELECT {selected} FROM {self.source} {_below(share)}")
            for batch in found.to_arrow_reader(_BLOCK_ROWS):
                values = np.empty((batch.num_rows, len(self.cells)))
                for i, column in enumerate(batch.columns[1:]):
                    values[:, i] = column.to_numpy(zero_copy_only=False)
                yield batch.column(0).to_numpy(), values

    def count(self, share: float) -> int:
        """Return the number of rows whose priority is below a share."""
        return self.n_rows if share >= 1.0 else int(self.query("count(*)", _below(share))[0][0])

    def sample(self, most: int) -> FloatArray:
        """Return the values of about `most` rows, (m, d), chosen by their number, or of all."""
        share = 1.0 if self.n_rows <= most else most / self.n_rows
        return np.concatenate([np.empty((0, len(self.cells))), *(values for _, values in self.blocks(share))])

    @cached_property
    def facts(self) -> tuple[ColumnFacts, ...]:
        """The facts of each column: one aggregate of all, and a GROUP BY of each that has few values or labels."""
        found = list[ColumnFacts]()
        for some in _parts(range(len(self.cells))):
            asked = (_FACTS.replace("cell", self.cells[j]) for j in some)
            (answers,) = self.query(", ".join(asked))
            for i, j in enumerate(some):
                n, weight, least, largest, n_distinct = answers[5 * i : 5 * i + 5]
                values, counts = None, np.empty(0)
                if self.schema.labels[j] is not None or n_distinct <= _SURELY_MORE:
                    values, counts = self._counted(j)
                    if self.schema.labels[j] is None and len(values) > MOST_VALUES:
                        values, counts = None, np.empty(0)
                low, high = (np.nan if end is None else float(end) for end in (least, largest))
                found.append(ColumnFacts(n, float(weight), low, high, values, counts))
        return tuple(found)

    def _counted(self, j: int, condition: str = "true") -> tuple[FloatArray, FloatArray]:
        """Return the distinct values of a column that meet a condition, increasing, and their rows or weights."""
        where = f"WHERE cell IS NOT NULL AND {condition} GROUP BY 1 ORDER BY 1".replace("cell", self.cells[j])
        answers = np.array(self.query(f"{self.cells[j]}, sum(w)", where), dtype=np.float64).reshape(-1, 2)
        return answers[:, 0], answers[:, 1]

    @property
    def n_missing(self) -> npt.NDArray[np.int64]:
        """The number of missing values of each column, (d,)."""
        return np.array([self.n_rows - column.n_observed for column in self.facts], dtype=np.int64)

    @property
    def ends(self) -> tuple[FloatArray, FloatArray]:
        """The least and the largest value of each column, (d,) each; NaN where there is none."""
        for j in self.lost:
            raise self._too_many(j)
        return np.array([each.least for each in self.facts]), np.array([each.largest for each in self.facts])

    def has_few_values(self, j: int) -> bool:
        """Return whether a number has two distinct values, or few: at most 200, each in 20 rows on average."""
        column = self.facts[j]
        most = max(2.0, min(_FEW_VALUES, column.n_observed / _ROWS_OF_FEW))
        return column.values is not None and len(column.values) <= most

    def has_two_values(self, j: int) -> bool:
        """Return whether a number has two distinct values; labels are no numbers."""
        values = self.facts[j].values
        return self.schema.labels[j] is None and values is not None and len(values) == 2

    def counted(self, j: int) -> tuple[FloatArray, FloatArray]:
        """Return a number's values, increasing, and in how many rows of mean weight each is; none if they are many."""
        column = self.facts[j]
        if column.values is None or not column.n_observed:
            return np.empty(0), np.empty(0)
        return column.values, column.counts * (column.n_observed / column.weight)

    def frequencies(self, j: int, *, missing: bool) -> tuple[FloatArray, FloatArray]:
        """Return the distinct values of a column and their shares; if it is `missing` in some rows, NaN is the last.

        Raises InvalidInput where there are more than `limits.LEVELS_OF_A_PASS`.
        """
        column = self.facts[j]
        values, rows = (column.values, column.counts) if column.values is not None else self._counted(j)
        if j in self.lost or len(values) > limits.LEVELS_OF_A_PASS:
            raise self._too_many(j)
        if missing and column.n_observed < self.n_rows:
            values, rows = np.append(values, np.nan), np.append(rows, self.weight - column.weight)
        return values, rows / rows.sum()

    def numbers(self, atoms: Mapping[int, FloatArray], gridded: Collection[int]) -> dict[int, NumberFacts]:
        """Return the facts of some columns of numbers, without their `atoms`; a grid only for those `gridded`."""
        cells = {j: self._without(j, of_column) for j, of_column in atoms.items()}
        facts = {j: NumberFacts(self.facts[j].least, self.facts[j].largest) for j in atoms}
        for some in _parts(j for j, of_column in atoms.items() if len(of_column)):
            (answers,) = self.query(", ".join(f"min({cells[j]}), max({cells[j]})" for j in some))
            ends = np.array(answers, dtype=np.float64).reshape(-1, 2)  # null becomes NaN
            facts |= {j: NumberFacts(low, high) for j, (low, high) in zip(some, ends.tolist(), strict=True)}
        grids = self._grids({j: cells[j] for j in cells if j in set(gridded)}, facts)
        return {j: replace(each, grid=grids.get(j)) for j, each in facts.items()}

    def _without(self, j: int, atoms: FloatArray) -> str:
        """Return the expression of a column's numbers without its atoms."""
        return (
            f"(CASE WHEN {self._is_atom(j, atoms)} THEN NULL ELSE {self.cells[j]} END)" if len(atoms) else self.cells[j]
        )

    def _is_atom(self, j: int, atoms: FloatArray) -> str:
        numbers = ", ".join(f"'{atom!r}'::DOUBLE" for atom in atoms[~np.isnan(atoms)].tolist())
        return f"{self.cells[j]} IN ({numbers})" if numbers else "false"

    def _grids(self, cells: Mapping[int, str], facts: Mapping[int, NumberFacts]) -> dict[int, Grid | None]:
        """Return the grids of columns, which some rows suggest and all confirm; a row that is off one mends it."""
        looked_at = replace(self, cells=tuple(cells.values())).sample(_ROWS_LOOKED_AT)
        some = {j: x[~np.isnan(x)] for j, x in zip(cells, looked_at.T, strict=True)}
        found, asked = dict[int, Grid | None](), list(cells)
        while asked:
            for j in asked:
                values, dtype = self.facts[j].values, self.schema.dtypes[j]
                n_distinct = MOST_VALUES if values is None else len(values)
                farthest = max(abs(facts[j].least), abs(facts[j].largest))
                found[j] = find_grid(some[j], dtype, n_distinct=n_distinct, farthest=farthest)
            off = {j: off_grid(cells[j], grid, self.schema.dtypes[j]) for j in asked if (grid := found[j])}
            asked = list[int]()
            for part in _parts(off if self.n_rows > len(looked_at) else ()):
                (others,) = self.query(", ".join(f"any_value({cells[j]}) FILTER (WHERE {off[j]})" for j in part))
                for j, other in zip(part, others, strict=True):
                    if other is not None:
                        some[j], asked = np.append(some[j], other), [*asked, j]
        return found

    def shares_of_atoms(self, j: int, atoms: FloatArray) -> FloatArray:
        """Return the shares of atoms, of which NaN is a missing value, and last that of all other values."""
        values, counts = self._counted(j, self._is_atom(j, atoms))
        of_value = dict(zip(values.tolist(), counts.tolist(), strict=True))
        weight = self.facts[j].weight
        rows = [self.weight - weight if np.isnan(atom) else of_value.get(atom, 0.0) for atom in atoms.tolist()]
        shares = np.array([*rows, weight - counts.sum()])
        return np.asarray(shares / shares.sum())

    def a_fraction(self, j: int) -> float:
        """Return a value of a column that is no integer, or any value if all are."""
        cell = self.cells[j]
        found = self.query(cell, f"WHERE {cell} <> round({cell}) LIMIT 1")
        return float(found[0][0]) if found else self.facts[j].largest

    def increases(self, j: int) -> bool:
        """Return whether each value of a column is larger than that of the row before it, gaps apart."""
        cell = self.cells[j]
        before = f"(SELECT {cell} AS x FROM {self.source} WHERE {cell} IS NOT NULL)"
        steps = replace(self, source=f"(SELECT x, lag(x) OVER () AS before FROM {before})")
        return steps.query("bool_and(x > before)")[0][0] is not False

    def _too_many(self, j: int) -> InvalidInput:
        return InvalidInput(
            f"A column with levels should have at most {limits.LEVELS_OF_A_PASS:,} of them, but "
            f"{shown(self.schema.names[j])} has more: leave it out."
        )
