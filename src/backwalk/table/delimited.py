"""Read delimited text, CSV and TSV, in blocks of whole rows, so that memory holds one block.

Arrow parses each block; this module finds where rows end, and `typed_text.py` chooses the columns' types. Blocks are
copied into Arrow's own memory, because its threads may outlive a call: a thread that releases a Python object while the
interpreter shuts down aborts the process.
"""

from __future__ import annotations

import itertools
import re
from collections.abc import Iterator, Sequence
from typing import BinaryIO

import numpy as np
import pyarrow as pa
import pyarrow.csv
from numpy.typing import NDArray

from backwalk import limits
from backwalk.errors import TableFileError
from backwalk.formatting import listed
from backwalk.table.formats import refuse_large
from backwalk.table.schema import shown, unescaped

BLOCK_BYTES = 2**24  # and the most that one row may take

_BYTE_ORDER_MARK = b"\xef\xbb\xbf"
_FIRST_LINE = re.compile(rb"[^\r\n]*")
_LINE_END = re.compile(rb"[ \t]*(?:\r\n|\r|\n)?")
_DELIMITERS = {b",": "commas", b"\t": "tabs", b";": "semicolons"}
# A field in quotes may hold anything, line ends too; what follows its last quote belongs to it.
_QUOTED = rb"""(?:"(?:[^"]++|"")*+")"""
_ROW_NUMBER = re.compile(r"Row #(\d+)")


