"""Table files: CSV, Parquet and NumPy, in and out.

A file may come from anywhere, so reading is bounded (`backwalk.accepted`) and whatever is wrong
with it becomes one `TableFileError` in one line that names the file. A file is written under a temporary name in the
same folder, flushed to the disk and renamed, so that a reader meets the old file or the new one, never a part.
"""

from __future__ import annotations

import io
import math
import os
import re
import sys
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.csv
import pyarrow.parquet

from backwalk.accepted import TABLE_FILE_BYTES, TABLE_FILE_CELLS, TABLE_FILE_COLUMNS
from backwalk.durable import check_writable, whole_file
from backwalk.errors import InvalidInput, TableFileError
from backwalk.table.frame import Table, as_table, frame_dtypes
from backwalk.table.schema import FloatArray, Schema, escaped, from_values, listed, shown, unescaped

BLOCK_CELLS = 2**18  # written at once: 2 MiB of numbers

_SUFFIXES = (".csv", ".parquet", ".npy")
_UNNAMED = re.compile(r"Unnamed: \d+")  # pandas' name for what has none
_NPY_MAGIC = b"\x93NUMPY"
_NOT_BLANK = re.compile(rb"\S")
_FIRST_LINE = re.compile(rb"[^\r\n]*")
_BYTE_ORDER_MARK = b"\xef\xbb\xbf"
# A CSV's first line up to its last comma: fields may be in quotes, and then hold anything, line ends too.
_HEADER_LINE = re.compile(rb"""(?:(?:"(?:[^"]++|"")*+")?+[^,\r\n]*+,)*+""")


def read_table(path: str | Path, *, allow_missing: bool = False) -> Table:
    """Return the rows of a table file, checked.

    The format follows from the suffix: `.csv` (UTF-8, commas, a header line; whole-number columns are taken as such),
    `.parquet` or `.npy`; "-" is CSV from standard input. CSV and Parquet give a table of kind "pyarrow". Headers that
    `write_rows` escaped are as they were. With `allow_missing`, empty cells pass as NaN. Raises TableFileError.
    """
    where = "standard input" if str(path) == "-" else str(path)
    try:
        if str(path) == "-":
            return as_table(_read_csv(sys.stdin.buffer), name="the table", allow_missing=allow_missing)
        read = {".csv": _read_csv, ".parquet": _read_parquet, ".npy": _read_npy}[_suffix(path)]
        if Path(path).exists() and not Path(path).is_file():
            raise TableFileError("A table file should be a regular file: read a pipe as CSV from standard input, by -.")
        with Path(path).open("rb") as file:
            return as_table(read(file), name="the table", allow_missing=allow_missing)
    except OSError as error:
        raise TableFileError(f"{where} cannot be read: {_one_line(error)}.") from error
    except MemoryError as error:
        raise TableFileError(f"{where} takes more memory than there is: give fewer rows.") from error
    except (InvalidInput, TableFileError) as error:
        raise TableFileError(f"{where}: {_one_line(error)}.") from error
    except Exception as error:
        # Parsers of damaged files raise many things, and all of them mean that the file cannot be parsed.
        raise TableFileError(f"{where} cannot be parsed as a table: {_one_line(error)}.") from error


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
            raise TableFileError(f"standard output cannot be written: {_one_line(error)}.") from error
        return
    suffix = _suffix(path)
    with _written(path, overwrite) as file:
        if suffix == ".csv":
            _write_csv(file, blocks, schema, escape_formulas)
        elif suffix == ".parquet":
            _write_parquet(file, blocks, schema)
        else:
            _write_npy(file, blocks, schema, n_rows)


def check_table_path(path: str | Path, *, overwrite: bool = False) -> None:
    """Raise TableFileError where `write_rows` could not write, before long work."""
    if str(path) != "-":
        _suffix(path)
        with _told(path):
            check_writable(path, overwrite=overwrite)


@contextmanager
def _written(path: str | Path, overwrite: bool) -> Iterator[BinaryIO]:
    with _told(path), whole_file(path, overwrite=overwrite) as file:
        yield file


