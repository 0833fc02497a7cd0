"""Numbers whose order says nothing about other columns are names: found where they are, and hardly ever elsewhere."""

import numpy as np
import pandas as pd
import pytest

from backwalk.datasets import penguins
from backwalk.table import as_table
from backwalk.table.choose_columns import fit_codec
from backwalk.table.choose_names import find_names


def candidates(x, *columns):
    return {j: np.unique(x[~np.isnan(x[:, j]), j]) for j in columns}


def panel(seed, n=2400):
    """The number of one of 60 towns, an age, what follows from each, and the number of one of 60 persons."""
    rng = np.random.default_rng(seed)
    town, age, person = rng.integers(60, size=(3, n)).astype(float)
    of_town = np.round(rng.normal(size=60), 2)
    bent = np.sin(age / 10.0) + 0.5 * rng.normal(size=n)
    return np.stack([town, age, of_town[town.astype(int)] + 0.5 * rng.normal(size=n), bent, person], axis=1)


@pytest.mark.parametrize("seed", range(10))
def test_a_number_that_others_jump_with_is_a_name_and_no_other(seed):
    # Two columns of two have a gain of noise alone: 0 with a standard deviation of about .003 nats.
    x = panel(seed)
    assert find_names(x, candidates(x, 0, 1, 4), np.zeros(5, dtype=bool)) == {0}


def test_a_name_shows_in_labels_too():
    x = panel(0)
    x[:, 2] = x[:, 2] > 0.0
    assert find_names(x[:, :2], candidates(x, 0, 1), np.zeros(2, dtype=bool)) == set()
    assert find_names(x[:, :3], candidates(x, 0, 1), np.array([False, False, True])) == {0}


def test_missing_cells_do_not_count():
    x = panel(1)
    x[np.random.default_rng(0).random(x.shape) < 0.3] = np.nan
    assert find_names(x, candidates(x, 0, 1), np.zeros(5, dtype=bool)) == {0}
    x[:, 2] = np.nan
    assert find_names(x, candidates(x, 0, 1), np.zeros(5, dtype=bool)) == set()


def test_many_rare_labels_do_not_make_names_of_an_age():
    rng = np.random.default_rng(0)
    age = np.clip(np.rint(rng.normal(45.0, 15.0, 4000)), 0, 90)
    x = np.column_stack([age, rng.random((4000, 60)) < 0.002])
    assert find_names(x, candidates(x, 0), np.arange(61) > 0) == set()


def test_names_have_codes_without_an_order():
    frame = pd.DataFrame(panel(0)[:, :4], columns=["town", "age", "of_town", "y"]).round({"of_town": 6})
    town, age, *_ = fit_codec(as_table(frame)).columns
    assert (town.coding, age.coding) == ("one-hot", "ordered")
    assert fit_codec(as_table(frame), columns={"town": "number"}).columns[0].kind_name != "levels"


def test_a_number_that_another_nearly_follows_from_is_no_name():
    """Found by a test of orders: a regression on all functions of an order lost to means by what it had overfitted."""
    rng = np.random.default_rng(0)
    start = rng.integers(60, size=2_000)
    x = np.stack([start, start + rng.poisson(1, 2_000)], axis=1).astype(float)
    assert find_names(x, candidates(x, 0, 1), np.zeros(2, dtype=bool)) == set()


def test_the_mass_of_a_penguin_has_an_order():
    table = as_table(penguins())
    has_labels = np.array([labels is not None for labels in table.schema.labels])
    assert find_names(table.values, candidates(table.values, 2, 3, 4, 5), has_labels) == set()
