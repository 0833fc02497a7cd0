"""Rows of table files by their numbers, in blocks of a fixed number of rows, so that memory holds one block.

`files_of_rows` looks at files once, and `row_blocks` reads any rows of them later, in any process. Of Parquet it reads
the row groups that hold these rows. Text is looked at to count its rows, and the place of every `every`-th row is
marked; what lies between two marks is copied and read as a text of its own. In text that is compressed, all before a
mark is decompressed again.

Files that have changed in between are refused: a file is recognised by its size; Parquet by the footer, which holds the
place, size and statistics of every column; text by the bytes between two marks.
"""

from __future__ import annotations

import hashlib
import os
import tempfile
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from backwalk.errors import TableFileError
from backwalk.formatting import listed, one_line
from backwalk.table.dtypes import is_text
from backwalk.table.files import SourceFile, format_of, opened
from backwalk.table.frame import Table
from backwalk.table.gaps import missing_in, refuse_almost_numbers
from backwalk.table.parquet_files import decoded, footer_bytes, look_at_parquet, opened_parquet, parquet_rows
from backwalk.table.reading import checked_rows, rows_numbered_from
from backwalk.table.rewriting import text_rows
from backwalk.table.schema import MISSING_WORDS, shown
from backwalk.table.selection import Selection
from backwalk.table.text_files import TextFile, TextTable, read_header

BLOCK_ROWS = 2**16
"""Rows of a block; blocks begin at its multiples."""

_BATCH_BYTES = 2**26
_COPIED_AT_ONCE = 2**20
_MISSING = pa.array(sorted(MISSING_WORDS))


@dataclass(frozen=True)
class Mark:
    """A place in a text file: the number of the row that begins there, and the SHA-256 up to the next mark."""

    row: int
    offset: int
    sha256: str


@dataclass(frozen=True)
class FileOfRows:
    """A table file as it was when it was looked at: its rows, its size, its checksum, and when it was last modified.

    `sha256` is that of a Parquet file's footer, or of a text; `modified` is in nanoseconds since 1970; `marks` has the
    places in a text.
    """

    path: str
    rows: int
    bytes: int
    sha256: str
    modified: int
    marks: tuple[Mark, ...] = ()

    @property
    def source(self) -> SourceFile:
        """The file as it is now. Raises TableFileError if it has another size."""
        source = SourceFile.of(Path(self.path))
        if source.n_bytes != self.bytes:
            raise self.changed()
        return source

    def changed(self) -> TableFileError:
        """Return the error about a file that is not the one that was looked at."""
        return TableFileError(
            f"{self.path} should be the file with which the work was begun, but has changed: put it back, or begin "
            "anew."
        )


@dataclass(frozen=True, eq=False)
class RowBlock:
    """Rows from number `first` on, as the files have them: all columns that were asked for, those of text as texts.

    In the columns `exact` of text no cell is a missing value.
    """

    first: int
    rows: pa.Table
    is_text: bool
    exact: tuple[str, ...] = ()

    def table(self, selection: Selection, *, complete: bool = False) -> tuple[Table | None, npt.NDArray[np.bool_]]:
        """Return the selected columns as a checked table, and which rows are in it, (n,).

        Rows with missing values are left out if it should be `complete`; the table is None if no row is left. Errors
        name rows by their numbers in all files.
        """
        with rows_numbered_from(self.first):
            if self.is_text:
                rows = TextTable(self.rows, "the table").typed(selection)
            else:
                rows = self.rows.select(selection.names(self.rows.column_names))
            refuse_almost_numbers(rows, selection.texts)
            is_taken = np.ones(rows.num_rows, dtype=bool)
            for column in rows.columns if complete else ():
                is_taken &= ~missing_in(column)
        if not is_taken.any():
            return None, is_taken
        types = {field.name: _without_dictionary(field.type) for field in rows.schema}
        taken = rows if is_taken.all() else rows.filter(pa.array(is_taken))
        return checked_rows(taken, types, is_text=self.is_text, first_row=self.first), is_taken

    def plain(self, names: Sequence[str]) -> pa.Table:
        """Return some columns as they stand, with texts as texts."""
        if not self.is_text:
            return pa.table({name: decoded(name, self.rows[name]) for name in names})
        columns = {name: self.rows[name] for name in names}
        for name in set(names) - set(self.exact):
            columns[name] = pc.if_else(pc.is_in(columns[name], value_set=_MISSING), None, columns[name])
        return pa.table(columns)


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
    files, first_names = list[FileOfRows](), frozenset[str]()
    for path in paths:
        n_before = sum(file.rows for file in files)
        source = SourceFile.of(Path(path))
        file, names = (
            _look_at_parquet(source) if forms == {"parquet"} else _look_at_text(source, n_before, every, watch)
        )
        files.append(file)
        first_names = first_names or frozenset(names)
        if set(names) != first_names:
            other = listed(map(shown, sorted(set(names) ^ first_names)))
            raise TableFileError(
                f"Files of one table should have the same columns, but {paths[0]} and {path} differ in {other}: give "
                "files of one table."
            )
    if not sum(file.rows for file in files):
        raise TableFileError(f"{listed(map(str, paths))} should hold rows, but has none: give another table.")
    return tuple(files)


