"""Read table files: CSV and TSV, Parquet and NumPy.

A file may come from anywhere: sizes are checked before memory is taken (`backwalk.limits`), and every error becomes a
`TableFileError` that names the file.
"""

from __future__ import annotations

import gzip
import math
import os
import re
import sys
import tempfile
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path
from typing import Any, BinaryIO, TypeVar, cast

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.parquet

from backwalk import limits
from backwalk.errors import InvalidInput, TableFileError
from backwalk.formatting import listed, one_line
from backwalk.table.delimited import BLOCK_BYTES, DelimitedText
from backwalk.table.dtypes import arrow_type, is_text, numpy_dtype
from backwalk.table.formats import Format, format_of, refuse_large
from backwalk.table.frame import Table, as_table, refused_dtype, table_of_arrow
from backwalk.table.gaps import NativeRows, complete_rows, refuse_almost_numbers
from backwalk.table.parquet_pages import unpacked_bytes
from backwalk.table.schema import refuse_duplicates, shown, unescaped_cell
from backwalk.table.selection import Selection
from backwalk.table.typed_text import read_columns

_Result = TypeVar("_Result")

_UNNAMED = re.compile(r"Unnamed: \d+")  # pandas' name of a column without one
_NPY_MAGIC = b"\x93NUMPY"
_LONGEST_NPY_HEADER = 10_000  # NumPy's own limit, which it checks only after reading the header
_NPY_HEADERS = {(1, 0): np.lib.format.read_array_header_1_0, (2, 0): np.lib.format.read_array_header_2_0}


@dataclass(frozen=True, eq=False)
class Reading:
    """The table that was read from a file, and the names of the columns that were left out.

    `is_taken`, (n,), says which rows of the file are in the table.
    """

    table: Table
    columns_left_out: tuple[str, ...]
    is_taken: npt.NDArray[np.bool_]


def read_part(path: str | Path, selection: Selection) -> Reading:
    """Read the selected columns and rows of a table file, and check them as `read_table` does."""
    return made_of_file(path, selection, partial(checked, selection=selection))


def checked(native: Columns, left_out: Mapping[str, str], *, selection: Selection) -> Reading:
    """Return the columns of a file as a checked table, without the rows that the selection leaves out."""
    if isinstance(native.rows, np.ndarray):
        is_taken = complete_rows(native.rows) if selection.complete else np.ones(native.rows.shape[:1], dtype=bool)
        rows = native.rows if is_taken.all() else native.rows[is_taken]
        return Reading(as_table(rows, name="the table"), tuple(left_out), is_taken)
    refuse_unusable(native.rows.schema)
    refuse_almost_numbers(native.rows, selection.texts)
    is_taken = complete_rows(native.rows) if selection.complete else np.ones(native.rows.num_rows, dtype=bool)
    return Reading(checked_rows(native, is_taken), tuple(left_out), is_taken)


def checked_rows(native: Columns, is_taken: npt.NDArray[np.bool_]) -> Table:
    """Return the rows of some columns of a file that are taken, (n,), as a checked table."""
    assert isinstance(native.rows, pa.Table)
    rows = native.rows if is_taken.all() else native.rows.filter(pa.array(is_taken))
    table = table_of_arrow(rows, native.types, name="the table")
    return _unescaped(table) if native.is_text else table


def _unescaped(table: Table) -> Table:
    """Return a table whose labels are without the apostrophes of `escaped_cell`."""
    values, labels = table.values, list(table.schema.labels)
    for j, own in enumerate(labels):
        if own is None or not any(label.startswith("'") for label in own):
            continue
        plain = list(map(unescaped_cell, own))
        labels[j] = tuple(sorted(set(plain)))
        place = {label: float(code) for code, label in enumerate(labels[j] or ())}
        codes = np.array([*(place[label] for label in plain), np.nan])
        values = values.copy()
        values[:, j] = codes[np.where(np.isnan(values[:, j]), -1, values[:, j]).astype(np.intp)]
    return Table(values, replace(table.schema, labels=tuple(labels)))


