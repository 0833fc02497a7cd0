"""Read one column of a table file unchanged, such as an identifier, and write tables of any types."""

from __future__ import annotations

from pathlib import Path

import pyarrow as pa
import pyarrow.parquet

from backwalk.errors import TableFileError
from backwalk.formatting import listed
from backwalk.table.delimited import DelimitedText
from backwalk.table.formats import format_of
from backwalk.table.reading import opened
from backwalk.table.schema import refuse_duplicates, shown
from backwalk.table.selection import Selection
from backwalk.table.splitting import read_any_parquet, write_any
from backwalk.table.writing import output_file


def read_labels(path: str | Path, name: str) -> pa.ChunkedArray:
    """Read one column of a table file unchanged: from text files as text, from Parquet in its own type.

    In text no cell is a missing value: "NA" may be an identifier, and an empty cell is the empty text.
    Raises TableFileError; also if there is no such column.
    """
    with opened(path) as (file, form):
        if form.kind == "npy":
            raise TableFileError(f"Columns of an array have no names, but {shown(name)} is asked for: save it as CSV.")
        if form.kind == "parquet":
            _refuse_absent(name, pyarrow.parquet.read_schema(file).names)
            file.seek(0)
            return read_any_parquet(file, Selection(only=(name,)))[0][name]
        text = DelimitedText(file, form.delimiter)
        refuse_duplicates(text.names)
        _refuse_absent(name, text.names)
        cells, n_rows = list[pa.Array](), 0
        for block in text.blocks():
            (column,) = text.cells(block, [text.names.index(name)], n_rows, nulls=False)
            cells.append(column.cast(pa.string()))
            n_rows += len(column)
        return pa.chunked_array(cells, type=pa.string())


def write_labelled(path: str | Path, rows: pa.Table, *, overwrite: bool = False) -> None:
    """Write a table of any types in the format that the suffix names; "-" is CSV to standard output.

    A `.npy` file takes numbers only. Raises TableFileError; also if the file exists and `overwrite` is False.
    """
    form = format_of(path)
    with output_file(path, form, overwrite=overwrite) as file:
        write_any(file, form, rows)


def _refuse_absent(name: str, columns: tuple[str, ...] | list[str]) -> None:
    if name not in columns:
        raise TableFileError(
            f"The column {shown(name)} should be in the file, but is not; there are {listed(map(shown, columns))}."
        )
