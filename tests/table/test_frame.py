"""What comes in is the float64 copy of what was given, or is refused by row and column, and is never changed."""

import datetime
import itertools

import duckdb
import numpy as np
import pandas as pd
import polars as pl
import pyarrow as pa
import pytest
import scipy.sparse
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from backwalk.errors import InvalidInput
from backwalk.table import Schema, Table, as_table, complete, match_columns

X = np.arange(12.0).reshape(4, 3)
MAKE_FRAME = {"pandas": pd.DataFrame, "polars": pl.DataFrame, "pyarrow": pa.table}


@pytest.mark.parametrize(
    "given_rows",
    [
        X,
        X.tolist(),
        np.asfortranarray(X),
        np.repeat(X, 2, axis=1)[:, ::2],
        X[::-1][::-1],
        X.astype(np.float16),
        X.astype(np.float32),
        X.astype(">f8"),
        X.astype(np.longdouble),
        X.astype(np.int8),
        X.astype(np.uint64),
        X.astype(object),
        np.ma.masked_array(X, mask=False),
        *(make({f"x{j}": X[:, j] for j in range(3)}) for make in MAKE_FRAME.values()),
    ],
)
def test_every_form_of_the_same_numbers_gives_the_same_table(given_rows):
    table = as_table(given_rows)
    np.testing.assert_array_equal(table.values, X)
    assert table.values.dtype == np.float64
    assert table.values.flags.c_contiguous


def test_the_input_is_not_changed_and_the_table_is_read_only():
    rows = X.copy()
    table = as_table(rows)
    assert not table.values.flags.writeable
    rows[0, 0] = 5.0  # the caller's array is still the caller's to write
    frozen = X.copy()
    frozen.flags.writeable = False
    np.testing.assert_array_equal(as_table(frozen).values, X)


class Stream:
    """A table of another library, which streams Arrow data."""

    def __arrow_c_stream__(self, requested_schema=None):
        return pa.table({"a": [1, None], "t": ["x", "y"]}).__arrow_c_stream__(requested_schema)


def test_whatever_streams_arrow_data_is_a_table():
    relation = duckdb.sql("SELECT * FROM (VALUES (1, 'x'), (NULL, 'y')) AS rows(a, t)")
    for rows in (Stream(), relation, pa.RecordBatchReader.from_stream(Stream())):
        table = as_table(rows)
        np.testing.assert_array_equal(table.values, [[1.0, 0.0], [np.nan, 1.0]])
        assert (table.schema.kind, table.schema.columns, table.schema.labels[1]) == ("pyarrow", ("a", "t"), ("x", "y"))


def test_truth_values_are_zero_and_one():
    assert as_table([[True, False]]).values.tolist() == [[1.0, 0.0]]
    assert as_table(pa.table({"a": [True, False]})).values.tolist() == [[1.0], [0.0]]


