"""Rows of table files by their numbers, in blocks of a fixed number of rows, so that memory holds one block.

`files_of_rows` looks at files once, and `row_blocks` reads any rows of them later, in any process. Of Parquet it reads
the row groups that hold these rows, from the first one on. Text is read from the last mark before them: `files_of_rows`
reads it once to count rows, and marks the place of every `every`-th row. In text that is compressed, all before that
place is decompressed again.

Both refuse files that have changed in between (`row_files.py`).
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.parquet

from backwalk.errors import InvalidInput, TableFileError
from backwalk.formatting import listed, one_line
from backwalk.table.delimited import DelimitedText
from backwalk.table.dtypes import is_text
from backwalk.table.formats import format_of
from backwalk.table.frame import Table
from backwalk.table.gaps import missing_in, refuse_almost_numbers
from backwalk.table.reading import Columns, checked_rows, opened
from backwalk.table.row_files import (
    FileOfRows,
    changed_file,
    look_at_parquet,
    look_at_text,
    parquet_rows,
    parquet_schema,
    text_rows,
)
from backwalk.table.schema import shown
from backwalk.table.selection import Selection
from backwalk.table.splitting import decoded
from backwalk.table.typed_text import typed_columns

BLOCK_ROWS = 2**16
"""Rows of a block; blocks begin at its multiples."""


@dataclass(frozen=True, eq=False)
class RowBlock:
    """Rows from number `first` on, as the files have them: all columns that were asked for, text as bytes."""

    first: int
    rows: pa.Table
    is_text: bool

    def table(self, selection: Selection, *, complete: bool = False) -> tuple[Table | None, npt.NDArray[np.bool_]]:
        """Return the selected columns as a checked table, and which rows are in it, (n,).

        Rows with missing values are left out if it should be `complete`; the table is None if no row is left. Errors
        name rows by their numbers in all files.
        """
        with rows_numbered_from(self.first):
            native = self._columns(selection)
            assert isinstance(native.rows, pa.Table)
            refuse_almost_numbers(native.rows, selection.texts)
            is_taken = np.ones(self.rows.num_rows, dtype=bool)
            for column in native.rows.columns if complete else ():
                is_taken &= ~missing_in(column)
            return checked_rows(native, is_taken) if is_taken.any() else None, is_taken

    def _columns(self, selection: Selection) -> Columns:
        taken = self.rows.select(selection.names(self.rows.column_names))
        if not self.is_text:
            types = {field.name: _plain(field.type) for field in taken.schema}
            return Columns(taken, types)
        cells = {name: column.combine_chunks() for name, column in zip(taken.column_names, taken.columns, strict=True)}
        return Columns(typed_columns(cells, selection.texts, selection.numbers), is_text=True)

    def plain(self, names: Sequence[str]) -> pa.Table:
        """Return some columns as they stand, with texts as texts."""
        taken = self.rows.select(list(names))
        if self.is_text:
            try:
                return taken.cast(pa.schema([(name, pa.string()) for name in names]))
            except pa.ArrowInvalid as error:
                raise TableFileError(
                    f"Columns {listed(map(shown, names))} should be UTF-8 text, but are not (Latin-1?): save the file "
                    "as UTF-8."
                ) from error
        return pa.table({name: decoded(name, taken[name]) for name in names})


@contextmanager
def rows_numbered_from(first: int) -> Iterator[None]:
    """Let errors about rows that "count from 0" say from which row of the input they count."""
    try:
        yield
    except (InvalidInput, TableFileError) as error:
        if not first:
            raise
        text = str(error).replace("rows count from 0", f"rows count from row {first:,} of the input")
        raise type(error)(text) from error


def files_of_rows(
    paths: Sequence[str | Path], every: int, watch: Callable[[int], object] = lambda _: None
) -> tuple[FileOfRows, ...]:
    """Look at files of the same columns, Parquet or text, in their order, and mark every `every`-th row of text.

    `watch` is called with the numbers of rows that were counted. Raises TableFileError.
    """
    forms = {format_of(path).kind for path in paths}
    if forms not in ({"parquet"}, {"text"}):
        raise TableFileError(
            f"Rows by their numbers should be read from Parquet or text files, but got {listed(map(str, paths))}: "
            "convert them to Parquet."
        )
    found, names, first = list[FileOfRows](), list[tuple[str, ...]](), 0
    for path in paths:
        looked = look_at_parquet(path) if forms == {"parquet"} else look_at_text(path, first, every, watch)
        found.append(looked[0])
        names.append(looked[1])
        first += looked[0].rows
        if set(names[-1]) != set(names[0]):
            other = listed(map(shown, sorted(set(names[-1]) ^ set(names[0]))))
            raise TableFileError(
                f"Files of one table should have the same columns, but {paths[0]} and {path} differ in {other}: give "
                "files of one table."
            )
    if not first:
        raise TableFileError(f"{listed(map(str, paths))} should hold rows, but has none: give another table.")
    return tuple(found)


def names_in(file: FileOfRows) -> tuple[str, ...]:
    """Return the names of the columns of a file. Raises TableFileError."""
    with opened(file.path) as (data, form):
        if form.kind == "parquet":
            return tuple(pyarrow.parquet.read_schema(data).names)
        return DelimitedText(data, form.delimiter, limited=False).names


def row_blocks(
    files: Sequence[FileOfRows], start: int, stop: int, names: Sequence[str], *, exact: Sequence[str] = ()
) -> Iterator[RowBlock]:
    """Yield some columns of rows start..stop-1 of files that follow each other, in blocks.

    A block ends at a multiple of BLOCK_ROWS, or at `stop`. Columns have the types of the first file. The cells of
    columns named by `exact` are never missing in text: "NA" is a text there. Raises TableFileError, also for files that
    have changed since they were looked at.
    """
    reads_text = format_of(files[0].path).kind == "text"
    schema = None if reads_text else parquet_schema(files[0], names)
    waiting, first = list[pa.Table](), start
    for rows in _tables(files, start, stop, names, exact):
        waiting.append(rows if schema is None or rows.schema == schema else _as_first(rows, schema))
        while (n := sum(table.num_rows for table in waiting)) >= (size := _size(first, stop)):
            together = pa.concat_tables(waiting)
            yield RowBlock(first, together.slice(0, size), reads_text)
            waiting, first = [together.slice(size)], first + size
            if first == stop or n == size:
                break


def _size(first: int, stop: int) -> int:
    """Return the number of rows of the block that begins at a row."""
    return min(first - first % BLOCK_ROWS + BLOCK_ROWS, stop) - first


def _as_first(rows: pa.Table, schema: pa.Schema) -> pa.Table:
    try:
        return rows.cast(schema)
    except (pa.ArrowInvalid, pa.ArrowNotImplementedError) as error:
        raise TableFileError(
            f"Files of one table should have columns of the same types, but: {one_line(error)}. Convert some."
        ) from error


def _tables(
    files: Sequence[FileOfRows], start: int, stop: int, names: Sequence[str], exact: Sequence[str]
) -> Iterator[pa.Table]:
    """Yield the rows of all files in tables of any size."""
    before = 0
    for file in files:
        first, last = max(start - before, 0), min(stop - before, file.rows)
        before += file.rows
        if first < last:
            n_rows, found = 0, parquet_rows(file, first, last, names)
            if format_of(file.path).kind == "text":
                found = text_rows(file, first, last, names, exact)
            for rows in found:
                n_rows += rows.num_rows
                yield rows
            if n_rows != last - first:
                raise changed_file(file)


def _plain(of_type: pa.DataType) -> pa.DataType:
    is_text_dictionary = pa.types.is_dictionary(of_type) and is_text(of_type.value_type)
    return of_type.value_type if is_text_dictionary else of_type
