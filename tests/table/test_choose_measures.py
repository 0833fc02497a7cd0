"""Numbers with few values are measures, or names: laws of the contrast between neighbours."""

import numpy as np
import pandas as pd
import pytest

from backwalk.table import NumberColumn, as_table
from backwalk.table.choose_columns import fit_codec
from backwalk.table.choose_measures import find_measures as of_dtypes
from backwalk.table.choose_measures import find_names
from backwalk.table.level_column import LevelsColumn

NO_LABELS = np.zeros(3, dtype=bool)


def rows(seed, n=2000):
    """An age, the number of a school, and what follows from the age smoothly and from the school by name."""
    rng = np.random.default_rng(seed)
    age, school = rng.integers(18, 78, n).astype(float), rng.integers(1, 61, n).astype(float)
    of_school = rng.normal(size=61)
    return np.stack(
        [age, school, np.sin(age / 10.0) + of_school[school.astype(int)] + 0.5 * rng.normal(size=n)], axis=1
    )


def find_measures(x, few, has_labels):
    return of_dtypes(x, few, has_labels, ["float64"] * x.shape[1])


def candidates(x, *columns):
    return {j: np.unique(x[:, j]) for j in columns}


@pytest.mark.parametrize("seed", range(10))
def test_an_age_is_a_measure_and_the_number_of_a_school_is_not(seed):
    # The contrast of 58 inner values under chance is 1 with a deviation of .22: above 3 once in 10^9.
    x = rows(seed)
    assert find_measures(x, candidates(x, 0, 1), NO_LABELS) == {0}


def test_a_school_is_told_from_a_measure_by_labels_alone():
    rng = np.random.default_rng(0)
    school = rng.integers(1, 61, 2000).astype(float)
    town = rng.integers(0, 2, 61)[school.astype(int)].astype(float)
    x = np.stack([school, np.where(rng.random(2000) < 0.9, town, 1.0 - town)], axis=1)
    assert find_measures(x, candidates(x, 0), np.array([False, True])) == set()
    x[:, 1] = rng.integers(0, 2, 2000)  # without a relation
    assert find_measures(x, candidates(x, 0), np.array([False, True])) == {0}


def test_a_relation_with_little_noise_is_smooth_all_the_same():
    """Where steps of a smooth relation are larger than its noise, its second differences are small."""
    x = rows(0)
    x[:, 2] = 60.0 * np.exp(-x[:, 0] / 40.0) + 0.1 * np.random.default_rng(0).normal(size=len(x))
    assert find_measures(x, candidates(x, 0), NO_LABELS) == {0}


def test_what_determines_the_levels_of_another_number_keeps_its_own():
    x = rows(0)
    x[:, 2] = np.square(x[:, 0])
    assert find_measures(x, candidates(x, 0, 2), NO_LABELS) == set()
    x[:, 2] = 2000.0 - x[:, 0]  # years of birth fill a grid: a rule or the Gaussian keeps the sum
    assert find_measures(x, candidates(x, 0, 2), NO_LABELS) == {0, 2}


def test_missing_cells_do_not_count():
    x = rows(1)
    gaps = np.random.default_rng(0).random(x.shape) < 0.3
    x[gaps] = np.nan
    assert find_measures(x, {j: np.unique(x[~gaps[:, j], j]) for j in (0, 1)}, NO_LABELS) == {0}
    # Found by review: gaps of the square counted as noise, and a column without values as a contrast.
    x[:, 2] = np.where(gaps[:, 2], np.nan, np.square(x[:, 0]))
    few = {j: np.unique(x[~np.isnan(x[:, j]), j]) for j in (0, 2)}
    assert find_measures(x, few, NO_LABELS) == set()
    x[:, 2] = np.nan
    assert find_measures(x, {0: few[0]}, NO_LABELS) == {0}


def test_many_rare_labels_do_not_make_names_of_an_age():
    """Found by review: a label of few rows at a value of few rows had a contrast of 12."""
    rng = np.random.default_rng(0)
    age = np.clip(np.rint(rng.normal(45.0, 15.0, 4000)), 0, 90)
    x = np.column_stack([age, rng.random((4000, 60)) < 0.002])
    assert find_measures(x, candidates(x, 0), np.arange(61) > 0) == {0}


def test_weights_and_the_number_of_rows_change_nothing():
    """Found by review: rows drawn with replacement are not independent."""
    x = rows(3, 12_000)
    frame = pd.DataFrame({"age": x[:, 0], "noise": np.random.default_rng(0).normal(size=len(x))})
    for weights in (None, np.ones(len(x)), np.random.default_rng(1).lognormal(size=len(x))):
        assert isinstance(fit_codec(as_table(frame), weights=weights).columns[0], NumberColumn)


def test_single_precision_has_the_same_grids():
    tenths = np.random.default_rng(0).integers(360, 420, 2000) / 10.0
    frame = pd.DataFrame({"single": tenths.astype(np.float32), "noise": np.random.default_rng(1).normal(size=2000)})
    assert isinstance(fit_codec(as_table(frame)).columns[0], NumberColumn)


