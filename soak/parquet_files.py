"""Parquet files made byte by byte, whose footers may claim anything: Thrift's compact protocol, for writing."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import pyarrow as pa

I32, I64, BINARY, LIST, MAP, STRUCT = 5, 6, 8, 9, 11, 12
Field = tuple[int, int, Any]  # number, type, and value: an int, bytes, (type, values) of a list, or fields;
# of a map, bytes stand for what no Parquet file has

_ZSTD, _DOUBLE, _PLAIN, _RLE = 6, 5, 0, 3


def parquet_of_zeros(
    *, n_columns: int, n_rows: int, page_bytes: int, claimed_bytes: int, extra: Sequence[Field] = ()
) -> bytes:
    """Return a file of float64 columns with one page of zeros each, whose footer claims that it unpacks to less.

    `extra` are more fields of each column's record.
    """
    packed = pa.Codec("zstd").compress(b"\0" * page_bytes, asbytes=True)
    values = [(1, I32, n_rows), (2, I32, _PLAIN), (3, I32, _RLE), (4, I32, _RLE)]
    page = struct([(1, I32, 0), (2, I32, page_bytes), (3, I32, len(packed)), (5, STRUCT, values)]) + packed
    columns = [
        [
            (2, I64, 4 + j * len(page)),
            (
                3,
                STRUCT,
                [
                    (1, I32, _DOUBLE),
                    (2, LIST, (I32, [_PLAIN])),
                    (3, LIST, (BINARY, [b"c%d" % j])),
                    (4, I32, _ZSTD),
                    (5, I64, n_rows),
                    (6, I64, claimed_bytes),
                    (7, I64, len(page)),
                    (9, I64, 4 + j * len(page)),
                    *extra,
                ],
            ),
        ]
        for j in range(n_columns)
    ]
    root = [(4, BINARY, b"schema"), (5, I32, n_columns)]
    leaves = [[(1, I32, _DOUBLE), (3, I32, 0), (4, BINARY, b"c%d" % j)] for j in range(n_columns)]
    group = [(1, LIST, (STRUCT, columns)), (2, I64, n_columns * claimed_bytes), (3, I64, n_rows)]
    footer = [(1, I32, 1), (2, LIST, (STRUCT, [root, *leaves])), (3, I64, n_rows), (4, LIST, (STRUCT, [group]))]
    return parquet_file(page * n_columns, struct(footer))


def parquet_file(body: bytes, footer: bytes) -> bytes:
    """Return a file with such pages and such a footer."""
    return b"PAR1" + body + footer + len(footer).to_bytes(4, "little") + b"PAR1"


def struct(fields: Sequence[Field]) -> bytes:
    """Return a structure; a field of a number not above the one before gets the long form of its head."""
    out, before = b"", 0
    for number, kind, value in fields:
        step = number - before
        out += bytes([step << 4 | kind]) if 0 < step < 16 else bytes([kind]) + _varint(number << 1)
        out, before = out + _value(kind, value), number
    return out + b"\0"


def _value(kind: int, value: Any) -> bytes:
    if kind in (I32, I64):
        return _varint(value << 1 if value >= 0 else (-value << 1) - 1)
    if kind in (BINARY, MAP):
        return _varint(len(value)) + bytes(value)
    if kind == STRUCT:
        return struct(value)
    of, values = value
    head = bytes([len(values) << 4 | of]) if len(values) < 15 else bytes([0xF0 | of]) + _varint(len(values))
    return head + b"".join(_value(of, each) for each in values)


def _varint(value: int) -> bytes:
    out = bytearray()
    while value >= 128:
        out.append(value & 127 | 128)
        value >>= 7
    return bytes([*out, value])
