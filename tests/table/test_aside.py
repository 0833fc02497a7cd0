"""Identifiers, free text and columns without values are set aside, and nothing else is."""

import datetime

import numpy as np
import pandas as pd
import pytest

from backwalk.errors import InvalidInput
from backwalk.table import as_table, match_columns, set_aside

N = 60
RNG = np.random.default_rng(0)
SENTENCES = [f"Sentence {i} of the many that a person would write here." for i in range(40)]
ASIDE = {
    "row": (np.arange(N), "numbers the rows from 0 to 59"),
    "ShuffledId": (RNG.permutation(N) + 1, "numbers the rows from 1 to 60"),
    "record_no": (1000 + np.cumsum(RNG.integers(1, 9, N)), "increases from row to row, from 100"),
    "texts": ([f"A-{i}" for i in range(N)], "holds 60 different texts in 60 rows, as identifiers and free text do"),
    "nearly": (["A-0"] * 5 + [f"A-{i}" for i in range(N - 5)], "holds 55 different texts in 60 rows"),
    "gaps": ([None, *(f"A-{i}" for i in range(N - 1))], "holds 59 different texts in 59 rows"),
    "free": ([*SENTENCES, *SENTENCES[:20]], "holds 40 different texts in 60 rows"),
    "dates": ([f"03/{1 + i % 12:02}/{1950 + i}" for i in range(N)], "holds dates as texts, such as '03/01/1950'"),
    "named": ([f"{1 + i % 12} Mar {1950 + i}" for i in range(N)], "convert them by pandas.to_datetime"),
    "nothing": ([None] * N, "holds no value"),
}
LEFT = {
    "year": 1950 + np.arange(N),
    "x": np.arange(N),
    "shuffled": RNG.permutation(N) + 1,
    "floats": np.arange(N) * 1.0,
    "count": RNG.integers(0, 50, N),
    "decreasing": np.arange(N)[::-1] * 3,
    "far": np.cumsum(RNG.integers(100, 900, N)),
    "offset": 500 + RNG.permutation(N),
    "flag": np.arange(N) % 2 == 0,
    "days": [datetime.date(2024, 1, 1) + datetime.timedelta(i) for i in range(N)],
    "words": [f"word {i % 30}" for i in range(N)],
    "category": pd.Categorical(["a", "b"] * (N // 2), categories=[f"c{i}" for i in range(N)] + ["a", "b"]),
}


def test_columns_are_set_aside_with_their_reasons():
    table = as_table(pd.DataFrame({**{name: cells for name, (cells, _) in ASIDE.items()}, **LEFT}))
    left, reasons = set_aside(table)
    assert left.columns == tuple(LEFT)
    assert list(reasons) == list(ASIDE)
    for name, (_, reason) in ASIDE.items():
        assert reason in reasons[name]
    assert left.schema.set_aside == tuple(ASIDE)
    np.testing.assert_array_equal(left.values, table.values[:, len(ASIDE) :])
    assert left.schema.labels == table.schema.labels[len(ASIDE) :]
    np.testing.assert_array_equal(match_columns(table, left.schema).values, left.values)
    assert set_aside(left) == (left, {})


def test_columns_that_the_user_names_stay():
    table = as_table(pd.DataFrame({name: cells for name, (cells, _) in ASIDE.items()}))
    left, reasons = set_aside(table, kept=("texts", "row"))
    assert left.columns == ("row", "texts")
    assert set(reasons) == set(ASIDE) - {"texts", "row"}


def test_few_rows_do_not_tell_identifiers_and_arrays_have_no_names():
    table = as_table(pd.DataFrame({"id": range(50), "text": [f"{i} {'long' * 20}" for i in range(50)]}))
    assert set_aside(table) == (table, {})
    array = as_table(np.arange(120.0).reshape(60, 2))
    assert set_aside(array) == (array, {})


def test_one_column_is_left():
    with pytest.raises(InvalidInput, match=r"'id' numbers the rows from 0 to 59.*--column"):
        set_aside(as_table(pd.DataFrame({"id": range(60)})))


@pytest.mark.parametrize("numbers", [range(20), range(1, 21), [3, 4, 9, 10, *range(20, 36)]])
@pytest.mark.parametrize("name", ["", "Unnamed: 0", "__index_level_0__"])
def test_a_column_without_a_name_that_numbers_the_rows_is_set_aside(name, numbers):
    table = as_table(pd.DataFrame({name: list(numbers), "x": RNG.normal(size=20)}))
    left, reasons = set_aside(table)
    assert left.columns == ("x",)
    assert "numbers the rows" in reasons[name]
    assert set_aside(table, kept=[name])[0].columns == (name, "x")
