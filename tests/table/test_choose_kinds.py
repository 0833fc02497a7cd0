"""Atoms are values that stand out among their neighbours, and smooth or rounded numbers have none."""

import numpy as np
import pytest

from backwalk.table.choose_kinds import find_atoms

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
