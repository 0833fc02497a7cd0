"""Table files that are read by the numbers of their rows: looked at once, and recognised later.

A file is recognised by its size; Parquet by the footer, which holds the place, size and statistics of every column;
text by the bytes between two marks.
"""

from __future__ import annotations

import hashlib
import os
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO, cast

import numpy as np
import pyarrow as pa
import pyarrow.parquet

from backwalk import limits
from backwalk.errors import TableFileError
from backwalk.formatting import byte_words
from backwalk.table.delimited import DelimitedText
from backwalk.table.dtypes import is_text
from backwalk.table.parquet_pages import bytes_at_once, check_footer
from backwalk.table.reading import opened
from backwalk.table.schema import refuse_duplicates, shown

_BATCH_ROWS = 2**16
_BUFFER = 2**16  # bytes read ahead in each column of a Parquet file
_FOOTER_END = 8  # bytes: the footer's length, and a word


@dataclass(frozen=True)
class Mark:
    """A place in a text file: the number of the row that begins there, and the SHA-256 up to the next mark."""

    row: int
    offset: int
    sha256: str


@dataclass(frozen=True)
class FileOfRows:
    """A table file as it was when it was looked at: its rows, its size, its checksum, and when it was last modified.

    `sha256` is that of a Parquet file's footer, or of a text; `modified` is in nanoseconds since 1970; `marks` has the
    places in a text.
    """

    path: str
    rows: int
    bytes: int
    sha256: str
    modified: int
    marks: tuple[Mark, ...] = ()


def changed_file(file: FileOfRows) -> TableFileError:
    """Return the error about a file that is not the one that was looked at."""
    return TableFileError(
        f"{file.path} should be the file with which the work was begun, but has changed: put it back, or begin anew."
    )


def look_at_parquet(path: str | Path) -> tuple[FileOfRows, tuple[str, ...]]:
    """Look at a Parquet file; return it and the names of its columns. Raises TableFileError."""
    with opened(path) as (data, _):
        check_footer(data)
        data.seek(0)
        parquet = pyarrow.parquet.ParquetFile(data)
        names = tuple(parquet.schema_arrow.names)
        refuse_duplicates(names)
        held = bytes_at_once(data, [True] * parquet.metadata.num_columns)
        if held > limits.TABLE_FILE_BYTES:
            raise TableFileError(
                f"One page of each column should take at most {byte_words(limits.TABLE_FILE_BYTES)}, but takes "
                f"{byte_words(held)}: write smaller pages."
            )
        status = os.fstat(data.fileno())
        sha256 = _footer_sha256(data)
        return FileOfRows(_absolute(path), parquet.metadata.num_rows, status.st_size, sha256, status.st_mtime_ns), names


def _footer_sha256(data: BinaryIO) -> str:
    data.seek(-_FOOTER_END, os.SEEK_END)
    length = int.from_bytes(data.read(4), "little")
    data.seek(-_FOOTER_END - length, os.SEEK_END)
    return hashlib.sha256(data.read()).hexdigest()


def parquet_schema(file: FileOfRows, names: Sequence[str]) -> pa.Schema:
    """Return the types in which `parquet_rows` yields some columns. Raises TableFileError."""
    with opened(file.path) as (data, _):
        whole = _opened_parquet(data, names).schema_arrow
        return pa.schema([whole.field(name) for name in names])


def parquet_rows(file: FileOfRows, first: int, last: int, names: Sequence[str]) -> Iterator[pa.Table]:
    """Yield some columns of rows first..last-1 of a Parquet file, texts as dictionaries. Raises TableFileError."""
    with opened(file.path) as (data, _):
        if os.fstat(data.fileno()).st_size != file.bytes or _footer_sha256(data) != file.sha256:
            raise changed_file(file)
        data.seek(0)
        parquet = _opened_parquet(data, names)
        sizes = [parquet.metadata.row_group(i).num_rows for i in range(parquet.metadata.num_row_groups)]
        begins = np.cumsum([0, *sizes])
        groups = [i for i, size in enumerate(sizes) if begins[i] < last and begins[i] + size > first]
        place = int(begins[groups[0]]) if groups else last
        for batch in parquet.iter_batches(_BATCH_ROWS, row_groups=groups, columns=list(names), use_threads=False):
            skip, stop = max(first - place, 0), min(last - place, batch.num_rows)
            place += batch.num_rows
            if skip < stop:
                yield pa.Table.from_batches([batch.slice(skip, stop - skip)]).select(list(names))
            if place >= last:
                return


def _opened_parquet(data: BinaryIO, names: Sequence[str]) -> pyarrow.parquet.ParquetFile:
    schema = pyarrow.parquet.read_schema(data)
    nested = [name for name in names if pa.types.is_nested(schema.field(name).type)]
    if nested:
        raise TableFileError(f"Columns should hold single values, but {shown(nested[0])} is nested: drop it.")
    # A few bytes may stand for a long text in every row: texts are read as dictionaries.
    texts = [name for name in names if is_text(schema.field(name).type)]
    data.seek(0)
    return pyarrow.parquet.ParquetFile(data, read_dictionary=texts, buffer_size=_BUFFER)


