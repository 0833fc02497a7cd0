"""Every dtype of every library comes back as it came, with gaps and without, and through files as far as they can."""

import datetime as dt
import decimal
import json

import numpy as np
import pandas as pd
import polars as pl
import polars.testing
import pyarrow as pa
import pyarrow.parquet
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from backwalk.errors import InvalidInput
from backwalk.model import column_numbers
from backwalk.table import Schema, as_table, from_values, read_table, write_table

UTC = dt.UTC
DAYS = [dt.date(1969, 12, 31), dt.date(2024, 2, 29), dt.date(2024, 2, 29)]
MOMENTS = [dt.datetime(1969, 12, 31, 23, 59), dt.datetime(2024, 2, 29, 1, 2, 3), dt.datetime(2024, 2, 29)]
FINE = [dt.datetime(1969, 12, 31, 23, 59, 59, 999_999), dt.datetime(2024, 2, 29, 1, 2, 3, 4), dt.datetime(2024, 2, 29)]
SPANS = [dt.timedelta(days=-1), dt.timedelta(hours=5), dt.timedelta(0)]
TIMES = [dt.time(0), dt.time(23, 59, 59), dt.time(12, 30)]
COLORS = ["red", "blue", "red"]

PANDAS = {
    "object texts": pd.Series(COLORS, dtype=object),
    "str": pd.Series(COLORS, dtype="str"),
    "string": pd.Series(COLORS, dtype="string"),
    "arrow string": pd.Series(COLORS, dtype=pd.ArrowDtype(pa.string())),
    "arrow large string": pd.Series(COLORS, dtype=pd.ArrowDtype(pa.large_string())),
    "arrow dictionary": pd.Series(COLORS, dtype=pd.ArrowDtype(pa.dictionary(pa.int32(), pa.string()))),
    "category": pd.Series(pd.Categorical(COLORS, categories=["red", "green", "blue"])),
    "ordered category": pd.Series(pd.Categorical(COLORS, categories=["red", "green", "blue"], ordered=True)),
    "category of objects": pd.Series(pd.Categorical(COLORS, categories=pd.Index(["red", "blue"], dtype=object))),
    "category of integers": pd.Series(pd.Categorical([3, 10, 3], categories=[10, 3])),
    "category of floats": pd.Series(pd.Categorical([0.1, 1e300, 0.1])),
    "category of truth values": pd.Series(pd.Categorical([True, False, True])),
    "category of intervals": pd.Series(pd.cut(pd.Series([0.5, 3.25, 0.5]), [0.0, 1 / 3, 1.0, 4.5])),
    "category of whole intervals": pd.Series(pd.cut(pd.Series([0.5, 3.25, 0.5]), [0, 1, 4], right=False)),
    "boolean": pd.Series([True, False, True], dtype="boolean"),
    "arrow bool": pd.Series([True, False, True], dtype=pd.ArrowDtype(pa.bool_())),
    "object bools": pd.Series([True, False, True], dtype=object),
    "object integers": pd.Series([1, -5, 2], dtype=object),
    "Int64": pd.Series([1, -5, 2], dtype="Int64"),
    "UInt8": pd.Series([1, 255, 2], dtype="UInt8"),
    "Float32": pd.Series([1.5, -5.0, 2.0], dtype="Float32"),
    "float64": pd.Series([1.5, -5.0, 2.0]),
    "float32": pd.Series([1.5, -5.0, 2.0], dtype="float32"),
    "float16": pd.Series([1.5, -5.0, 2.0], dtype="float16"),
    "arrow float": pd.Series([1.5, -5.0, 2.0], dtype=pd.ArrowDtype(pa.float32())),
    "arrow int": pd.Series([1, -5, 2], dtype=pd.ArrowDtype(pa.int16())),
    "arrow double": pd.Series([1.5, -5, 2], dtype=pd.ArrowDtype(pa.float64())),
    "datetime64[ns]": pd.Series(MOMENTS).astype("datetime64[ns]"),
    "datetime64[us]": pd.Series(FINE).astype("datetime64[us]"),
    "datetime64[s]": pd.Series(DAYS).astype("datetime64[s]"),
    "zoned": pd.Series(MOMENTS).astype("datetime64[us]").dt.tz_localize("Europe/Berlin"),
    "UTC": pd.Series(MOMENTS).astype("datetime64[ms]").dt.tz_localize("UTC"),
    "arrow timestamp": pd.Series(MOMENTS, dtype=pd.ArrowDtype(pa.timestamp("us", "UTC"))),
    "timedelta64[ns]": pd.Series(SPANS).astype("timedelta64[ns]"),
    "timedelta64[s]": pd.Series(SPANS).astype("timedelta64[s]"),
    "object dates": pd.Series(DAYS, dtype=object),
    "object times": pd.Series(TIMES, dtype=object),
    "object moments": pd.Series(FINE, dtype=object),
    "arrow date": pd.Series(DAYS, dtype=pd.ArrowDtype(pa.date32())),
}
WITHOUT_GAPS = {
    "int64": pd.Series([1, -5, 2]),
    "uint8": pd.Series([1, 255, 2], dtype="uint8"),
    "bool": pd.Series([True, False, True]),
}


