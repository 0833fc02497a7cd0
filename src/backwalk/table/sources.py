"""The rows of table files as Arrow tables of a few rows: text or Parquet, one file or many with the same columns.

A source is opened first, which finds what does not need the rows: that all files have the same columns, and the type of
each. Text is read once for that.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator, Mapping, Sequence

import numpy as np
import pyarrow as pa

from backwalk import limits
from backwalk.errors import TableFileError
from backwalk.formatting import byte_words, listed
from backwalk.table.dtypes import is_text
from backwalk.table.files import (
    SourceFile,
    faults_of,
    refuse_large,
    refuse_many_bytes,
    refuse_unfit,
)
from backwalk.table.parquet_files import ParquetFile
from backwalk.table.schema import shown
from backwalk.table.selection import Selection
from backwalk.table.text_files import TextFile, look_again, types_of
from backwalk.table.text_types import TypeOfColumn

Seen = Callable[[int, int], object]
"""Is called with the rows and the bytes that were read so far."""

Watch = Callable[[str, float, str], object]
"""Is called with an activity, the share of it that is done, and a few words."""

_MOST_BLOCK_ROWS = 2**16
_BYTES_A_CELL = 64  # while a block is checked
_SHARE_OF_A_BLOCK = 16  # of the memory: one in so many


def open_file(file: SourceFile) -> TextFile | ParquetFile:
    """Open a text or Parquet file, and read its header or footer. Raises TableFileError."""
    return ParquetFile(file) if file.form.kind == "parquet" else TextFile(file)


class Source(ABC):
    """Files of one table.

    - `names`, `types`: the columns that are read, and the types that they have for their user.
    - `left_out`: the names and the types of the other columns.
    - `n_rows`, `n_bytes`: the number of rows, and the bytes that they take, of text only the texts.
    - `questions`: what is to be asked about columns of text whose cells leave open what they mean, by name.
    - `is_text`: whether labels may have the apostrophe of `schema.escaped_cell`.
    """

    is_text: bool
    names: tuple[str, ...]
    types: dict[str, pa.DataType]
    left_out: dict[str, str]

    def __init__(self, files: Sequence[SourceFile], memory: int) -> None:
        self._files, self._memory, self._rows_by_file = files, memory, list[int]()
        self.n_rows = self.n_bytes = 0
        self.questions = dict[str, str]()

    def rows(self, names: Sequence[str], seen: Seen) -> Iterator[pa.Table]:
        """Yield the rows of some of the columns, texts as dictionaries, in batches of at most 65,536.

        Raises TableFileError for whatever is wrong with a file.
        """
        at_once = self._memory // _SHARE_OF_A_BLOCK // (_BYTES_A_CELL * len(self.names))
        at_once = int(np.clip(at_once, 1, _MOST_BLOCK_ROWS))
        n_rows = bytes_before = 0
        for i, (file, n_rows_of_file) in enumerate(zip(self._files, self._rows_by_file, strict=True)):
            rows_before = n_rows
            for batch in self._batches(i, names, at_once):
                yield _with_dictionaries(batch)
                n_rows += batch.num_rows
                seen(n_rows, bytes_before + round(file.n_bytes * (n_rows - rows_before) / max(n_rows_of_file, 1)))
            bytes_before += file.n_bytes

    @abstractmethod
    def _batches(self, i: int, names: Sequence[str], at_once: int) -> Iterator[pa.Table]:
        """Yield the rows of the i-th file."""


def open_source(
    files: Sequence[SourceFile],
    selection: Selection,
    *,
    memory: int = limits.MEMORY,
    limited: bool = False,
    skip_unfit: bool = False,
    seen: Seen = lambda *_: None,
) -> Source:
    """Open files of one table, which are read in about `memory` bytes.

    With `limited`, files with more cells or bytes than `backwalk.limits` has are refused; with `skip_unfit`, columns
    that no model can be fitted to are left out instead of refused. `seen` is called while text is read for its types.
    """
    if files[0].form.kind == "parquet":
        return ParquetFiles(files, selection, memory, limited=limited, skip_unfit=skip_unfit)
    return TextFiles(files, selection, memory, limited=limited, seen=seen)


class ParquetFiles(Source):
    """Parquet files of one table; see `Source`."""

    is_text = False

    def __init__(
        self, files: Sequence[SourceFile], selection: Selection, memory: int, *, limited: bool, skip_unfit: bool
    ) -> None:
        super().__init__(files, memory)
        self._parquets = [ParquetFile(file, limited=limited) for file in files]
        for file, parquet in zip(files, self._parquets, strict=True):
            schema, names = parquet.schema, parquet.columns_to_read(selection, skip_unfit=skip_unfit)
            types: dict[str, pa.DataType] = {name: schema.field(name).type for name in names}
            with faults_of(file.label):
                if not types:
                    raise TableFileError("A table should have at least one column, but has none: give some.")
                refuse_unfit(types)
                if file is files[0]:
                    self.names, self.types = tuple(types), types
                    self.left_out = {field.name: str(field.type) for field in schema if field.name not in types}
                else:
                    _refuse_other_columns(types, self.types, files[0])
                    self.types = {name: _wider(self.types[name], of_type) for name, of_type in types.items()}
        self._rows_by_file = [parquet.n_rows for parquet in self._parquets]
        self.n_rows, self.n_bytes = sum(self._rows_by_file), sum(parquet.n_bytes for parquet in self._parquets)
        with faults_of(files[0].label):
            refuse_large(self.n_rows * len(self.names) if limited else 0, len(self.names))

    def _batches(self, i: int, names: Sequence[str], at_once: int) -> Iterator[pa.Table]:
        return self._parquets[i].rows(names, at_once, self._memory // _SHARE_OF_A_BLOCK)


class TextFiles(Source):
    """Text files of one table; see `Source`."""

    is_text = True

    def __init__(
        self,
        files: Sequence[SourceFile],
        selection: Selection,
        memory: int,
        *,
        limited: bool,
        seen: Seen = lambda *_: None,
    ) -> None:
        super().__init__(files, memory)
        self._texts, self._types, bytes_before = list[TextFile](), dict[str, TypeOfColumn](), 0
        for source in files:
            file = TextFile(source, memory)
            with faults_of(source.label):
                names = selection.names(file.names)
                if source is files[0]:
                    self.names = tuple(names)
                    self.left_out = {name: "not read" for name in file.names if name not in set(names)}
                    self._types = types_of(names, selection, source.text)
                _refuse_other_columns(dict.fromkeys(names), dict.fromkeys(self.names), files[0])
                if limited:
                    refuse_many_bytes(source.n_bytes)
                file.refuse_damaged(limits.TABLE_FILE_BYTES if limited else None)
                most_rows = limits.TABLE_FILE_CELLS // len(file.names) if limited else None
                n_rows, n_bytes = file.look(self._types, most_rows)
                self.n_rows, self.n_bytes = self.n_rows + n_rows, self.n_bytes + n_bytes
                refuse_large(self.n_rows * len(file.names) if limited else 0, len(file.names))
                refuse_many_bytes(self.n_bytes if limited else 0)
            self._texts.append(file)
            self._rows_by_file.append(n_rows)
            bytes_before += source.n_bytes
            seen(self.n_rows, bytes_before)
        self.questions = look_again(self._texts, self._types)
        self.types = {name: of_column.type for name, of_column in self._types.items()}
        self.not_ours = frozenset(name for name, of_column in self._types.items() if not of_column.is_ours)

    def _batches(self, i: int, names: Sequence[str], at_once: int) -> Iterator[pa.Table]:
        of_texts = self._memory // _SHARE_OF_A_BLOCK * self.n_rows // max(self.n_bytes, 1)
        return self._texts[i].rows(names, self._rows_by_file[i], min(at_once, max(of_texts, 1)), self._types)


def _with_dictionaries(rows: pa.Table) -> pa.Table:
    """Return rows whose columns of texts are dictionaries."""
    for j, field in enumerate(rows.schema):
        if is_text(field.type):
            rows = rows.set_column(j, field.name, rows.column(j).dictionary_encode())
    return rows


def watched(watch: Watch, activity: str, files: Sequence[SourceFile]) -> Seen:
    """Return what tells `watch` the progress of reading some files."""
    total = sum(file.n_bytes for file in files)

    def seen(n_rows: int, n_bytes: int) -> None:
        share = min(n_bytes / max(total, 1), 1.0)
        watch(activity, share, f"{n_rows:,} rows, {byte_words(n_bytes)} of {byte_words(total)}")

    return seen


def _refuse_other_columns(here: Mapping[str, object], first: Mapping[str, object], file: SourceFile) -> None:
    """Raise TableFileError unless a file has the columns of the `first` one, `file`, of the same types."""
    for some, others, words in (
        (here, first, "has a column {} that {} lacks"),
        (first, here, "lacks the column {} of {}"),
    ):
        missing = [name for name in some if name not in others]
        if missing:
            raise TableFileError(
                f"Files of one table should have the same columns, but this one "
                f"{words.format(listed(map(shown, missing)), file.label)}: leave it out, or give it a table of its own."
            )
    for name, of_type in here.items():
        if of_type != first[name] and _wider(of_type, first[name]) is None:
            raise TableFileError(
                f"Columns should have one type in all files, but {shown(name)} is {of_type} here and {first[name]} in "
                f"{file.label}: write them with one schema."
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
