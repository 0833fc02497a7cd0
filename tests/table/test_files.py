"""Tables survive files exactly, files appear whole, and what is wrong with a file is told in one line."""

import errno
import io
import os
import sys

import numpy as np
import pyarrow as pa
import pyarrow.csv
import pyarrow.parquet
import pytest

from backwalk import limits
from backwalk.errors import TableFileError
from backwalk.table import Schema, Table, as_table, read_table, write_rows, write_table

ROWS = pa.table(
    {
        "length": [0.1, -1e300, 5e-324, 1 / 3],
        "single": pa.array([0.1, 1.5, -3.25, 1e30], pa.float32()),
        "count": [1, -2, 2**52, 0],
        "flag": [True, False, True, True],
    }
)


class Standard:
    def __init__(self, data=b""):
        self.buffer = io.BytesIO(data)


class Full(io.BytesIO):
    def __init__(self, fault):
        super().__init__()
        self.fault = fault

    def flush(self):
        raise self.fault


def complaint(path, **options):
    with pytest.raises(TableFileError) as caught:
        read_table(path, **options)
    message = str(caught.value)
    assert "\n" not in message
    assert len(message) < 1000
    return message


TEXT_SUFFIXES = [".csv", ".tsv", ".csv.gz", ".tsv.gz"]


@pytest.mark.parametrize("suffix", [*TEXT_SUFFIXES, ".parquet", ".CSV"])
def test_rows_survive_a_file_exactly(tmp_path, suffix):
    path = tmp_path / f"rows{suffix}"
    write_table(path, as_table(ROWS))
    table = read_table(path)
    np.testing.assert_array_equal(table.values[:, [0, 2, 3]], as_table(ROWS).values[:, [0, 2, 3]])
    np.testing.assert_array_equal(table.values[:, 1].astype(np.float32), ROWS["single"].to_numpy())
    assert table.schema.kind == "pyarrow"
    assert table.columns == tuple(ROWS.column_names)
    # CSV has no word for float32.
    assert table.schema.dtypes == ("float64", "float32" if suffix == ".parquet" else "float64", "int64", "bool")


def test_standard_input_and_output_are_csv(monkeypatch):
    out = Standard()
    monkeypatch.setattr(sys, "stdout", out)
    write_table("-", as_table([[1.5, 2.0]]))
    assert out.buffer.getvalue() == b'"x1","x2"\n1.5,2\n'
    monkeypatch.setattr(sys, "stdin", Standard(out.buffer.getvalue()))
    assert read_table("-").columns == ("x1", "x2")
    monkeypatch.setattr(sys, "stdin", Standard(b""))
    assert "standard input: The file is empty" in complaint("-")


SIGNS = ["=", "+", "-", "@", "\uff1d", "\uff0b", "\uff0d", "\uff20", "\t", "\r", "\n"]


@pytest.mark.parametrize("escape", [True, False])
def test_headers_that_a_spreadsheet_would_run_are_escaped_and_numbers_are_not(tmp_path, escape):
    headers = [f"{sign}1+1" for sign in SIGNS]
    names = (*headers, "a=b")
    table = Table(-1.5 * np.ones((1, len(names))), Schema(names, ("float64",) * len(names), "pandas"))
    write_table(tmp_path / "rows.csv", table, escape_formulas=escape)
    with (tmp_path / "rows.csv").open("rb") as file:
        lines = pyarrow.csv.read_csv(file, parse_options=pyarrow.csv.ParseOptions(newlines_in_values=True))
    assert lines.column_names == [*(f"'{header}" if escape else header for header in headers), "a=b"]
    assert read_table(tmp_path / "rows.csv").columns == names
    assert (tmp_path / "rows.csv").read_bytes().endswith(b"\n-1.5" + b",-1.5" * len(headers) + b"\n")


@pytest.mark.parametrize("n_rows", [9, 11])
@pytest.mark.parametrize("suffix", [".csv", ".parquet"])
def test_a_wrong_number_of_rows_leaves_no_file(tmp_path, suffix, n_rows):
    with pytest.raises(TableFileError, match="held 10"):
        write_rows(tmp_path / f"rows{suffix}", [np.zeros((10, 1))], Schema(None, ("float64",), "numpy"), n_rows=n_rows)
    assert list(tmp_path.iterdir()) == []


