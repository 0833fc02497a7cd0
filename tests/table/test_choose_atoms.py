"""Atoms are values that stand out or that new rows repeat, and smooth or rounded numbers have none."""

import numpy as np
import pandas as pd
import pytest

from backwalk import Diffusion
from backwalk.table.choose_atoms import find_atoms, find_repeating, gain_of_values, nats_from_others
from backwalk.table.grids import Grid

N = 5_000
RNG = np.random.default_rng(7)
SMOOTH = {
    "ages": lambda: RNG.integers(18, 90, N),
    "counts": lambda: RNG.poisson(3.0, N),
    "waiting": lambda: RNG.geometric(0.02, N),
    "temperatures": lambda: RNG.normal(12.0, 8.0, N).round(1),
    "percent": lambda: RNG.beta(2.0, 5.0, N).round(2),
    "amounts": lambda: np.rint(RNG.lognormal(7.0, 1.0, N)),
    "lengths": lambda: RNG.normal(size=N),
    "two humps": lambda: np.concatenate([RNG.normal(0.0, 0.1, N // 2), RNG.normal(9.0, 0.1, N // 2)]).round(2),
}


@pytest.mark.parametrize("name", SMOOTH)
def test_smooth_numbers_have_no_atoms(name):
    """A false alarm in one of 20 columns of each kind, at 1e-6 a column: at most 2e-4 in all."""
    for _ in range(20):
        assert len(find_atoms(SMOOTH[name]().astype(float))) == 0


def test_a_value_in_two_of_a_thousand_rows_is_an_atom():
    rare, often = np.full(int(0.0017 * N), 15.0), np.full(int(0.0024 * N), 60_000.0)
    amounts = np.concatenate([np.rint(RNG.lognormal(7.0, 1.0, N)), rare, often])
    assert find_atoms(amounts).tolist() == [60_000.0]


def test_frequent_values_between_empty_cells_are_atoms_and_a_full_grid_is_none():
    """Wind of 0.89 and 1.79 m/s is 2 and 4 miles an hour: all its values are frequent, and nothing lies between."""
    speeds = RNG.integers(0, 12, N // 2) * 0.447
    mixed = np.concatenate([speeds.round(2), RNG.gamma(2.0, 60.0, N // 2).round(2)])
    assert set(np.unique(speeds.round(2))) - set(find_atoms(mixed)) <= {0.0}
    heaped = np.concatenate([RNG.integers(18, 90, N), 10 * RNG.integers(2, 9, N // 50)])  # each ten 1.4 times as often
    assert len(find_atoms(heaped.astype(float))) == 0


def test_gaps_do_not_count_and_few_rows_have_none():
    x = np.concatenate([RNG.normal(size=300), np.full(40, 0.5), np.full(500, np.nan)])
    assert find_atoms(x).tolist() == [0.5]
    assert find_atoms(np.full(50, np.nan)).tolist() == []
    assert find_atoms(np.concatenate([RNG.normal(size=30), np.full(9, 0.5)])).tolist() == []


def repeating(*columns: np.ndarray) -> dict[int, np.ndarray]:
    """Return the atoms that `find_repeating` finds in numbers, (n,) each, by column."""
    some = np.stack(columns, axis=1).astype(float)
    seen = {j: np.unique(some[~np.isnan(some[:, j]), j], return_counts=True) for j in range(some.shape[1])}
    candidates = {j: (values, rows.astype(float)) for j, (values, rows) in seen.items()}
    return find_repeating(some, candidates, ["float64"] * some.shape[1], np.zeros(some.shape[1], dtype=bool))


def households(n: int, generator: np.random.Generator, n_of_them: int = 150, most: int = 500_000) -> np.ndarray:
    """Return the number of a household for each of n rows: of so many numbers below `most`."""
    return generator.choice(generator.choice(most, n_of_them, replace=False), n).astype(float)


@pytest.mark.parametrize("name", sorted(set(SMOOTH) - {"counts"}))  # up to 16 values on a short grid are levels
@pytest.mark.parametrize("n", [100, 1_000])
def test_values_of_smooth_numbers_are_no_atoms(name, n):
    """None of 20 tables of each kind: their values gain nothing, up to its error, and rare ones have a cost."""
    for _ in range(20):
        assert repeating(RNG.permutation(SMOOTH[name]())[:n]) == {}


def test_numbers_of_households_are_atoms_and_what_others_say_more_closely_is_none():
    """A value of three other rows, with .3 in each place around, gains ln 10 = 2.3; near its own rank nats are 3."""
    generator = np.random.default_rng(0)
    household = households(600, generator, most=2_000)
    values, rows = np.unique(household, return_counts=True)
    found = repeating(household)[0]
    assert set(found) == set(values[rows > 1]) - set(values[rows.argsort(kind="stable")[:4]])
    balance = household + household.std() * generator.normal(size=600)
    assert list(repeating(household, balance)) == [0]
    assert list(repeating(balance, household)) == [1]
    near = household + 0.02 * household.std() * generator.normal(size=600)
    assert repeating(household, near) == {}
    gappy = np.where(generator.random(600) < 0.2, np.nan, household)
    assert list(repeating(gappy, balance)) == [0]


def test_a_value_of_its_own_costs_ten_nats():
    """Of 1,200 households six tenths of 600 rows are the only one: the values gain 2 nats, and these rows cost 6."""
    household = households(600, np.random.default_rng(0), 1_200)
    values, rows = np.unique(household, return_counts=True)
    assert gain_of_values(values, rows.astype(float), Grid(), np.empty(0)) > 1.0
    assert (rows == 1).sum() > 0.5 * 600
    assert repeating(household) == {}


def test_values_that_are_atoms_already_do_not_make_others_ones():
    generator = np.random.default_rng(0)
    rain = np.where(generator.random(1_000) < 0.7, 0.0, generator.gamma(2.0, 60.0, 1_000).round(1))
    assert find_atoms(rain).tolist() == [0.0]
    assert repeating(rain, (rain == 0.0).astype(float)) == {}


def test_nats_from_others_are_those_of_a_regression():
    """Within four standard errors, of at most 1 / sqrt(n) each, of -1/2 ln(1 - R^2) of normal pairs."""
    n, generator = 1_000, np.random.default_rng(0)
    x, noise, other = generator.normal(size=(3, n))
    for noisy in (0.1, 0.5, 2.0):
        nats = nats_from_others(x + noisy * noise, np.stack([x, other], axis=1))
        assert nats == pytest.approx(0.5 * np.log(1.0 + noisy**-2), abs=4.0 / np.sqrt(n))
    assert nats_from_others(noise, np.empty((n, 0))) == 0.0
    few = generator.normal(size=(50, 81))
    assert nats_from_others(few[:, 0], few[:, 1:]) < 0.3  # more columns than rows


def test_new_rows_have_the_households_of_the_fit_and_any_number_has_a_probability():
    """The share of other households is that of rows with one of their own, within four standard errors."""
    generator = np.random.default_rng(3)
    rows = pd.DataFrame({"household": households(600, generator, 300).astype(int), "size": generator.normal(size=600)})
    single = rows["household"].value_counts().eq(1).sum() / 600
    assert single > 0.1
    model = Diffusion(max_steps=100, random_state=0, verbose=False).fit(rows)
    assert model.columns_ == {"household": "atoms", "size": "number"}
    new = model.sample(2_000, random_state=0)
    unseen = 1.0 - new["household"].isin(rows["household"]).mean()
    assert abs(unseen - single) < 4.0 * np.sqrt(single / 600 + single / 2_000)
    other = rows.assign(household=rows["household"] + 1)
    assert np.isfinite(model.score_samples(other.iloc[:20])).all()
    assert model.score_samples(rows.iloc[:200]).mean() > model.score_samples(other.iloc[:200]).mean() + 3.0


@pytest.mark.parametrize("scale", [1.0, 3.0])
def test_weights_and_their_scale_change_no_kind(scale):
    """Weights of mean 1 were taken for numbers of rows: then no value was in one row, and half of them were atoms."""
    generator = np.random.default_rng(0)
    rows = pd.DataFrame({"household": households(300, generator).astype(int), "size": generator.normal(size=300)})
    weights = np.resize([0.5, 1.0, 1.5], 300) * scale
    model = Diffusion(max_steps=1, random_state=0, verbose=False).fit(rows, sample_weight=weights)
    assert model.columns_ == {"household": "atoms", "size": "number"}
