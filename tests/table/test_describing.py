"""Facts of the columns of a table file, also of those that no model can be fitted to."""

import pyarrow as pa
import pyarrow.parquet
import pytest

from backwalk.table import facts_of_columns


@pytest.fixture(params=[".csv", ".parquet"])
def path(request, tmp_path):
    place = tmp_path / f"t{request.param}"
    if request.param == ".csv":
        place.write_text("a,kind\n1.5,x\n,y\n2.5,x\n3.5,\n")
    else:
        pa.parquet.write_table(pa.table({"a": [1.5, float("nan"), 2.5, 3.5], "kind": ["x", "y", "x", None]}), place)
    return place


def test_facts_are_told_of_every_column(path):
    n_rows, columns = facts_of_columns(path)
    facts = {column["name"]: column for column in columns}
    assert (n_rows, list(facts)) == (4, ["a", "kind"])
    assert facts["a"] == {"name": "a", "dtype": "float64", "missing": 1, "mean": 2.5} | {
        "sd": pytest.approx((2.0 / 3.0) ** 0.5),
        "least": 1.5,
        "largest": 3.5,
    }
    assert facts["kind"]["dtype"] == "string"


@pytest.mark.parametrize("cells", [["red", "blue", "3"], ["2020-01-01", "2020-01-02"], ["A-1", "B-2"], ["12:30", "1"]])
def test_texts_and_dates_are_not_called_numbers(tmp_path, cells):
    (tmp_path / "t.csv").write_text("x,y\n" + "".join(f"{cell},1\n" for cell in cells))
    assert "but" not in facts_of_columns(tmp_path / "t.csv")[1][0]


def test_nested_and_binary_columns_come_last(tmp_path):
    rows = pa.table({"bytes": [b"a", b"b"], "x": [1.0, 2.0], "list": [["a"], ["b"]]})
    pa.parquet.write_table(rows, tmp_path / "t.parquet")
    columns = facts_of_columns(tmp_path / "t.parquet")[1]
    assert [(each["name"], "cannot_be_fitted" in each) for each in columns] == [
        ("x", False),
        ("bytes", True),
        ("list", True),
    ]


def test_facts_of_texts_dates_and_truth_values(path, tmp_path):
    assert facts_of_columns(path)[1][1] == {
        "name": "kind",
        "dtype": "string",
        "missing": 1,
        "levels": 2,
        "most_frequent": "x",
        "rows_of_most_frequent": 2,
    }
    rows = "d,m,t,b,nothing\n2024-02-29,2024-02-29 05:06:07,05:06,true,\n1969-12-31,,23:59,true,\n,,,false,\n"
    (tmp_path / "dates.csv").write_text(rows)
    columns = {column.pop("name"): column for column in facts_of_columns(tmp_path / "dates.csv")[1]}
    assert columns["d"] == {"dtype": "date32[day]", "missing": 1, "first": "1969-12-31", "last": "2024-02-29"}
    assert columns["m"]["first"] == columns["m"]["last"] == "2024-02-29 05:06:07"
    assert (columns["t"]["first"], columns["t"]["last"]) == ("05:06:00", "23:59:00")
    assert columns["b"]["mean"] == pytest.approx(2 / 3)
    assert columns["nothing"] == {"dtype": "null", "missing": 3}
    spans = pa.table(
        {"s": pa.array([3, None, -4], pa.duration("s")), "c": pa.array(["b", "b", None]).dictionary_encode()}
    )
    pa.parquet.write_table(spans, tmp_path / "s.parquet")
    spans, categories = facts_of_columns(tmp_path / "s.parquet")[1]
    assert (spans["first"], spans["last"]) == ("-1 day, 23:59:56", "0:00:03")
    assert (categories["levels"], categories["most_frequent"]) == (1, "b")
