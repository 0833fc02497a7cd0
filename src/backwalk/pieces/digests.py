"""Checksums of parts: of a file's bytes, and of the values in its rows.

The checksum of values is the sum, modulo 2^256, of the SHA-256 of tables of few rows, each with the number of the first
row that it is of: of a sample's tiles of 2,048 rows, and of the outputs of 65,536 rows of a table that is scored or
filled. Checksums of parts add up to that of the whole, whatever the parts' size and the order in which they are made. A
file's checksum also depends on how Parquet stores the values. Both detect damage, not malice.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from backwalk.sampling import TILE_ROWS

_MODULUS = 2**256


def file_sha256(path: Path) -> str:
    """Return the SHA-256 of a file. Raises OSError."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def values_checksum(rows: pa.Table, first_row: int = 0, *, together: int = TILE_ROWS) -> str:
    """Return the checksum of the values of rows that are numbered from `first_row`.

    It is a multiple of `together`, the number of rows of a table: 2,048 of a sample, 65,536 of scores and filled rows.

    >>> import numpy as np
    >>> from backwalk.pieces.digests import add_checksums, pa, values_checksum
    >>> rows = pa.table({"x": np.arange(5000.0)})
    >>> parts = [values_checksum(rows[:4096]), values_checksum(rows[4096:], 4096)]
    >>> add_checksums(parts) == values_checksum(rows)
    True
    """
    return add_checksums(
        table_checksum(rows.slice(place, together), first_row + place) for place in range(0, rows.num_rows, together)
    )


def table_checksum(rows: pa.Table, first_row: int) -> str:
    """Return the SHA-256 of the values of a table, which is of rows from number `first_row` on."""
    digest = hashlib.sha256(f"{first_row}:{rows.num_rows}".encode())
    for name, column in zip(rows.column_names, rows.columns, strict=True):
        digest.update(f"\0{name}\0".encode())
        _add(digest, column)
    return digest.hexdigest()


def add_checksums(checksums: Iterable[str]) -> str:
    """Return the checksum of the values of several parts together."""
    return f"{sum(int(each, 16) for each in checksums) % _MODULUS:064x}"


def _add(digest: hashlib._Hash, column: pa.ChunkedArray) -> None:
    """Add the values of a column to a digest: which are missing, and the bytes of the others."""
    if pa.types.is_dictionary(column.type):
        column = column.cast(column.type.value_type)
    digest.update(f"{column.type}\0".encode())
    digest.update(np.packbits(np.asarray(column.is_null())).tobytes())
    values = column.drop_null().combine_chunks()
    if pa.types.is_boolean(values.type):
        values = values.cast(pa.uint8())
    if values.type.num_buffers == 3:  # texts and bytes: which are missing, where each begins, and the bytes
        texts = values.cast(pa.large_binary())
        digest.update(np.asarray(pc.binary_length(texts), dtype="<i8").tobytes())
        digest.update(b"".join(texts.to_pylist()))
    elif len(values):
        width = values.type.bit_width // 8
        digest.update(values.buffers()[1].to_pybytes()[values.offset * width : (values.offset + len(values)) * width])
