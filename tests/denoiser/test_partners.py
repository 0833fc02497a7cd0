"""Partners: the blocks that tell of others are found, and those that only seem to are not."""

import numpy as np
import pytest

from backwalk.denoiser.partners import (
    count_pairs,
    find_partners,
    log_ratios_of,
)
from backwalk.table import Codec, LevelsColumn


def blocks_of(*sizes):
    """Blocks of columns of so many equally frequent levels."""
    codes = ("one-hot" if k < 500 else "random" for k in sizes)
    return Codec(
        tuple(LevelsColumn(tuple(map(float, range(k))), (1 / k,) * k, of) for k, of in zip(sizes, codes, strict=True))
    ).blocks


def test_pairs_are_counted_where_both_levels_are_seen():
    levels = np.array([[0, 1], [0, 1], [1, 2], [-1, 0], [1, -1]])
    np.testing.assert_array_equal(count_pairs(blocks_of(2, 3), levels, 1, 0), [[0, 2, 0], [0, 0, 1]])
    weights = np.array([0.5, 0.25, 2.0, 1.0, 1.0])
    np.testing.assert_array_equal(count_pairs(blocks_of(2, 3), levels, 1, 0, weights), [[0, 0.75, 0], [0, 0, 2]])


@pytest.mark.parametrize("n", [np.zeros((3, 4)), np.random.default_rng(0).poisson(2.0, (3, 4)).astype(float)])
def test_log_ratios_are_those_of_probabilities(n):
    pi = np.array([0.1, 0.2, 0.3, 0.4])
    np.testing.assert_allclose((pi * np.exp(log_ratios_of(n, pi))).sum(axis=1), 1.0)


def test_independent_columns_have_no_partners():
    """Also where counts are few: a row is left out of its own. In 50 tables of 3 columns, 300 couples, none."""
    for seed in range(50):
        rng = np.random.default_rng(seed)
        sizes = (2, 10, 200)
        levels = np.stack([rng.integers(k, size=400) for k in sizes], axis=1)
        assert find_partners(blocks_of(*sizes), levels) == {}


def test_levels_of_few_rows_each_are_no_partners():
    """What 500 levels of four rows each tell is true, but their own rows are told too much."""
    rng = np.random.default_rng(0)
    level = rng.integers(10, size=2_000)
    known = 50 * level + rng.integers(50, size=2_000)
    related = np.where(rng.random(2_000) < 0.3, rng.integers(10, size=2_000), level)
    assert find_partners(blocks_of(10, 500), np.stack([related, known], axis=1)) == {}
    assert find_partners(blocks_of(10, 10), np.stack([related, level], axis=1)) == {0: 1, 1: 0}


def test_the_partner_is_the_block_that_tells_most():
    rng = np.random.default_rng(0)
    level = rng.integers(10, size=2_000)
    noisy = np.where(rng.random(2_000) < 0.3, rng.integers(10, size=2_000), level)
    levels = np.stack([noisy, level, level, rng.integers(10, size=2_000)], axis=1)
    assert find_partners(blocks_of(10, 10, 10, 10), levels) == {0: 1, 1: 2, 2: 1}
