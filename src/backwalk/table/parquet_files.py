"""Parquet files: their footers, the order of their categories, and their rows by pyarrow."""

from __future__ import annotations

from collections.abc import Sequence

import pyarrow as pa
import pyarrow.parquet

from backwalk.errors import TableFileError
from backwalk.table.files import SourceFile, opened
from backwalk.table.schema import refuse_duplicates, shown

_ROWS_AT_ONCE = 2**16


class ParquetFile:
    """A Parquet file whose footer was read: its `schema`, `names` and `n_rows`. Raises TableFileError."""

    def __init__(self, file: SourceFile) -> None:
        self.file = file
        with opened(file) as data:
            parquet = pyarrow.parquet.ParquetFile(data)
            self.schema, self.n_rows = parquet.schema_arrow, parquet.metadata.num_rows
            self.names = tuple(self.schema.names)
            refuse_duplicates(self.names)

    def categories(self, name: str) -> list[str]:
        """Return the categories of a column in their order, those of no row as well."""
        found, before = dict[str, None](), None
        with opened(self.file) as data:
            for batch in pyarrow.parquet.ParquetFile(data).iter_batches(_ROWS_AT_ONCE, columns=[name]):
                dictionary = batch.column(name).dictionary
                if before is None or not dictionary.equals(before):
                    found |= dict.fromkeys(dictionary.cast(pa.large_string()).to_pylist())
                before = dictionary
        return [label for label in found if label is not None]

    def read(self, names: Sequence[str]) -> pa.Table:
        """Return some columns as they are."""
        for name in names:
            if pa.types.is_nested(self.schema.field(name).type):
                raise TableFileError(
                    f"{self.file.label}: Columns should hold single values, but {shown(name)} is nested: drop it."
                )
        with opened(self.file) as data:
            return pyarrow.parquet.ParquetFile(data).read(columns=list(names)).select(list(names))
