"""Likely mistakes are told of, and what only looks like one is not."""

import numpy as np
import pandas as pd
import pytest

from backwalk.table import as_table, find_doubts

RNG = np.random.default_rng(0)
AGES = RNG.integers(18, 90, 200).astype(float)


def doubts(columns, **options):
    return list(find_doubts(as_table(pd.DataFrame(columns)), **options))


def test_levels_that_differ_by_blanks_or_case_are_named():
    (text,) = doubts({"town": ["Bonn", "bonn ", "Rome", "New  York", "new york", "Rom"], "x": range(6)})
    assert "'town'" in text
    assert "'Bonn' and 'bonn '" in text
    assert "'New  York' and 'new york'" in text
    assert "Rom" not in text.replace("levels", "")


@pytest.mark.parametrize("sentinel", [-999.0, 999.0, -99.0, 9999.0, -99.9, 999.99])
def test_numbers_of_nines_far_from_all_others_are_told(sentinel):
    (text,) = doubts({"age": np.append(AGES, [sentinel] * 3)})
    assert f"is {sentinel:g} in 3 rows" in text
    assert f"--na={sentinel:g}" in text


def test_two_of_them_do_not_hide_each_other():
    assert len(doubts({"age": np.append(AGES, [-999.0, 9999.0])})) == 2


@pytest.mark.parametrize(
    "x",
    [
        AGES,
        np.append(AGES, 99.0),
        np.append(AGES, -998.0),
        np.append(AGES / 9, 99.0),
        np.array([0.0, 99.0] * 20),
        RNG.normal(size=99) * 1e4,
    ],
)
def test_other_numbers_are_not_told_of(x):
    assert doubts({"x": x}) == []


def test_nothing_is_known_of_arrays():
    assert list(find_doubts(as_table(np.append(AGES, -999.0)[:, None]))) == []


def test_blank_rows_are_counted():
    (text,) = doubts({"x": [1.0, np.nan, 2.0], "town": ["Bonn", None, None]})
    assert text.startswith("1 row holds no value")
    assert doubts({"x": [1.0, np.nan]}) == []  # a gap of the only column


def test_clock_times_without_colons_are_told_and_other_whole_numbers_are_not():
    rng = np.random.default_rng(0)
    minutes = 5 * rng.integers(288, size=300)
    columns = {
        "left": minutes // 60 * 100 + minutes % 60,
        "minutes": minutes,
        "year": 1900 + rng.integers(60, size=300),
        "age": rng.integers(59, size=300),
        "rent": 100 * rng.integers(3, 23, size=300) + 50,
        "any": rng.integers(2_000, size=300),
    }
    (text,) = doubts(columns)
    assert "'left' looks like clock times HHMM, 0 to 2355" in text
    assert "--column 'left'=clock" in text
