"""Table files in: CSV, Parquet and NumPy.

A file may come from anywhere, so reading is bounded (`backwalk.limits`), and whatever is wrong with it becomes one
`TableFileError` in one line that names the file.
"""

from __future__ import annotations

import io
import math
import os
import re
import sys
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, BinaryIO, TypeAlias, TypeVar

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.csv
import pyarrow.parquet

from backwalk.errors import InvalidInput, TableFileError
from backwalk.formatting import listed, one_line
from backwalk.limits import TABLE_FILE_BYTES, TABLE_FILE_CELLS, TABLE_FILE_COLUMNS
from backwalk.table.formats import suffix_of
from backwalk.table.frame import Table, as_table, complete, frame_dtypes
from backwalk.table.gaps import NativeRows, complete_rows, refuse_almost_numbers, refuse_missing
from backwalk.table.schema import numpy_dtype, refuse_duplicates, shown, unescaped
from backwalk.table.selection import Selection

_Result = TypeVar("_Result")
_Reader: TypeAlias = Callable[[BinaryIO, Selection], tuple[NativeRows, dict[str, str]]]

_UNNAMED = re.compile(r"Unnamed: \d+")  # pandas' name for what has none
_NOT_BLANK = re.compile(rb"\S")
_FIRST_LINE = re.compile(rb"[^\r\n]*")
_BYTE_ORDER_MARK = b"\xef\xbb\xbf"
# A CSV's first line up to its last comma: fields may be in quotes, and then hold anything, line ends too.
_HEADER_LINE = re.compile(rb"""(?:(?:"(?:[^"]++|"")*+")?+[^,\r\n]*+,)*+""")
# Whether a sign that parts cells stands in the header, outside quotes.
_PARTED_BY = {
    sign: re.compile(rb"""(?:"(?:[^"]++|"")*+"|[^"\r\n%b]++)*+%b""" % (sign, sign)) for sign in (b",", b";", b"\t")
}
_NPY_MAGIC = b"\x93NUMPY"
_LONGEST_NPY_HEADER = 10_000  # as NumPy itself accepts, though only after having read it all
_NPY_HEADERS = {(1, 0): np.lib.format.read_array_header_1_0, (2, 0): np.lib.format.read_array_header_2_0}


@dataclass(frozen=True, eq=False)
class Reading:
    """The rows that were taken from a file, and what was left out as was asked.

    `is_taken` says of each row of the file, (n,), whether it is in the table.
    """

    table: Table
    columns_left_out: tuple[str, ...]
    is_taken: npt.NDArray[np.bool_]


def read_table(path: str | Path) -> Table:
    """Return the rows of a table file, checked.

    The format follows from the suffix: `.csv` (UTF-8, commas, a header line; whole-number columns are taken as such),
    `.parquet` or `.npy`; "-" is CSV from standard input. CSV and Parquet give a table of kind "pyarrow". Headers that
    `write_rows` escaped are as they were. Raises TableFileError.
    """
    return read_part(path, Selection()).table


def read_part(path: str | Path, selection: Selection) -> Reading:
    """Return the columns and rows of a table file that are asked for, checked as by `read_table`."""

    def checked(native: NativeRows, left_out: Mapping[str, str]) -> Reading:
        if not isinstance(native, np.ndarray):
            _refuse_unusable(native.schema)
            refuse_almost_numbers(native)
            held = [field for field in native.schema if not pa.types.is_null(field.type)]
            frame_dtypes([field.name for field in held], [str(field.type) for field in held], "the table")
        is_taken = np.ones(native.shape[:1], dtype=bool)
        if selection.complete:
            is_taken = complete_rows(native)
        else:
            refuse_missing(native)
        rows = native
        if not is_taken.all():
            rows = native[is_taken] if isinstance(native, np.ndarray) else native.filter(pa.array(is_taken))
        return Reading(complete(as_table(rows, name="the table"), name="the table"), tuple(left_out), is_taken)

    return made_of_file(path, selection, checked)


