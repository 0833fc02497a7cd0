"""Numbers that were set repeat; numbers that were measured do not, however they are rounded."""

import numpy as np
import pandas as pd
import pytest
from sklearn.datasets import load_diabetes, load_iris

from backwalk.table import as_table, fit_codec, repeated_values, tied_numbers
from backwalk.table.ties import distinct_rows, is_tied


def design(n, *, n_values=150, seed=5, digits=3):
    """Settings of an experiment, each of which is used in several rows."""
    generator = np.random.default_rng(seed)
    return generator.choice(generator.normal(size=n_values).round(digits), size=n)


def even_design(n, *, seed):
    """Settings that are each used in four rows, so that none is frequent enough to be an atom."""
    generator = np.random.default_rng(seed)
    return generator.permutation(np.repeat(generator.normal(size=n // 4).round(5), 4))


@pytest.mark.parametrize("n", [60, 600, 6_000])
@pytest.mark.parametrize("digits", [0, 1, 2, 3])
@pytest.mark.parametrize("draw", ["normal", "exponential", "uniform"])
@pytest.mark.parametrize("unit", [1.0, 2.54, 1e-300, 1e300])
def test_rounded_measurements_are_not_tied_in_any_unit(n, digits, draw, unit):
    x = getattr(np.random.default_rng(n + digits), draw)(size=n).round(digits)
    assert not is_tied(unit * x)
    assert not is_tied((x - 32.0) * 5.0 / 9.0)


@pytest.mark.parametrize("share", [0.1, 0.3, 0.5, 0.7, 0.9])
@pytest.mark.parametrize(("coarse", "fine"), [(1, 2), (1, 3), (2, 3)])
def test_measurements_of_which_some_are_rounded_more_are_not_tied(share, coarse, fine):
    generator = np.random.default_rng(7)
    x = generator.normal(size=20_000)
    assert not is_tied(np.where(generator.random(20_000) < share, x.round(coarse), x.round(fine)))


def test_measurements_of_flowers_and_logarithms_of_whole_numbers_are_not_tied():
    assert not is_tied(load_iris().data[1::2, 3])
    assert not is_tied(load_diabetes().data[:, 8])


def test_incomes_most_of_which_are_told_in_thousands_are_not_tied():
    generator = np.random.default_rng(7)
    income = generator.lognormal(10.0, 0.6, size=5_000)
    assert not is_tied(np.where(generator.random(5_000) < 0.7, income.round(-3), income.round()))


@pytest.mark.parametrize("n", [600, 6_000])
@pytest.mark.parametrize("digits", [3, 15])
@pytest.mark.parametrize("seed", range(5))
def test_the_points_of_a_design_are_tied(n, digits, seed):
    assert is_tied(design(n, seed=seed, n_values=100, digits=digits))


def test_fewer_than_two_rows_for_each_value_or_five_values_are_not_enough():
    points = np.unique(design(2_000, n_values=100, seed=0))
    assert is_tied(np.repeat(points, 6))
    assert not is_tied(np.repeat(points, 2)[:-1])
    assert not is_tied(np.repeat(points[:4], 9))
    assert not is_tied(np.empty(0))


def test_rows_that_were_copied_count_once():
    x = np.random.default_rng(3).normal(size=(200, 2))
    x[:20, 1] = np.nan
    twice = np.concatenate([x[::-1], *[x] * 5])
    once = distinct_rows(twice)
    assert sorted(once[:, 0]) == sorted(x[:, 0])
    table = as_table(pd.DataFrame(twice).add_prefix("x"))
    assert is_tied(twice[:, 0])
    assert tied_numbers(fit_codec(table), table.values) == ()


def test_a_codec_names_the_coordinates_of_tied_numbers():
    n, generator = 1_000, np.random.default_rng(9)
    spikes = np.where(generator.random(n) < 0.4, 0.0, even_design(n, seed=1))
    frame = pd.DataFrame(
        {
            "class": generator.choice(["a", "b", "c"], size=n),
            "measured": generator.normal(size=n).round(2),
            "design": even_design(n, seed=2),
            "with gaps": np.where(generator.random(n) < 0.3, np.nan, even_design(n, seed=3)),
            "with an atom": spikes,
            "measured with an atom": np.where(spikes == 0.0, 0.0, generator.normal(size=n).round(2)),
        }
    )
    table = as_table(frame)
    codec = fit_codec(table, columns=dict.fromkeys(("measured", "design", "with gaps"), "number"))
    assert [codec.blocks[i].column for i in range(3)] == [0, 4, 5]
    expected = (codec.slices[2].start, codec.slices[3].start, codec.blocks[1].number)
    assert tied_numbers(codec, table.values) == expected


@pytest.mark.parametrize("n", [9_999, 10_000, 10_001, 40_000])
def test_more_rows_than_are_looked_at_change_nothing(n):
    frame = pd.DataFrame(
        {"design": design(n, n_values=800), "measured": np.random.default_rng(0).normal(size=n).round(2)}
    )
    table = as_table(frame)
    codec = fit_codec(table, columns={"design": "number"})
    assert tied_numbers(codec, table.values) == (0,)


def test_a_number_in_many_rows_is_found_where_no_rounding_brings_it_back():
    rng, many = np.random.default_rng(5), np.arange(900) % 10 > 0
    rows = pd.DataFrame(
        {
            "rain": np.where(many, 0.0, rng.exponential(size=900)),
            "gain": np.where(many, 0, rng.integers(1, 99_999, 900)),
            "flag": rng.integers(0, 2, 900),
            "dose": rng.normal(size=900),
            "income": np.where(many, np.exp(4.0 * rng.normal(size=900)), 0.5),
        }
    )
    table = as_table(rows)
    found = repeated_values(fit_codec(table, columns=dict.fromkeys(rows, "number")), table.values, 0.002)
    assert sorted(found) == [0, 1]
    assert found[1] == (0.0, 0.9)