REFUSED = {
    "scalar": (3.0, "Reshape your data"),
    "1-D": (np.zeros(3), "Reshape your data"),
    "1-D list": ([1.0, 2.0], "Reshape your data"),
    "pandas series": (pd.Series([1.0, 2.0]), "Reshape your data"),
    "3-D": (np.zeros((2, 2, 2)), "dim 3"),
    "chains x draws x parameters": (np.zeros((4, 100, 3)), r"X\.reshape\(-1, X\.shape\[-1\]\) where the last axis"),
    "no rows": (np.zeros((0, 3)), r"0 sample\(s\)"),
    "no columns": (np.zeros((12, 0)), r"0 feature\(s\) \(shape=\(\d*, 0\)\) while a minimum of \d* is required."),
    "frame without rows": (pa.table({"a": pa.array([], pa.float64())}), r"0 sample\(s\)"),
    "frame without columns": (pd.DataFrame(index=[0, 1]), r"0 feature\(s\)"),
    "complex": (np.zeros((2, 2), complex), "Complex data not supported"),
    "sparse": (scipy.sparse.csr_matrix(np.eye(2)), "sparse"),
    "sparse array": (scipy.sparse.coo_array(np.eye(2)), "sparse"),
    "sparse column": (pd.DataFrame({"a": pd.arrays.SparseArray([0.0, 1.0])}), "column 'a'.*Sparse"),
    "ragged": ([[1.0, 2.0], [3.0]], "equal length"),
    "bytes": (np.array([[b"a"]]), "dtype .S1"),
    "a text among numbers": (np.array([[1.0], ["b"]], object), "'b' at row 1, column 0"),
    "a number among texts": ([["b"], [1.0]], "'b' at row 0, column 0"),
    "dates without a unit": (np.array([["NaT"]], dtype="M8"), "unit"),
    "moments that float64 rounds": (np.array([["9999-12-31T23:59:59.999999"]], dtype="M8[us]"), "9999-12-31.*row 0"),
    "records": (np.zeros((2, 2), [("a", float)]), "numbers"),
    "a dict": ({"a": [1.0]}, "dict"),
    "nothing": (None, "NoneType"),
    "a string": ("abc", "str"),
    "an enormous integer": ([[10**400]], "row 0, column 0"),
    "lazy": (pl.LazyFrame({"a": [1.0]}), "collect it first"),
    "object column": (pd.DataFrame({"b": np.array([1, {}], object)}), "column 'b'.*'object'.*one type"),
    "texts and numbers": (pd.DataFrame({"b": np.array([1, "x"], object)}), r"column 'b'.*one type.*astype\(str\)"),
    "half a pair": (pd.DataFrame({"b": ["\ud800"]}, dtype=object), "column 'b'"),
    "mixed categories": (pd.DataFrame({"b": pd.Categorical(["x", 1])}), "category of object.*column 'b'"),
    "periods": (pd.DataFrame({"b": pd.period_range("2020", periods=2, freq="D")}), "period.*column 'b'"),
    "categories of dates": (
        pd.DataFrame({"b": pd.Categorical(pd.to_datetime(["2020"]))}),
        "category of datetime.*column 'b'",
    ),
    "polars lists": (pl.DataFrame({"b": [[1.0]]}), "column 'b'"),
    "polars objects": (pl.DataFrame({"b": [{}, object()]}, schema={"b": pl.Object}), "column 'b'"),
    "polars bytes": (pl.DataFrame({"b": [b"x"]}), "column 'b'"),
    "arrow bytes": (pa.table({"b": [b"x"]}), "column 'b'"),
    "arrow moments": (pa.table({"b": [datetime.datetime(9999, 12, 31, 23, 59, 59, 7)]}), "column 'b'.*9999.*row 0"),
    "arrow lists": (pa.table({"b": [[1.0]]}), "column 'b'"),
    "duplicate names": (pd.DataFrame(X[:, :2], columns=["a", "a"]), "'a'"),
    "duplicate arrow names": (pa.table([[1.0], [2.0]], names=["a", "a"]), "'a'"),
    "labels of several types": (pd.DataFrame(X[:, :2], columns=["a", 1.5]), "got 1.5"),
    "labels of truth values": (pd.DataFrame(X[:, :2], columns=[True, False]), "got True"),
}


@pytest.mark.parametrize(("rows", "message"), REFUSED.values(), ids=REFUSED.keys())
def test_what_is_no_table_of_numbers_is_refused(rows, message):
    with pytest.raises(InvalidInput, match=message):
        as_table(rows)


@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf])
@pytest.mark.parametrize("kind", ["numpy", *MAKE_FRAME])
def test_a_number_that_is_not_finite_is_named_with_row_and_column(kind, bad):
    rows = X.copy()
    rows[2, 1] = bad
    rows[3, 0] = bad
    where = "column 1"
    if kind != "numpy":
        rows = MAKE_FRAME[kind]({f"x{j}": rows[:, j] for j in range(3)})
        where = "column 'x1'"
    word = "NaN" if np.isnan(bad) else str(bad)
    found = rf"got {word} at row 2, {where} .* 2 of {len(X)} rows have (gaps in column|such numbers)"
    with pytest.raises(InvalidInput, match=found):
        complete(as_table(rows))


GAPS = {
    "numpy": np.array([[1.0], [np.nan]]),
    "objects": np.array([[1.0], [None]], object),
    "masked": np.ma.masked_array([[1.0], [2.0]], mask=[[False], [True]]),
    "pandas": pd.DataFrame({"a": [1.0, None]}),
    "pandas Int64": pd.DataFrame({"a": pd.array([1, None], dtype="Int64")}),
    "pandas boolean": pd.DataFrame({"a": pd.array([True, None], dtype="boolean")}),
    "pandas arrow": pd.DataFrame({"a": pd.array([1.0, None], dtype="double[pyarrow]")}),
    "polars": pl.DataFrame({"a": [1.0, None]}),
    "polars integers": pl.DataFrame({"a": [1, None]}),
    "polars booleans": pl.DataFrame({"a": [True, None]}),
    "arrow": pa.table({"a": [1.0, None]}),
    "arrow integers": pa.table({"a": [1, None]}),
    "arrow booleans": pa.table({"a": [True, None]}),
}


@pytest.mark.parametrize("rows", GAPS.values(), ids=GAPS.keys())
def test_missing_values_are_marked_and_refused_where_rows_should_be_complete(rows):
    table = as_table(rows)
    assert table.observed.tolist() == [[True], [False]]
    with pytest.raises(InvalidInput, match="NaN at row 1"):
        complete(table, name="rows")


