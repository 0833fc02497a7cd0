"""Table files: their formats by suffix, the files of a folder or a pattern, and what is refused before rows are read.

Every error becomes a `TableFileError` that names the file.
"""

from __future__ import annotations

import glob
import gzip
import os
import sys
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO, Literal, cast

import pyarrow as pa

from backwalk import limits
from backwalk.errors import InvalidInput, TableFileError
from backwalk.formatting import one_line
from backwalk.table.dtypes import arrow_type, numpy_dtype
from backwalk.table.frame import refused_dtype
from backwalk.table.schema import shown
from backwalk.text_options import StrPath, TextOptions, options_of

_WILD = "*?["
_HIDDEN = ("_", ".")  # Spark's _SUCCESS, checksums of file systems
_COPIED_AT_ONCE = 2**20


@dataclass(frozen=True)
class Format:
    """A table file's format: text with a delimiter, possibly compressed by gzip, or Parquet."""

    kind: Literal["text", "parquet"]
    delimiter: str = ","
    compressed: bool = False


CSV = Format("text")
FORMATS = {
    ".csv": CSV,
    ".tsv": Format("text", "\t"),
    ".csv.gz": Format("text", compressed=True),
    ".tsv.gz": Format("text", "\t", compressed=True),
    ".parquet": Format("parquet"),
}
SUFFIXES = tuple(FORMATS)


def format_of(path: StrPath) -> Format:
    """Return the format that a file's suffix names; "-" is CSV. Raises TableFileError for any other suffix."""
    if str(path) == "-":
        return CSV
    name = Path(path).name
    for suffix, form in FORMATS.items():
        if name.lower().endswith(suffix) and len(name) > len(suffix):
            return form
    raise TableFileError(
        f"A table file should end in {', '.join(SUFFIXES)}, but got {shown(str(path))}: save it as one of these."
    )


@dataclass(frozen=True)
class SourceFile:
    """A file as it was when it was first seen, and how its text is written; messages call it `label`."""

    path: Path
    label: str
    n_bytes: int
    _stamp: tuple[int, int, int]  # device, inode, time of the last change
    text: TextOptions = TextOptions()  # noqa: RUF009

    @classmethod
    def of(cls, path: Path, label: str | None = None, text: TextOptions = TextOptions()) -> SourceFile:  # noqa: B008
        """Return a file as it is now. Raises TableFileError if it cannot be read or is no regular file."""
        try:
            status = path.stat()
        except OSError as error:
            raise TableFileError(f"{path} cannot be read: {error.strerror}.") from error
        if not path.is_file():
            raise TableFileError(f"{path}: a table file should be a regular file: give a pipe as standard input, -.")
        stamp = status.st_dev, status.st_ino, status.st_mtime_ns
        return cls(path, label or str(path), status.st_size, stamp, text)

    @property
    def form(self) -> Format:
        """The format that the suffix names."""
        return format_of(self.path)

    def refuse_changed(self) -> None:
        """Raise TableFileError if the file has changed since."""
        if not self.path.exists():
            raise TableFileError(f"{self.label} was removed while it was read: put it back, and start again.")
        if SourceFile.of(self.path, self.label, self.text) != self:
            raise TableFileError(f"{self.label} changed while it was read: wait until it is complete, and start again.")


def is_pattern(source: StrPath) -> bool:
    """Return whether a source is a pattern of names, such as data/*.parquet, and not a file."""
    return any(sign in str(source) for sign in _WILD) and not Path(source).exists()


