"""The decompressed size of a Parquet file's pages, from the pages' own headers.

The sizes in the footer may be false: a file of 100 KB may claim 1 MB and hold pages that decompress to gigabytes. Arrow
allocates the size in each page header, so this module reads the headers, without decompressing a page. (Reading in
batches does not help: the first batch of ten rows decompresses whole pages.) It also counts the footer's entries,
because Arrow's records of them take many times their bytes.

Footer and headers are in Thrift's compact protocol. Input that Arrow may interpret differently from this module, such
as a field that occurs twice, is refused. Source: parquet.thrift of the Apache Parquet format.
"""

from __future__ import annotations

import itertools
import os
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any, BinaryIO, Final

from backwalk import limits
from backwalk.errors import TableFileError

_MAGIC = b"PAR1"
_MAGIC_OF_ENCRYPTED = b"PARE"  # of a file whose footer is encrypted as well
_MOST_ENTRIES = 2**20  # structures in the footer's lists; a column of a row group is one
_HEADER_READS = (2**9, 2**14, 2**24)  # bytes to try to read a page header from; Arrow tries up to 16 MiB
_DEEPEST = 32

_BYTE, _I32, _I64, _DOUBLE, _BINARY, _LIST, _SET, _MAP, _STRUCT = 3, 5, 6, 7, 8, 9, 10, 11, 12
_Spec = dict[int, Any]  # the type of each wanted field, or (list or struct, its own spec)

_COLUMN: Final[_Spec] = {5: _I64, 7: _I64, 9: _I64, 11: _I64}  # values, compressed size, data page, dictionary page
_CHUNK: Final[_Spec] = {3: (_STRUCT, _COLUMN), 8: (_STRUCT, {})}  # 8 says how its pages are encrypted
_FOOTER: Final[_Spec] = {4: (_LIST, {1: (_LIST, _CHUNK)})}
_PAGE: Final[_Spec] = {
    2: _I32,
    3: _I32,
    **{kind: (_STRUCT, {1: _I32}) for kind in (5, 8)},
}  # data pages of both versions


class _Malformed(Exception):
    pass


def unpacked_bytes(file: BinaryIO) -> int:
    """Return the bytes of all pages of a Parquet file, decompressed, or of the file if these are more.

    Counting stops at the first total beyond `limits.TABLE_FILE_BYTES`. Raises TableFileError for a malformed file.
    """
    size = os.fstat(file.fileno()).st_size
    if size > limits.TABLE_FILE_BYTES:
        return size
    with _damage_reported():
        total = 0
        for chunk in itertools.chain.from_iterable(_columns_by_group(file, size)):
            for _, unpacked, _ in _pages(file, chunk):
                total += unpacked
                if total > limits.TABLE_FILE_BYTES:
                    return total
        return max(size, total)


def check_footer(file: BinaryIO) -> None:
    """Raise TableFileError for a Parquet footer that is malformed, encrypted or beyond the limits."""
    with _damage_reported():
        _columns_by_group(file, os.fstat(file.fileno()).st_size)


def bytes_at_once(file: BinaryIO, is_read: Sequence[bool]) -> int:
    """Return the most bytes of pages that are in memory at a time when a Parquet file is read in batches of few rows.

    These are, of each column that `is_read`, its dictionary and its largest page, packed and unpacked. Raises
    TableFileError for a malformed file, and for one whose row groups have other columns than its schema.
    """
    most = 0
    with _damage_reported():
        for chunks in _columns_by_group(file, os.fstat(file.fileno()).st_size):
            if len(chunks) != len(is_read):
                raise _Malformed("a row group has other columns than the schema")
            total = 0
            for chunk in itertools.compress(chunks, is_read):
                dictionary = largest = 0
                for packed, unpacked, holds_values in _pages(file, chunk):
                    if holds_values:
                        largest = max(largest, packed + unpacked)
                    else:
                        dictionary += packed + unpacked
                total += dictionary + largest
            most = max(most, total)
    return most


@contextmanager
def _damage_reported() -> Iterator[None]:
    try:
        yield
    except (_Malformed, IndexError) as error:
        raise TableFileError(f"The Parquet file is damaged ({error}): copy it anew, or write it again.") from error


def _columns_by_group(file: BinaryIO, size: int) -> list[list[dict[int, Any]]]:
    """Return the records of the columns of each row group, from the footer of a file of some size."""
    file.seek(max(size - 8, 0))
    tail = file.read(8)
    length = int.from_bytes(tail[:4], "little")
    if tail[4:] == _MAGIC_OF_ENCRYPTED:
        raise _encrypted()
    if tail[4:] != _MAGIC or not 0 < length <= size - 12:
        raise _Malformed("it has no footer")
    if length > limits.PARQUET_FOOTER_BYTES:
        raise TableFileError(
            f"A Parquet footer should have at most {limits.PARQUET_FOOTER_BYTES} bytes, but has {length}: write larger "
            "row groups."
        )
    file.seek(size - 8 - length)
    groups = [group.get(1, []) for group in _Compact(file.read(length)).struct(_FOOTER).get(4, [])]
    if any(8 in chunk for group in groups for chunk in group):
        raise _encrypted()
    return [[chunk.get(3, {}) for chunk in group] for group in groups]