def look_at_text(
    path: str | Path, before: int, every: int, watch: Callable[[int], object]
) -> tuple[FileOfRows, tuple[str, ...]]:
    """Read a text file to count its rows; return it and the names of its columns. Raises TableFileError.

    Of all rows, of which the file has those from number `before` on, every `every`-th is marked: the mark is the place
    of the first row of its block of text.
    """
    with opened(path) as (data, form):
        counted = _Hashed(data)
        text = DelimitedText(cast("BinaryIO", counted), form.delimiter, limited=False)
        refuse_duplicates(text.names)
        n_rows, begin, marks = 0, 0, [(0, 0)]
        digests = list[str]()
        for block in text.blocks():
            n_block = len(text.cells(block, [0], n_rows)[0])
            if n_rows and -(before + n_rows) % every < n_block:  # a part begins in the block
                digests.append(counted.cut())
                marks.append((n_rows, begin))
            n_rows, begin = n_rows + n_block, text.place
            counted.advance(begin)
            watch(n_block)
        counted.advance(None)
        digests.append(counted.cut())
        found = tuple(Mark(row, offset, own) for (row, offset), own in zip(marks, digests, strict=True))
        status = Path(path).stat()
        return FileOfRows(
            _absolute(path), n_rows, status.st_size, counted.sha256, status.st_mtime_ns, found
        ), text.names


def text_rows(
    file: FileOfRows, first: int, last: int, names: Sequence[str], exact: Sequence[str]
) -> Iterator[pa.Table]:
    """Yield some columns of rows first..last-1 of a text file, as bytes. Raises TableFileError.

    In the columns named by `exact` no cell is a missing value.
    """
    i = max(i for i, mark in enumerate(file.marks) if mark.row <= first)
    mark, ends = file.marks[i], [*(mark.offset for mark in file.marks[i + 1 :]), None]
    unchecked = deque(zip(ends, (mark.sha256 for mark in file.marks[i:]), strict=True))
    with opened(file.path) as (data, form):
        if Path(file.path).stat().st_size != file.bytes:
            raise changed_file(file)
        header = DelimitedText(data, form.delimiter, limited=False).header if mark.offset else b""
        data.seek(mark.offset)
        hashed = _Hashed(data, mark.offset)
        text = DelimitedText(cast("BinaryIO", _After(header, hashed)), form.delimiter, limited=False)
        order, place = [text.names.index(name) for name in names], mark.row
        kept = [text.names.index(name) for name in exact]
        for block in text.blocks():
            cells = dict(zip(names, text.cells(block, order, place), strict=True))
            cells |= zip(exact, text.cells(block, kept, place, nulls=False) if kept else [], strict=True)
            rows = pa.table(cells)
            skip, stop = max(first - place, 0), min(last - place, rows.num_rows)
            place += rows.num_rows
            while unchecked and hashed.has_read(unchecked[0][0]):
                end, sha256 = unchecked.popleft()
                hashed.advance(end)
                if hashed.cut() != sha256:
                    raise changed_file(file)
            hashed.advance(unchecked[0][0] if unchecked else None)
            if skip < stop:
                yield rows.slice(skip, stop - skip)
            if place >= last:
                return


class _Hashed:
    """A file whose bytes are hashed as they are read, from an offset on."""

    def __init__(self, file: BinaryIO, offset: int = 0) -> None:
        self._file, self._begin, self._waiting, self._is_at_end = file, offset, bytearray(), False
        self._whole, self._piece = hashlib.sha256(), hashlib.sha256()

    def read(self, size: int) -> bytes:
        data = self._file.read(size)
        self._whole.update(data)
        self._waiting += data
        self._is_at_end = len(data) < size
        return data

    @property
    def sha256(self) -> str:
        """The SHA-256 of all that was read."""
        return self._whole.hexdigest()

    def has_read(self, end: int | None) -> bool:
        """Return whether all up to an offset was read; None is the end of the file."""
        return self._is_at_end if end is None else self._begin + len(self._waiting) >= end

    def advance(self, end: int | None) -> None:
        """Hash what was read up to an offset, or all of it."""
        n = len(self._waiting) if end is None else max(end - self._begin, 0)
        taken = self._waiting[:n]
        self._piece.update(taken)
        self._begin += len(taken)
        del self._waiting[:n]

    def cut(self) -> str:
        """Return the SHA-256 of what was hashed since the last cut."""
        found, self._piece = self._piece.hexdigest(), hashlib.sha256()
        return found


class _After:
    """A file that begins with a header."""

    def __init__(self, header: bytes, file: _Hashed) -> None:
        self._header, self._file = header, file

    def read(self, size: int) -> bytes:
        header, self._header = self._header, b""
        return header or self._file.read(size)


def _absolute(path: str | Path) -> str:
    return str(Path(path).absolute())