def table_files(source: StrPath) -> tuple[SourceFile, ...]:
    """Return the files of a table, in the order of their names.

    A folder stands for the table files in it, without those whose names begin with _ or a dot; a pattern for the files
    that it matches, ** for folders within folders. Several files have one format, Parquet or text. Raises
    TableFileError.
    """
    place = Path(source)
    if place.is_dir():
        paths = sorted(filter(_is_table, place.iterdir()))
        if not paths:
            within = next(filter(_is_table, place.rglob("*")), None)
            hint = f"give '{place}/**/*{within.suffix}' for the files in its folders" if within else "name another"
            raise TableFileError(f"{place} should hold table files ({', '.join(FORMATS)}), but holds none: {hint}.")
    elif is_pattern(source):
        names = glob.glob(os.fspath(source), recursive=True)  # noqa: PTH207 - which takes absolute patterns
        paths = sorted(path for path in map(Path, names) if path.is_file())
        if not paths:
            raise TableFileError(f"{source} should match table files, but matches none: check the spelling.")
    else:
        paths = [place]
    if len(paths) > limits.TABLE_FILES:
        raise TableFileError(
            f"A table should have at most {limits.TABLE_FILES:,} files, but {source} has {len(paths):,}: join some."
        )
    with faults_of(source):
        forms = [format_of(path) for path in paths]
    for path, form in zip(paths, forms, strict=True):
        if (form.kind, form.delimiter) != (forms[0].kind, forms[0].delimiter):
            raise TableFileError(
                f"Files of one table should have one format, but {shown(paths[0].name)} and {shown(path.name)} differ: "
                "give a pattern, such as '*.parquet'."
            )
    text = options_of(source)
    if text != TextOptions() and forms[0].kind != "text":
        raise TableFileError(f"{source}: sep, decimal, encoding, na and dates go with text files: leave them out.")
    return tuple(SourceFile.of(path, text=text) for path in paths)


@contextmanager
def files_of(source: StrPath) -> Iterator[tuple[SourceFile, ...]]:
    """Yield the files of a table as `table_files` does; "-" is standard input, which is copied to a file first."""
    if str(source) != "-":
        yield table_files(source)
        return
    with tempfile.TemporaryDirectory() as folder, faults_of("standard input"):
        path = Path(folder) / "standard_input.csv"
        with path.open("wb") as copy:
            while data := sys.stdin.buffer.read(_COPIED_AT_ONCE):
                copy.write(data)
        yield (SourceFile.of(path, "standard input", options_of(source)),)


@contextmanager
def faults_of(label: StrPath) -> Iterator[None]:
    """Let every error in the block become a TableFileError that names a file."""
    try:
        yield
    except MemoryError as error:
        raise TableFileError(f"{label} takes more memory than there is: give fewer rows.") from error
    except (InvalidInput, TableFileError) as error:
        text = one_line(error)
        raise TableFileError(f"{text}." if text.startswith(str(label)) else f"{label}: {text}.") from error
    except OSError as error:
        raise TableFileError(f"{label} cannot be read: {one_line(error)}.") from error
    except Exception as error:  # parsers of damaged files raise many types
        raise TableFileError(f"{label} cannot be parsed as a table: {one_line(error)}.") from error


@contextmanager
def opened(file: SourceFile) -> Iterator[BinaryIO]:
    """Open a table file, decompressed; every error in the block becomes a TableFileError."""
    with faults_of(file.label), file.path.open("rb") as data:
        if not file.form.compressed:
            yield data
            return
        with gzip.GzipFile(fileobj=data, mode="rb") as unpacked:
            yield cast("BinaryIO", unpacked)


def refuse_large(cells: int, columns: int) -> None:
    """Raise TableFileError for more cells or columns than a table file may have."""
    for n, most, what, remedy in (
        (columns, limits.TABLE_FILE_COLUMNS, "columns", "drop some"),
        (cells, limits.TABLE_FILE_CELLS, "cells", "give fewer rows"),
    ):
        if n > most:
            raise TableFileError(
                f"A table that is read at once should have at most {most} {what}, but got {n}: {remedy}."
            )


def refuse_unfit(types: Mapping[str, pa.DataType]) -> None:
    """Raise InvalidInput for a column of a type that no model may be fitted to."""
    for name, of_type in types.items():
        if not is_fit(of_type):
            raise refused_dtype(str(of_type), name, "the table")


def is_fit(of_type: pa.DataType) -> bool:
    """Return whether a model may be fitted to a column of a type."""
    name = str(of_type)
    has_numbers = pa.types.is_null(of_type) or pa.types.is_decimal(of_type)
    return bool(has_numbers or arrow_type(numpy_dtype(name) or name, "pyarrow") is not None)


def _is_table(path: Path) -> bool:
    try:
        format_of(path)
    except TableFileError:
        return False
    return path.is_file() and not path.name.startswith(_HIDDEN)
