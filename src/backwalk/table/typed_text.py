"""The columns of delimited text, each with the first type that fits all of its cells, over all blocks of a file."""

from __future__ import annotations

import re
from collections.abc import Collection, Sequence
from typing import Any, BinaryIO

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from backwalk.errors import TableFileError
from backwalk.table.delimited import DelimitedText
from backwalk.table.formats import refuse_large
from backwalk.table.schema import shown

# The types of columns, in the order in which they are tried.
_NUMBERS = (pa.int64(), pa.bool_(), pa.float64())
_TYPES = (pa.null(), *_NUMBERS, pa.string(), pa.binary())
_FIRST_CELLS = 64  # tried first, because Arrow converts a whole array before it reports a cell that does not fit
_UNITS = ("s", "ms", "us", "ns")
_DATES = (pa.date32(), *(pa.timestamp(unit, zone) for zone in (None, "UTC") for unit in _UNITS))
_TIMES = (pa.time32("s"), pa.time32("ms"), pa.time64("us"), pa.time64("ns"))
_TIME = r"^([01]\d|2[0-3]):[0-5]\d(:[0-5]\d(\.\d{1,9})?)?$"
_WHOLE = re.compile(r"\s*[-+]?\d+\s*")
_CODE = r"^\s*(?:[-+]?0\d+|\+\d{7,})\s*$"  # digits whose zeros or plus a number would lose: zip codes, telephones


def read_columns(
    file: BinaryIO,
    text: DelimitedText,
    columns: Sequence[int],
    texts: Collection[str] = (),
    numbers: Collection[str] = (),
) -> pa.Table:
    """Return some columns of a text file, each with the first type that fits all of its cells.

    The types are integers, truth values, floats, dates, times, text and bytes; the columns named by `texts` are text.
    Whole numbers with leading zeros, and those of 7 digits or more with a plus, are text, except in the columns named
    by `numbers`: 00501 is a code. If a column holds numbers in its first blocks and text in a later one, it is read
    again as text, so that its cells stay unchanged.
    """

    def reader_of(name: str) -> _Column:
        return _Column(name, pa.string() if name in texts else _TYPES[0], takes_codes=name in numbers)

    readers = [reader_of(text.names[j]) for j in columns]
    _fill(readers, text, columns)
    late = [j for j, reader in zip(columns, readers, strict=True) if reader.lost_text]
    if late:
        file.seek(0)
        again = {j: _Column(text.names[j], pa.string()) for j in late}
        _fill(list(again.values()), DelimitedText(file, text.delimiter.decode()), late)
        readers = [again.get(j, reader) for j, reader in zip(columns, readers, strict=True)]
    return pa.table(
        [reader.column(is_text=reader.name in texts) for reader in readers], names=[reader.name for reader in readers]
    )


def _fill(readers: Sequence[_Column], text: DelimitedText, columns: Sequence[int]) -> None:
    n_rows = 0
    for block in text.blocks():
        cells = text.cells(block, columns, n_rows)
        for reader, of_column in zip(readers, cells, strict=True):
            reader.add(of_column)
        n_rows += len(cells[0])
        refuse_large(n_rows * len(text.names), len(text.names))


