"""Which columns and rows of a file are taken."""

import numpy as np
import pyarrow as pa
import pyarrow.parquet
import pytest

from backwalk.errors import InvalidInput, TableFileError
from backwalk.table import Selection, complete, read_part, read_table

TEXT = "id,a,b,kind\n7,1.5,2,x\n8,,4,y\n9,2.5,,x\n10,3.5,8,\n"


@pytest.fixture(params=[".csv", ".parquet"])
def path(request, tmp_path):
    place = tmp_path / f"t{request.param}"
    if request.param == ".csv":
        place.write_text(TEXT)
    else:
        columns = {"id": [7, 8, 9, 10], "a": [1.5, float("nan"), 2.5, 3.5], "b": [2, 4, None, 8]}
        pa.parquet.write_table(pa.table({**columns, "kind": ["x", "y", "x", None]}), place)
    return place


def test_columns_are_left_out_by_name_and_rows_by_what_is_missing_in_the_others(path):
    reading = read_part(path, Selection(drop=("kind", "id"), complete=True))
    assert reading.table.columns == ("a", "b")
    np.testing.assert_array_equal(reading.table.values, [[1.5, 2.0], [3.5, 8.0]])
    assert (reading.columns_left_out, int((~reading.is_taken).sum())) == (("id", "kind"), 2)
    assert read_part(path, Selection(drop=("kind", "a", "b"))).table.values.tolist() == [[7], [8], [9], [10]]


def test_only_those_of_a_model_are_taken_in_the_file_s_order(path):
    reading = read_part(path, Selection(only=("a", "id", "other"), complete=True))
    assert reading.table.columns == ("id", "a")
    assert reading.columns_left_out == ("b", "kind")


def test_what_is_missing_is_told_column_by_column(path):
    table = read_part(path, Selection(drop=("kind",))).table
    assert table.observed.sum(axis=0).tolist() == [4, 3, 3]
    with pytest.raises(InvalidInput) as caught:
        complete(table, name=path.name)
    told = str(caught.value)
    assert f"{path.name} should have no missing values, but got NaN at row 1, column 'a'" in told
    assert "2 of 4 rows have gaps in column 'a' (1), column 'b' (1)" in told
    assert "--drop-missing" in told


@pytest.mark.parametrize(
    ("selection", "words"),
    [
        (Selection(drop=("Kind",)), "'Kind' is not: choose among 'id', 'a', 'b', 'kind'"),
        (Selection(drop=("id", "a", "b", "kind")), "one column should be left"),
        (Selection(only=("other",)), "should have the model's columns, 'other', but has only 'id'"),
    ],
)
def test_refused(path, selection, words):
    with pytest.raises(TableFileError) as caught:
        read_part(path, selection)
    assert words in str(caught.value)


@pytest.mark.parametrize(
    ("cells", "words"),
    [
        (["1", "2", "?", "3e-1"], "'?' at row 2 (rows count from 0) is none, beside 3 that are"),
        (["<0.01", "5", " -.5", "n/a", "+7."], "'<0.01' at row 0 (rows count from 0) is none, beside 3 that are"),
        (["10%", '"2,5"', "", "n/a"], "'10%' at row 0 (rows count from 0) and 1 more is none"),
        (
            ["5", '"1,234.5"', '"1.000,5"', "6", "7"],
            "'1,234.5' at row 1 (rows count from 0) and 1 more is none, beside",
        ),
    ],
)
def test_a_cell_that_spoils_a_column_of_numbers_is_named(tmp_path, cells, words):
    """Found by review: such a column was called one of texts, to be dropped."""
    (tmp_path / "t.csv").write_text("x,y\n" + "".join(f"{cell},1\n" for cell in cells))
    with pytest.raises(TableFileError) as caught:
        read_table(tmp_path / "t.csv")
    assert words in str(caught.value)
    assert read_part(tmp_path / "t.csv", Selection(drop=("x",))).table.columns == ("y",)


def test_a_column_with_some_numbers_is_one_of_texts(tmp_path):
    (tmp_path / "t.csv").write_text("x,y\nred,1\nblue,1\n3,1\n")
    assert read_table(tmp_path / "t.csv").schema.labels == (("3", "blue", "red"), None)


def test_columns_may_be_read_as_texts(tmp_path):
    (tmp_path / "t.csv").write_text("zip,price,day,n\n00501,(5),2024-01-01,1\n02134,5,2024-01-02,2\n,7,,3\n")
    with pytest.raises(TableFileError, match=r"'\(5\)' at row 0.*--column 'price'=levels"):
        read_table(tmp_path / "t.csv")
    table = read_part(tmp_path / "t.csv", Selection(texts=("zip", "price", "day", "absent"))).table
    assert table.schema.labels == (("00501", "02134"), ("(5)", "5", "7"), ("2024-01-01", "2024-01-02"), None)
    np.testing.assert_array_equal(table.values[:, 0], [0, 1, np.nan])
