"""Calibration of models whose statements are exactly true, and of others. False-alarm rate 1e-8 for each test."""

import numpy as np
import pytest
from numpy.testing import assert_allclose
from scipy import stats

from backwalk.assess.statistics.calibration import (
    interval_coverage,
    log_loss,
    rank_histogram,
    ranks_in_draws,
    reliability,
)
from backwalk.errors import InvalidInput
from backwalk.streams import Stream


def stated(n, n_levels, seed):
    """Return probabilities of levels, and levels drawn from them."""
    p = np.exp(1.5 * Stream(seed).normal(0, n, n_levels).numpy())
    p /= p.sum(axis=1, keepdims=True)
    u = Stream(seed).child("levels").uniform(0, n, 1).numpy()
    return p, (np.cumsum(p, axis=1) < u).sum(axis=1)


@pytest.mark.parametrize("n_levels", [2, 5])
def test_true_statements_have_the_error_of_their_null(n_levels):
    """20 columns: the mean excess has a standard deviation of 1 / sqrt(20), its null one of 1 / sqrt(200)."""
    excess = [reliability(*stated(300, n_levels, seed), stream=Stream(9)).excess for seed in range(20)]
    assert abs(np.mean(excess)) < 5.7 * (1 / 20 + 1 / 200) ** 0.5
    assert 0.3 < np.std(excess) < 2.2


def test_overconfident_statements_are_found():
    p, levels = stated(2000, 3, 0)
    sharper = p**2 / (p**2).sum(axis=1, keepdims=True)
    found = reliability(sharper, levels, stream=Stream(1))
    assert found.excess > 10.0
    assert found.found[-1] < found.low[-1]  # what is nearly certain happens less often
    assert log_loss(sharper, levels).mean() > log_loss(p, levels).mean()


def test_the_error_is_the_mean_distance_of_bins():
    p, levels = np.repeat([[0.8, 0.2], [0.3, 0.7]], [10, 20], axis=0), np.repeat([1, 0, 1, 0], [4, 6, 10, 10])
    found = reliability(p, levels, stream=Stream(0))
    assert_allclose(found.stated, [0.2, 0.7])
    assert_allclose(found.found, [0.4, 0.5])
    assert found.counts.tolist() == [10, 20]
    assert found.error == pytest.approx((10 * 0.2 + 20 * 0.2) / 30)
    assert_allclose(log_loss(p, levels), -np.log(np.repeat([0.2, 0.8, 0.7, 0.3], [4, 6, 10, 10])))


@pytest.mark.parametrize(
    ("p", "levels", "message"),
    [([[0.5, 0.6]], [0], "sum to 1"), ([[0.5, 0.5]], [2], "lie in 0..1"), ([[0.5, 0.5]], [0, 1], "same")],
)
def test_wrong_statements_are_refused(p, levels, message):
    with pytest.raises(InvalidInput, match=message):
        log_loss(p, levels)


@pytest.mark.parametrize("m", [1, 4, 50])
def test_ranks_in_true_draws_are_uniform_with_atoms_too(m):
    n = 2000
    x = np.maximum(Stream(m).normal(0, n, m + 1).numpy() + np.arange(n)[:, None] % 3, 0.5)  # an atom at 1/2
    u = ranks_in_draws(x[:, 1:], x[:, 0], stream=Stream(2))
    assert stats.kstest(u, "uniform").pvalue > 1e-8
    for probability in (0.5, 0.9):
        share = interval_coverage(u, probability)
        assert abs(share.value - probability) < 5.7 * (probability * (1 - probability) / n) ** 0.5


def test_narrow_draws_are_found():
    x = Stream(0).normal(0, 1500, 41).numpy()
    u = ranks_in_draws(0.6 * x[:, 1:], x[:, 0], stream=Stream(1))
    histogram = rank_histogram(u)
    assert histogram.shares[0] > histogram.high
    assert histogram.p_value < 1e-8
    assert interval_coverage(u, 0.9).value < 0.75
    right = rank_histogram(ranks_in_draws(x[:, 1:], x[:, 0], stream=Stream(1)))
    assert right.p_value > 1e-8
    assert_allclose(right.shares.sum(), 1.0)
    assert right.low < 0.1 < right.high
    with pytest.raises(InvalidInput, match="draws should be"):
        ranks_in_draws(x, x, stream=Stream(0))
