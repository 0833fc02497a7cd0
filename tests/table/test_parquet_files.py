"""Parquet files: texts and categories of any encoding, and columns that are no table."""

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet
import pytest

from backwalk import limits
from backwalk.errors import TableFileError
from backwalk.table import Selection, read_labels, read_part, read_table, read_within

N = 2000
ROWS = pa.table({"x": np.arange(float(N)), "text": [f"text {i % 11}" for i in range(N)], "n": np.arange(N) % 7})


@pytest.mark.parametrize("encoding", ["PLAIN", "DELTA_BYTE_ARRAY", "DELTA_LENGTH_BYTE_ARRAY"])
def test_texts_of_any_encoding_are_read(tmp_path, encoding):
    """Delta-encoded texts were refused, as they cannot be read as dictionaries."""
    path = tmp_path / "rows.parquet"
    options = {"use_dictionary": False, "column_encoding": {"text": encoding, "x": "PLAIN", "n": "PLAIN"}}
    pa.parquet.write_table(ROWS, path, row_group_size=300, **options)
    expected = [f"text {i % 11}" for i in range(N)]
    for table in (read_table(path), read_within(path, memory=limits.LEAST_MEMORY).table):
        assert [table.schema.labels[1][int(code)] for code in table.values[:, 1]] == expected[: len(table.values)]
    assert read_labels(path, "text").to_pylist() == expected


@pytest.mark.parametrize(
    "content", [b"", b"PAR1nothing", b"PAR1" + b"\xff" * 200 + (200).to_bytes(4, "little") + b"PAR1"]
)
def test_files_that_are_no_parquet_are_named(tmp_path, content):
    (tmp_path / "rows.parquet").write_bytes(content)
    with pytest.raises(TableFileError, match=r"rows\.parquet cannot be"):
        read_table(tmp_path / "rows.parquet")


def test_categories_keep_their_order(tmp_path):
    sizes = pd.Categorical(["small", "large"] * 4, categories=["small", "medium", "large"], ordered=True)
    pd.DataFrame({"size": sizes, "x": range(8)}).to_parquet(tmp_path / "rows.parquet", row_group_size=3)
    for table in (read_table(tmp_path / "rows.parquet"), read_within(tmp_path / "rows.parquet").table):
        assert table.schema.labels[0] == ("small", "medium", "large")
        assert table.values[:, 0].tolist() == [0.0, 2.0] * 4
        assert table.schema.is_ordered(0)


def test_columns_that_hold_no_single_values_are_refused_by_name(tmp_path):
    nested = pa.array([{"b": "text"}, {"b": "text"}])
    pa.parquet.write_table(pa.table({"a.b": [1.0, 2.0], "a": nested, "A": [3.0, 4.0]}), tmp_path / "t.parquet")
    with pytest.raises(TableFileError, match=r"column 'a'.*--drop NAME"):
        read_table(tmp_path / "t.parquet")
    assert read_part(tmp_path / "t.parquet", Selection(drop=("a",))).table.values.tolist() == [[1.0, 3.0], [2.0, 4.0]]
