"""Rows of table files by their numbers, in blocks of a fixed number of rows, so that memory holds one block.

`files_of_rows` looks at files once, and `row_blocks` reads any rows of them later, in any process. Of Parquet it reads
the row groups that hold these rows; in text DuckDB passes over the rows before them.

Files that have changed in between are refused: a file is recognised by its size and a checksum, of text that of all
bytes; of Parquet that of the footer, which holds the place, size and statistics of every column.
"""

from __future__ import annotations

import hashlib
import os
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from backwalk.errors import TableFileError
from backwalk.formatting import listed, one_line
from backwalk.limits import MEMORY
from backwalk.table.dtypes import is_text
from backwalk.table.files import SourceFile, faults_of, format_of
from backwalk.table.frame import Table
from backwalk.table.parquet_files import ParquetFile, decoded, footer_bytes
from backwalk.table.reading import checked_rows, rows_numbered_from
from backwalk.table.schema import shown
from backwalk.table.selection import Selection, complete_rows, refuse_almost_numbers
from backwalk.table.sources import TextFiles, open_file
from backwalk.table.text_files import TextFile, TextTable
from backwalk.table.text_options import StrPath, TextOptions, options_of
from backwalk.table.whole import RunningLabels

BLOCK_ROWS = 2**16
"""Rows of a block; blocks begin at its multiples."""