@pytest.mark.parametrize(
    ("name", "values"),
    [
        ("grades", np.arange(19.0)),
        ("prices on no dense grid", np.sort(np.random.default_rng(3).choice(10_000, 60, replace=False)).astype(float)),
        ("mostly one value", np.append(np.zeros(2000), np.arange(60.0))),
    ],
)
def test_few_sparse_or_uneven_values_are_no_measures(name, values):
    column = np.random.default_rng(0).choice(values, 2000)
    x = np.stack([column, np.random.default_rng(1).normal(size=2000)], axis=1)
    assert find_measures(x, candidates(x, 0), NO_LABELS[:2]) == set(), name


def test_measures_of_a_table_are_numbers_on_their_grid_and_others_keep_their_levels():
    x = rows(2)
    frame = pd.DataFrame({"age": x[:, 0].astype(int), "school": x[:, 1].astype(int), "score": x[:, 2]})
    age, school, _ = fit_codec(as_table(frame)).columns
    assert isinstance(age, NumberColumn)
    assert isinstance(school, LevelsColumn)
    assert (age.least, age.largest, age.dequantisation) == (18.0, 77.0, "uniform")
    (asked, _, _) = fit_codec(as_table(frame), columns={"age": "levels"}).columns
    assert isinstance(asked, LevelsColumn)
    # Arrays have no levels, and so nothing to choose.
    assert all(isinstance(column, NumberColumn) for column in fit_codec(as_table(x)).columns)


def panel(seed, n=2400):
    """The number of one of 300 towns, a weight, what follows from each, and the number of one of 300 persons."""
    rng = np.random.default_rng(seed)
    town, weight, person = rng.integers(300, size=(3, n)).astype(float)
    of_town = np.round(rng.normal(size=300), 2)
    return np.stack([town, weight, of_town[town.astype(int)], 0.01 * weight + 0.5 * rng.normal(size=n), person], axis=1)


@pytest.mark.parametrize("seed", range(10))
def test_a_number_that_others_jump_with_is_a_name_and_no_other(seed):
    # Of chance the mean of 298 squares D^2 / V is 1 with a deviation of .1: above 3 never.
    assert find_names(panel(seed), [0, 1, 4], np.zeros(5, dtype=bool)) == {0}


def test_a_name_shows_in_labels_too():
    x = panel(0)
    x[:, 2] = x[:, 2] > 0.0
    assert find_names(x[:, :2], [0, 1], np.zeros(2, dtype=bool)) == set()
    assert find_names(x[:, :3], [0, 1], np.array([False, False, True])) == {0}


def test_what_has_steps_for_another_is_no_name():
    """A relation with few jumps has large contrasts in many rows, and hardly any roughness."""
    x = panel(0, 20_000)
    x[:, 2] = x[:, 1] // 60.0
    assert find_measures(x, candidates(x, 1), np.zeros(5, dtype=bool)) == set()
    assert find_names(x, [1], np.zeros(5, dtype=bool)) == set()


def test_what_is_nearly_constant_makes_no_names():
    x = panel(0)
    x[:, 2] = np.where(np.isin(x[:, 0], [17.0, 151.0]), x[:, 2], 0.0)  # in one row of 150
    assert find_names(x, [0], np.zeros(5, dtype=bool)) == set()


def test_what_is_told_once_for_each_value_makes_no_names():
    """Found by review: without a second row of a value there is no noise, and chance was a relation."""
    x = np.stack([np.tile(np.arange(300.0), 8), np.full(2400, np.nan)], axis=1)
    x[:300, 1] = np.random.default_rng(0).normal(size=300)
    assert find_names(x, [0], np.zeros(2, dtype=bool)) == set()


def test_rows_of_two_kinds_in_turn_are_compared():
    """Found by review: every second row was looked at, and had no value of the column."""
    x = np.repeat(panel(0, 5000), 2, axis=0)
    x[::2, 0] = np.nan
    frame = pd.DataFrame(x[:, :4], columns=["town", "weight", "of_town", "y"])
    assert fit_codec(as_table(frame)).columns[0].kind_name == "levels"
    assert find_names(np.full((9000, 2), np.nan), [0], np.zeros(2, dtype=bool)) == set()


def test_dates_are_no_names():
    rng = np.random.default_rng(0)
    day = np.repeat(np.arange(400), 6)
    sales = 100.0 + 40.0 * (day % 7 > 4) + rng.normal(size=2400) * 20.0
    frame = pd.DataFrame({"day": pd.Timestamp("2024-01-01") + pd.to_timedelta(day, "D"), "sales": sales})
    assert fit_codec(as_table(frame)).columns[0].kind_name != "levels"


def test_the_towns_of_a_panel_are_levels():
    frame = pd.DataFrame(panel(0)[:, :4], columns=["town", "weight", "of_town", "y"])
    kinds = [column.kind_name for column in fit_codec(as_table(frame)).columns]
    assert kinds == ["levels", "integer", "levels", "number"]  # what a town determines repeats as often
    assert fit_codec(as_table(frame), columns={"town": "number"}).columns[0].kind_name != "levels"
    few_rows = fit_codec(as_table(frame[:1200])).columns[0]  # 4 rows of each town
    assert few_rows.kind_name != "levels"
