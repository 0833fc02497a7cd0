"""Rows go out as the kind of table that they came in as."""

import importlib
import json
import subprocess
import sys

import numpy as np
import pandas as pd
import pytest

from backwalk.errors import InvalidInput
from backwalk.table import Schema, as_table, from_values


def round_trip(X):
    table = as_table(X)
    schema = Schema.from_dict(json.loads(json.dumps(table.schema.to_dict())))
    assert schema == table.schema
    return from_values(table.values, schema)


def test_a_frame_made_from_an_array_keeps_its_numbered_columns():
    X = pd.DataFrame(np.arange(6.0).reshape(3, 2))
    assert as_table(X).columns is None
    pd.testing.assert_frame_equal(round_trip(X), X)


@pytest.mark.parametrize(
    ("dtype", "out"),
    [
        ("float32", "float32"),
        (">f4", "float32"),
        ("float64", "float64"),
        ("int32", "float64"),
        ("float16", "float64"),
        ("bool", "float64"),
    ],
)
def test_arrays_of_float32_stay_float32_and_all_others_become_float64(dtype, out):
    X = np.ones((3, 2), dtype=dtype)
    rows = round_trip(X)
    assert rows.dtype == out
    np.testing.assert_array_equal(rows, X)


@pytest.mark.parametrize("dtype", ["int8", "uint8", "int64", "uint64", "float16", "float32"])
def test_numbers_are_clipped_to_the_range_of_their_dtype(dtype):
    schema = Schema(("a",), (dtype,), "pyarrow")
    rows = from_values([[1e300], [-1e300]], schema)["a"].to_numpy()
    info = np.iinfo(dtype) if "int" in dtype else np.finfo(dtype)
    assert rows.dtype == dtype
    # float64 has no number in the last 1024 of 64-bit integers.
    assert float(info.max) * (1 - 1e-15) <= float(rows[0]) <= float(info.max)
    assert rows[1] == info.min


@pytest.mark.parametrize(("dtype", "low", "high"), [("uint8", 0, 255), ("int8", -128, 127), ("boolean", 0, 1)])
def test_rows_of_any_number_are_brought_into_the_range_of_their_dtype(dtype, low, high):
    schema = Schema(("a", "b"), ("float64", dtype), "pandas")
    clipped = schema.clipped(np.array([[1e300, -1e300], [-1e300, 1e300], [0.25, 1.0]]))
    np.testing.assert_array_equal(clipped, [[1e300, low], [-1e300, high], [0.25, 1.0]])


def test_whole_numbers_are_rounded_and_truth_values_cut_at_one_half():
    schema = Schema(("n", "flag"), ("int64", "bool"), "pyarrow")
    rows = from_values([[1.4, 0.4], [1.6, 0.5], [-1.6, 7.0]], schema)
    assert rows.to_pydict() == {"n": [1, 2, -2], "flag": [False, True, True]}


@pytest.mark.parametrize("dtype", ["int64", "bool"])
def test_a_gap_cannot_go_out_in_a_dtype_of_pandas_without_missing_values(dtype):
    with pytest.raises(InvalidInput, match=r"column 'n'.*NaN"):
        from_values([[np.nan]], Schema(("n",), (dtype,), "pandas"))
    assert from_values([[np.nan]], Schema(("n",), (dtype,), "pyarrow"))["n"].to_pylist() == [None]


def test_a_missing_library_is_named(monkeypatch):
    def refuse(name):
        raise ImportError(name)

    monkeypatch.setattr(importlib, "import_module", refuse)
    with pytest.raises(InvalidInput, match="pip install polars"):
        from_values([[1.0]], Schema(("a",), ("float64",), "polars"))


WITHOUT_PANDAS_AND_POLARS = """
import sys

class NotInstalled:
    def find_spec(name, *_):
        if name in ("pandas", "polars"):
            raise ModuleNotFoundError(name)

sys.meta_path.insert(0, NotInstalled)

import pyarrow
from backwalk.table import as_table, from_values

for rows in ([[1.0]], pyarrow.table({"a": [1]})):
    table = as_table(rows)
    from_values(table.values, table.schema)
"""


@pytest.mark.slow
def test_arrays_and_arrow_tables_need_neither_pandas_nor_polars():
    subprocess.run([sys.executable, "-c", WITHOUT_PANDAS_AND_POLARS], check=True)


GOOD = {
    "columns": ["a", "b"],
    "dtypes": ["float64", "int64"],
    "kind": "pandas",
    "labels": [None, None],
    "units": [None, None],
    "set_aside": ["id"],
}


@pytest.mark.parametrize(
    "change",
    [
        {"columns": ["a"]},
        {"columns": ["a", 1]},
        {"dtypes": ["float64", "object"]},
        {"dtypes": ["float64", "str"], "labels": [None, ["a", "a"]]},
        {"dtypes": ["float64", "str"], "labels": [["a"]]},
        {"dtypes": ["float64", "datetime64[ns]"]},
        {"set_aside": ["a"]},
        {"kind": "excel"},
        {"kind": "polars", "columns": None},
        {"extra": 1},
        {"dtypes": ["float64", "float64[pyarrow]"]},
        {"kind": "polars", "dtypes": ["float64", "Int64"]},
    ],
    ids=ascii,
)
def test_a_record_that_is_no_schema_is_refused(change):
    assert Schema.from_dict(GOOD).n_columns == 2
    with pytest.raises(InvalidInput):
        Schema.from_dict({**GOOD, **change})
