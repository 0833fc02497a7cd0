"""Table files of any size as blocks of checked rows: the same columns in each file, a few rows in memory at a time.

A source is opened first, which checks what can be checked without reading rows: that all files have the same columns,
and what a block takes. Parquet is read in batches, which hold one page of each column, decompressed. Text is read
twice: first to find the columns' types, then for its rows.
"""

from __future__ import annotations

import gzip
import zlib
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import BinaryIO, Protocol

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.parquet

from backwalk.errors import InvalidInput, TableFileError
from backwalk.formatting import byte_words, listed, one_line
from backwalk.table.delimited import BLOCK_BYTES, DelimitedText
from backwalk.table.dtypes import is_text
from backwalk.table.formats import refuse_large
from backwalk.table.frame import Table
from backwalk.table.gaps import missing_in, rows_without_gaps
from backwalk.table.parquet_pages import bytes_at_once, check_footer
from backwalk.table.reading import Columns, checked_rows, columns_to_read, opened, refuse_unfit, refuse_unusable
from backwalk.table.schema import refuse_duplicates, shown
from backwalk.table.selection import Selection
from backwalk.table.sources import SourceFile, changed
from backwalk.table.typed_text import RunningType, typed

Seen = Callable[[int, int], object]
"""Is told the rows and the bytes that are read, in all."""

_MOST_BLOCK_ROWS = 2**16
_BYTES_A_CELL = 64  # while a block is checked
_SHARE_OF_A_BLOCK = 16  # of the memory: one in so many
_SHARE_OF_PAGES = 4
_BUFFER = 2**16  # bytes read ahead in each column of a Parquet file


@dataclass(frozen=True, eq=False)
class Block:
    """Some rows of the table: `is_taken`, (n,), of its rows from `first_row` on; `table` holds these, None if none is.

    `gaps` has the number of missing values by column, where rows with gaps are left out.
    """

    first_row: int
    is_taken: npt.NDArray[np.bool_]
    table: Table | None
    gaps: npt.NDArray[np.int64]


class Source(Protocol):
    """Files of one table: the columns that are read and left out, and the number of rows."""

    names: tuple[str, ...]
    left_out: tuple[str, ...]
    n_rows: int

    def blocks(self, names: Sequence[str], seen: Seen) -> Iterator[Block]:
        """Yield the rows of some of the columns. Raises TableFileError for whatever is wrong with a file."""
        ...


class ParquetFiles:
    """Parquet files of one table; see `Source`."""

    def __init__(self, files: Sequence[SourceFile], selection: Selection, memory: int) -> None:
        self._files, self._selection, self._memory = files, selection, memory
        self._rows_by_file = list[int]()
        for file in files:
            with opened(file.path) as (data, _):
                self._look(data, is_first=file is files[0])
        self.n_rows = sum(self._rows_by_file)

    def _look(self, data: BinaryIO, *, is_first: bool) -> None:
        check_footer(data)
        data.seek(0)
        parquet = pyarrow.parquet.ParquetFile(data)
        refuse_large(0, parquet.metadata.num_columns)
        schema, leaves = parquet.schema_arrow, parquet.schema
        taken = columns_to_read(schema, self._selection)
        types = {name: schema.field(name).type for name in taken}
        refuse_unfit(types)
        if not taken:
            raise TableFileError("A table should have at least one column, but has none: give some.")
        if is_first:
            self.names, self._types = tuple(taken), types
            self.left_out = tuple(name for name in schema.names if name not in types)
            refuse_unusable(pa.schema(list(types.items())))
        else:
            _refuse_other_columns(types, self._types, self._files[0])
            self._types = {name: _wider(self._types[name], of_type) for name, of_type in types.items()}
        most = self._memory // _SHARE_OF_PAGES
        held = bytes_at_once(data, [leaves.column(i).path in types for i in range(len(leaves))])
        if held > most:
            raise TableFileError(
                f"One page of each column should take at most a quarter of the memory, {byte_words(most)}, but takes "
                f"{byte_words(held)}: give more (--memory), or write smaller pages."
            )
        self._rows_by_file.append(max(parquet.metadata.num_rows, 0))

    def blocks(self, names: Sequence[str], seen: Seen) -> Iterator[Block]:
        """Yield the rows of some of the columns, in batches of at most 65,536."""
        at_once = rows_of_a_block(self._memory, len(self.names))  # the same blocks, whichever columns are read
        types = {name: self._types[name] for name in names}
        texts = [name for name, of_type in types.items() if is_text(of_type)]
        first, bytes_before = 0, 0
        for file, n_rows in zip(self._files, self._rows_by_file, strict=True):
            begin = first
            with opened(file.path) as (data, _):
                # A buffered stream, as Arrow reads whole columns of a row group otherwise.
                parquet = pyarrow.parquet.ParquetFile(data, read_dictionary=texts, buffer_size=_BUFFER)
                for batch in parquet.iter_batches(at_once, columns=list(names), use_threads=False):
                    rows = pa.Table.from_batches([batch]).select(list(names))
                    yield _block(Columns(rows, types), self._selection, first)
                    first += batch.num_rows
                    seen(first, bytes_before + round(file.n_bytes * (first - begin) / max(n_rows, 1)))
                if first - begin != n_rows:
                    raise TableFileError(f"The footer promises {n_rows:,} rows, but there are {first - begin:,}.")
            bytes_before += file.n_bytes