def through(X):
    table = as_table(X)
    assert table.values.dtype == np.float64
    schema = Schema.from_dict(json.loads(json.dumps(table.schema.to_dict())))
    assert schema == table.schema
    np.testing.assert_array_equal(schema.clipped(table.values), table.values)
    return from_values(table.values, schema)


@pytest.mark.parametrize("gaps", [False, True])
@pytest.mark.parametrize("column", PANDAS.values(), ids=PANDAS)
def test_columns_of_pandas(column, gaps):
    X = pd.DataFrame({"other": [0.5, 1.5, 2.5], "x": column})
    if gaps:
        X.loc[1, "x"] = np.nan if X["x"].dtype == object and isinstance(column[0], str) else None
        assert not as_table(X).observed[1, 1]
    pd.testing.assert_frame_equal(through(X), X)


@pytest.mark.parametrize("column", WITHOUT_GAPS.values(), ids=WITHOUT_GAPS)
def test_columns_of_pandas_that_have_no_gaps(column):
    X = pd.DataFrame({"x": column})
    pd.testing.assert_frame_equal(through(X), X)


POLARS = {
    "String": pl.Series(COLORS),
    "Categorical": pl.Series(COLORS, dtype=pl.Categorical),
    "Enum": pl.Series(COLORS, dtype=pl.Enum(["red", "green", "blue"])),
    "Boolean": pl.Series([True, False, True]),
    "Int64": pl.Series([1, -5, 2]),
    "UInt8": pl.Series([1, 255, 2], dtype=pl.UInt8),
    "Float32": pl.Series([1.5, -5.0, 2.0], dtype=pl.Float32),
    "Float64": pl.Series([1.5, -5.0, 2.0]),
    "Date": pl.Series(DAYS),
    "Datetime": pl.Series(FINE),
    "Datetime in ns": pl.Series(FINE, dtype=pl.Datetime("ns")),
    "Datetime in ms": pl.Series(MOMENTS, dtype=pl.Datetime("ms")),
    "zoned": pl.Series(MOMENTS).dt.replace_time_zone("Europe/Berlin"),
    "Duration": pl.Series(SPANS),
    "Time": pl.Series(TIMES),
}


@pytest.mark.parametrize("gaps", [False, True])
@pytest.mark.parametrize("column", POLARS.values(), ids=POLARS)
def test_columns_of_polars(column, gaps):
    if gaps:
        column = column.to_frame("x").select(pl.when(pl.arange(3) != 1).then(pl.col("x")))["x"]
    X = pl.DataFrame({"other": [0.5, 1.5, 2.5], "x": column})
    made = through(X)
    assert made.schema == X.schema
    texts = [pl.col(name).cast(pl.String) for name, kind in X.schema.items() if kind == pl.Categorical]
    # Older versions refuse to compare categories that come from different sources.
    polars.testing.assert_frame_equal(made.with_columns(texts), X.with_columns(texts))


def arrow(cells, of_type=None):
    return lambda gaps: pa.array([cells[0], None, cells[2]] if gaps else cells, of_type)


def dictionary(of_type, labels, ordered=False):
    return lambda gaps: pa.DictionaryArray.from_arrays(
        pa.array([2, None if gaps else 0, 2], pa.int8()), pa.array(labels, of_type), ordered=ordered
    )


