"""Read Parquet files by pyarrow, one row group after the other, in batches of rows."""

from __future__ import annotations

import os
from collections.abc import Collection, Iterator, Sequence
from contextlib import contextmanager
from typing import BinaryIO

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet

from backwalk import limits
from backwalk.errors import TableFileError
from backwalk.formatting import listed
from backwalk.table.dtypes import is_text
from backwalk.table.files import SourceFile, faults_of, is_fit, opened, refuse_large, refuse_many_bytes
from backwalk.table.schema import refuse_duplicates, shown
from backwalk.table.selection import Selection

_MOST_ENTRIES = 2**20  # of a list in the footer; a column of a row group is one
_FOOTER_END = 8  # bytes: the footer's length, and a word
_BUFFER = 2**16  # bytes read ahead in each column
_MEMORY = 2**26  # bytes of a batch


def footer_bytes(data: BinaryIO) -> int:
    """Return the size of a file's footer with what follows it, which is limited. Raises TableFileError."""
    data.seek(-min(_FOOTER_END, os.fstat(data.fileno()).st_size), os.SEEK_END)
    n_bytes = int.from_bytes(data.read(4), "little") + _FOOTER_END
    data.seek(0)
    if n_bytes > limits.PARQUET_FOOTER_BYTES:
        raise TableFileError(
            f"A Parquet footer should have at most {limits.PARQUET_FOOTER_BYTES} bytes, but has {n_bytes}: write "
            "larger row groups."
        )
    return n_bytes


@contextmanager
def _opened_parquet(file: SourceFile, texts: Collection[str] = ()) -> Iterator[pyarrow.parquet.ParquetFile]:
    """Open a Parquet file whose footer is within the limits. Columns named by `texts` are read as dictionaries.

    A few bytes may stand for a long text in every row of a dictionary. Texts that are stored otherwise are read as they
    are.
    """
    with opened(file) as data:
        limit = {"thrift_string_size_limit": footer_bytes(data), "thrift_container_size_limit": _MOST_ENTRIES}
        parquet = pyarrow.parquet.ParquetFile(data, **limit)
        if texts:
            data.seek(0)
            as_dictionaries = sorted(set(texts) & _with_dictionaries(parquet.metadata))
            # A buffered stream, as Arrow reads whole columns of a row group otherwise.
            parquet = pyarrow.parquet.ParquetFile(
                data, metadata=parquet.metadata, read_dictionary=as_dictionaries, buffer_size=_BUFFER, **limit
            )
        yield parquet


def _with_dictionaries(metadata: pyarrow.parquet.FileMetaData) -> set[str]:
    """Return the names of the columns that are stored with dictionaries, and not delta-encoded in a row group."""
    groups = (metadata.row_group(i) for i in range(metadata.num_row_groups))
    columns = [group.column(j) for group in groups for j in range(group.num_columns)]
    stored = {column.path_in_schema for column in columns if any("DICTIONARY" in each for each in column.encodings)}
    return stored - {column.path_in_schema for column in columns if any("DELTA" in each for each in column.encodings)}