class _Column:
    """The cells of one column, block by block, in the first of `_TYPES` that fits them all."""

    def __init__(self, name: str, of_type: pa.DataType, *, takes_codes: bool = False) -> None:
        self.name, self.lost_text, self._takes_codes = name, False, takes_codes
        self._type, self._chunks = of_type, list[pa.Array]()

    def add(self, cells: pa.Array) -> None:
        """Take the cells of the next block."""
        if cells.null_count == len(cells):
            self._chunks.append(pa.nulls(len(cells), self._type))
            return
        for wider in _TYPES[max(_TYPES.index(self._type), 1) :]:
            chunk = _converted(cells, wider, takes_codes=self._takes_codes)
            if chunk is not None and self._widen(wider):
                if wider == pa.float64():
                    _refuse_rounded(self.name, cells, chunk, sum(map(len, self._chunks)))
                self._chunks.append(chunk)
                return

    def _widen(self, wider: pa.DataType) -> bool:
        """Convert the blocks read so far to a wider type; return False, and leave them, if their cells do not fit."""
        if wider == self._type:
            return True
        if self._type in _NUMBERS:
            if wider == pa.bool_() and not all(map(_is_binary, self._chunks)):
                return False
            if wider == pa.float64() and self._type == pa.bool_():
                return False
            if wider == pa.float64():
                before = 0
                for chunk in self._chunks:
                    _refuse_rounded(self.name, chunk, chunk.cast(wider, safe=False), before)
                    before += len(chunk)
            if wider not in _NUMBERS:
                self.lost_text = True
        self._chunks = [chunk.cast(wider, safe=False) for chunk in self._chunks]
        self._type = wider
        return True

    def column(self, *, is_text: bool = False) -> pa.ChunkedArray:
        """Return all cells; if all texts are dates or times, they become dates or times, unless it `is_text`."""
        column = pa.chunked_array(self._chunks, self._type)
        if self._type != pa.string() or is_text:
            return column
        if pc.all(pc.match_substring_regex(column, pattern=_TIME), skip_nulls=True).as_py():
            moments = pc.binary_join_element_wise("1970-01-01", column, " ")
            found = next(stamp for unit in _UNITS if (stamp := _cast(moments, pa.timestamp(unit))) is not None)
            return found.cast(_TIMES[_UNITS.index(found.type.unit)])
        return next((dated for dates in _DATES if (dated := _cast(column, dates)) is not None), column)


def _converted(cells: pa.Array, of_type: pa.DataType, *, takes_codes: bool) -> pa.Array | None:
    """Convert cells from bytes to a type; return None if a cell does not fit it, as a code does not fit numbers."""
    if of_type == pa.binary():
        return cells
    try:
        text = cells.cast(pa.string())  # which checks that it is UTF-8
    except pa.ArrowInvalid:
        return None
    if of_type == pa.string():
        return text
    values = _cast(text, of_type)
    if values is None:
        values = _cast(pc.ascii_trim_whitespace(text), of_type)
    if values is None or of_type == pa.bool_():
        return values
    if not takes_codes and has_codes(text):
        return None
    # Arrow reads 0xFFFFFFFFFFFFFFFF as -1.
    is_hexadecimal = of_type == pa.int64() and pc.any(pc.match_substring(text, "x", ignore_case=True)).as_py()
    return None if is_hexadecimal else values


def has_codes(texts: pa.Array) -> bool:
    """Return whether one of some texts is of digits but no number: with leading zeros, or long and with a plus.

    >>> [has_codes(pa.array([text])) for text in ("00501", "+4420794", "0", "-0", "0.5", "+5")]
    [True, True, False, False, False, False]
    """
    return bool(pc.any(pc.match_substring_regex(texts, pattern=_CODE)).as_py())


def _cast(text: Any, of_type: pa.DataType) -> Any:
    """Convert an array of texts to another type; return None if a text does not fit it."""
    try:
        text[:_FIRST_CELLS].cast(of_type)
        return text.cast(of_type)
    except pa.ArrowInvalid:
        return None


def _is_binary(chunk: pa.Array) -> bool:
    """Return whether integers are all 0 or 1."""
    ends = pc.min_max(chunk).as_py()
    return ends["min"] in (None, 0, 1) and ends["max"] in (None, 0, 1)


def _refuse_rounded(name: str, cells: pa.Array, values: pa.Array, rows_before: int) -> None:
    """Raise TableFileError if float64 rounds one of the whole numbers in `cells`, texts or integers."""
    numbers = values.to_numpy(zero_copy_only=False)
    for row in np.flatnonzero(np.isfinite(numbers) & (np.abs(numbers) >= 2.0**53)):
        cell = cells[int(row)].as_py()
        text = cell.decode() if isinstance(cell, bytes) else str(cell)
        if _WHOLE.fullmatch(text) and int(text) != int(numbers[row]):
            raise TableFileError(
                f"Whole numbers should be at most 2^53 in size or exact as floats, but column {shown(name)} has "
                f"{text.strip()} in row {rows_before + int(row)} (rows count from 0): scale it, or drop it if it is an "
                "identifier."
            )