def test_a_table_comes_back_as_it_is_once_it_is_checked():
    table = as_table(X)
    assert as_table(table) is table
    assert complete(table) is table
    for values, message in ((np.array([[np.inf]]), "inf at row 0"), (np.empty((0, 1)), "0 sample")):
        with pytest.raises(InvalidInput, match=message):
            as_table(Table(values, Schema(None, ("float64",), "numpy")))


INTEGERS = {
    "int64": np.array([[2**53 + 1]]),
    "the least int64": np.array([[1], [-(2**63) + 1]]),
    "uint64": np.array([[2**64 - 1]], dtype=np.uint64),
    "objects": [[2**64 + 1]],
    "pandas": pd.DataFrame({"id": [1, 2**53 + 1]}),
    "pandas Int64": pd.DataFrame({"id": pd.array([None, 2**63 - 1], dtype="Int64")}),
    "polars": pl.DataFrame({"id": [2**53 + 1]}),
    "arrow": pa.table({"id": pa.array([2**64 - 1], pa.uint64())}),
}


@pytest.mark.parametrize("rows", INTEGERS.values(), ids=INTEGERS.keys())
def test_integers_that_float64_would_round_are_refused(rows):
    """Found by review: 2**53 + 1 came back as 2**53."""
    with pytest.raises(InvalidInput, match=r"exact in float64.*(740993|775807|551615|551617).*column (0|'id').*floats"):
        as_table(rows)


@pytest.mark.parametrize("dtype", [np.int64, np.uint64, object])
def test_integers_that_float64_holds_are_kept(dtype):
    exact = [2**53, 2**62, 2**63 - 1024, 3 * 2**60]
    assert [int(x) for x in as_table(np.array([exact], dtype=dtype)).values[0]] == exact
    assert int(as_table(np.array([[-(2**63)]])).values[0, 0]) == -(2**63)


@pytest.mark.slow
@settings(derandomize=True, max_examples=200, deadline=None)
@given(
    hnp.arrays(
        st.sampled_from([np.float16, np.float32, np.float64, np.int16, np.uint64, np.bool_]),
        st.lists(st.integers(0, 4), min_size=0, max_size=3).map(tuple),
    )
)
def test_any_array_is_its_float64_copy_or_is_refused_and_stays_as_it_was(rows):
    before = rows.copy()
    try:
        values = as_table(rows).values
    except InvalidInput:
        rounded = rows.dtype.kind in "iu" and any(int(float(value)) != int(value) for value in rows.flat)
        assert rows.ndim != 2 or rows.size == 0 or not np.isfinite(rows).all() or rounded
    else:
        np.testing.assert_array_equal(values, rows.astype(np.float64))
    assert rows.tobytes() == before.tobytes()


def named(columns, values=None):
    rows = np.arange(float(len(columns)))[None] if values is None else values
    return Table(rows, Schema(tuple(columns), ("float64",) * len(columns), "pandas"))


FITTED = named("abc").schema


@pytest.mark.parametrize("order", list(itertools.permutations(range(3))))
def test_permuted_columns_are_put_in_order_by_name(order):
    table = named(["abc"[j] for j in order], np.array([[float(j) for j in order]]))
    matched = match_columns(table, FITTED)
    assert matched.columns == FITTED.columns
    np.testing.assert_array_equal(matched.values, [[0.0, 1.0, 2.0]])


FITTED_LABELS = as_table(pd.DataFrame({"color": pd.Categorical(["red"], ["red", "green", "blue"]), "n": [1.0]})).schema


@pytest.mark.parametrize(
    "rows",
    [
        pd.DataFrame({"n": [1.0, 2.0, 3.0], "color": ["blue", "red", None]}),
        pd.DataFrame({"color": pd.Categorical(["blue", "red", None], ["blue", "violet", "red"]), "n": [1.0, 2.0, 3.0]}),
        pl.DataFrame({"color": ["blue", "red", None], "n": [1, 2, 3]}),
        pa.table({"n": [1, 2, 3], "color": pa.array(["blue", "red", None]).dictionary_encode()}),
        np.array([["blue", 1], ["red", 2], [None, 3]], dtype=object),
    ],
)
def test_labels_are_matched_by_their_texts(rows):
    matched = match_columns(as_table(rows), FITTED_LABELS)
    np.testing.assert_array_equal(matched.values, [[2, 1], [0, 2], [np.nan, 3]])
    assert matched.schema == FITTED_LABELS


def test_a_label_that_the_fit_did_not_see_is_named():
    rows = as_table(pa.table({"color": ["red", None, "violet", "black"], "n": [1, 2, 3, 4]}), name="rows")
    with pytest.raises(InvalidInput, match=r"column 'color' has 'violet' at row 2 .* and 1 more: there are 'red', 'gr"):
        match_columns(rows, FITTED_LABELS)


