"""One column of a table file as it stands, such as an identifier, and tables of any types to write it into."""

from __future__ import annotations

import sys
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet

from backwalk.atomic_files import whole_file
from backwalk.errors import TableFileError
from backwalk.formatting import listed, one_line
from backwalk.table.delimited import DelimitedText
from backwalk.table.formats import format_of
from backwalk.table.reading import opened
from backwalk.table.schema import refuse_duplicates, shown
from backwalk.table.selection import Selection
from backwalk.table.splitting import read_any_parquet, write_any
from backwalk.table.writing import packed, writing


def read_labels(path: str | Path, name: str) -> pa.ChunkedArray:
    """Read one column of a table file: of text files as text, character by character, of Parquet in its own type.

    Raises TableFileError, also where there is no such column.
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
            if len(text.names) == 1 or block.strip(b"\r\n"):
                (column,) = text.cells(block, [text.names.index(name)], n_rows)
                cells.append(column.cast(pa.string()))
                n_rows += len(column)
        return pa.chunked_array(cells, type=pa.string())


def write_labelled(path: str | Path, rows: pa.Table, *, overwrite: bool = False) -> None:
    """Write a table of any types in the format that the suffix names; "-" is CSV to standard output.

    A `.npy` file takes numbers only. Raises TableFileError; also if the file exists and `overwrite` is False.
    """
    form = format_of(path)
    if str(path) == "-":
        try:
            write_any(sys.stdout.buffer, form, rows)
            sys.stdout.buffer.flush()
        except BrokenPipeError:
            raise  # the reader wants no more rows; the command line handles this
        except OSError as error:
            raise TableFileError(f"standard output cannot be written: {one_line(error)}.") from error
        return
    with writing(path), whole_file(path, overwrite=overwrite) as file, packed(file, form) as out:
        write_any(out, form, rows)


def _refuse_absent(name: str, columns: tuple[str, ...] | list[str]) -> None:
    if name not in columns:
        raise TableFileError(
            f"The column {shown(name)} should be in the file, but is not; there are {listed(map(shown, columns))}."
        )