@contextmanager
def _told(path: str | Path) -> Iterator[None]:
    """Turn what keeps a file from being written into one line that names it."""
    try:
        yield
    except (OSError, ValueError) as error:
        raise TableFileError(f"{path} cannot be written: {_one_line(error)}.") from error


def _suffix(path: str | Path) -> str:
    suffix = Path(path).suffix.lower()
    if suffix not in _SUFFIXES:
        raise TableFileError(
            f"A table file should end in {', '.join(_SUFFIXES)}, but got {shown(str(path))}: save it as one of these."
        )
    return suffix


def _read_csv(file: BinaryIO) -> pa.Table:
    data = file.read(TABLE_FILE_BYTES + 1)
    if len(data) > TABLE_FILE_BYTES:
        raise TableFileError(
            f"A CSV should have at most {TABLE_FILE_BYTES} bytes: save it as Parquet, or give fewer rows."
        )
    begin = _NOT_BLANK.search(data, len(_BYTE_ORDER_MARK) if data.startswith(_BYTE_ORDER_MARK) else 0)
    if begin is None:
        raise TableFileError("The file is empty: it should hold a header line and rows.")
    if data.startswith((b"\xff\xfe", b"\xfe\xff")) or b"\0" in data:
        raise TableFileError("The file is not UTF-8 text but looks like UTF-16 or binary data: save it as UTF-8.")
    first = _FIRST_LINE.match(data, begin.start())
    first_line = first.group() if first else b""
    if b"," not in first_line and (b";" in first_line or b"\t" in first_line):
        name = first_line.decode(errors="replace")
        raise TableFileError(f"Cells should be separated by commas, but the header is {shown(name)}: save it so.")
    header = _HEADER_LINE.match(data, begin.start())
    columns = 1 + (data.count(b",", header.start(), header.end()) if header else 0)
    _refuse_large(data.count(b",") + max(data.count(b"\n"), data.count(b"\r")), columns)
    # A blank line in a single column is a missing value, but at neither end; among several columns it is none.
    whole = data[begin.start() :].rstrip() if columns == 1 else data
    parsing = pyarrow.csv.ParseOptions(newlines_in_values=True, ignore_empty_lines=columns > 1)
    try:
        table = pyarrow.csv.read_csv(io.BytesIO(whole), parse_options=parsing)
        names = table.column_names
    except UnicodeDecodeError as error:
        raise TableFileError("The header is not UTF-8 text (Latin-1?): save the file as UTF-8.") from error
    _refuse_large(table.num_rows * table.num_columns, table.num_columns)
    for name, column_type in zip(names, table.schema.types, strict=True):
        if pa.types.is_binary(column_type):
            raise TableFileError(f"Column {shown(name)} is not UTF-8 text (Latin-1?): save the file as UTF-8.")
    if all(map(_is_number, names)) and not _is_quoted_alone(data, first):
        raise TableFileError(
            f"The first line should name the columns, but holds numbers alone, {listed(names)}: if it is a row, put a "
            "header line of names above it; if these are names, give others (x0, x1), or put them in quotation marks."
        )
    _refuse_row_numbers(names)
    return table.rename_columns(list(map(unescaped, names)))


def _is_quoted_alone(data: bytes, first: re.Match[bytes] | None) -> bool:
    """Return whether the first line is in quotation marks and the next one is not: as our headers are."""
    if first is None or not first.group().lstrip().startswith(b'"'):
        return False
    return not data[first.end() : first.end() + 1000].lstrip().startswith(b'"')


def _read_parquet(file: BinaryIO) -> pa.Table:
    parquet = pyarrow.parquet.ParquetFile(file)
    metadata = parquet.metadata
    row_groups = [metadata.row_group(i) for i in range(metadata.num_row_groups)]
    groups = [group.num_rows for group in row_groups]
    # A few bytes of Parquet can stand for any number of rows: look before reading.
    rows = max(metadata.num_rows, sum(groups), *groups, 0)
    _refuse_large(rows * max(metadata.num_columns, 1), metadata.num_columns)
    # Not the columns' own sizes: pyarrow ends the whole process where it meets a damaged column's statistics there.
    _refuse_many_bytes(max(os.fstat(file.fileno()).st_size, sum(group.total_byte_size for group in row_groups)))
    schema = parquet.schema_arrow
    frame_dtypes(schema.names, [str(column_type) for column_type in schema.types], "the table")
    _refuse_row_numbers(schema.names)
    return parquet.read()