def test_numbers_match_labels_that_are_these_numbers():
    fitted = as_table(pd.DataFrame({"a": pd.Categorical([10, 3]), "b": ["1", "2.5"], "c": ["True", "False"]})).schema
    rows = as_table(pd.DataFrame({"a": [10, 3], "b": [2.5, 1.0], "c": [True, False]}))
    np.testing.assert_array_equal(match_columns(rows, fitted).values, [[1, 1, 1], [0, 0, 0]])
    with pytest.raises(InvalidInput, match="column 'b' has '2' at row 1"):
        match_columns(as_table(pd.DataFrame({"a": [3, 3], "b": [1, 2], "c": [True, True]})), fitted)


def test_times_are_matched_in_the_unit_of_the_fit():
    fitted = as_table(pl.DataFrame({"t": [datetime.datetime(2024, 1, 1)]})).schema
    rows = as_table(pa.table({"t": [datetime.datetime(1970, 1, 2, 12), None]}))
    np.testing.assert_array_equal(match_columns(rows, fitted).values, [[1.5], [np.nan]])


@pytest.mark.parametrize(
    ("fitted", "rows", "message"),
    [
        ([1.5], ["x"], "should hold numbers, as in the fit, but holds texts, such as 'x' at row 0"),
        ([1.5], [datetime.date(2024, 1, 1)], "should hold numbers, as in the fit, but holds dates"),
        ([datetime.date(2024, 1, 1)], [1.5], "should hold dates, as in the fit, but holds numbers"),
        ([datetime.date(2024, 1, 1)], [datetime.timedelta(1)], "should hold dates, as in the fit, but holds durations"),
        ([datetime.time(1)], [datetime.date(2024, 1, 1)], "should hold times, as in the fit, but holds dates"),
        (["x"], [datetime.date(2024, 1, 1)], "should hold texts, as in the fit, but holds dates"),
    ],
)
def test_a_column_of_another_kind_is_refused_by_name(fitted, rows, message):
    schema = as_table(pa.table({"a": fitted})).schema
    with pytest.raises(InvalidInput, match=f"column 'a' of X {message}"):
        match_columns(as_table(pa.table({"a": rows})), schema)
    empty = match_columns(as_table(pa.table({"a": pa.nulls(2)})), schema)
    assert np.isnan(empty.values).all()


def test_columns_that_are_not_in_question_are_not_looked_at():
    """One label that the fit did not see, in a column that a call did not use, stopped it."""
    fitted = as_table(pa.table({"kind": ["a", "b"], "x": [1.0, 2.0], "y": [1.0, 2.0]})).schema
    strange = as_table(pa.table({"kind": ["a", "c"], "x": [3.0, 4.0], "y": ["u", "v"]}))
    for table in (strange, as_table(pa.table({"x": [3.0, 4.0]}))):
        np.testing.assert_array_equal(
            match_columns(table, fitted, columns=[1]).values, [[np.nan, 3.0, np.nan], [np.nan, 4.0, np.nan]]
        )
    for columns, words in (([0, 1], "'kind' has 'c'"), ([2], "'y' of X should hold numbers"), (None, "'kind'")):
        with pytest.raises(InvalidInput, match=words):
            match_columns(strange, fitted, columns=columns)
    with pytest.raises(InvalidInput, match="lacks 'y'"):
        match_columns(as_table(pa.table({"x": [3.0]})), fitted, columns=[1, 2])


def test_columns_that_the_fit_set_aside_may_be_there_or_not():
    fitted = Schema(("a", "b"), ("float64", "float64"), "pandas", set_aside=("id",))
    assert match_columns(named(["id", "b", "a"]), fitted).values.tolist() == [[2.0, 1.0]]
    assert match_columns(named(["b", "a"]), fitted).values.tolist() == [[1.0, 0.0]]
    with pytest.raises(InvalidInput, match="also has 'ids'"):
        match_columns(named(["ids", "b", "a"]), fitted)


@pytest.mark.parametrize(
    ("columns", "message"),
    [
        ("ab", "lacks 'c'"),
        ("abcd", "also has 'd'"),
        ("abd", "lacks 'c' and also has 'd'"),
        ("ABC", "lacks 'a', 'b', 'c'"),
    ],
)
def test_other_columns_are_refused_by_name(columns, message):
    with pytest.raises(InvalidInput, match=f"The feature names should match.*{message}"):
        match_columns(named(columns), FITTED)


@pytest.mark.parametrize("schema", [FITTED, as_table(np.zeros((1, 3))).schema])
def test_columns_without_names_are_taken_by_position_and_counted(schema):
    assert match_columns(as_table(X), schema).values.shape == (4, 3)
    with pytest.raises(InvalidInput, match=r"X has 1 features, but \w+ is expecting 3 features as input"):
        match_columns(as_table(X[:, [1]]), schema)