@dataclass(frozen=True)
class FileOfRows:
    """A table file as it was when it was looked at: its rows, its size, its checksum, and when it was last modified.

    `sha256` is that of a Parquet file's footer, or of a text; `modified` is in nanoseconds since 1970. `text` is how
    the cells of a text are written: some of its rows may not show it.
    """

    path: str
    rows: int
    bytes: int
    sha256: str
    modified: int
    text: TextOptions = TextOptions()  # noqa: RUF009

    @property
    def source(self) -> SourceFile:
        """The file as it is now. Raises TableFileError if it has another size or checksum."""
        source = SourceFile.of(Path(self.path), text=self.text)
        if source.n_bytes != self.bytes or _sha256(source) != self.sha256:
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

    `text` is how the files of text are written, None for others. A missing value in text is null.
    """

    first: int
    rows: pa.Table
    text: TextOptions | None

    def table(self, selection: Selection) -> tuple[Table | None, npt.NDArray[np.bool_]]:
        """Return the selected columns and rows as a checked table, None if it has no row, and which rows it has, (n,).

        Errors name rows by their numbers in all files.
        """
        with rows_numbered_from(self.first):
            if self.text is not None:
                rows = TextTable(self.rows, "the table", self.text).typed(selection)
            else:
                rows = self.rows.select(selection.names(self.rows.column_names))
            is_taken = complete_rows(rows) if selection.complete else np.ones(rows.num_rows, dtype=bool)
        if not is_taken.any():
            return None, is_taken
        types = {field.name: _without_dictionary(field.type) for field in rows.schema}
        table = checked_rows(
            rows.filter(pa.array(is_taken)), types, is_text=self.text is not None, first_row=self.first
        )
        for name, values, labels in zip(rows.column_names, table.values.T, table.schema.labels, strict=True):
            if name not in selection.texts and is_text(types[name]):
                texts = RunningLabels()
                texts.add(values, labels or (), self.first + np.flatnonzero(is_taken))
                refuse_almost_numbers(
                    name, texts.labels, texts.counts, texts.first_rows, of_text_file=self.text is not None
                )
        return table, is_taken

    def plain(self, names: Sequence[str]) -> pa.Table:
        """Return some columns as they stand, with texts as texts."""
        if self.text is None:
            return pa.table({name: decoded(name, self.rows[name]) for name in names})
        return self.rows.select(names)


def files_of_rows(paths: Sequence[StrPath], watch: Callable[[int], object] = lambda _: None) -> tuple[FileOfRows, ...]:
    """Look at files of the same columns, Parquet or text, in their order. Of text all cells are looked at.

    `watch` is called with the numbers of rows that were counted. Raises TableFileError.
    """
    forms = {format_of(path).kind for path in paths}
    if forms not in ({"parquet"}, {"text"}):
        raise TableFileError(
            f"Rows by their numbers should be read from Parquet or text files, but got {listed(map(str, paths))}: "
            "convert them to Parquet."
        )
    sources = [SourceFile.of(Path(path), text=options_of(path)) for path in paths]
    files, first_names = list[FileOfRows](), frozenset[str]()
    for path, source in zip(paths, sources, strict=True):
        names = open_file(source).names
        first_names = first_names or frozenset(names)
        if set(names) != first_names:
            other = listed(map(shown, sorted(set(names) ^ first_names)))
            raise TableFileError(
                f"Files of one table should have the same columns, but {paths[0]} and {path} differ in {other}: give "
                "files of one table."
            )
    if forms == {"text"}:
        n_rows_before = 0

        def seen(n_rows: int, _: int) -> None:
            nonlocal n_rows_before
            watch(n_rows - n_rows_before)
            n_rows_before = n_rows

        looked_at = TextFiles(sources, Selection(), MEMORY, limited=False, seen=seen).rows_and_options
    else:
        looked_at = [(ParquetFile(source).n_rows, TextOptions()) for source in sources]
    for source, (n_rows, text) in zip(sources, looked_at, strict=True):
        path = str(source.path.absolute())
        files.append(FileOfRows(path, n_rows, source.n_bytes, _sha256(source), source.modified, text))
    if not sum(file.rows for file in files):
        raise TableFileError(f"{listed(map(str, paths))} should hold rows, but has none: give another table.")
    return tuple(files)


def _sha256(source: SourceFile) -> str:
    with faults_of(source.label), source.path.open("rb") as data:
        if source.form.kind == "parquet":
            data.seek(-footer_bytes(data), os.SEEK_END)
        return hashlib.file_digest(data, "sha256").hexdigest()


def names_in(file: FileOfRows) -> tuple[str, ...]:
    """Return the names of the columns of a file. Raises TableFileError."""
    return open_file(SourceFile.of(Path(file.path), text=file.text)).names


def row_blocks(
    files: Sequence[FileOfRows], start: int, stop: int, names: Sequence[str], *, exact: Sequence[str] = ()
) -> Iterator[RowBlock]:
    """Yield some columns of rows start..stop-1 of files that follow each other, in blocks.

    A block ends at a multiple of BLOCK_ROWS, or at `stop`. Columns have the types of the first file. The cells of
    columns named by `exact` are never missing in text: "NA" is a text there. Raises TableFileError, also for files that
    have changed since they were looked at.
    """
    text = files[0].text if format_of(files[0].path).kind == "text" else None
    waiting, first, schema = list[pa.Table](), start, None
    for rows in _tables(files, start, stop, names, exact):
        schema = schema or _schema_of(files[0], names, rows.schema)
        waiting.append(rows if rows.schema == schema else _as_first(rows, schema))
        while (n := sum(table.num_rows for table in waiting)) >= (size := _size(first, stop)):
            together = pa.concat_tables(waiting)
            yield RowBlock(first, together.slice(0, size), text)
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
    schema = ParquetFile(file.source).schema
    types = {name: schema.field(name).type for name in names}
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


def _tables(
    files: Sequence[FileOfRows], start: int, stop: int, names: Sequence[str], exact: Sequence[str]
) -> Iterator[pa.Table]:
    """Yield the rows of all files in tables of any size."""
    before = 0
    for file in files:
        first, last = max(start - before, 0), min(stop - before, file.rows)
        before += file.rows
        if first >= last:
            continue
        place = first
        for rows in _rows_of(file, first, last, names, exact):
            rows = rows.slice(0, last - place)
            place += rows.num_rows
            yield rows
            if place == last:
                break
        if place < last:
            raise file.changed()


def _rows_of(file: FileOfRows, first: int, last: int, names: Sequence[str], exact: Sequence[str]) -> Iterator[pa.Table]:
    """Yield some columns of a file from row `first` on: of Parquet texts as dictionaries, of text all as texts."""
    opened = open_file(file.source)
    if isinstance(opened, TextFile):
        return opened.rows(names, last - first, BLOCK_ROWS, first=first, with_gaps=set(names) - set(exact))
    return opened.rows(names, BLOCK_ROWS, first=first)


def _without_dictionary(of_type: pa.DataType) -> pa.DataType:
    is_text_dictionary = pa.types.is_dictionary(of_type) and is_text(of_type.value_type)
    return of_type.value_type if is_text_dictionary else of_type
