"""Parquet files: read group by group in the memory that they are given, and refused by their footers."""

import numpy as np
import pyarrow as pa
import pyarrow.parquet
import pytest

from backwalk import limits
from backwalk.errors import TableFileError
from backwalk.table import Selection, read_labels, read_table, read_within

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


def test_many_small_row_groups_are_not_joined(tmp_path, monkeypatch):
    """Batches went over row groups, so that 65,536 rows of long texts were in memory, whatever `memory` was."""
    path, seen, iter_batches = tmp_path / "rows.parquet", [], pa.parquet.ParquetFile.iter_batches
    texts = [f"{i:05d}" + "long" * 250 for i in range(N)]
    pa.parquet.write_table(pa.table({"t": texts, "x": np.arange(N)}), path, row_group_size=20, use_dictionary=False)

    def noted(self, *arguments, **options):
        for batch in iter_batches(self, *arguments, **options):
            seen.append(batch.nbytes)
            yield batch

    monkeypatch.setattr(pa.parquet.ParquetFile, "iter_batches", noted)
    found = read_within(path, Selection(texts=("t",)), memory=2**24)
    assert found.n_rows == N
    assert max(seen) < 2**24 / 16
    pa.parquet.write_table(pa.table({"t": texts, "x": np.arange(N)}), path, use_dictionary=False)  # one group
    seen.clear()
    assert read_within(path, Selection(texts=("t",)), memory=2**24).n_rows == N
    assert max(seen) < 1.1 * 2**24 / 16


@pytest.mark.parametrize(
    ("footer", "words"),
    [(b"\xff" * 200, "cannot be"), (b"\x1c" * 300, "cannot be"), (b"", "cannot be")],
    ids=range(3),
)
def test_footers_that_harm_are_refused(tmp_path, monkeypatch, footer, words):
    path = tmp_path / "rows.parquet"
    path.write_bytes(b"PAR1" + footer + len(footer).to_bytes(4, "little") + b"PAR1")
    with pytest.raises(TableFileError, match=words):
        read_table(path)
    monkeypatch.setattr(limits, "PARQUET_FOOTER_BYTES", 150)
    path.write_bytes(b"PAR1" + b"\0" * 200 + (200).to_bytes(4, "little") + b"PAR1")
    with pytest.raises(TableFileError, match="at most 150 bytes, but has 208"):
        read_table(path)


def test_a_file_of_many_rows_is_refused_unread(tmp_path, monkeypatch):
    pa.parquet.write_table(ROWS, tmp_path / "rows.parquet")
    monkeypatch.setattr(pa.parquet.ParquetFile, "iter_batches", lambda *_, **__: pytest.fail("it was read"))
    for limit, value, words in (
        ("TABLE_FILE_CELLS", 3 * N - 1, "at most 5999 cells"),
        ("TABLE_FILE_COLUMNS", 2, "at most 2 columns"),
        ("TABLE_FILE_BYTES", 8 * N, "bytes unpacked"),
    ):
        with monkeypatch.context() as patch:
            patch.setattr(limits, limit, value)
            with pytest.raises(TableFileError, match=words):
                read_table(tmp_path / "rows.parquet")