ARROW = {
    "string": arrow(COLORS),
    "large_string": arrow(COLORS, pa.large_string()),
    "string_view": arrow(COLORS, pa.string_view()),
    "dictionary": dictionary(pa.string(), ["red", "green", "blue"]),
    "ordered dictionary": dictionary(pa.large_string(), ["red", "green", "blue"], ordered=True),
    "dictionary of integers": dictionary(pa.int64(), [10, 3, -4]),
    "dictionary of floats": dictionary(pa.float64(), [0.1, 3.0, 1e-300]),
    "bool": arrow([True, False, True]),
    "int8": arrow([1, -5, 2], pa.int8()),
    "uint64": arrow([1, 2**63, 2], pa.uint64()),
    "double": arrow([1.5, -5.0, 2.0]),
    "float": arrow([1.5, -5.0, 2.0], pa.float32()),
    "halffloat": arrow([np.float16(1.5), np.float16(-5.0), np.float16(2.0)], pa.float16()),
    "date32": arrow(DAYS),
    "date64": arrow(DAYS, pa.date64()),
    "timestamp[s]": arrow(MOMENTS, pa.timestamp("s")),
    "timestamp[us]": arrow(FINE, pa.timestamp("us")),
    "timestamp[ns]": arrow(FINE, pa.timestamp("ns")),
    "zoned": arrow(MOMENTS, pa.timestamp("ms", "Europe/Berlin")),
    "duration": arrow(SPANS, pa.duration("ms")),
    "time32": arrow(TIMES, pa.time32("s")),
    "time64": arrow(TIMES, pa.time64("us")),
}


@pytest.mark.parametrize("gaps", [False, True])
@pytest.mark.parametrize("make", ARROW.values(), ids=ARROW)
def test_columns_of_arrow(make, gaps):
    X = pa.table({"other": [0.5, 1.5, 2.5], "x": make(gaps)})
    back = through(X)
    assert back.schema.equals(X.schema)
    assert back.to_pylist() == X.to_pylist()
    if pa.types.is_dictionary(X["x"].type):
        assert back["x"].chunk(0).dictionary.equals(X["x"].chunk(0).dictionary)


@pytest.mark.parametrize("gaps", [False, True])
@pytest.mark.parametrize("make", ARROW.values(), ids=ARROW)
def test_parquet_keeps_what_arrow_has(tmp_path, make, gaps):
    X = pa.table({"other": [0.5, 1.5, 2.5], "x": make(gaps)})
    try:
        pyarrow.parquet.write_table(X, tmp_path / "own.parquet")
    except pa.ArrowNotImplementedError:
        pytest.skip("this version of Arrow writes no such Parquet itself, as old ones of views of texts")
    table = as_table(X)
    write_table(tmp_path / "t.parquet", table)
    back = read_table(tmp_path / "t.parquet")
    if pa.types.is_dictionary(X["x"].type) and not pa.types.is_large_string(X["x"].type.value_type):
        assert from_values(back.values, back.schema)["x"].to_pylist() == X["x"].to_pylist()
        return
    np.testing.assert_array_equal(back.values, table.values)
    assert (back.schema.labels, back.schema.units) == (table.schema.labels, table.schema.units)
    if not table.schema.dtypes[1].startswith(("timestamp[s]", "date64", "time32[s]", "dictionary")):  # Parquet has none
        assert back.schema == table.schema


AS_TEXT = ["string", "bool", "int8", "double", "date32", "timestamp[s]", "timestamp[us]", "timestamp[ns]", "time64"]
AS_TEXT += ["ordered dictionary", "time32", "zoned"]


@pytest.mark.parametrize("gaps", [False, True])
@pytest.mark.parametrize("suffix", [".csv", ".tsv.gz"])
def test_text_files_keep_cells(tmp_path, suffix, gaps):
    table = as_table(pa.table({name: ARROW[name](gaps) for name in AS_TEXT}))
    write_table(tmp_path / f"t{suffix}", table)
    back = read_table(tmp_path / f"t{suffix}")
    cells, found = (from_values(each.values, each.schema).to_pydict() for each in (table, back))
    assert found == cells
    assert back.schema.units == table.schema.units
    write_table(tmp_path / f"again{suffix}", back)
    again = read_table(tmp_path / f"again{suffix}")
    assert again.schema == back.schema  # moments stay, and their zone becomes UTC
    np.testing.assert_array_equal(again.values, back.values)


def test_cells_of_text_files_are_those_of_iso_8601_and_the_texts(tmp_path):
    rows = {"d": DAYS, "s": MOMENTS, "us": FINE, "t": TIMES, "b": [True, None, False], "x": ["a,b", None, 'q"']}
    write_table(tmp_path / "t.csv", as_table(pa.table(rows)))
    assert (tmp_path / "t.csv").read_text().splitlines() == [
        '"d","s","us","t","b","x"',
        '1969-12-31,1969-12-31 23:59:00,1969-12-31 23:59:59.999999,00:00:00,true,"a,b"',
        "2024-02-29,2024-02-29 01:02:03,2024-02-29 01:02:03.000004,23:59:59,,",
        '2024-02-29,2024-02-29 00:00:00,2024-02-29 00:00:00.000000,12:30:00,false,"q"""',
    ]