CSV_FAULTS = {
    "empty": (b"", "empty"),
    "blank": (b" \n\r\n", "empty"),
    "header only": (b"a,b\n", "should have rows"),
    "no header": (b"1,2\n3,4\n", "put a header line of names above it"),
    "rows in quotation marks": (b'"1","2"\n"3","4"\n', "put a header line of names above it"),
    "pandas' row numbers": (b"Unnamed: 0,a\n5,1.5\n1,2.5\n", "should have names"),
    "duplicate names": (b"a,b,a\n1,2,3\n", "'a'"),
    "no name": (b",a\n5,1.5\n1,2.5\n", "should have names"),
    "infinity": (b"a\n1\n-inf\n", "-inf at row 1"),
    "long row": (b"a,b\n1,2\n3,4,5\n", "line 3 has 3"),
    "short row": (b"a,b\n1,2\n3\n", "line 3 has 1"),
    "UTF-16 without a mark": ("a,b\n1,2\n".encode("utf-16-le"), "UTF-8"),
    "Latin-1 header": ("größe\n1\n".encode("latin-1"), "--encoding cp1252"),
    "Latin-1 cell": ("a\ngrün\n".encode("latin-1"), "--encoding cp1252"),
    "NUL": (b"a,b\n1,\x002\n", "binary"),
    "an open quote": (b'a,b\n1,"2\n', "line 2"),
    "text after a quote": (b'a,b\n1,"x"y\n', "line 2"),
    "line ends of two kinds": (b"a,b\r\n1,2\n3,4\r\n", "end alike"),
    "an impossible date": (b"d,x\n2020-01-01,1\n\n2020-02-30,2\n", "'2020-02-30' at row 1 (rows count from 0)"),
    "an impossible hour": (b"d,x\n2020-01-01 25:00,1\n2020-02-20 10:00,2\n", "'2020-01-01 25:00' at row 0"),
}


@pytest.mark.parametrize(("data", "message"), CSV_FAULTS.values(), ids=CSV_FAULTS.keys())
def test_a_fault_in_a_csv_is_told_in_one_line_with_the_path(tmp_path, data, message):
    path = tmp_path / "rows.csv"
    path.write_bytes(data)
    assert complaint(path).startswith(str(path))
    assert message in complaint(path)


def test_cells_without_a_value_are_missing(tmp_path):
    (tmp_path / "t.csv").write_text("a,x,d,b,nothing\n1,NA,2024-01-01,true,\n,y,,,\nnan,,2024-01-02,false,\n")
    table = read_table(tmp_path / "t.csv")
    assert table.schema.dtypes == ("int64", "string", "date32[day]", "bool", "float64")
    assert table.observed.astype(int).tolist() == [[1, 0, 1, 1, 0], [0, 1, 0, 0, 0], [0, 0, 1, 1, 0]]
    (tmp_path / "one.csv").write_bytes(b"a\n1\n\n3\n")
    np.testing.assert_array_equal(read_table(tmp_path / "one.csv").values, [[1.0], [np.nan], [3.0]])


@pytest.mark.parametrize(
    "data",
    [
        b"a,b\n1,2\n3,4",
        b"\xef\xbb\xbfa,b\n1,2\n3,4\n",
        b"a,b\r\n1,2\r\n3,4\r\n",
        b"a,b\r1,2\r3,4\r",
        b'"a","b"\n1, 2\n\n3,4.0\n\n',
        b"\n\na,b\n1,2\n3,4\n",
    ],
)
def test_marks_line_ends_and_blank_lines_do_not_matter(tmp_path, data):
    path = tmp_path / "rows.csv"
    path.write_bytes(data)
    table = read_table(path)
    assert table.columns == ("a", "b")
    np.testing.assert_array_equal(table.values, [[1.0, 2.0], [3.0, 4.0]])


NAMES = ["-x", "'-x", "''-x", "'", "it's", "=", "2019", "a;b", "a\tb", 'a;"b', "a;b,c", "a;\nb", 'width, 5"']


