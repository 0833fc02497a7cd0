"""Write table files: CSV, TSV and Parquet, each replaced atomically (`backwalk.files`)."""

from __future__ import annotations

import gzip
import sys
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import BinaryIO, cast

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.csv
import pyarrow.parquet

from backwalk.errors import InvalidInput, TableFileError
from backwalk.files import atomic_write, check_writable
from backwalk.formatting import one_line
from backwalk.table.files import Format, format_of
from backwalk.table.frame import Table
from backwalk.table.schema import FloatArray, Schema, escaped, escaped_cell
from backwalk.table.text_headers import is_number
from backwalk.table.values import from_values

BLOCK_CELLS = 2**18  # of text files, written at once: 2 MiB of numbers
GROUP_CELLS = 2**22  # of a row group of Parquet; the footer has an entry for each group and column


def write_table(path: str | Path, table: Table, *, escape_formulas: bool = True, overwrite: bool = False) -> None:
    """Write a table to a file: see `write_rows`."""
    write_rows(
        path,
        [table.values],
        table.schema,
        n_rows=len(table.values),
        escape_formulas=escape_formulas,
        overwrite=overwrite,
    )


def write_rows(
    path: str | Path,
    pieces: Iterable[FloatArray],
    schema: Schema,
    *,
    n_rows: int,
    escape_formulas: bool = True,
    overwrite: bool = False,
) -> None:
    """Write rows that arrive in pieces, in the format that the suffix names (see `read_table`); "-" is CSV on stdout.

    `pieces` are arrays (m, d) in the user's units with `n_rows` rows in total. They are written in blocks of about
    2^18 cells (2^22 in Parquet, a row group each), so that memory does not grow with the number of rows.

    Columns without names are called x1, x2, ... Text and Parquet keep the dtypes of columns, except that text has no
    types: it reads back as the first type that fits all cells of a column. Dates and times in text are those of ISO
    8601, durations whole numbers of their dtype's unit, missing values empty cells. With `escape_formulas` a header or
    a text that a spreadsheet would run as a formula, and a text that reads as a missing value, gets an apostrophe
    (`schema.escaped_cell`), which reading removes; numbers are never changed. Raises TableFileError; also if the file
    exists and `overwrite` is False.
    """
    form = format_of(path)
    blocks = _blocks(pieces, schema, n_rows, GROUP_CELLS if form.kind == "parquet" else BLOCK_CELLS)
    with output_file(path, overwrite=overwrite) as file:
        if form.kind == "text":
            _write_text(file, blocks, schema, form, escape_formulas=escape_formulas)
        else:
            _write_parquet(file, blocks, schema)


def check_table_path(path: str | Path, *, overwrite: bool = False) -> None:
    """Raise TableFileError if `write_rows` could not write to `path`; to be called before long work."""
    if str(path) != "-":
        format_of(path)
        with writing(path):
            check_writable(path, overwrite=overwrite)


@contextmanager
def writing(path: str | Path) -> Iterator[None]:
    """Turn errors of writing into a TableFileError that names the file."""
    try:
        yield
    except BrokenPipeError:
        raise  # the reader of standard output wants no more rows; the command line handles this
    except (OSError, ValueError) as error:
        raise TableFileError(f"{path} cannot be written: {one_line(error)}.") from error


@contextmanager
def output_file(path: str | Path, *, overwrite: bool) -> Iterator[BinaryIO]:
    """Open a table file for writing, compressed where its format says so; "-" is standard output."""
    if str(path) == "-":
        with writing("standard output"):
            yield sys.stdout.buffer
            sys.stdout.buffer.flush()
        return
    with writing(path), atomic_write(path, overwrite=overwrite) as file:
        if not format_of(path).compressed:
            yield file
            return
        with gzip.GzipFile(filename="", fileobj=file, mode="wb", mtime=0) as compressed:  # equal rows give equal bytes
            yield cast("BinaryIO", compressed)