@pytest.mark.parametrize(
    ("X", "dtypes"),
    [
        (np.array([["a", 1.5], [None, 2.5]], dtype=object), ("object[string]", "object[double]")),
        (np.array([["a", 3], ["b", None]], dtype=object), ("object[string]", "object[int64]")),
        (np.array([[DAYS[0], True], [DAYS[1], False]], dtype=object), ("object[date32[day]]", "object[bool]")),
        (np.array([["a", "x"], ["b", "x"]]), ("str", "str")),
        (np.array([["2024-02-29"], ["NaT"]], dtype="M8[D]"), ("datetime64[D]",)),
        (np.array([["2024-02-29T05"], ["NaT"]], dtype="M8[h]"), ("datetime64[h]",)),
        (np.array([[3], [-4]], dtype="m8[ms]"), ("timedelta64[ms]",)),
    ],
)
def test_arrays_of_texts_dates_and_objects(X, dtypes):
    assert as_table(X).schema.dtypes == dtypes
    back = through(X)
    assert back.dtype == X.dtype
    if X.dtype == object:
        cells = [[None if cell != cell else cell for cell in row] for row in back.tolist()]
        assert cells == X.tolist()
    else:
        np.testing.assert_array_equal(back, X)


def test_lists_of_texts_and_numbers_are_no_texts_alone():
    table = as_table([["a", 1], ["b", 2.5], ["a", None]])
    np.testing.assert_array_equal(table.values, [[0, 1], [1, 2.5], [0, np.nan]])
    assert table.schema.labels == (("a", "b"), None)


CENTS = [decimal.Decimal("39.10"), None, decimal.Decimal("-0.05")]


@pytest.mark.parametrize(
    ("X", "dtype"),
    [
        (pd.DataFrame({"a": pd.Series(CENTS, dtype=object)}), "object[decimal128(4, 2)]"),
        (pd.DataFrame({"a": pd.Series(CENTS, dtype=pd.ArrowDtype(pa.decimal128(9, 2)))}), "decimal128(9, 2)[pyarrow]"),
        (pl.DataFrame({"a": pl.Series(CENTS, dtype=pl.Decimal(12, 2))}), "decimal128(12, 2)"),
        (pa.table({"a": pa.array(CENTS, pa.decimal128(38, 2))}), "decimal128(38, 2)"),
        (pa.table({"a": pa.array(CENTS, pa.decimal256(50, 2))}), "decimal256(50, 2)"),
    ],
)
def test_decimals_come_back_with_their_digits(X, dtype):
    table = as_table(X)
    assert table.schema.dtypes == (dtype,)
    np.testing.assert_array_equal(table.values, [[39.1], [np.nan], [-0.05]])
    assert list(map(str, _cells(through(X)))) == ["39.10", str(_cells(X)[1]), "-0.05"]
    drawn = _cells(from_values([[1.005], [1e60]], table.schema))
    assert [cell.as_tuple().exponent for cell in drawn] == [-2, -2]


def _cells(X):
    return X["a"].to_pylist() if isinstance(X, pa.Table) else list(X["a"])


def test_columns_without_any_value_are_floats():
    for X in (
        pd.DataFrame({"b": pd.Series([None, None], dtype=object)}),
        pl.DataFrame({"b": [None, None]}),
        pa.table({"b": pa.nulls(2)}),
    ):
        assert as_table(X).schema.dtypes == ("float64",)


def test_names_that_are_integers_come_back_as_integers():
    X = pd.DataFrame({2019: [1.5, 2.5], "town": ["a", "b"], -1: [3, 4], np.int64(7): [5, 6]})
    assert as_table(X).schema.columns == ("2019", "town", "-1", "7")
    pd.testing.assert_frame_equal(through(X), X)
    assert column_numbers(as_table(X).schema, [7, "town", 2019]) == [3, 1, 0]
    with pytest.raises(InvalidInput, match="more than once"):
        as_table(pd.DataFrame([[1, 2]], columns=[1, "1"]))


def test_the_unit_of_times_is_the_coarsest_exact_one():
    def unit(*moments):
        return as_table(pa.table({"a": pa.array(moments, pa.timestamp("us"))})).schema.units

    assert unit(dt.datetime(2024, 2, 29), dt.datetime(1812, 1, 1)) == ("D",)
    assert unit(*MOMENTS) == ("s",)
    assert unit(dt.datetime(2024, 1, 1, 0, 0, 0, 5000)) == ("ms",)
    assert unit(*FINE) == ("us",)
    ns = as_table(pa.table({"a": pa.array([1_700_000_000_000_001_499, 1_700_000_000_000_001_500], pa.timestamp("ns"))}))
    assert (ns.values[:, 0].tolist(), ns.schema.units) == ([1_700_000_000_000_001, 1_700_000_000_000_002], ("us",))