class TextFiles:
    """Text files of one table; see `Source`. A first reading, which tells `seen`, finds the columns' types."""

    def __init__(self, files: Sequence[SourceFile], selection: Selection, memory: int, seen: Seen) -> None:
        self._files, self._selection = files, selection
        self._block_bytes = int(np.clip(memory // _SHARE_OF_A_BLOCK // 8, 2**16, BLOCK_BYTES))
        self._checksums = list[int]()
        finders, bytes_before, self.n_rows = dict[str, RunningType](), 0, 0
        for file in files:
            with opened(file.path) as (data, form):
                text = self._open(data, form.delimiter)
                refuse_duplicates(text.names)
                taken = selection.names(text.names)
                if file is files[0]:
                    self.names = tuple(taken)
                    self.left_out = tuple(name for name in text.names if name not in set(taken))
                    finders = {
                        name: RunningType(name, is_text=name in selection.texts, takes_codes=name in selection.numbers)
                        for name in taken
                    }
                _refuse_other_columns(dict.fromkeys(taken), dict.fromkeys(self.names), files[0])
                n_before, checksum = self.n_rows, 0
                for block in text.blocks():
                    cells = _cells(text, block, self.names, self.n_rows - n_before)
                    for finder, of_column in zip(finders.values(), cells, strict=True):
                        finder.add(of_column)
                    self.n_rows += len(cells[0])
                    checksum = zlib.crc32(block, checksum)
                    seen(self.n_rows, bytes_before + _place(data))
            self._checksums.append(checksum)
            bytes_before += file.n_bytes
        self._types = {name: finder.type for name, finder in finders.items()}
        with opened(files[0].path):
            refuse_unusable(pa.schema(list(self._types.items())))

    def blocks(self, names: Sequence[str], seen: Seen) -> Iterator[Block]:
        """Yield the rows of some of the columns, in blocks of text."""
        first, bytes_before = 0, 0
        for file, known in zip(self._files, self._checksums, strict=True):
            begin, checksum = first, 0
            with opened(file.path) as (data, form):
                text = self._open(data, form.delimiter)
                for block in text.blocks():
                    checksum = zlib.crc32(block, checksum)
                    try:
                        rows = self._typed(_cells(text, block, names, first - begin), names)
                    except pa.ArrowInvalid as error:  # a cell that was of another type before
                        raise changed(file.path) from error
                    yield _block(Columns(rows, is_text=True), self._selection, first)
                    first += rows.num_rows
                    seen(first, bytes_before + _place(data))
            if checksum != known:
                raise changed(file.path)
            bytes_before += file.n_bytes

    def _open(self, data: BinaryIO, delimiter: str) -> DelimitedText:
        return DelimitedText(data, delimiter, block_bytes=self._block_bytes, limited=False)

    def _typed(self, cells: Sequence[pa.Array], names: Sequence[str]) -> pa.Table:
        numbers = set(self._selection.numbers)
        return pa.table(
            [
                typed(of_column, self._types[name], takes_codes=name in numbers)
                for name, of_column in zip(names, cells, strict=True)
            ],
            names=list(names),
        )


def rows_of_a_block(memory: int, n_columns: int) -> int:
    """Return how many rows of some columns are checked at a time."""
    return int(np.clip(memory // _SHARE_OF_A_BLOCK // (_BYTES_A_CELL * n_columns), 1, _MOST_BLOCK_ROWS))


def _block(native: Columns, selection: Selection, first: int) -> Block:
    assert isinstance(native.rows, pa.Table)
    is_taken, gaps = np.ones(native.rows.num_rows, dtype=bool), np.zeros(native.rows.num_columns, dtype=np.int64)
    if selection.complete:
        is_taken = rows_without_gaps(native.rows)
        gaps = np.array([int(missing_in(column).sum()) for column in native.rows.columns])
    try:
        return Block(first, is_taken, checked_rows(native, is_taken) if is_taken.any() else None, gaps)
    except InvalidInput as error:
        text = one_line(error).replace("rows count from 0", f"rows count from row {first:,} of all files")
        raise InvalidInput(text) from error


def _cells(text: DelimitedText, block: bytes, names: Sequence[str], rows_before: int) -> list[pa.Array]:
    return text.cells(block, [text.names.index(name) for name in names], rows_before)


def _place(data: BinaryIO) -> int:
    """Return how many bytes of a file are read, compressed ones if it is."""
    return int((data.fileobj if isinstance(data, gzip.GzipFile) else data).tell())


def _refuse_other_columns(own: Mapping[str, object], first: Mapping[str, object], file: SourceFile) -> None:
    """Raise TableFileError unless a file has the columns of the `first` one, named `file`, of the same types."""
    for here, there, words in (
        (own, first, "has a column {} that {} lacks"),
        (first, own, "lacks the column {} of {}"),
    ):
        others = [name for name in here if name not in there]
        if others:
            raise TableFileError(
                f"Files of one table should have the same columns, but this one "
                f"{words.format(listed(map(shown, others)), file.path)}: leave it out, or give it a table of its own."
            )
    for name, of_type in own.items():
        if of_type != first[name] and _wider(of_type, first[name]) is None:
            raise TableFileError(
                f"Columns should have one type in all files, but {shown(name)} is {of_type} here and {first[name]} in "
                f"{file.path}: write them with one schema."
            )


def _wider(a: object, b: object) -> pa.DataType | None:
    """Return the type of two that holds both: one with as many indices for the same categories; None if none does."""
    if a == b:
        return a
    if not (isinstance(a, pa.DictionaryType) and isinstance(b, pa.DictionaryType)):
        return None
    wider = a if a.index_type.bit_width >= b.index_type.bit_width else b
    alike = a.value_type == b.value_type and a.ordered == b.ordered
    return wider if alike and not a.ordered else None