def made_of_file(
    path: str | Path,
    selection: Selection,
    made: Callable[[NativeRows, Mapping[str, str]], _Result],
    *,
    only_numbers: bool = False,
) -> _Result:
    """Return what is made of the selected columns of a file, and of the names and types of the others.

    Columns of a Parquet file that hold no numbers are refused unread, or, with `only_numbers`, among the others.
    Raises TableFileError for whatever is wrong with the file.
    """
    where = "standard input" if str(path) == "-" else str(path)
    try:
        if str(path) == "-":
            return made(*_read_csv(sys.stdin.buffer, selection))
        parquet = partial(_read_parquet, only_numbers=only_numbers)
        readers: dict[str, _Reader] = {".csv": _read_csv, ".parquet": parquet, ".npy": _read_npy}
        read = readers[suffix_of(path)]
        if Path(path).exists() and not Path(path).is_file():
            raise TableFileError("A table file should be a regular file: read a pipe as CSV from standard input, by -.")
        with Path(path).open("rb") as file:
            return made(*read(file, selection))
    except OSError as error:
        raise TableFileError(f"{where} cannot be read: {one_line(error)}.") from error
    except MemoryError as error:
        raise TableFileError(f"{where} takes more memory than there is: give fewer rows.") from error
    except (InvalidInput, TableFileError) as error:
        raise TableFileError(f"{where}: {one_line(error)}.") from error
    except Exception as error:
        # Parsers of damaged files raise many things, and all of them mean that the file cannot be parsed.
        raise TableFileError(f"{where} cannot be parsed as a table: {one_line(error)}.") from error


def _read_csv(file: BinaryIO, selection: Selection) -> tuple[pa.Table, dict[str, str]]:
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
    comma, *others = (bool(pattern.match(data, begin.start())) for pattern in _PARTED_BY.values())
    if any(others) and not comma:
        name = (first.group() if first else b"")[:1000].decode(errors="replace")
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
    if all(map(_is_number, names)) and not _is_quoted_alone(data, first):
        raise TableFileError(
            f"The first line should name the columns, but holds numbers alone, {listed(map(shown, names))}: if it "
            "is a row, put a header line of names above it; if these are names, give others (x0, x1), or put them in "
            "quotation marks."
        )
    named = table.rename_columns(list(map(unescaped, names)))
    refuse_duplicates(named.column_names)
    taken = selection.names(named.column_names)
    return named.select(taken), _others(named.schema, taken)


def _others(schema: pa.Schema, taken: list[str]) -> dict[str, str]:
    kept = set(taken)
    return {field.name: str(field.type) for field in schema if field.name not in kept}


def _is_quoted_alone(data: bytes, first: re.Match[bytes] | None) -> bool:
    """Return whether the first line is in quotation marks and the next one is not: as our headers are."""
    if first is None or not first.group().lstrip().startswith(b'"'):
        return False
    return not data[first.end() : first.end() + 1000].lstrip().startswith(b'"')


def _read_parquet(file: BinaryIO, selection: Selection, *, only_numbers: bool) -> tuple[pa.Table, dict[str, str]]:
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
    refuse_duplicates(schema.names)
    taken = selection.names(schema.names)
    # Texts are not even read: a few bytes may stand for a long one in every row.
    if only_numbers:
        taken = [name for name in taken if numpy_dtype(str(schema.field(name).type))]
    frame_dtypes(taken, [str(schema.field(name).type) for name in taken], "the table")
    # To pyarrow "a.b" is also what lies as b within a nested column a, such as a text, which it would read.
    nested = tuple(f"{field.name}." for field in schema if _has_parts(field.type))
    twice = [name for name in taken if name.startswith(nested)]
    if twice:
        raise TableFileError(
            f"A column's name should mean it alone, but {listed(map(shown, twice))} may mean a part of another column "
            "too: rename it."
        )
    return parquet.read(taken if len(taken) < len(schema) else None), _others(schema, taken)


def _has_parts(column_type: pa.DataType) -> bool:
    return bool(pa.types.is_nested(column_type)) or isinstance(column_type, pa.BaseExtensionType)


def _read_npy(file: BinaryIO, selection: Selection) -> tuple[npt.NDArray[Any], dict[str, str]]:
    selection.refuse_unnamed()
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
    return np.fromfile(file, dtype, cells).reshape(shape, order="F" if by_columns else "C"), {}


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


def _refuse_unusable(schema: pa.Schema) -> None:
    # pandas writes its index so, and a model would learn the row numbers as if they were data.
    for name in schema.names:
        if not name or name.startswith("__index_level_") or _UNNAMED.fullmatch(name):
            raise TableFileError(
                f"Columns should have names, but got {shown(name)}, likely row numbers: save without index, or name "
                f"it, or leave it out (on the command line by --drop {shown(name)})."
            )
    for field in schema:
        if pa.types.is_binary(field.type):
            raise TableFileError(f"Column {shown(field.name)} is not UTF-8 text (Latin-1?): save the file as UTF-8.")


def _is_number(text: str) -> bool:
    try:
        float(text)
    except ValueError:
        return False
    return True