@pytest.mark.parametrize("suffix", [".csv", ".tsv", ".parquet"])
def test_any_name_survives_a_file_alone_and_beside_others(tmp_path, suffix):
    alone = NAMES if suffix == ".csv" else NAMES[:2]
    for i, names in enumerate([*((name,) for name in alone), tuple(NAMES)]):
        schema = Schema(names, ("float64",) * len(names), "pyarrow")
        write_table(tmp_path / f"{i}{suffix}", Table(np.ones((2, len(names))), schema))
        assert read_table(tmp_path / f"{i}{suffix}").columns == names


@pytest.mark.parametrize("suffix", [".csv", ".parquet"])
def test_rows_in_pieces_are_the_rows(tmp_path, suffix):
    values = np.random.default_rng(0).normal(size=(100_000, 3))
    schema = Schema(("length", "single", "count"), ("float64", "float32", "int64"), "pandas")
    write_table(tmp_path / f"once{suffix}", Table(values, schema))
    write_rows(tmp_path / f"pieces{suffix}", iter(np.split(values, [1, 2, 70_000])), schema, n_rows=len(values))
    assert (tmp_path / f"pieces{suffix}").read_bytes() == (tmp_path / f"once{suffix}").read_bytes()


def test_tables_that_are_too_large_to_be_read_at_once_are_refused(tmp_path, monkeypatch):
    write_table(tmp_path / "rows.parquet", as_table(np.ones((10, 3))))
    (tmp_path / "rows.csv").write_bytes(b"a,b,c\n" + b"1,2,3\n" * 10)
    for limit, value, message in (("TABLE_FILE_CELLS", 29, "cells"), ("TABLE_FILE_COLUMNS", 2, "columns")):
        with monkeypatch.context() as patch:
            patch.setattr(limits, limit, value)
            for name in ("rows.csv", "rows.parquet"):
                assert f"at most {value} {message}" in complaint(tmp_path / name)


@pytest.mark.parametrize("suffix", [".csv", ".parquet"])
def test_a_pipe_is_refused_and_not_waited_for(tmp_path, suffix):
    """Found by review: whoever wrote nothing into it had the command hang."""
    os.mkfifo(tmp_path / f"rows{suffix}")
    assert "should be a regular file" in complaint(tmp_path / f"rows{suffix}")


PARQUET_FAULTS = {
    "bytes": (pa.table({"a": [1.0], "b": [b"x"]}), "'binary' in column 'b'"),
    "nested": (pa.table({"a": [{"b": 1.0}]}), "column 'a'"),
    "duplicate names": (pa.table([[1.0], [2.0]], names=["a", "a"]), "'a'"),
    "no rows": (pa.table({"a": pa.array([], pa.float64())}), "should have rows"),
    "no columns": (pa.table({}), "at least one column"),
    "a column without a name": (pa.table({"__index_level_0__": [5, 0], "a": [1.0, 2.0]}), "should have names"),
}


@pytest.mark.parametrize(("rows", "message"), PARQUET_FAULTS.values(), ids=PARQUET_FAULTS.keys())
def test_a_fault_in_a_parquet_file_is_told_in_one_line(tmp_path, rows, message):
    pyarrow.parquet.write_table(rows, tmp_path / "rows.parquet")
    assert message in complaint(tmp_path / "rows.parquet")


def test_more_labels_than_a_table_may_have_are_refused(tmp_path, monkeypatch):
    monkeypatch.setattr(limits, "TABLE_LEVELS", 5)
    (tmp_path / "t.csv").write_text("x,y\na,d\nb,e\nc,f\n")
    assert "at most 5 different values, but there are 6" in complaint(tmp_path / "t.csv")


def test_a_full_standard_output_is_named_and_a_closed_one_is_left_to_the_caller(monkeypatch):
    for fault, seen in (
        (OSError(errno.ENOSPC, "No space left on device"), TableFileError),
        (BrokenPipeError(errno.EPIPE, "Broken pipe"), BrokenPipeError),
    ):
        out = Standard()
        monkeypatch.setattr(out, "buffer", Full(fault))
        monkeypatch.setattr(sys, "stdout", out)
        with pytest.raises(seen, match=r"No space left|Broken pipe"):
            write_table("-", as_table([[1.5]]))