def _look_at_parquet(source: SourceFile) -> tuple[FileOfRows, Sequence[str]]:
    schema, _, n_rows, _ = look_at_parquet(source, Selection(), limited=False)
    path = str(source.path.absolute())
    return FileOfRows(path, n_rows, source.n_bytes, _footer_sha256(source), source.modified), schema.names


def _footer_sha256(source: SourceFile) -> str:
    with opened(source) as data:
        data.seek(-footer_bytes(data), os.SEEK_END)
        return hashlib.sha256(data.read()).hexdigest()


def _look_at_text(
    source: SourceFile, before: int, every: int, watch: Callable[[int], object]
) -> tuple[FileOfRows, Sequence[str]]:
    """Count the rows of a text file; of all rows, of which it has those from `before` on, mark every `every`-th."""
    with opened(source) as data:
        names = read_header(data, source.form.delimiter).names
        n_rows, places = -1, list[tuple[int, int]]()  # the header is no row
        data.seek(0)
        for row in text_rows(data, source.form.delimiter, len(names)):
            if n_rows == 0 or (n_rows > 0 and (before + n_rows) % every == 0):
                places.append((n_rows, row.offset))
                watch(n_rows - (places[-2][0] if len(places) > 1 else 0))
            n_rows += 1
        places = places or [(0, row.offset + len(row.data))]
        watch(n_rows - places[-1][0])
        ends = [*(offset for _, offset in places[1:]), None]
        data.seek(places[0][1])
        digests = [_copied(data, offset, end) for (_, offset), end in zip(places, ends, strict=True)]
        data.seek(0)
        sha256 = _copied(data, 0, None)
    marks = tuple(Mark(row, offset, digest) for (row, offset), digest in zip(places, digests, strict=True))
    path = str(source.path.absolute())
    return FileOfRows(path, n_rows, source.n_bytes, sha256, source.modified, marks), names


def _copied(data: BinaryIO, begin: int, end: int | None, copy: BinaryIO | None = None) -> str:
    """Copy what follows in a file, which is at `begin`, up to `end`; return its SHA-256."""
    digest, left = hashlib.sha256(), end - begin if end is not None else None
    while block := data.read(_COPIED_AT_ONCE if left is None else min(left, _COPIED_AT_ONCE)):
        digest.update(block)
        if copy is not None:
            copy.write(block)
        left = None if left is None else left - len(block)
    return digest.hexdigest()


def names_in(file: FileOfRows) -> tuple[str, ...]:
    """Return the names of the columns of a file. Raises TableFileError."""
    source = SourceFile.of(Path(file.path))
    if source.form.kind == "parquet":
        with opened_parquet(source) as parquet:
            return tuple(parquet.schema_arrow.names)
    with opened(source) as data:
        return read_header(data, source.form.delimiter).names


def row_blocks(
    files: Sequence[FileOfRows], start: int, stop: int, names: Sequence[str], *, exact: Sequence[str] = ()
) -> Iterator[RowBlock]:
    """Yield some columns of rows start..stop-1 of files that follow each other, in blocks.

    A block ends at a multiple of BLOCK_ROWS, or at `stop`. Columns have the types of the first file. The cells of
    columns named by `exact` are never missing in text: "NA" is a text there. Raises TableFileError, also for files that
    have changed since they were looked at.
    """
    is_from_text = format_of(files[0].path).kind == "text"
    waiting, first, schema = list[pa.Table](), start, None
    for rows in _tables(files, start, stop, names):
        schema = schema or _schema_of(files[0], names, rows.schema)
        waiting.append(rows if rows.schema == schema else _as_first(rows, schema))
        while (n := sum(table.num_rows for table in waiting)) >= (size := _size(first, stop)):
            together = pa.concat_tables(waiting)
            yield RowBlock(first, together.slice(0, size), is_from_text, tuple(exact))
            waiting, first = [together.slice(size)], first + size
            if first == stop or n == size:
                break


