"""The columns of delimited text, each with the first type that fits all of its cells, over all blocks of a file."""

from __future__ import annotations

import re
from collections.abc import Collection, Mapping, Sequence
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


def typed_columns(
    cells: Mapping[str, pa.Array], texts: Collection[str] = (), numbers: Collection[str] = ()
) -> pa.Table:
    """Return cells of some rows, as bytes, each column with the first type that fits them: see `read_columns`."""
    columns = {}
    for name, of_column in cells.items():
        reader = _Column(name, pa.string() if name in texts else _TYPES[0], takes_codes=name in numbers)
        reader.add(of_column)
        columns[name] = reader.column(is_text=name in texts)
    return pa.table(columns)


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
        if _are_times(column):
            moments = _moments_of_times(column)
            found = next(stamp for unit in _UNITS if (stamp := _cast(moments, pa.timestamp(unit))) is not None)
            return found.cast(_TIMES[_UNITS.index(found.type.unit)])
        return next((dated for dates in _DATES if (dated := _cast(column, dates)) is not None), column)


class RunningType:
    """The type that `read_columns` gives to a column, whose cells come block by block and are not kept."""

    def __init__(self, name: str, *, is_text: bool = False, takes_codes: bool = False) -> None:
        self.name, self._is_text, self.takes_codes = name, is_text, takes_codes
        self._type = pa.string() if is_text else _TYPES[0]
        self._is_binary = True
        self._rounded: tuple[str, int] | None = None  # the first whole number that a float rounds, and its row
        self._dates, self._units, self._are_times = list(_DATES), list(_UNITS), True  # that fit all texts so far
        self._n_rows = 0

    def add(self, cells: pa.Array) -> None:
        """Take the cells of the next block."""
        if cells.null_count < len(cells):
            for wider in _TYPES[max(_TYPES.index(self._type), 1) :]:
                chunk = _converted(cells, wider, takes_codes=self.takes_codes)
                if chunk is not None and self._widen(wider):
                    self._look(cells, chunk)
                    break
        self._n_rows += len(cells)

    @property
    def type(self) -> pa.DataType:
        """The first type that fits all cells."""
        if self._type != pa.string() or self._is_text:
            return self._type
        if self._are_times:
            return _TIMES[_UNITS.index(self._units[0])]
        return self._dates[0] if self._dates else self._type

    def _widen(self, wider: pa.DataType) -> bool:
        if wider != self._type and self._type in _NUMBERS:
            if wider == pa.bool_() and not self._is_binary:
                return False
            if wider == pa.float64() and self._type == pa.bool_():
                return False
            if wider == pa.float64() and self._rounded is not None:
                raise _rounded_error(self.name, *self._rounded)
            if wider not in _NUMBERS:
                self._dates, self._are_times = [], False
        self._type = wider
        return True

    def _look(self, cells: pa.Array, chunk: pa.Array) -> None:
        if chunk.type == pa.int64():
            self._is_binary = self._is_binary and _is_binary(chunk)
            self._rounded = self._rounded or _rounded_in(chunk, chunk.cast(pa.float64(), safe=False), self._n_rows)
        elif chunk.type == pa.float64():
            _refuse_rounded(self.name, cells, chunk, self._n_rows)
        elif chunk.type == pa.string() and not self._is_text:
            if self._dates:
                self._dates = [of_type for of_type in self._dates if _cast(chunk, of_type) is not None]
            self._are_times = self._are_times and _are_times(chunk)
            if self._are_times:
                moments = _moments_of_times(chunk)
                self._units = [unit for unit in self._units if _cast(moments, pa.timestamp(unit)) is not None]


def typed(cells: pa.Array, of_type: pa.DataType, *, takes_codes: bool) -> pa.Array:
    """Convert cells from bytes to the type that fits all cells of their column."""
    if cells.null_count == len(cells):
        return pa.nulls(len(cells), of_type)
    if of_type in (*_NUMBERS, pa.string(), pa.binary()):
        found: Any = _converted(cells, of_type, takes_codes=takes_codes)
        if found is None:  # whole numbers that became truth values or floats
            found = _converted(cells, pa.int64(), takes_codes=takes_codes)
        if found is None:
            raise pa.ArrowInvalid(f"a cell is not of the type {of_type}")
        return found.cast(of_type)
    text = cells.cast(pa.string())
    if pa.types.is_time(of_type):
        return _moments_of_times(text).cast(pa.timestamp(_UNITS[_TIMES.index(of_type)])).cast(of_type)
    return text.cast(of_type)


def _are_times(texts: Any) -> bool:
    return bool(pc.all(pc.match_substring_regex(texts, pattern=_TIME), skip_nulls=True).as_py())


def _moments_of_times(texts: Any) -> Any:
    return pc.binary_join_element_wise("1970-01-01", texts, " ")


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
    found = _rounded_in(cells, values, rows_before)
    if found is not None:
        raise _rounded_error(name, *found)


def _rounded_in(cells: pa.Array, values: pa.Array, rows_before: int) -> tuple[str, int] | None:
    """Return the first whole number in `cells`, texts or integers, that float64 rounds, and its row."""
    numbers = values.to_numpy(zero_copy_only=False)
    for row in np.flatnonzero(np.isfinite(numbers) & (np.abs(numbers) >= 2.0**53)):
        cell = cells[int(row)].as_py()
        text = cell.decode() if isinstance(cell, bytes) else str(cell)
        if _WHOLE.fullmatch(text) and int(text) != int(numbers[row]):
            return text.strip(), rows_before + int(row)
    return None


def _rounded_error(name: str, text: str, row: int) -> TableFileError:
    return TableFileError(
        f"Whole numbers should be at most 2^53 in size or exact as floats, but column {shown(name)} has {text} in row "
        f"{row} (rows count from 0): scale it, or drop it if it is an identifier."
    )