def _read_npy(file: BinaryIO) -> npt.NDArray[Any]:
    if file.read(len(_NPY_MAGIC)) != _NPY_MAGIC:
        raise TableFileError("The file is not a NumPy array: write it by numpy.save.")
    version = tuple(file.read(2))
    if version not in _NPY_HEADERS:
        raise TableFileError("The file should be a NumPy array of format 1.0 or 2.0: write it by numpy.save.")
    n_bytes, begin = (2 if version == (1, 0) else 4), file.tell()
    length = int.from_bytes(file.read(n_bytes), "little")
    if length > _LONGEST_NPY_HEADER:
        raise TableFileError(
            f"A NumPy file's header should have at most {_LONGEST_NPY_HEADER} bytes, but says {length}: write it anew."
        )
    file.seek(begin)
    shape, by_columns, dtype = _NPY_HEADERS[version](file)
    if dtype.kind not in "fiub":
        raise TableFileError(f"A NumPy file should hold real numbers, no texts or objects, but has dtype {dtype}.")
    cells = math.prod(shape)
    if min(shape, default=1) < 0:
        raise TableFileError(f"A NumPy array's shape should be of lengths >= 0, but got {shape}.")
    _refuse_large(cells, shape[1] if len(shape) == 2 else 1)
    _refuse_many_bytes(cells * dtype.itemsize)
    if cells * dtype.itemsize > os.fstat(file.fileno()).st_size - file.tell():
        raise TableFileError(f"The file should hold {cells} numbers, as its header says, but is shorter: copy it anew.")
    return np.fromfile(file, dtype, cells).reshape(shape, order="F" if by_columns else "C")


_LONGEST_NPY_HEADER = 10_000  # as NumPy itself accepts, though only after having read it all
_NPY_HEADERS = {(1, 0): np.lib.format.read_array_header_1_0, (2, 0): np.lib.format.read_array_header_2_0}


def _refuse_many_bytes(size: int) -> None:
    if size > TABLE_FILE_BYTES:
        raise TableFileError(
            f"A table file's numbers should take at most {TABLE_FILE_BYTES} bytes, but take {size}: give fewer rows."
        )


def _refuse_large(cells: int, columns: int) -> None:
    if columns > TABLE_FILE_COLUMNS:
        raise TableFileError(
            f"A table file should have at most {TABLE_FILE_COLUMNS} columns, but got {columns}: drop some."
        )
    if cells > TABLE_FILE_CELLS:
        raise TableFileError(
            f"A table file should have at most {TABLE_FILE_CELLS} cells, but got {cells}: give fewer rows."
        )


def _refuse_row_numbers(names: list[str]) -> None:
    # pandas writes its index so, and a model would learn the row numbers as if they were data.
    for name in names:
        if not name or name.startswith("__index_level_") or _UNNAMED.fullmatch(name):
            raise TableFileError(
                f"Columns should have names, but got {shown(name)}, likely row numbers: save without index, or name it."
            )


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
    columns = schema.columns or tuple(f"x{j}" for j in range(1, schema.n_columns + 1))
    return from_values(values, Schema(columns, schema.dtypes, "pyarrow"))


def _no_rows(schema: Schema) -> FloatArray:
    return np.empty((0, schema.n_columns))


def _is_number(text: str) -> bool:
    try:
        float(text)
    except ValueError:
        return False
    return True


def _one_line(error: Exception) -> str:
    known = error.strerror if isinstance(error, OSError) else None
    text = " ".join((known or str(error) or type(error).__name__).split())
    return text.rstrip(".") if len(text) <= 300 else f"{text[:297]}..."