class ParquetFile:
    """A Parquet file whose footer was read: its `schema`, the `n_rows` of its row groups, and their `n_bytes`.

    Raises TableFileError; if it is `limited`, also for more cells or bytes than a file that is read at once may have.
    """

    def __init__(self, file: SourceFile, *, limited: bool = False) -> None:
        self.file = file
        with _opened_parquet(file) as parquet:
            metadata, self.schema = parquet.metadata, parquet.schema_arrow
            groups = [metadata.row_group(i) for i in range(metadata.num_row_groups)]
            self.n_rows: int = sum(group.num_rows for group in groups)
            self.n_bytes: int = sum(group.total_byte_size for group in groups)
            if metadata.num_rows != self.n_rows or min((group.num_rows for group in groups), default=0) < 0:
                raise TableFileError(
                    f"The footer should have the rows of its row groups, {self.n_rows:,}, but has "
                    f"{metadata.num_rows:,}: write the file again."
                )
            # A few bytes of Parquet can stand for any number of rows.
            refuse_large(self.n_rows * max(metadata.num_columns, 1) if limited else 0, metadata.num_columns)
            if limited:
                refuse_many_bytes(max(file.n_bytes, self.n_bytes))
            self.names = tuple(self.schema.names)
            refuse_duplicates(self.names)

    def count_rows(self) -> int:
        """Return the number of rows."""
        return self.n_rows

    def columns_to_read(self, selection: Selection, *, skip_unfit: bool = False) -> list[str]:
        """Return the names of the columns to read; with `skip_unfit`, those a model may be fitted to."""
        with faults_of(self.file.label):
            names = selection.names(self.names)
            if skip_unfit:
                names = [name for name in names if is_fit(self.schema.field(name).type)]
            # pyarrow also reads b within a nested column a for the name "a.b".
            nested = tuple(f"{field.name}." for field in self.schema if _has_parts(field.type))
            ambiguous = [name for name in names if name.startswith(nested)]
            if ambiguous:
                raise TableFileError(
                    f"A column's name should mean one column, but {listed(map(shown, ambiguous))} may mean a part of "
                    "another column too: rename it."
                )
            return names

    def rows(self, names: Sequence[str], at_once: int, memory: int = _MEMORY, first: int = 0) -> Iterator[pa.Table]:
        """Yield rows of some columns from number `first` on, texts as dictionaries, in batches of at most `at_once`.

        A batch ends with its row group, and takes at most `memory` bytes where the rows of a group are of equal size.
        """
        types = {name: self.schema.field(name).type for name in names}
        nested = [name for name, of_type in types.items() if pa.types.is_nested(of_type)]
        with faults_of(self.file.label):
            if nested:
                raise TableFileError(f"Columns should hold single values, but {shown(nested[0])} is nested: drop it.")
        texts = [name for name, of_type in types.items() if is_text(of_type) or pa.types.is_binary(of_type)]
        before = 0
        with _opened_parquet(self.file, texts) as parquet:
            for i in range(parquet.metadata.num_row_groups):
                group = parquet.metadata.row_group(i)
                place, before = before, before + group.num_rows
                if before <= first:
                    continue
                size = int(min(at_once, max(memory * group.num_rows // max(group.total_byte_size, 1), 1)))
                n_read = 0
                for batch in parquet.iter_batches(size, row_groups=[i], columns=list(names), use_threads=False):
                    n_read += batch.num_rows
                    skipped = max(first - place, 0)
                    place += batch.num_rows
                    if skipped < batch.num_rows:
                        yield pa.Table.from_batches([batch]).select(list(names)).slice(skipped)
                if n_read != group.num_rows:
                    raise TableFileError(f"The footer promises {group.num_rows:,} rows, but there are {n_read:,}.")


def _has_parts(column_type: pa.DataType) -> bool:
    return bool(pa.types.is_nested(column_type)) or isinstance(column_type, pa.BaseExtensionType)


def decoded(name: str, column: pa.ChunkedArray) -> pa.ChunkedArray:
    """Return a dictionary column's values row by row. Raises TableFileError if its texts are larger than the limit."""
    if not pa.types.is_dictionary(column.type):
        return column
    if is_text(column.type.value_type) or pa.types.is_binary(column.type.value_type):
        lengths = (pc.binary_length(chunk.dictionary).take(chunk.indices) for chunk in column.chunks)
        size = sum(pc.sum(each).as_py() or 0 for each in lengths)
        if size > limits.TABLE_FILE_BYTES:
            raise TableFileError(
                f"The texts of column {shown(name)} should take at most {limits.TABLE_FILE_BYTES} bytes, but take "
                f"{size}: drop it."
            )
    return column.cast(column.type.value_type)
