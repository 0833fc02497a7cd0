"""Read the rows of table files: all of them, or of a table larger than memory some, and facts of all.

One pass goes over the rows, block by block. The facts of a column do not depend on how its rows lie in blocks. Rows are
chosen by their number: row i has a priority, uniform on (0, 1), which is a function of i alone. Of n rows those are
chosen whose priority is below m / n, which are m but for about sqrt(m). So a smaller choice is a part of every larger
one, and the same however a table is read.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from functools import partial

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from backwalk import limits
from backwalk.errors import InvalidInput, TableFileError
from backwalk.formatting import byte_words, listed
from backwalk.streams import Stream
from backwalk.table.aside import is_unnamed, numbers_rows
from backwalk.table.dtypes import is_text
from backwalk.table.files import SourceFile, faults_of, files_of, table_files
from backwalk.table.frame import Table, table_of_arrow
from backwalk.table.matching import match_columns
from backwalk.table.schema import PER_DAY, FloatArray, Schema, shown, unescaped_cell
from backwalk.table.selection import (
    Selection,
    complete_rows,
    is_plain_text,
    missing_in,
    refuse_almost_numbers,
)
from backwalk.table.sources import Seen, Source, Watch, open_source, watched
from backwalk.table.values import refuse_many_levels
from backwalk.table.whole import MOST_VALUES, RunningLabels, RunningNumbers, WholeTable
from backwalk.text_options import StrPath

# At the peak of a fit, in which rows are held as float64 and their encodings as float64 and twice as float32.
_BYTES_A_CELL, _BYTES_A_COORDINATE, _BYTES_A_ROW = 8.0, 20.0, 24.0
_SHARE_OF_ROWS = 0.75  # of the memory: the rest is for blocks of files and for training
_FEWEST_ROWS = 100
_STANDARD_DEVIATIONS = 8.0  # of the number of rows below a priority, for which there is room from the beginning
_BYTES_A_LABEL = 150
_EXACT = 2.0**53
_BEST_OF_GZIP = 1032  # bytes for one
_ROW = re.compile(r"\brow (\d+)\b")


def _ignore(*_: object) -> None:
    pass


@dataclass(frozen=True, eq=False)
class RowsThatFit:
    """The rows of a table that fit into memory, `table`; all of them, or some that were chosen by their number.

    - `whole`: facts of all rows, where these may not all be in `table`.
    - `n_rows`: the number of all rows, without those left out for their gaps; `n_read` with these.
    - `is_taken`: which of the rows that were read are in `table`, (n_read,); (0,) where there is a `whole`.
    - `priorities`: those of the rows in `table`, (m,), by which fewer can be chosen.
    - `n_files`, `columns_left_out`.
    """

    table: Table
    whole: WholeTable | None
    n_rows: int
    n_read: int
    is_taken: npt.NDArray[np.bool_]
    priorities: FloatArray
    n_files: int
    columns_left_out: tuple[str, ...]

    def chosen(self, most: int) -> npt.NDArray[np.bool_]:
        """Return which rows of `table`, (m,), are in a choice of about `most` rows of all."""
        return np.asarray(self.priorities < _share_of(self.n_read, most))

    def least(self, n: int) -> RowsThatFit:
        """Return the n rows of the least priority, or all: those that a choice has which comes to n."""
        if n >= len(self.priorities):
            return self
        kept = self.priorities <= np.partition(self.priorities, n - 1)[n - 1]
        table = Table(self.table.values[kept], self.table.schema)
        return replace(self, table=table, is_taken=self.is_taken[:0], priorities=self.priorities[kept])


def read_table(path: StrPath) -> Table:
    """Read a table file, or a folder of such files, and check it.

    The suffix names the format: `.csv` or `.tsv` (text with a header line), either followed by `.gz`, or
    `.parquet`; "-" is text from standard input. What separates cells of text, and how numbers and dates are written,
    is what all cells agree on; where they do not show it, a `TextPath` says it. Text and Parquet give a table of kind
    "pyarrow", in which columns of whole numbers are integers. In text, a column has the first type that fits all of its
    cells: integers, truth values, floats, dates, times, texts; empty cells and those like NA are missing values. Codes
    of digits, with leading zeros such as 00501 or of 7 digits or more with a plus, are texts. Headers and texts that
    `write_rows` escaped are restored. The files of a folder are one table, in the order of their names; names that
    begin with _ or a dot are left out. Raises TableFileError.
    """
    return read_part(path, Selection()).table


def read_part(path: StrPath, selection: Selection) -> RowsThatFit:
    """Read the selected columns and rows of a table, all of them, and check them as `read_table` does."""
    with files_of(path) as files:
        return _Pass(open_source(files, selection, limited=True), files, selection).run()


def read_within(
    source: StrPath,
    selection: Selection = Selection(),  # noqa: B008
    *,
    memory: int = limits.MEMORY,
    most: int | None = None,
    watch: Watch = _ignore,
) -> RowsThatFit:
    """Read the selected columns of a table in `memory` bytes: a file, the files of a folder, or those of a pattern.

    A table that does not fit is read once, text twice. Of all rows are then known: names, types, ranges, gaps, the
    levels of texts and of numbers with few values, with their frequencies, and the grids of rounded numbers. Of the
    rows themselves those stay that fit, chosen by their number: the same in each reading, whatever the seed. Columns
    of more than `limits.LEVELS_OF_A_PASS` texts keep no levels. `most` asks for this number of rows instead: those
    that a fit which took as many has chosen. Raises TableFileError, also if a file changes meanwhile.
    """
    if not isinstance(memory, int) or memory < limits.LEAST_MEMORY:
        raise InvalidInput(
            f"memory should be at least {byte_words(limits.LEAST_MEMORY)}, but got {memory!r}: give more."
        )
    with files_of(source) as files:
        found = open_source(files, selection, memory=memory, seen=watched(watch, "finding types", files))
        # The rows of the least priority are among some more that lie below a priority.
        wanted = most_rows(memory, len(found.names)) if most is None else _with_room(most)
        fits = found.n_rows <= wanted and found.n_bytes <= memory / 4
        fits = fits or str(source) == "-"  # standard input is limited, and cannot be read again
        rows = _Pass(found, files, selection, None if fits else wanted, memory, watch).run()
    return rows if most is None else rows.least(most)


def is_read_at_once(source: StrPath, memory: int = limits.MEMORY) -> bool:
    """Return whether a source is one file that surely fits into memory, by its size. Raises TableFileError."""
    if str(source) == "-":
        return True
    files = table_files(source)
    of_text = _BEST_OF_GZIP if files[0].form.compressed else 1
    most_bytes = min(limits.TABLE_FILE_BYTES, memory / 4) / of_text
    return len(files) == 1 and files[0].n_bytes <= most_bytes


def most_rows(memory: int, n_columns: int, n_encoded: int | None = None) -> int:
    """Return how many rows can be fitted in some memory, with as many coordinates as columns or `n_encoded`."""
    n_encoded = n_columns if n_encoded is None else n_encoded
    bytes_a_row = _BYTES_A_ROW + _BYTES_A_CELL * n_columns + _BYTES_A_COORDINATE * n_encoded
    return max(int(_SHARE_OF_ROWS * memory / bytes_a_row), _FEWEST_ROWS)


def priorities_of(first_row: int, n: int) -> FloatArray:
    """Return the priorities of n rows, (n,)."""
    return Stream(0).child("chosen rows").uniform(first_row, first_row + n, 1).numpy()[:, 0]


def _share_of(n_rows: int, most: int) -> float:
    """Return the priority below which about `most` of some rows lie, or 1 where these are no more."""
    return 1.0 if n_rows <= most else most / n_rows


def _with_room(n: int) -> int:
    return n + int(_STANDARD_DEVIATIONS * n**0.5) + 1


def checked_rows(rows: pa.Table, types: Mapping[str, pa.DataType], *, is_text: bool, first_row: int) -> Table:
    """Return rows of a file as a checked table; errors name rows by their number in all files."""
    with rows_numbered_from(first_row):
        table = table_of_arrow(rows, types)
    return _unescaped(table) if is_text else table


@contextmanager
def rows_numbered_from(first: int) -> Iterator[None]:
    """Let errors about a row, counted from the first one of some rows, say its number in the whole input."""
    try:
        yield
    except (InvalidInput, TableFileError) as error:
        if not first:
            raise
        raise type(error)(_ROW.sub(lambda match: f"row {int(match[1]) + first}", str(error))) from error


def _unescaped(table: Table) -> Table:
    """Return a table whose labels are without the apostrophes of `escaped_cell`."""
    values, all_labels = table.values, list(table.schema.labels)
    for j, labels in enumerate(all_labels):
        if labels is None or not any(label.startswith("'") for label in labels):
            continue
        plain = list(map(unescaped_cell, labels))
        all_labels[j] = tuple(sorted(set(plain)))
        place = {label: float(code) for code, label in enumerate(all_labels[j] or ())}
        codes = np.array([*(place[label] for label in plain), np.nan])
        values = values.copy()
        values[:, j] = codes[np.where(np.isnan(values[:, j]), -1, values[:, j]).astype(np.intp)]
    return Table(values, replace(table.schema, labels=tuple(all_labels)))


@dataclass(frozen=True, eq=False)
class _Block:
    """Rows from number `first_row` on: which are taken, (n,), these as a table, and the number of gaps by column."""

    first_row: int
    is_taken: npt.NDArray[np.bool_]
    table: Table | None
    gaps: npt.NDArray[np.int64]


def _blocks(source: Source, names: Sequence[str], selection: Selection, seen: Seen) -> Iterator[_Block]:
    first_row, types = 0, {name: source.types[name] for name in names}
    for rows in source.rows(names, seen):
        is_taken, gaps = np.ones(rows.num_rows, dtype=bool), np.zeros(rows.num_columns, dtype=np.int64)
        if selection.complete:
            is_taken = complete_rows(rows)
            gaps = np.array([int(missing_in(column).sum()) for column in rows.columns])
            rows = rows.filter(pa.array(is_taken))
        table = checked_rows(rows, types, is_text=source.is_text, first_row=first_row) if rows.num_rows else None
        yield _Block(first_row, is_taken, table, gaps)
        first_row += len(is_taken)


class _Pass:
    """A pass over all rows: with `most`, the facts of their columns, and about as many rows, chosen by their number."""

    def __init__(
        self,
        source: Source,
        files: Sequence[SourceFile],
        selection: Selection,
        most: int | None = None,
        memory: int = limits.MEMORY,
        watch: Watch = _ignore,
    ) -> None:
        self._source, self._files, self._selection = source, files, selection
        self._takes_all, self._memory, self._watch = most is None, memory, watch
        most = source.n_rows if most is None else most
        self._share, room = _share_of(source.n_rows, most), min(_with_room(most), source.n_rows)
        self._values, self._priorities = np.empty((room, len(source.names))), np.empty(room)
        self._n_chosen = self._n_rows = 0
        self._columns = list[RunningNumbers | RunningLabels]()
        self._units = list[str | None]()
        self._schema: Schema | None = None

    def run(self) -> RowsThatFit:
        """Read all blocks, and return the chosen rows, and where these may not be all, the facts of all."""
        source, n_read, is_taken = self._source, 0, list[npt.NDArray[np.bool_]]()
        gaps = np.zeros(len(source.names), dtype=np.int64)
        more = f" and {len(self._files) - 1:,} more" if len(self._files) > 1 else ""
        with faults_of(self._files[0].label + more):
            for question in source.questions.values():
                raise TableFileError(question)
            for block in _blocks(source, source.names, self._selection, watched(self._watch, "reading", self._files)):
                gaps += block.gaps
                n_read += len(block.is_taken)
                if self._takes_all:
                    is_taken.append(block.is_taken)
                if block.table is not None:
                    self._take(block, block.table)
            for file in self._files:
                file.refuse_changed()
            if not n_read:
                raise TableFileError("A table should have rows, but has none: give some")
            if self._schema is None:
                where = zip(map(shown, source.names), gaps.tolist(), strict=True)
                raise TableFileError(
                    f"Some rows should have no missing values, but all {n_read:,} have some, in "
                    f"{listed(f'{name} ({n:,})' for name, n in where if n)}: leave out a column"
                )
            table, whole = self._finished(self._schema)
            self._refuse_unnamed(table)
        return RowsThatFit(
            table=table,
            whole=None if self._takes_all else whole,
            n_rows=self._n_rows,
            n_read=n_read,
            is_taken=np.concatenate(is_taken or [np.empty(0, dtype=bool)]),
            priorities=self._priorities[: self._n_chosen],
            n_files=len(self._files),
            columns_left_out=tuple(source.left_out),
        )

    def _running(self, name: str, dtype: str, labels: Sequence[str] | None) -> RunningNumbers | RunningLabels:
        if labels is not None:
            return RunningLabels()
        if self._takes_all:
            return RunningNumbers(dtype, most=0, has_grid=False)
        return RunningNumbers(dtype, most=limits.LEVELS_OF_A_PASS if name in self._selection.texts else MOST_VALUES)

    def _take(self, block: _Block, table: Table) -> None:
        """Add rows to the facts of their columns, and to those that are chosen."""
        if self._schema is None:
            self._schema, self._units = table.schema, list(table.schema.units)
            of_columns = zip(self._source.names, table.schema.dtypes, table.schema.labels, strict=True)
            self._columns = [self._running(*of_column) for of_column in of_columns]
        rows = block.first_row + np.flatnonzero(block.is_taken)
        priorities = priorities_of(block.first_row, len(block.is_taken))[block.is_taken]
        is_chosen = priorities < self._share
        start, stop = self._n_chosen, self._n_chosen + int(is_chosen.sum())
        if stop > len(self._values):  # one in 10^15 tables
            self._values = np.concatenate([self._values, np.empty((stop - start, self._values.shape[1]))])
            self._priorities = np.concatenate([self._priorities, np.empty(stop - start)])
        self._priorities[start:stop] = priorities[is_chosen]
        for j, column in enumerate(self._columns):
            x = np.ascontiguousarray(table.values[:, j])
            if isinstance(column, RunningLabels):
                x = column.add(x, table.schema.labels[j] or (), rows)
            else:
                factor = self._in_one_unit(j, table.schema.units[j])
                column.add(x, factor)
                x = x if factor == 1.0 else x * factor
            self._values[start:stop, j] = x[is_chosen]
        self._n_chosen, self._n_rows = stop, self._n_rows + len(table.values)
        if not self._takes_all:
            self._bound_labels()

    def _in_one_unit(self, j: int, unit: str | None) -> float:
        """Return the factor that brings times of a block into the unit of all rows so far.

        Where a block has a finer unit, which its times need, all times so far are converted.
        """
        before, column = self._units[j], self._columns[j]
        if unit is None or before is None or unit == before:
            return 1.0
        factor = PER_DAY[unit] / PER_DAY[before]
        if factor < 1.0:
            return PER_DAY[before] / PER_DAY[unit]
        assert isinstance(column, RunningNumbers)
        column.scale(factor)
        self._values[: self._n_chosen, j] *= factor
        self._units[j] = unit
        return 1.0

    def _bound_labels(self) -> None:
        """Forget the labels of columns with too many, and refuse those that take too much memory."""
        columns = {
            name: column
            for name, column in zip(self._source.names, self._columns, strict=True)
            if isinstance(column, RunningLabels)
        }
        for column in columns.values():
            if len(column.labels) > limits.LEVELS_OF_A_PASS:
                column.forget()
        n_bytes = sum(column.n_bytes + _BYTES_A_LABEL * len(column.labels) for column in columns.values())
        if n_bytes > self._memory / 4:
            n, name = max((len(column.labels), name) for name, column in columns.items())
            raise TableFileError(
                f"Texts should take at most a quarter of the memory, {byte_words(self._memory // 4)}, but take "
                f"{byte_words(n_bytes)}, with {n:,} different ones in {shown(name)}: leave it out (--drop), or give "
                "more memory (--memory)."
            )

    def _finished(self, schema: Schema) -> tuple[Table, WholeTable]:
        """Return the chosen rows and the facts of all rows, with labels in their final order."""
        all_labels, values = list[tuple[str, ...] | None](), self._values[: self._n_chosen]
        for j, column in enumerate(self._columns):
            if isinstance(column, RunningNumbers):
                unit = self._units[j]
                if unit is not None and max(-column.least, column.largest) > _EXACT:
                    raise InvalidInput(
                        f"Times should be exact in float64, but {schema.label(j)} has some that are not in the unit "
                        f"{unit}, which others need: round them."
                    )
                all_labels.append(None)
            elif column.is_lost:
                values[:, j] = np.nan
                all_labels.append(())
            else:
                codes = column.finish(by_text=is_text(schema.types[j]))
                values[:, j] = codes[np.where(np.isnan(values[:, j]), -1, values[:, j]).astype(np.intp)]
                all_labels.append(tuple(column.labels))
                if is_plain_text(schema.types[j]) and schema.names[j] not in self._selection.texts:
                    refuse_almost_numbers(
                        schema.names[j],
                        column.labels,
                        column.counts,
                        column.first_rows,
                        of_text_file=self._source.is_text,
                    )
        refuse_many_levels(sum(len(labels or ()) for labels in all_labels))
        schema = replace(schema, labels=tuple(all_labels), units=tuple(self._units))
        rows_of = partial(self._rows_of, schema)
        whole = WholeTable(
            self._n_rows, schema.names, schema.dtypes, tuple(self._columns), self._again, rows_of=rows_of
        )
        return Table(values, schema), whole

    def _refuse_unnamed(self, table: Table) -> None:
        """Raise TableFileError for columns without a name that hold something else than the numbers of the rows."""
        for name, column, values in zip(self._source.names, self._columns, table.values.T, strict=True):
            if is_unnamed(name) and column.n_observed and not numbers_rows(column, values[~np.isnan(values)]):
                raise TableFileError(
                    f"Columns should have names, but got {shown(name)}, which does not number the rows: name it, or "
                    f"leave it out (on the command line by --drop {shown(name)})."
                )

    def _rows_of(self, schema: Schema, names: Sequence[str]) -> Iterator[FloatArray]:
        """Yield all rows of some columns, (m, c) at a time, in the codes and units of a schema."""
        wanted = [name for name in self._source.names if name in names or self._selection.complete]
        seen = watched(self._watch, "checking rules", self._files)
        places = [schema.names.index(name) for name in names]
        for block in _blocks(self._source, wanted, self._selection, seen):
            if block.table is not None:
                at = [wanted.index(name) for name in names]
                some = Table(block.table.values[:, at], block.table.schema.taken(at))
                yield match_columns(some, schema.taken(places), name="the table").values
        for file in self._files:
            file.refuse_changed()

    def _again(self, columns: Mapping[str, RunningNumbers]) -> None:
        """Read some columns of numbers again, and add their rows to the facts of each."""
        names = [name for name in self._source.names if name in columns or self._selection.complete]
        seen = watched(self._watch, "reading columns with spikes", self._files)
        for block in _blocks(self._source, names, self._selection, seen):
            for name, column in columns.items() if block.table is not None else ():
                assert block.table is not None
                at = names.index(name)
                unit, last = block.table.schema.units[at], self._units[self._source.names.index(name)]
                factor = 1.0 if unit is None or last is None else PER_DAY[last] / PER_DAY[unit]
                column.add(np.ascontiguousarray(block.table.values[:, at]), factor)
        for file in self._files:
            file.refuse_changed()
