"""Synthesis by trees on rows with a known distribution. False-alarm rate 1e-8 for each statistical test."""

import numpy as np
from numpy.testing import assert_allclose, assert_array_equal
from scipy import stats

from backwalk.assess.baselines.features import Feature
from backwalk.assess.baselines.trees import fit_trees
from backwalk.streams import Stream

FEATURES = (Feature(3), Feature(), Feature(2))


def mixed(n, seed):
    """A level of three, a number about it, and a flag that the number decides."""
    u, noise = Stream(seed).uniform(0, n, 2).numpy(), Stream(seed).child("noise").normal(0, n, 1).numpy()[:, 0]
    level = np.floor(3 * u[:, 0])
    number = 2.0 * level + 0.5 * noise
    return np.column_stack([level, number, u[:, 1] < 1.0 / (1.0 + np.exp(-2.0 * number + 4.0))]).astype(float)


ROWS = mixed(1200, 0)
BASELINE = fit_trees(ROWS, FEATURES, stream=Stream(1))


def test_probabilities_sum_to_one():
    grid = np.linspace(-14.0, 18.0, 3201)
    cells = np.array([[level, x, flag] for level in range(3) for flag in range(2) for x in grid])
    assert_allclose(np.exp(BASELINE.log_prob(cells)).sum() * (grid[1] - grid[0]), 1.0, atol=2e-3)


def test_rows_follow_the_log_probability():
    """Unseen drawn rows have the mean log-probability that their own distribution states: a paired integral."""
    n = 3000
    rows = BASELINE.sample(n, Stream(2))
    assert_array_equal(rows, BASELINE.sample(n, Stream(2)))
    grid = np.linspace(-14.0, 18.0, 3201)
    for level in range(3):
        for flag in range(2):
            cells = np.column_stack([np.full(len(grid), level), grid, np.full(len(grid), flag)])
            p = np.exp(BASELINE.log_prob(cells)).sum() * (grid[1] - grid[0])
            found = np.mean((rows[:, 0] == level) & (rows[:, 2] == flag))
            assert abs(found - p) < 5.8 * (p * (1 - p) / n) ** 0.5 + 2e-3
    above = rows[rows[:, 0] == 1.0, 1]
    cells = np.column_stack([np.ones(len(grid)), grid, np.full(len(grid), np.nan)])
    density = np.exp(BASELINE.log_prob(cells))
    cdf = np.cumsum(density) / density.sum()
    assert stats.kstest(above, lambda x: np.interp(x, grid, cdf)).pvalue > 1e-8


def test_unseen_rows_cost_little_more_than_the_truth():
    unseen = mixed(2000, 7)
    logit = 2.0 * unseen[:, 1] - 4.0
    truth = (
        -np.log(3.0)
        + stats.norm.logpdf(unseen[:, 1], 2.0 * unseen[:, 0], 0.5)
        - np.logaddexp(0.0, np.where(unseen[:, 2] == 1.0, -logit, logit))
    )
    assert 0.0 < (truth - BASELINE.log_prob(unseen)).mean() < 0.15


def test_numbers_have_no_value_where_they_do_not_apply_and_gaps_are_taken():
    features = (Feature(3), Feature(applies=(0, 2)), Feature(2))
    x = ROWS.copy()
    x[x[:, 0] != 2, 1] = np.nan
    x[::7, 2] = np.nan
    rows = fit_trees(x, features, stream=Stream(1)).sample(300, Stream(2))
    assert_array_equal(np.isnan(rows[:, 1]), rows[:, 0] != 2)
    assert not np.isnan(rows[:, [0, 2]]).any()
    assert np.isfinite(fit_trees(x, features, stream=Stream(1)).log_prob(x)).all()