def _size(first: int, stop: int) -> int:
    """Return the number of rows of the block that begins at a row."""
    return min(first - first % BLOCK_ROWS + BLOCK_ROWS, stop) - first


def _schema_of(file: FileOfRows, names: Sequence[str], schema: pa.Schema) -> pa.Schema:
    """Return the types that columns of a file have in a table: texts of Parquet are dictionaries."""
    if format_of(file.path).kind == "text":
        return schema
    with opened_parquet(file.source) as parquet:
        types = {name: parquet.schema_arrow.field(name).type for name in names}
    return pa.schema(
        [(name, pa.dictionary(pa.int32(), of_type) if is_text(of_type) else of_type) for name, of_type in types.items()]
    )


def _as_first(rows: pa.Table, schema: pa.Schema) -> pa.Table:
    columns = []
    for field, column in zip(schema, rows.columns, strict=True):
        try:
            if pa.types.is_dictionary(field.type) and not pa.types.is_dictionary(column.type):
                column = column.cast(field.type.value_type).dictionary_encode()
            columns.append(column.cast(field.type))
        except (pa.ArrowInvalid, pa.ArrowNotImplementedError) as error:
            raise TableFileError(
                f"Files of one table should have columns of the same types, but: {one_line(error)}. Convert some."
            ) from error
    return pa.table(columns, schema=schema)


def _tables(files: Sequence[FileOfRows], start: int, stop: int, names: Sequence[str]) -> Iterator[pa.Table]:
    """Yield the rows of all files in tables of any size."""
    before = 0
    for file in files:
        first, last = max(start - before, 0), min(stop - before, file.rows)
        before += file.rows
        if first >= last:
            continue
        place = first
        for rows in _text_rows(file, first, names) if file.marks else _parquet_rows(file, first, names):
            rows = rows.slice(0, last - place)
            place += rows.num_rows
            yield rows
            if place == last:
                break
        if place < last:
            raise file.changed()


def _parquet_rows(file: FileOfRows, first: int, names: Sequence[str]) -> Iterator[pa.Table]:
    """Yield some columns of a Parquet file from row `first` on, texts as dictionaries."""
    source = file.source
    if _footer_sha256(source) != file.sha256:
        raise file.changed()
    with opened_parquet(source) as parquet:
        nested = [name for name in names if pa.types.is_nested(parquet.schema_arrow.field(name).type)]
        if nested:
            raise TableFileError(f"Columns should hold single values, but {shown(nested[0])} is nested: drop it.")
    yield from parquet_rows(source, names, BLOCK_ROWS, _BATCH_BYTES, first)


def _text_rows(file: FileOfRows, first: int, names: Sequence[str]) -> Iterator[pa.Table]:
    """Yield some columns of a text file from row `first` on, as texts, of which none is missing."""
    source, ends = file.source, [*((mark.row, mark.offset) for mark in file.marks[1:]), (file.rows, None)]
    for mark, (last, end) in zip(file.marks, ends, strict=True):
        if last <= first:
            continue
        with tempfile.TemporaryDirectory() as folder:
            path = Path(folder) / f"rows{'.tsv' if source.form.delimiter == chr(9) else '.csv'}"
            with opened(source) as data, path.open("wb") as copy:
                copy.write(data.read(file.marks[0].offset))  # the header
                data.seek(mark.offset)
                if _copied(data, mark.offset, end, copy) != mark.sha256:
                    raise file.changed()
            text = TextFile(SourceFile.of(path, file.path))
            place = mark.row
            n_rows = last - mark.row + (len(text.names) > 1)  # one more, which should not be there
            for rows in text.rows(names, n_rows, BLOCK_ROWS):
                skipped = max(first - place, 0)
                place += rows.num_rows
                if skipped < rows.num_rows:
                    yield rows.slice(skipped)
            if place != last:
                raise TableFileError(f"{file.path}: the ends of rows are ambiguous: write it anew with quoted texts.")


def _without_dictionary(of_type: pa.DataType) -> pa.DataType:
    is_text_dictionary = pa.types.is_dictionary(of_type) and is_text(of_type.value_type)
    return of_type.value_type if is_text_dictionary else of_type
