"""Checksums of values: the same for equal values, another for any difference, and additive over parts."""

import datetime

import numpy as np
import pyarrow as pa
import pytest

from backwalk.pieces import add_checksums, values_checksum

N = 5000
ROWS = pa.table(
    {
        "x": pa.array(np.linspace(0.0, 1.0, N), mask=np.arange(N) % 7 == 0),
        "n": pa.array(np.arange(N), pa.int16()),
        "is": np.arange(N) % 3 == 0,
        "kind": pa.array([None, "a", "é", ""] * (N // 4)),
        "level": pa.array(["p", "q"] * (N // 2)).dictionary_encode(),
        "day": pa.array([datetime.date(2020, 1, 1 + i % 28) for i in range(N)]),
        "none": pa.nulls(N, pa.float32()),
    }
)


def test_parts_add_up_in_any_order():
    whole = values_checksum(ROWS)
    cuts = [(0, 2048), (2048, 4096), (4096, N)]
    parts = [values_checksum(ROWS[first:last], first) for first, last in cuts]
    assert add_checksums(parts) == add_checksums(parts[::-1]) == whole
    assert values_checksum(ROWS[2048:], 2048) == add_checksums(parts[1:])
    assert values_checksum(pa.concat_tables([ROWS[:10], ROWS[10:3000], ROWS[3000:]])) == whole


def test_storage_does_not_matter():
    plain = ROWS.set_column(4, "level", ROWS["level"].cast(pa.string()))
    assert values_checksum(plain) == values_checksum(ROWS)
    padded = pa.concat_tables([ROWS[:3], ROWS]).combine_chunks()[3:]  # buffers that begin elsewhere
    assert values_checksum(padded) == values_checksum(ROWS)


@pytest.mark.parametrize(
    "changed",
    [
        ROWS.take([1, 0, *range(2, N)]),
        ROWS[:-1],
        ROWS.rename_columns(["y", *ROWS.column_names[1:]]),
        ROWS.select([1, 0, *range(2, ROWS.num_columns)]),
        ROWS.set_column(0, "x", ROWS["x"].fill_null(0.0)),
        ROWS.set_column(1, "n", ROWS["n"].cast(pa.int32())),
        ROWS.set_column(3, "kind", pa.array([None, "aé", "", ""] * (N // 4))),
        ROWS.set_column(2, "is", pa.array(np.arange(N) % 3 == 1)),
        pa.concat_tables([ROWS[2048:4096], ROWS[:2048], ROWS[4096:]]),
    ],
)
def test_any_difference_shows(changed):
    assert values_checksum(changed) != values_checksum(ROWS)