class DelimitedText:
    """An open text file whose header was read: its `header`, as bytes, and its columns' `names`.

    It is read in blocks of `block_bytes`, and has any size if it is not `limited`. `place` is the offset in the file at
    which the last block ended. Raises TableFileError for text that
    is not a table: empty, not UTF-8, with other delimiters, without a header, or beyond `backwalk.limits`.
    """

    def __init__(self, file: BinaryIO, delimiter: str, *, block_bytes: int | None = None, limited: bool = True) -> None:
        self._file, self._n_read, self.place = file, 0, 0
        self._block_bytes, self._most_bytes = block_bytes or BLOCK_BYTES, limits.TABLE_FILE_BYTES if limited else None
        self.delimiter = delimiter.encode()
        sign = re.escape(self.delimiter)
        self._field = re.compile(rb"(?:%b[^%b\r\n]*+|(?!\")[^%b\r\n]*+)" % (_QUOTED, sign, sign))
        self._row = re.compile(rb"(?:%b%b)*+%b(?:\r\n|\r|\n)" % (self._field.pattern, sign, self._field.pattern))
        self._rest = self._first_block()
        self._read_header()

    def blocks(self) -> Iterator[bytes]:
        """Yield the rows after the header in blocks of whole rows, each row with its line end.

        Blocks of blank lines alone are left out.
        """
        rest, self._rest = self._rest, b""
        blank = b""  # lines of a single column, which are missing values unless they end the file
        while True:
            while rest.endswith(b"\r") and (more := self._read(1)):
                rest += more  # the line end may be \r\n
            end = max(rest.rfind(b"\n"), rest.rfind(b"\r")) + 1
            if b'"' in rest:
                ends = self._row_ends(rest)
                end = int(ends[-1]) if len(ends) else 0
            block, rest = rest[:end], rest[end:]
            if len(self.names) == 1:
                block = blank + block
                text = block.rstrip()
                kept = _LINE_END.match(block, len(text))
                end = kept.end() if text and kept else 0
                block, blank = block[:end], block[end:]
                refuse_large(blank.count(b"\n"), 1)
            if block.strip(b"\r\n"):
                self.place = self._n_read - len(rest) - len(blank)
                yield block
            more = self._read(self._block_bytes)
            if not more:
                break
            if len(rest) > self._block_bytes:
                raise TableFileError(
                    f"A row should have at most {self._block_bytes} bytes, but one has more: close its quotation mark, "
                    "or shorten it."
                )
            rest += more
        if rest.strip() or (rest and len(self.names) > 1):
            if not self._row.fullmatch(rest + b"\n"):
                raise TableFileError("A quotation mark in the last row should be closed, but is not: close it.")
            self.place = self._n_read
            yield blank + rest + b"\n"

    def rows(self, block: bytes) -> list[bytes]:
        """Return the rows of a block as a list; in files of several columns blank lines are not rows."""
        if b'"' not in block:
            rows = block.splitlines(keepends=True)
        else:
            ends = self._row_ends(block).tolist()
            rows = [block[start:end] for start, end in itertools.pairwise([0, *ends])]
        return rows if len(self.names) == 1 else [row for row in rows if row.strip(b"\r\n")]

    def fields(self, row: bytes) -> list[bytes]:
        """Return the fields of a row unchanged, with their quotation marks."""
        line, fields, place = row.rstrip(b"\r\n"), [], -1
        while place < len(line):
            match = self._field.match(line, place + 1)
            assert match is not None  # as `blocks` yields whole rows alone
            fields.append(match.group())
            place = match.end()
        return fields

    def cells(
        self, block: bytes, columns: Sequence[int], rows_before: int = 0, *, nulls: bool = True
    ) -> list[pa.Array]:
        """Return the cells of some columns of a block, as bytes.

        Cells that mean a missing value, such as NA, are null, unless `nulls` is False.
        """
        names = [str(j) for j in range(len(self.names))]
        taken = [names[j] for j in columns]
        options = pyarrow.csv.ConvertOptions(
            column_types=dict.fromkeys(taken, pa.binary()), include_columns=taken, strings_can_be_null=nulls
        )
        try:
            table = self._parsed(block, names, options, ignore_empty_lines=len(names) > 1)
        except pa.ArrowInvalid as error:
            text = _ROW_NUMBER.sub(lambda match: f"Row #{int(match[1]) + rows_before + 1}", str(error))
            raise TableFileError(text) from error
        return [column.combine_chunks() for column in table.columns]

    def _parsed(
        self,
        text: bytes,
        names: list[str] | None = None,
        options: pyarrow.csv.ConvertOptions | None = None,
        *,
        ignore_empty_lines: bool = True,
    ) -> pa.Table:
        """Parse a block with Arrow; without `names`, its first row is the header."""
        return pyarrow.csv.read_csv(
            pa.BufferReader(_arrow_bytes(text)),
            pyarrow.csv.ReadOptions(use_threads=False, block_size=len(text) + 1, column_names=names),
            pyarrow.csv.ParseOptions(
                delimiter=self.delimiter.decode(), newlines_in_values=True, ignore_empty_lines=ignore_empty_lines
            ),
            options,
        )

    def _first_block(self) -> bytes:
        """Return the first block that is not blank, from its first line that is not.

        White space at the head of that line stays: a tab there follows an empty name.
        """
        block = self._read(self._block_bytes)
        if block.startswith((b"\xff\xfe", b"\xfe\xff")):
            raise _not_text()
        block = block.removeprefix(_BYTE_ORDER_MARK)
        while not block.strip():
            block = self._read(self._block_bytes)
            if not block:
                raise TableFileError("The file is empty: it should hold a header line and rows.")
        blank = re.match(rb"(?:[%b]*+[\r\n]++)*+" % b" \t\v\f".replace(self.delimiter, b""), block)
        return block[blank.end() :] if blank else block

    def _read_header(self) -> None:
        block = self._rest
        by_sign = {
            sign: bool(re.match(rb"(?:%b|[^\"\r\n%b]++)*+%b" % (_QUOTED, sign, sign), block)) for sign in _DELIMITERS
        }
        first = _FIRST_LINE.match(block)
        line = first.group() if first else b""
        if any(by_sign.values()) and not by_sign[self.delimiter]:
            name = line[:1000].decode(errors="replace")
            raise TableFileError(
                f"Cells should be separated by {_DELIMITERS[self.delimiter]}, but the header is {shown(name)}: save it "
                "with that delimiter."
            )
        fields = re.match(rb"(?:%b?+[^%b\r\n]*+%b)*+" % (_QUOTED, *[re.escape(self.delimiter)] * 2), block)
        refuse_large(0, 1 + (block.count(self.delimiter, 0, fields.end()) if fields else 0))
        while block.endswith(b"\r") and (more := self._read(1)):
            block += more
        whole = self._row.match(block) or self._row.match(block + b"\n")
        if whole is None:
            raise TableFileError("The header should end within a block, but has an open quotation mark: close it.")
        self.header, self._rest = whole.group(), block[whole.end() :]
        try:
            names = self._parsed(self.header).column_names
        except UnicodeDecodeError as error:
            raise TableFileError("The header is not UTF-8 text (Latin-1?): save the file as UTF-8.") from error
        quoted_alone = line.startswith(b'"') and not self._rest[:1000].lstrip().startswith(b'"')  # as our headers are
        if all(map(_is_number, names)) and not quoted_alone:
            raise TableFileError(
                f"The first line should name the columns, but holds only numbers, {listed(map(shown, names))}: put a "
                "header line of names above it, or, if these are names, put them in quotation marks."
            )
        self.names = tuple(map(unescaped, names))

    def _row_ends(self, block: bytes) -> NDArray[np.int64]:
        """Return the offsets at which the complete rows of a block end; the block begins with a row."""
        data = np.frombuffer(block, np.uint8)
        quotes = np.flatnonzero(data == ord('"'))
        opening = quotes[::2]  # in valid quoting, every second mark opens a field or is the second of a doubled one
        before = data[np.maximum(opening - 1, 0)]
        if not np.all((opening == 0) | np.isin(before, list(self.delimiter + b'\r\n"'))):
            ends, row = [0], self._row.match(block)  # some marks are ordinary characters within a field
            while row is not None:
                ends.append(row.end())
                row = self._row.match(block, row.end())
            return np.array(ends[1:], dtype=np.int64)
        followed = np.append(data[1:] == ord("\n"), False)
        line_ends = np.flatnonzero((data == ord("\n")) | ((data == ord("\r")) & ~followed))
        row_ends: NDArray[np.int64] = line_ends[np.searchsorted(quotes, line_ends) % 2 == 0] + 1
        return row_ends

    def _read(self, size: int) -> bytes:
        data = self._file.read(size)
        self._n_read += len(data)
        if self._most_bytes is not None and self._n_read > self._most_bytes:
            raise TableFileError(
                f"Text should have at most {self._most_bytes} bytes: save it as Parquet, or give fewer rows."
            )
        if b"\0" in data:
            raise _not_text()
        return data


def _arrow_bytes(data: bytes) -> pa.Buffer:
    """Return bytes in Arrow's own memory, which its threads may release at any time."""
    sink = pa.BufferOutputStream()
    sink.write(data)
    return sink.getvalue()


def _not_text() -> TableFileError:
    return TableFileError("The file is not UTF-8 text but looks like UTF-16 or binary data: save it as UTF-8.")


def _is_number(text: str) -> bool:
    try:
        float(text)
    except ValueError:
        return False
    return True
