"""Split the rows of a table file into two files, whatever types its columns have.

Text is copied row by row: a cell `007` or `1.50` stays unchanged. Other formats, and files of different formats, are
converted by Arrow. Both files are replaced together, so that they always belong to the same split.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from contextlib import AbstractContextManager, ExitStack, contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import BinaryIO

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.csv
import pyarrow.parquet

from backwalk import limits
from backwalk.errors import TableFileError
from backwalk.files import atomic_write
from backwalk.table.delimited import DelimitedText
from backwalk.table.formats import Format, format_of
from backwalk.table.frame import Table, as_table
from backwalk.table.gaps import NativeRows, complete_rows
from backwalk.table.reading import opened, opened_parquet, read_npy, read_text
from backwalk.table.restoring import from_values
from backwalk.table.schema import escaped, refuse_duplicates, shown
from backwalk.table.selection import Selection
from backwalk.table.writing import packed, writing

Places = tuple[str | Path, str | Path]
Chosen = Callable[[int], npt.NDArray[np.bool_]]
"""Returns which of n rows go to the second file, (n,)."""
Written = Callable[[], AbstractContextManager[list[tuple[BinaryIO, Format]]]]
"""Opens both files, see `_written`."""


@dataclass(frozen=True, eq=False)
class SplitFiles:
    """Which rows of the file were taken, (n,), the sizes of both files, and the names of columns left out."""

    is_taken: npt.NDArray[np.bool_]
    sizes: tuple[int, int]
    columns_left_out: tuple[str, ...]


def split_table(
    source: str | Path | Table,
    places: Places,
    chosen: Chosen,
    *,
    selection: Selection = Selection(),  # noqa: B008
    overwrite: bool = False,
) -> SplitFiles:
    """Write the selected rows and columns of a table file, or of a table, into two files, in their order.

    `chosen` takes the number of rows and returns which of them go to the second file. Raises TableFileError; also for
    nested columns, and for texts beyond `limits.TABLE_FILE_BYTES`.
    """
    forms = [format_of(place) for place in places]
    written = partial(_written, places, forms, overwrite)
    if isinstance(source, Table):
        rows = from_values(source.values, source.schema.as_arrow())
        return _split(rows, (), chosen, selection.complete, written)
    with opened(source) as (file, form):
        if form.kind == "text" and all(each.delimiter == form.delimiter and each.kind == "text" for each in forms):
            return _copy_rows(file, form, chosen, selection, written)
        if form.kind == "npy":
            native, others = read_npy(file, selection)
            if native.ndim != 2:
                as_table(native, name="the table")  # which refuses it
        else:
            native, others = (
                read_text(file, form, selection) if form.kind == "text" else read_any_parquet(file, selection)
            )
        return _split(native, others, chosen, selection.complete, written)


def _copy_rows(file: BinaryIO, form: Format, chosen: Chosen, selection: Selection, written: Written) -> SplitFiles:
    """Copy rows of text byte by byte; a first pass counts them and finds missing values."""
    text = DelimitedText(file, form.delimiter)
    refuse_duplicates(text.names)
    taken = set(selection.names(text.names))
    kept = [j for j, name in enumerate(text.names) if name in taken]
    masks, n_before = list[npt.NDArray[np.bool_]](), 0
    for block in text.blocks():
        n_rows = len(text.rows(block))
        cells = text.cells(block, kept if selection.complete else kept[:1], n_before)
        if len(cells[0]) != n_rows:
            raise TableFileError("The ends of the file's rows are ambiguous: write it anew with quoted texts.")
        missing = [np.asarray(column.is_null()) for column in cells] if selection.complete else []
        n_before += n_rows
        masks.append(~np.logical_or.reduce(missing) if missing else np.ones(n_rows, dtype=bool))
    is_taken = np.concatenate(masks) if masks else np.zeros(0, dtype=bool)
    masks = _both(is_taken, chosen)
    all_kept = len(kept) == len(text.names)
    file.seek(0)
    text, row_number = DelimitedText(file, form.delimiter), 0
    with written() as files:
        for out, _ in files:
            out.write(text.header if all_kept else _without(text, text.header, kept))
        for block in text.blocks():
            rows = text.rows(block)
            for (out, _), mask in zip(files, masks, strict=True):
                here = np.flatnonzero(mask[row_number : row_number + len(rows)]).tolist()
                out.write(b"".join(rows[i] if all_kept else _without(text, rows[i], kept) for i in here))
            row_number += len(rows)
    return SplitFiles(is_taken, _sizes(masks), tuple(name for name in text.names if name not in taken))


def _without(text: DelimitedText, row: bytes, kept: list[int]) -> bytes:
    fields = text.fields(row)
    return text.delimiter.join(fields[j] for j in kept) + b"\n"


def _split(rows: NativeRows, left_out: Iterable[str], chosen: Chosen, complete: bool, written: Written) -> SplitFiles:
    is_taken = complete_rows(rows) if complete else np.ones(len(rows), dtype=bool)
    masks = _both(is_taken, chosen)
    with written() as files:
        for (out, form), mask in zip(files, masks, strict=True):
            write_any(out, form, rows[mask] if isinstance(rows, np.ndarray) else rows.filter(pa.array(mask)))
    return SplitFiles(is_taken, _sizes(masks), tuple(left_out))


def _both(is_taken: npt.NDArray[np.bool_], chosen: Chosen) -> list[npt.NDArray[np.bool_]]:
    """Return which rows go to the first file, and which to the second."""
    is_second = np.zeros(len(is_taken), dtype=bool)
    is_second[is_taken] = chosen(int(is_taken.sum()))
    return [is_taken & ~is_second, is_second]


def _sizes(masks: list[npt.NDArray[np.bool_]]) -> tuple[int, int]:
    return int(masks[0].sum()), int(masks[1].sum())


@contextmanager
def _written(places: Places, forms: list[Format], overwrite: bool) -> Iterator[list[tuple[BinaryIO, Format]]]:
    """Open two files, of which each appears whole, and compress where their formats say so."""
    with (
        writing(" and ".join(map(str, places))),
        ExitStack() as stack,
    ):
        files = [stack.enter_context(atomic_write(place, overwrite=overwrite)) for place in places]
        yield [(stack.enter_context(packed(file, form)), form) for file, form in zip(files, forms, strict=True)]


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
    columns = [decoded(name, column) for name, column in zip(rows.column_names, rows.columns, strict=True)]
    options = pyarrow.csv.WriteOptions(delimiter=form.delimiter)
    pyarrow.csv.write_csv(pa.table(columns, names=list(map(escaped, rows.column_names))), file, options)


def read_any_parquet(file: BinaryIO, selection: Selection) -> tuple[pa.Table, dict[str, str]]:
    """Return the selected columns of a Parquet file; the size of texts is checked before dictionaries are expanded."""
    parquet, taken = opened_parquet(file, selection)
    schema = parquet.schema_arrow
    nested = [name for name in taken if pa.types.is_nested(schema.field(name).type)]
    if nested:
        raise TableFileError(f"Columns should hold single values, but {shown(nested[0])} is nested: drop it.")
    texts = [name for name in taken if _is_text(schema.field(name).type)]
    reader = pyarrow.parquet.ParquetFile(file, metadata=parquet.metadata, read_dictionary=texts)
    read = reader.read(taken, use_threads=False)
    columns = [
        decoded(name, read[name]).cast(schema.field(name).type) if name in texts else read[name] for name in taken
    ]
    kept = set(taken)
    others = {field.name: str(field.type) for field in schema if field.name not in kept}
    return pa.table(columns, schema=pa.schema([schema.field(name) for name in taken], schema.metadata)), others


def _is_text(column_type: pa.DataType) -> bool:
    return any(test(column_type) for test in (pa.types.is_string, pa.types.is_binary, pa.types.is_large_string))


def decoded(name: str, column: pa.ChunkedArray) -> pa.ChunkedArray:
    """Return a dictionary column's values row by row. Raises TableFileError if its texts are larger than the limit."""
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