@dataclass(frozen=True, eq=False)
class Columns:
    """The columns of a file, and the types that they have for their user: texts of Parquet come as dictionaries."""

    rows: NativeRows
    types: Mapping[str, pa.DataType] = field(default_factory=dict)
    is_text: bool = False


def made_of_file(
    path: str | Path,
    selection: Selection,
    made: Callable[[Columns, Mapping[str, str]], _Result],
    *,
    skip_unfit: bool = False,
) -> _Result:
    """Call `made` with the selected columns of a file, and the names and types of the other columns.

    Columns of a Parquet file that are nested or binary are refused before they are read; with `skip_unfit` they are
    among the others instead. Raises TableFileError for any fault of the file.
    """
    with opened(path) as (file, form):
        if form.kind == "text":
            rows, others = read_text(file, form, selection)
            return made(Columns(rows, is_text=True), others)
        if form.kind == "parquet":
            return made(*_read_parquet(file, selection, skip_unfit=skip_unfit))
        array, others = read_npy(file, selection)
        return made(Columns(array), others)


@contextmanager
def opened(path: str | Path) -> Iterator[tuple[BinaryIO, Format]]:
    """Open a table file, decompressed, with its format; every error in the block becomes a TableFileError.

    Standard input is copied into a temporary file first, so that it can be read twice.
    """
    where = "standard input" if str(path) == "-" else str(path)
    try:
        form = format_of(path)
        if str(path) == "-":
            with tempfile.SpooledTemporaryFile(max_size=4 * BLOCK_BYTES) as copy:
                while data := sys.stdin.buffer.read(BLOCK_BYTES):
                    copy.write(data)
                    if copy.tell() > limits.TABLE_FILE_BYTES:
                        break  # the reader refuses it
                copy.seek(0)
                yield cast("BinaryIO", copy), form
            return
        if Path(path).exists() and not Path(path).is_file():
            raise TableFileError("A table file should be a regular file: give a pipe as standard input, named -.")
        with Path(path).open("rb") as file:
            if form.compressed:
                with gzip.GzipFile(fileobj=file, mode="rb") as unpacked:
                    yield cast("BinaryIO", unpacked), form
            else:
                yield file, form
    except OSError as error:
        raise TableFileError(f"{where} cannot be read: {one_line(error)}.") from error
    except MemoryError as error:
        raise TableFileError(f"{where} takes more memory than there is: give fewer rows.") from error
    except (InvalidInput, TableFileError) as error:
        raise TableFileError(f"{where}: {one_line(error)}.") from error
    except Exception as error:  # parsers of damaged files raise many types
        raise TableFileError(f"{where} cannot be parsed as a table: {one_line(error)}.") from error


def read_text(file: BinaryIO, form: Format, selection: Selection) -> tuple[pa.Table, dict[str, str]]:
    """Return the selected columns of a text file, and the names of the others."""
    text = DelimitedText(file, form.delimiter)
    refuse_duplicates(text.names)
    taken = selection.names(text.names)
    place = {name: j for j, name in enumerate(text.names)}
    others = {name: "not read" for name in text.names if name not in set(taken)}
    columns = [place[name] for name in taken]
    return read_columns(file, text, columns, selection.texts, selection.numbers), others


def _read_parquet(file: BinaryIO, selection: Selection, *, skip_unfit: bool) -> tuple[Columns, dict[str, str]]:
    parquet, taken = opened_parquet(file, selection, skip_unfit=skip_unfit)
    schema = parquet.schema_arrow
    types = {name: schema.field(name).type for name in taken}
    refuse_unfit(types)
    kept = set(taken)
    others = {field.name: str(field.type) for field in schema if field.name not in kept}
    # A few compressed bytes may stand for a long text in every row: texts are read as dictionaries.
    texts = [name for name, of_type in types.items() if is_text(of_type)]
    if texts:
        file.seek(0)
        parquet = pyarrow.parquet.ParquetFile(file, metadata=parquet.metadata, read_dictionary=texts)
    return Columns(parquet.read(taken if others else None, use_threads=False), types), others