def _encrypted() -> TableFileError:
    return TableFileError("The Parquet file is encrypted: decrypt it first.")


def _pages(file: BinaryIO, column: dict[int, Any]) -> Iterator[tuple[int, int, bool]]:
    """Yield each page of one column in one row group, found as Arrow finds them.

    A page is its bytes in the file, the larger of these and its unpacked ones, and whether it holds values.
    """
    try:
        n_values, compressed, start, dictionary = column[5], column[7], column[9], column.get(11, 0)
    except KeyError as error:
        raise _Malformed("a column has no offset") from error
    if 0 < dictionary < start:
        start = dictionary
    place, end, seen = start, start + compressed, 0
    while seen < n_values and place < end:
        header, length = _page_header(file, place)
        if 2 not in header or 3 not in header or min(header[2], header[3]) < 0:
            raise _Malformed("a page has no size")
        place += length + header[3]
        kinds = [kind for kind in (5, 8) if kind in header]
        yield header[3], max(header[2], header[3]), bool(kinds)
        seen += sum(max(header[kind].get(1, 0), 0) for kind in kinds)


def _page_header(file: BinaryIO, place: int) -> tuple[dict[int, Any], int]:
    if place < 0:
        raise _Malformed("a page has no offset")
    for n_bytes in _HEADER_READS:
        file.seek(place)
        compact = _Compact(file.read(n_bytes))
        try:
            return compact.struct(_PAGE), compact.place
        except IndexError:
            if len(compact.data) < n_bytes:
                break
    raise _Malformed("a page is cut off")


class _Compact:
    """A reader of Thrift's compact protocol that keeps the wanted fields; it raises IndexError beyond the end."""

    def __init__(self, data: bytes) -> None:
        self.data, self.place, self._entries = data, 0, 0

    def struct(self, spec: _Spec, depth: int = 0) -> dict[int, Any]:
        """Read a structure, and return its fields of `spec` by number."""
        if depth > _DEEPEST:
            raise _Malformed("its structures are too deep")
        found: dict[int, Any] = {}
        field, seen = 0, set()
        while head := self._byte():
            kind = head & 15
            field = field + (head >> 4) if head >> 4 else self._zigzag()
            if field in seen:
                raise _Malformed("a field occurs twice")
            seen.add(field)
            wanted = spec.get(field)
            if wanted is None:
                self._skip(kind, depth)
            elif kind != (wanted if isinstance(wanted, int) else wanted[0]):
                raise _Malformed("a field has another type")
            elif isinstance(wanted, int):
                found[field] = self._zigzag()
            elif kind == _STRUCT:
                found[field] = self.struct(wanted[1], depth + 1)
            else:
                found[field] = self._structs(wanted[1], depth + 1)
        return found

    def _structs(self, spec: _Spec, depth: int) -> list[dict[int, Any]]:
        n, kind = self._list_head()
        if kind != _STRUCT and n:
            raise _Malformed("a field has another type")
        return [self.struct(spec, depth) for _ in range(n)]

    def _list_head(self) -> tuple[int, int]:
        head = self._byte()
        n = head >> 4 if head >> 4 < 15 else self._varint()
        if n > len(self.data) - self.place:
            raise IndexError("a list is longer than the data")
        if head & 15 == _STRUCT:
            self._entries += n
            if self._entries > _MOST_ENTRIES:
                raise _Malformed(f"its footer has more than {_MOST_ENTRIES} entries")
        return n, head & 15

    def _skip(self, kind: int, depth: int) -> None:
        if kind in (1, 2):  # a truth value has no bytes beyond its type
            return
        if kind == _BYTE:
            self.place += 1
        elif _BYTE < kind <= _I64:
            self._varint()
        elif kind == _DOUBLE:
            self.place += 8
        elif kind == _BINARY:
            length = self._varint()
            self.place += length
        elif kind in (_LIST, _SET):
            n, of = self._list_head()
            for _ in range(n):
                self._skip(_BYTE if of in (1, 2) else of, depth + 1)
        elif kind == _STRUCT:
            self.struct({}, depth + 1)
        else:  # a map, which Parquet does not use, or an unknown type
            raise _Malformed("a field has no known type")
        if self.place > len(self.data) or depth > _DEEPEST:
            raise IndexError("it is cut off")

    def _byte(self) -> int:
        byte = self.data[self.place]
        self.place += 1
        return byte

    def _varint(self) -> int:
        value = 0
        for shift in range(0, 70, 7):
            byte = self._byte()
            value |= (byte & 127) << shift
            if byte < 128:
                return value
        raise _Malformed("a number has no end")

    def _zigzag(self) -> int:
        value = self._varint()
        return (value >> 1) ^ -(value & 1)