def _blocks(pieces: Iterable[FloatArray], schema: Schema, n_rows: int, cells: int) -> Iterator[FloatArray]:
    """Yield the rows of all pieces in blocks of about `cells` cells."""
    most = max(1, cells // schema.n_columns)
    waiting, n_waiting, n_written = list[FloatArray](), 0, 0
    for piece in pieces:
        for start in range(0, len(piece), most):
            waiting.append(piece[start : start + most])
            n_waiting += len(waiting[-1])
            if n_waiting >= most:
                yield np.concatenate(waiting)
                waiting, n_waiting = [], 0
        n_written += len(piece)
    if waiting:
        yield np.concatenate(waiting)
    if n_written != n_rows:
        raise InvalidInput(f"pieces should hold n_rows = {n_rows} rows, but held {n_written}: count them again.")


def _write_text(
    file: BinaryIO, blocks: Iterable[FloatArray], schema: Schema, form: Format, *, escape_formulas: bool
) -> None:
    written = as_written(schema.as_arrow(), escape_formulas=escape_formulas)
    options = pyarrow.csv.WriteOptions(delimiter=form.delimiter)
    with pyarrow.csv.CSVWriter(file, from_values(_no_rows(written), written).schema, write_options=options) as writer:
        for values in blocks:
            writer.write_table(from_values(values, written))


def as_written(schema: Schema, *, escape_formulas: bool = True) -> Schema:
    """Return the schema of a text file: names and labels escaped, dates and times no finer than their unit."""
    types = map(_coarsest, schema.types, schema.units)
    dtypes = tuple(old if of_type is None else str(of_type) for old, of_type in zip(schema.dtypes, types, strict=True))
    if not escape_formulas:
        return replace(schema, dtypes=dtypes)
    labels = tuple(None if own is None else tuple(map(escaped_cell, own)) for own in schema.labels)
    return replace(schema, columns=tuple(map(escaped, schema.names)), dtypes=dtypes, labels=labels)


def _coarsest(of_type: pa.DataType, unit: str | None) -> pa.DataType | None:
    """Return the type in which dates or times of a unit are written, or None for the type that they have.

    Categories are written as texts, whatever their own type.
    """
    if pa.types.is_dictionary(of_type):
        return pa.string()
    stored = "s" if unit == "D" else unit
    if pa.types.is_timestamp(of_type):
        return pa.timestamp(stored, of_type.tz)
    if pa.types.is_time(of_type):
        return pa.time64("us") if stored == "us" else pa.time32(stored)
    return None


def _write_parquet(file: BinaryIO, blocks: Iterable[FloatArray], schema: Schema) -> None:
    written = schema.as_arrow()
    with pyarrow.parquet.ParquetWriter(file, from_values(_no_rows(written), written).schema) as writer:
        for values in blocks:
            writer.write_table(from_values(values, written))


def write_any(file: BinaryIO, form: Format, rows: pa.Table) -> None:
    """Write a table of any types into an open file."""
    if form.kind == "parquet":
        pyarrow.parquet.write_table(rows, file)
        return
    options = pyarrow.csv.WriteOptions(delimiter=form.delimiter)
    pyarrow.csv.write_csv(rows.rename_columns(list(map(escaped, rows.column_names))), file, options)


class CellWriter:
    """Writes cells of text as they stand, with quotation marks where they need them, after a header."""

    def __init__(self, file: BinaryIO, delimiter: str, names: Sequence[str], line_end: str) -> None:
        self._file, self._delimiter, self._line_end = file, delimiter, line_end
        header = pa.table({str(j): [escaped(name)] for j, name in enumerate(names)})
        self.write(header, quoted=all(map(is_number, names)))  # as names of numbers need

    def write(self, rows: pa.Table, *, quoted: bool = False) -> None:
        """Write rows of texts, of which none is missing; all in quotation marks if they should be `quoted`."""
        needs = f'["\\r\\n{self._delimiter}]' + ("|^$" if rows.num_columns == 1 else "")  # a blank line is no row
        columns = [self._quoted(column, ".*" if quoted else needs) for column in rows.columns]
        lines = pc.binary_join_element_wise(*columns, self._delimiter)
        for chunk in pc.binary_join_element_wise(lines, "", self._line_end).chunks:
            self._file.write(memoryview(chunk.buffers()[2] or b"")[: pc.sum(pc.binary_length(chunk)).as_py()])

    def _quoted(self, cells: pa.ChunkedArray, needs: str) -> pa.ChunkedArray:
        is_quoted = pc.match_substring_regex(cells, needs)
        if not pc.any(is_quoted).as_py():
            return cells
        doubled = pc.replace_substring(cells, '"', '""')
        return pc.if_else(is_quoted, pc.binary_join_element_wise('"', doubled, '"', ""), cells)


def _no_rows(schema: Schema) -> FloatArray:
    return np.empty((0, schema.n_columns))