def opened_parquet(
    file: BinaryIO, selection: Selection, *, skip_unfit: bool = False
) -> tuple[pyarrow.parquet.ParquetFile, list[str]]:
    """Return a Parquet file whose size is within the limits, and the names of the columns to read."""
    _refuse_many_bytes(unpacked_bytes(file))
    file.seek(0)
    parquet = pyarrow.parquet.ParquetFile(file)
    metadata = parquet.metadata
    groups = [metadata.row_group(i).num_rows for i in range(metadata.num_row_groups)]
    # A few bytes of Parquet can stand for any number of rows.
    refuse_large(max(metadata.num_rows, sum(groups), *groups, 0) * max(metadata.num_columns, 1), metadata.num_columns)
    return parquet, columns_to_read(parquet.schema_arrow, selection, skip_unfit=skip_unfit)


def columns_to_read(schema: pa.Schema, selection: Selection, *, skip_unfit: bool = False) -> list[str]:
    """Return the names of the columns of a Parquet file to read; with `skip_unfit`, those a model may be fitted to."""
    refuse_duplicates(schema.names)
    taken = selection.names(schema.names)
    if skip_unfit:
        taken = [name for name in taken if _is_fit(schema.field(name).type)]
    # pyarrow also reads b within a nested column a for the name "a.b".
    nested = tuple(f"{field.name}." for field in schema if _has_parts(field.type))
    twice = [name for name in taken if name.startswith(nested)]
    if twice:
        raise TableFileError(
            f"A column's name should mean one column, but {listed(map(shown, twice))} may mean a part of another "
            "column too: rename it."
        )
    return taken


def refuse_unfit(types: Mapping[str, pa.DataType]) -> None:
    """Raise InvalidInput for a column of a type that no model may be fitted to."""
    for name, of_type in types.items():
        if not _is_fit(of_type):
            raise refused_dtype(str(of_type), name, "the table")


def _is_fit(of_type: pa.DataType) -> bool:
    """Return whether a model may be fitted to a column of a type."""
    name = str(of_type)
    known = pa.types.is_null(of_type) or pa.types.is_decimal(of_type)
    return bool(known or arrow_type(numpy_dtype(name) or name, "pyarrow") is not None)


def _has_parts(column_type: pa.DataType) -> bool:
    return bool(pa.types.is_nested(column_type)) or isinstance(column_type, pa.BaseExtensionType)


def read_npy(file: BinaryIO, selection: Selection) -> tuple[npt.NDArray[Any], dict[str, str]]:
    """Return the array of real numbers in a NumPy file, of any shape."""
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
    refuse_large(cells, shape[1] if len(shape) == 2 else 1)
    _refuse_many_bytes(cells * dtype.itemsize)
    if cells * dtype.itemsize > os.fstat(file.fileno()).st_size - file.tell():
        raise TableFileError(f"The file should hold {cells} numbers, as its header says, but is shorter: copy it anew.")
    return np.fromfile(file, dtype, cells).reshape(shape, order="F" if by_columns else "C"), {}


def _refuse_many_bytes(size: int) -> None:
    if size > limits.TABLE_FILE_BYTES:
        raise TableFileError(
            f"A table file should take at most {limits.TABLE_FILE_BYTES} bytes unpacked, but takes {size}: give fewer "
            "rows."
        )


def refuse_unusable(schema: pa.Schema) -> None:
    """Raise TableFileError for columns of row numbers, and for those of text that is not UTF-8."""
    # pandas writes its index under these names; a model would learn row numbers as if they were data.
    for name in schema.names:
        if not name or name.startswith("__index_level_") or _UNNAMED.fullmatch(name):
            raise TableFileError(
                f"Columns should have names, but got {shown(name)}, likely row numbers: save without index, or name "
                f"it, or leave it out (on the command line by --drop {shown(name)})."
            )
    for column in schema:
        if pa.types.is_binary(column.type):
            raise TableFileError(f"Column {shown(column.name)} is not UTF-8 text (Latin-1?): save the file as UTF-8.")
