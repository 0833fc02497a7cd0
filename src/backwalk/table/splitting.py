"""Deal the rows of a table file into two files as they stand, whatever its columns hold.

Text is copied row by row: a cell `007` or `1.50` stays as it is. Other formats, and files of different formats, go
through Arrow's types. Both files are replaced together, so that they are never of two splits.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.csv
import pyarrow.parquet

from backwalk import limits
from backwalk.atomic_files import whole_files
from backwalk.errors import TableFileError
from backwalk.table.delimited import DelimitedText
from backwalk.table.formats import Format, format_of
from backwalk.table.frame import Table, as_table
from backwalk.table.gaps import NativeRows, complete_rows
from backwalk.table.reading import opened, opened_parquet, read_npy, read_text
from backwalk.table.schema import Schema, escaped, from_values, refuse_duplicates, shown
from backwalk.table.selection import Selection
from backwalk.table.writing import packed, writing

Places = tuple[str | Path, str | Path]
Chosen = Callable[[int], npt.NDArray[np.bool_]]
"""Which of n rows go to the second file, (n,)."""


@dataclass(frozen=True, eq=False)
class Dealt:
    """The rows of the file that were dealt, (n,), the sizes of both files, and the names of columns left out."""

    is_taken: npt.NDArray[np.bool_]
    sizes: tuple[int, int]
    columns_left_out: tuple[str, ...]


def deal_rows(
    source: str | Path | Table,
    places: Places,
    chosen: Chosen,
    *,
    selection: Selection = Selection(),  # noqa: B008
    overwrite: bool = False,
) -> Dealt:
    """Write the selected rows and columns of a table file, or of a table, into two files, in their order.

    `chosen` gets the number of rows and returns which go to the second file. Raises TableFileError, also for nested
    columns and for texts beyond `limits.TABLE_FILE_BYTES`.
    """
    forms = [format_of(place) for place in places]
    if isinstance(source, Table):
        names = Schema(source.schema.names, source.schema.dtypes, "pyarrow")
        return _deal(from_values(source.values, names), (), places, forms, chosen, selection.complete, overwrite)
    with opened(source) as (file, form):
        if form.kind == "text" and all(each.delimiter == form.delimiter and each.kind == "text" for each in forms):
            return _copy_rows(file, form, places, forms, chosen, selection, overwrite)
        if form.kind == "npy":
            native, others = read_npy(file, selection)
            if native.ndim != 2:
                as_table(native, name="the table")  # which refuses it
        else:
            native, others = (
                read_text(file, form, selection) if form.kind == "text" else read_any_parquet(file, selection)
            )
        return _deal(native, tuple(others), places, forms, chosen, selection.complete, overwrite)


def _copy_rows(
    file: BinaryIO,
    form: Format,
    places: Places,
    forms: list[Format],
    chosen: Chosen,
    selection: Selection,
    overwrite: bool,
) -> Dealt:
    """Copy rows of text, byte by byte; a first pass counts them and finds missing values."""
    text = DelimitedText(file, form.delimiter)
    refuse_duplicates(text.names)
    taken = set(selection.names(text.names))
    kept = [j for j, name in enumerate(text.names) if name in taken]
    masks, n_before = list[npt.NDArray[np.bool_]](), 0
    for block in text.blocks():
        n_rows = len(text.rows(block))
        if n_rows:
            cells = text.cells(block, kept if selection.complete else kept[:1], n_before)
            if len(cells[0]) != n_rows:
                raise TableFileError("The file's rows cannot be told apart: write it anew with quoted texts.")
            missing = [np.asarray(column.is_null()) for column in cells] if selection.complete else []
            n_before += n_rows
            masks.append(~np.logical_or.reduce(missing) if missing else np.ones(n_rows, dtype=bool))
    is_taken = np.concatenate(masks) if masks else np.zeros(0, dtype=bool)
    is_second = np.zeros(len(is_taken), dtype=bool)
    is_second[is_taken] = chosen(int(is_taken.sum()))
    destination = np.where(is_taken, is_second.astype(np.int8), -1)
    all_kept = len(kept) == len(text.names)
    file.seek(0)
    text, row_number = DelimitedText(file, form.delimiter), 0
    with _written(places, forms, overwrite) as files:
        for out in files:
            out.write(text.header if all_kept else _without(text, text.header, kept))
        for block in text.blocks():
            rows = text.rows(block)
            for k, out in enumerate(files):
                here = np.flatnonzero(destination[row_number : row_number + len(rows)] == k).tolist()
                out.write(b"".join(rows[i] if all_kept else _without(text, rows[i], kept) for i in here))
            row_number += len(rows)
    left_out = tuple(name for name in text.names if name not in taken)
    return Dealt(is_taken, (int((destination == 0).sum()), int((destination == 1).sum())), left_out)


def _without(text: DelimitedText, row: bytes, kept: list[int]) -> bytes:
    fields = text.fields(row)
    return text.delimiter.join(fields[j] for j in kept) + b"\n"


def _deal(
    rows: NativeRows,
    left_out: Iterable[str],
    places: Places,
    forms: list[Format],
    chosen: Chosen,
    complete: bool,
    overwrite: bool,
) -> Dealt:
    is_taken = complete_rows(rows) if complete else np.ones(len(rows), dtype=bool)
    is_second = np.zeros(len(rows), dtype=bool)
    is_second[is_taken] = chosen(int(is_taken.sum()))
    masks = (is_taken & ~is_second, is_second)
    with _written(places, forms, overwrite) as files:
        for out, form, mask in zip(files, forms, masks, strict=True):
            write_any(out, form, rows[mask] if isinstance(rows, np.ndarray) else rows.filter(pa.array(mask)))
    return Dealt(is_taken, (int(masks[0].sum()), int(masks[1].sum())), tuple(left_out))


@contextmanager
def _written(places: Places, forms: list[Format], overwrite: bool) -> Iterator[list[BinaryIO]]:
    """Open two files that appear together, and compress where their formats say so."""
    with (
        writing(" and ".join(map(str, places))),
        whole_files(*places, overwrite=overwrite) as files,
        ExitStack() as stack,
    ):
        yield [stack.enter_context(packed(file, form)) for file, form in zip(files, forms, strict=True)]


def write_any(file: BinaryIO, form: Format, rows: NativeRows) -> None:
    """Write a table of any types, or an array, into an open file."""
    if form.kind == "npy":
        array = rows if isinstance(rows, np.ndarray) else as_table(rows, name="the table").values
        np.lib.format.write_array(file, array, allow_pickle=False)
        return
    if isinstance(rows, np.ndarray):
        rows = pa.table({f"x{j}": np.ascontiguousarray(column) for j, column in enumerate(rows.T, 1)})
    if form.kind == "parquet":
        pyarrow.parquet.write_table(rows, file)
        return
    columns = [_decoded(name, column) for name, column in zip(rows.column_names, rows.columns, strict=True)]
    options = pyarrow.csv.WriteOptions(delimiter=form.delimiter)
    pyarrow.csv.write_csv(pa.table(columns, names=list(map(escaped, rows.column_names))), file, options)


def read_any_parquet(file: BinaryIO, selection: Selection) -> tuple[pa.Table, dict[str, str]]:
    """Return the selected columns of a Parquet file; texts are measured, as dictionaries, before they are expanded."""
    parquet, taken = opened_parquet(file, selection)
    schema = parquet.schema_arrow
    nested = [name for name in taken if pa.types.is_nested(schema.field(name).type)]
    if nested:
        raise TableFileError(f"Columns should hold single values, but {shown(nested[0])} is nested: drop it.")
    texts = [name for name in taken if _is_text(schema.field(name).type)]
    reader = pyarrow.parquet.ParquetFile(file, metadata=parquet.metadata, read_dictionary=texts)
    read = reader.read(taken, use_threads=False)
    columns = [
        _decoded(name, read[name]).cast(schema.field(name).type) if name in texts else read[name] for name in taken
    ]
    kept = set(taken)
    others = {field.name: str(field.type) for field in schema if field.name not in kept}
    return pa.table(columns, schema=pa.schema([schema.field(name) for name in taken], schema.metadata)), others


def _is_text(column_type: pa.DataType) -> bool:
    return any(test(column_type) for test in (pa.types.is_string, pa.types.is_binary, pa.types.is_large_string))


def _decoded(name: str, column: pa.ChunkedArray) -> pa.ChunkedArray:
    """Return a dictionary's values row by row. Raises TableFileError where they take more than a file may."""
    if not pa.types.is_dictionary(column.type):
        return column
    if _is_text(column.type.value_type):
        lengths = (pc.binary_length(chunk.dictionary).take(chunk.indices) for chunk in column.chunks)
        size = sum(pc.sum(each).as_py() or 0 for each in lengths)
        if size > limits.TABLE_FILE_BYTES:
            raise TableFileError(
                f"The texts of column {shown(name)} should take at most {limits.TABLE_FILE_BYTES} bytes, but take "
                f"{size}: drop it."
            )
    return column.cast(column.type.value_type)