def test_labels_are_sorted_and_those_of_categories_keep_their_order():
    category = pd.Categorical(COLORS, categories=["red", "green", "blue"], ordered=True)
    X = pd.DataFrame({"text": COLORS, "category": category, "flag": [True, False, True], "day": DAYS})
    schema = as_table(X).schema
    assert schema.labels == (("blue", "red"), ("red", "green", "blue"), None, None)
    assert [schema.is_ordered(j) for j in range(4)] == [False, True, False, False]
    assert [schema.is_boolean(j) for j in range(4)] == [False, False, True, False]
    assert all(map(schema.is_integer, range(4)))
    assert schema.clipped(np.array([[9.0, -1.0, 2.0, 1e9]])).tolist() == [[1.0, 0.0, 1.0, 2_932_896.0]]


def test_values_between_are_rounded_and_clipped_to_labels_and_dates():
    schema = as_table(pl.DataFrame({"x": ["a", "b"], "d": [dt.date(2024, 1, 1)] * 2, "t": [dt.time(1)] * 2})).schema
    rows = from_values([[0.6, 19_723.4, 86_399.7], [-3.0, 1e12, -1.0], [np.nan] * 3], schema)
    assert rows.rows() == [
        ("b", dt.date(2024, 1, 1), dt.time(23, 59, 59)),
        ("a", dt.date(9999, 12, 31), dt.time(0)),
        (None, None, None),
    ]


TEXTS = st.text(st.characters(exclude_categories=("Cs",), exclude_characters="\0"), max_size=6) | st.sampled_from(
    [
        "=1+1",
        "'=1",
        "''",
        "'",
        "NA",
        "'NA",
        "",
        "null",
        "nan",
        '"',
        'a"b',
        "a\r\nb",
        "\r",
        "\n",
        ",",
        "\t",
        "-",
        "+49",
        "é",
    ]
)


@pytest.mark.slow
@pytest.mark.parametrize("suffix", [".csv", ".tsv", ".parquet"])
@settings(derandomize=True, max_examples=60, deadline=None)
@given(cells=st.lists(TEXTS | st.none(), min_size=1, max_size=8))
@example(cells=["NA", None, "", "'NA", "'"])
def test_any_text_survives_a_file(tmp_path_factory, suffix, cells):
    """Formulas and words for missing values get an apostrophe in text, and lose it again."""
    cells = [*cells, *["words, so that the column is one of texts"] * (len(cells) + 1)]
    path = tmp_path_factory.mktemp("texts") / f"t{suffix}"
    table = as_table(pa.table({"x": pa.array(cells, pa.string()), "other": list(range(len(cells)))}))
    write_table(path, table)
    back = read_table(path)
    assert from_values(back.values, back.schema)["x"].to_pylist() == cells
    assert back.schema.labels == table.schema.labels
    if suffix == ".csv":
        assert not any(line.startswith(('"=', '"+', '"-', '"@')) for line in path.read_text().splitlines())


@pytest.mark.slow
@settings(derandomize=True, max_examples=100, deadline=None)
@given(
    st.lists(st.datetimes(dt.datetime(1700, 1, 1), dt.datetime(2250, 1, 1)) | st.none(), min_size=1, max_size=5),
    st.lists(st.dates() | st.none(), min_size=5, max_size=5),
    st.lists(st.timedeltas(dt.timedelta(-90_000), dt.timedelta(90_000)), min_size=5, max_size=5),
)
def test_any_moment_comes_back(moments, dates, spans):
    n = len(moments)
    X = pa.table({"m": pa.array(moments, pa.timestamp("us")), "d": pa.array(dates[:n], pa.date32()), "s": spans[:n]})
    assert through(X).equals(X)


def test_wide_categories_take_little_memory_and_numbers_stay_exact():
    n, levels = 20_000, 2_000
    codes = np.random.default_rng(0).integers(0, levels, n)
    X = pl.DataFrame({"x": np.array([f"level {i:05d}" for i in range(levels)])[codes]})
    table = as_table(X)
    assert len(table.schema.labels[0]) == len(np.unique(codes))
    assert from_values(table.values, table.schema).equals(X)
