"""The formats of table files, by suffix, and their largest size."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from backwalk import limits
from backwalk.errors import TableFileError
from backwalk.table.schema import shown


@dataclass(frozen=True)
class Format:
    """A table file's format: text with a delimiter, possibly compressed by gzip, Parquet or NumPy's `.npy`."""

    kind: Literal["text", "parquet", "npy"]
    delimiter: str = ","
    compressed: bool = False


CSV = Format("text")
FORMATS = {
    ".csv": CSV,
    ".tsv": Format("text", "\t"),
    ".csv.gz": Format("text", compressed=True),
    ".tsv.gz": Format("text", "\t", compressed=True),
    ".parquet": Format("parquet"),
    ".npy": Format("npy"),
}
SUFFIXES = tuple(FORMATS)


def format_of(path: str | Path) -> Format:
    """Return the format that a file's suffix names; "-" is CSV. Raises TableFileError for any other suffix."""
    if str(path) == "-":
        return CSV
    for suffix, form in FORMATS.items():
        if Path(path).name.lower().endswith(suffix) and len(Path(path).name) > len(suffix):
            return form
    raise TableFileError(
        f"A table file should end in {', '.join(SUFFIXES)}, but got {shown(str(path))}: save it as one of these."
    )


def refuse_large(cells: int, columns: int) -> None:
    """Raise TableFileError for more cells or columns than a table file may have."""
    for n, most, what, remedy in (
        (columns, limits.TABLE_FILE_COLUMNS, "columns", "drop some"),
        (cells, limits.TABLE_FILE_CELLS, "cells", "give fewer rows"),
    ):
        if n > most:
            raise TableFileError(f"A table file should have at most {most} {what}, but got {n}: {remedy}.")
