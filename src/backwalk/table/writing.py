"""Table files out: CSV, Parquet and NumPy.

A file is written under a temporary name in the same folder, flushed to the disk and renamed, so that a reader meets the
old file or the new one, never a part.
"""

from __future__ import annotations

import sys
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import BinaryIO

import numpy as np
import pyarrow as pa
import pyarrow.csv
import pyarrow.parquet

from backwalk.atomic_files import check_writable, whole_file
from backwalk.errors import InvalidInput, TableFileError
from backwalk.formatting import one_line
from backwalk.table.formats import suffix_of
from backwalk.table.frame import Table
from backwalk.table.schema import FloatArray, Schema, escaped, from_values

BLOCK_CELLS = 2**18  # written at once: 2 MiB of numbers


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
    """Write rows that come piece by piece, in the format of the file's suffix; "-" is CSV to standard output.

    `pieces` are (m, d) each, in the user's units, and `n_rows` in all. They are written in blocks of about 2^18 cells
    (a row group of Parquet each), so that memory does not grow with the number of rows.

    Columns without names are called x1, x2, ... The columns of CSV and Parquet keep their dtypes (in CSV a column of
    floats that are all whole reads back as whole numbers); a `.npy` file holds float32 if every column is, else
    float64. A spreadsheet takes text that begins with = + - @ or a tab for a formula: with `escape_formulas` a CSV
    header gets an apostrophe before it; numbers are never touched. Raises TableFileError, among others where the file
    exists already and `overwrite` is False.
    """
    blocks = _blocks(pieces, schema, n_rows)
    if str(path) == "-":
        try:
            _write_csv(sys.stdout.buffer, blocks, schema, escape_formulas)
            sys.stdout.buffer.flush()
        except BrokenPipeError:
            raise  # the reader has had enough: no fault, and the command line knows what to do
        except OSError as error:
            raise TableFileError(f"standard output cannot be written: {one_line(error)}.") from error
        return
    suffix = suffix_of(path)
    with _told(path), whole_file(path, overwrite=overwrite) as file:
        if suffix == ".csv":
            _write_csv(file, blocks, schema, escape_formulas)
        elif suffix == ".parquet":
            _write_parquet(file, blocks, schema)
        else:
            _write_npy(file, blocks, schema, n_rows)


def check_table_path(path: str | Path, *, overwrite: bool = False) -> None:
    """Raise TableFileError where `write_rows` could not write, before long work."""
    if str(path) != "-":
        suffix_of(path)
        with _told(path):
            check_writable(path, overwrite=overwrite)


@contextmanager
def _told(path: str | Path) -> Iterator[None]:
    """Turn what keeps a file from being written into one line that names it."""
    try:
        yield
    except (OSError, ValueError) as error:
        raise TableFileError(f"{path} cannot be written: {one_line(error)}.") from error


def _blocks(pieces: Iterable[FloatArray], schema: Schema, n_rows: int) -> Iterator[FloatArray]:
    """Yield the rows of all pieces in blocks of about `BLOCK_CELLS` cells."""
    most = max(1, BLOCK_CELLS // schema.n_columns)
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


def _write_csv(file: BinaryIO, blocks: Iterable[FloatArray], schema: Schema, escape_formulas: bool) -> None:
    def table(values: FloatArray) -> pa.Table:
        rows = _arrow_table(values, schema)
        if not escape_formulas:
            return rows
        return rows.rename_columns(list(map(escaped, rows.column_names)))

    with pyarrow.csv.CSVWriter(file, table(_no_rows(schema)).schema) as writer:
        for values in blocks:
            writer.write_table(table(values))


def _write_parquet(file: BinaryIO, blocks: Iterable[FloatArray], schema: Schema) -> None:
    with pyarrow.parquet.ParquetWriter(file, _arrow_table(_no_rows(schema), schema).schema) as writer:
        for values in blocks:
            writer.write_table(_arrow_table(values, schema))


def _write_npy(file: BinaryIO, blocks: Iterable[FloatArray], schema: Schema, n_rows: int) -> None:
    dtype = "float32" if all(dtype == "float32" for dtype in schema.dtypes) else "float64"
    array = Schema(None, (dtype,) * schema.n_columns, "numpy")
    header = {"descr": np.dtype(dtype).str, "fortran_order": False, "shape": (n_rows, schema.n_columns)}
    np.lib.format.write_array_header_1_0(file, header)
    for values in blocks:
        file.write(np.ascontiguousarray(from_values(values, array)).data)


def _arrow_table(values: FloatArray, schema: Schema) -> pa.Table:
    return from_values(values, Schema(schema.names, schema.dtypes, "pyarrow"))


def _no_rows(schema: Schema) -> FloatArray:
    return np.empty((0, schema.n_columns))
