"""Damaged table files: each is either told of in one line or read as a table that passes every check.

A short, seeded part of the long campaign; whatever is read must be finite, two-dimensional and not empty.
"""

import io

import numpy as np
import pyarrow as pa
import pyarrow.parquet
import pytest

from backwalk.errors import TableFileError
from backwalk.table import as_table, read_table, write_table
from soak.material import mutated

TABLE = as_table(pa.table({"a": np.linspace(-1.0, 1.0, 12), "count": list(range(12)), "flag": [True, False] * 6}))


def parquet_bytes():
    file = io.BytesIO()
    pyarrow.parquet.write_table(pa.table({"a": np.linspace(-1.0, 1.0, 12), "count": list(range(12))}), file)
    return file.getvalue()


def original(tmp_path, suffix):
    if suffix == ".parquet":
        return parquet_bytes()
    write_table(tmp_path / f"whole{suffix}", TABLE)
    return (tmp_path / f"whole{suffix}").read_bytes()


def check(path, data):
    path.write_bytes(data)
    try:
        values = read_table(path).values
    except TableFileError as error:
        complaint = str(error)
    else:
        complaint = ""
        assert values.ndim == 2
        assert values.size > 0
        assert np.isfinite(values).all()
    assert "\n" not in complaint
    assert complaint == "" or str(path) in complaint


@pytest.mark.parametrize("suffix", [".csv", ".parquet", ".npy"])
def test_mutated_files(tmp_path, suffix):
    data, rng = original(tmp_path, suffix), np.random.default_rng(7)
    for _ in range(300):
        check(tmp_path / f"mutant{suffix}", mutated(data, rng))


@pytest.mark.parametrize("suffix", [".csv", ".parquet", ".npy"])
def test_truncated_files(tmp_path, suffix):
    data = original(tmp_path, suffix)
    for length in np.unique(np.linspace(0, len(data) - 1, 300).astype(int)):
        check(tmp_path / f"short{suffix}", data[:length])
    if suffix == ".parquet":
        for length in (len(data) - 1, len(data) // 2):
            (tmp_path / "short.parquet").write_bytes(data[:length])
            with pytest.raises(TableFileError):
                read_table(tmp_path / "short.parquet")
