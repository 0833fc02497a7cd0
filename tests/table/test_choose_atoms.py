"""Atoms are values that stand out or that new rows repeat, and smooth or rounded numbers have none."""

import numpy as np
import pandas as pd
import pytest

from backwalk import Diffusion
from backwalk.table.choose_atoms import find_atoms, find_exact, told_by_others

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


def exact(*columns: np.ndarray) -> dict[int, np.ndarray]:
    """Return the atoms that `find_exact` finds in numbers, (n,) each, by column."""
    some = np.stack(columns, axis=1).astype(float)
    counted = {j: np.unique(some[:, j], return_counts=True) for j in range(some.shape[1])}
    candidates = {j: (values, rows.astype(float)) for j, (values, rows) in counted.items()}
    return find_exact(some, candidates, ["float64"] * some.shape[1], np.zeros(some.shape[1], dtype=bool))


@pytest.mark.parametrize("name", sorted(set(SMOOTH) - {"counts"}))  # up to 16 values on a short grid are levels
@pytest.mark.parametrize("n", [100, 1_000])
def test_values_of_smooth_numbers_are_no_atoms(name, n):
    """None of 20 tables; their gain is about -.2 nats, with a standard deviation of .01 to .04."""
    for _ in range(20):
        assert exact(RNG.permutation(SMOOTH[name]())[:n]) == {}


def households(n: int, generator: np.random.Generator, most: int = 500_000) -> np.ndarray:
    """Return the number of a household for each of n rows: of n / 4 numbers below `most`."""
    return generator.choice(generator.choice(most, n // 4, replace=False), n)


def test_numbers_of_households_are_atoms_and_what_others_tell_more_closely_is_none():
    """A value of three other rows, with .3 in each place around, gains ln 10 = 2.3; near its own rank nats are 3."""
    household = households(600, RNG, 2_000)
    values, rows = np.unique(household, return_counts=True)
    assert set(exact(household)[0]) == set(values[rows > 1]) - set(values[rows.argsort(kind="stable")[:4]])
    balance = household + household.std() * RNG.normal(size=600)
    assert list(exact(household, balance)) == [0]
    near = household + 0.02 * household.std() * RNG.normal(size=600)
    assert exact(household, near) == {}


def test_as_many_values_with_a_row_each_as_cost_their_gain_leave_a_number():
    """Prices that half of the rows have for themselves: on no short grid, but new rows have others."""
    prices = RNG.integers(1, 900, 600) * 1_000.0
    rows = np.unique(prices, return_counts=True)[1]
    assert (rows == 1).sum() > 0.4 * len(prices)
    assert exact(prices) == {}


def test_what_others_tell_is_that_of_a_regression():
    """Within three standard errors, sqrt(1 / 2n) = .022 each, of -1/2 ln(1 - R^2) of normal pairs."""
    x, noise = RNG.normal(size=(2, 1_000))
    for noisy in (0.1, 0.5, 2.0):
        told = told_by_others(x + noisy * noise, [x, RNG.normal(size=1_000)])
        assert told == pytest.approx(0.5 * np.log(1.0 + noisy**-2), abs=0.07)
    assert told_by_others(noise, []) == 0.0


def test_new_rows_have_the_households_of_the_fit_and_any_number_has_a_probability():
    """The share of other households is that of rows with one of their own, within four standard errors."""
    generator = np.random.default_rng(3)
    rows = pd.DataFrame({"household": households(600, generator), "size": generator.normal(size=600)})
    model = Diffusion(max_steps=100, random_state=0, verbose=False).fit(rows)
    new = model.sample(2_000, random_state=0)
    single = rows["household"].value_counts().eq(1).sum() / 600
    unseen = 1.0 - new["household"].isin(rows["household"]).mean()
    assert abs(unseen - single) < 4.0 * np.sqrt(single / 600 + single / 2_000)
    other = rows.assign(household=rows["household"].to_numpy() + 1)
    assert np.isfinite(model.score_samples(other.iloc[:20])).all()
    assert model.score_samples(rows.iloc[:200]).mean() > model.score_samples(other.iloc[:200]).mean() + 3.0
