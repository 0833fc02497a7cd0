"""Rows of files are written again: cells that are not filled stay as they are."""

import csv
import datetime
import gzip
import io

import numpy as np
import pyarrow as pa
import pyarrow.csv
import pyarrow.parquet
import pytest

from backwalk.errors import TableFileError
from backwalk.table import Schema, Selection, Table, read_labels, read_table, split_table, write_filled

ROWS = [
    "007,red,1.50,2020-01-01",
    '1,"a, ""b""",,2020-01-02',
    '2,"two\nlines",=1+1,',
    "3, x ,NA,2020-01-04",
    "4,é,5e3,2020-01-05",
]
HEADER = 'id,"na,me",\'=x,day'


def every_second(n):
    return np.arange(n) % 2 == 1


def read(path):
    data = path.read_bytes()
    return (gzip.decompress(data) if path.suffix == ".gz" else data).decode()


def split(path, suffix=".csv", **options):
    """Split a file, and return the texts of both parts and the result."""
    places = path.with_name(f"t{suffix}"), path.with_name(f"u{suffix}")
    result = split_table(path, places, every_second, overwrite=True, **options)
    return *map(read, places), result


@pytest.fixture(params=["\n", "\r\n"], ids=["LF", "CRLF"])
def text(request, tmp_path):
    end = request.param
    (tmp_path / "rows.csv").write_bytes((HEADER + end + end.join(ROWS) + end + end).encode())
    return tmp_path / "rows.csv", end


@pytest.mark.parametrize("suffix", [".csv", ".csv.gz"])
def test_cells_of_text_are_copied_as_they_stand(text, suffix):
    path, end = text
    *found, result = split(path, suffix)
    assert found == [end.join([HEADER, *ROWS[k::2], ""]) for k in (0, 1)]
    assert (result.sizes, result.is_taken.tolist(), result.columns_left_out) == ((3, 2), [True] * 5, ())


def test_columns_and_incomplete_rows_are_left_out(text):
    path, end = text
    *found, result = split(path, selection=Selection(drop=("=x",), complete=True))
    assert found == [
        end.join(['id,"na,me",day', "007,red,2020-01-01", "3, x ,2020-01-04", ""]),
        end.join(['id,"na,me",day', '1,"a, ""b""",2020-01-02', "4,é,2020-01-05", ""]),
    ]
    assert (result.sizes, result.is_taken.tolist()) == ((2, 2), [True, True, False, True, True])
    assert result.columns_left_out == ("=x",)


@pytest.mark.parametrize("end", ["", "\n\n"])
def test_a_single_column_keeps_its_gaps(tmp_path, end):
    (tmp_path / "one.csv").write_text(f"a\n1\n\n3\n\n5\nx{end}")
    first, second, _ = split(tmp_path / "one.csv")
    assert (first, second) == ("a\n1\n3\n5\n", 'a\n""\n""\nx\n')
    (tmp_path / "rows.csv").write_text("a\n1\n\n3\n\n5\n")
    split(tmp_path / "rows.csv")  # a gap at the end of a part was no row of it
    assert read_table(tmp_path / "t.csv").values[:, 0].tolist() == [1.0, 3.0, 5.0]
    assert read_labels(tmp_path / "u.csv", "a").to_pylist() == ["", ""]


@pytest.mark.parametrize("suffix", [".csv", ".tsv"])
def test_gaps_of_text_are_filled_and_all_other_cells_stay(text, suffix):
    path, end = text
    schema = Schema(
        ("=x", "day", "na,me"), ("float64", "date32[day]", "string"), "pyarrow", (None, None, ("b",)), (None, "D", None)
    )
    draws = [np.full((5, 3), [0.5 * m, 10.0 * m, 0.0]) for m in (1, 2)]
    place = path.with_name(f"filled{suffix}")
    write_filled(path, place, draws, schema, number="draw")
    found = list(csv.reader(io.StringIO(place.read_bytes().decode()), delimiter="\t" if suffix == ".tsv" else ","))
    assert found[0] == ["draw", "id", "na,me", "'=x", "day"]
    expected = list(csv.reader(io.StringIO(end.join(ROWS))))
    for m, filled in ((1, ("0.5", "1970-01-11")), (2, ("1", "1970-01-21"))):
        rows = [[str(m), *row] for row in expected]
        rows[1][3], rows[3][3], rows[2][4] = filled[0], filled[0], filled[1]
        assert found[5 * m - 4 : 5 * m + 1] == rows
    with pytest.raises(TableFileError, match="'id'"):
        write_filled(path, place, draws, schema, number="id", overwrite=True)


TABLE = pa.table(
    {
        "x": [0.5, None, 2.5, 3.5],
        "count": pa.array([1, 2, 2**63 - 1, 4], pa.int64()),
        "kind": ["red", "blue", None, "red"],
        "level": pa.array(["a", "b", "a", "a"]).dictionary_encode(),
        "day": [datetime.date(2020, 1, day) for day in (1, 2, 3, 4)],
    }
)


def test_parquet_is_dealt_with_its_types(tmp_path):
    pyarrow.parquet.write_table(TABLE, tmp_path / "rows.parquet")
    places = tmp_path / "t.parquet", tmp_path / "u.parquet"
    split_table(tmp_path / "rows.parquet", places, every_second)
    assert pyarrow.parquet.read_table(places[0]).equals(TABLE.take([0, 2]))
    complete = Selection(drop=("level",), complete=True)
    result = split_table(tmp_path / "rows.parquet", places, every_second, selection=complete, overwrite=True)
    assert result.is_taken.tolist() == [True, False, False, True]
    assert pyarrow.parquet.read_table(places[1]).equals(TABLE.take([3]).drop_columns("level"))


@pytest.mark.parametrize(("source", "other"), [("rows.csv", "t.parquet"), ("rows.parquet", "t.csv")])
def test_rows_are_written_in_the_format_of_their_file(tmp_path, source, other):
    pyarrow.parquet.write_table(TABLE, tmp_path / "rows.parquet")
    pyarrow.csv.write_csv(TABLE.drop_columns("level"), tmp_path / "rows.csv")
    schema = Schema(("x",), ("float64",), "pyarrow")
    with pytest.raises(TableFileError, match="in its format"):
        split_table(tmp_path / source, (tmp_path / source.replace("rows", "u"), tmp_path / other), every_second)
    with pytest.raises(TableFileError, match="in its format"):
        write_filled(tmp_path / source, tmp_path / other, [np.zeros((4, 1))], schema)
    assert not (tmp_path / other).exists()


def test_a_table_is_dealt_with_its_dtypes(tmp_path):
    table = Table(np.array([[0.5, 1.0], [1.5, 2.0]]), Schema(("x", "n"), ("float64", "int64"), "pandas"))
    split_table(table, (tmp_path / "t.csv", tmp_path / "u.csv"), every_second)
    assert (tmp_path / "u.csv").read_text() == '"x","n"\n1.5,2\n'


def test_what_cannot_be_dealt_leaves_both_files(tmp_path):
    places = tmp_path / "t.parquet", tmp_path / "u.parquet"
    for place in places:
        place.write_bytes(b"old")
    source = tmp_path / "rows.parquet"
    pyarrow.parquet.write_table(pa.table({"x": [1.0, 2.0], "list": [[1], [2]]}), source)
    with pytest.raises(TableFileError, match="'list' is nested"):
        split_table(source, places, every_second, overwrite=True)
    with pytest.raises(TableFileError, match="exists already"):
        split_table(source, places, every_second)
    assert [place.read_bytes() for place in places] == [b"old"] * 2
    assert len(list(tmp_path.iterdir())) == 3
