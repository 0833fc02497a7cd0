"""Calibration of models whose statements are exactly true, and of others. False-alarm rate 1e-8 for each test."""

import numpy as np
import pytest
from numpy.testing import assert_allclose
from scipy import stats

from backwalk.assess.statistics.calibration import (
    coverage_curve,
    density_ranks,
    interval_coverage,
    log_loss,
    rank_histogram,
    ranks_in_draws,
    reliability,
    tarp_ranks,
)
from backwalk.errors import InvalidInput
from backwalk.streams import Stream

RNG = np.random.default_rng(0)
N, M = 800, 19


def stated(n, n_levels, seed):
    """Return probabilities of levels, and levels drawn from them."""
    p = np.exp(1.5 * Stream(seed).normal(0, n, n_levels).numpy())
    p /= p.sum(axis=1, keepdims=True)
    u = Stream(seed).child("levels").uniform(0, n, 1).numpy()
    return p, (np.cumsum(p, axis=1) < u).sum(axis=1)


@pytest.mark.slow
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
    assert found.observed[-1] < found.low[-1]  # what is nearly certain happens less often
    assert log_loss(sharper, levels).mean() > log_loss(p, levels).mean()


def test_the_error_is_the_mean_distance_of_bins():
    p, levels = np.repeat([[0.8, 0.2], [0.3, 0.7]], [10, 20], axis=0), np.repeat([1, 0, 1, 0], [4, 6, 10, 10])
    found = reliability(p, levels, stream=Stream(0))
    assert_allclose(found.stated, [0.2, 0.7])
    assert_allclose(found.observed, [0.4, 0.5])
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


def pairs(width=1.0, *, ignores_data=False):
    """Truth theta ~ N(0, I) in two dimensions, x = theta + N(0, I): p(theta | x) = N(x / 2, I / 2)."""
    truth = RNG.normal(size=(N, 2))
    x = truth + RNG.normal(size=(N, 2))
    mean, deviation = (0.0 * x, 1.0) if ignores_data else (0.5 * x, width * np.sqrt(0.5))
    draws = mean[:, None] + deviation * RNG.normal(size=(N, M, 2))
    log_p = stats.norm(mean[:, None], deviation).logpdf(draws).sum(axis=2)
    return draws, truth, log_p, stats.norm(mean, deviation).logpdf(truth).sum(axis=1)


def curves(draws, truth, of_draws, of_truth):
    levels = density_ranks(of_draws, of_truth, stream=Stream(1))
    nearer = tarp_ranks(draws, truth, np.roll(truth, 7, axis=0), stream=Stream(2))
    return coverage_curve(levels), coverage_curve(nearer)


def test_exact_posteriors_are_within_the_limits_of_chance():
    for curve in curves(*pairs()):
        assert curve.p_value > 1e-8
        assert curve.n_rows == N
        assert np.mean((curve.coverage >= curve.low) & (curve.coverage <= curve.high)) > 0.5
        np.testing.assert_allclose(curve.limit, 1.358 / np.sqrt(N), rtol=0.02)


@pytest.mark.parametrize("width", [0.6, 1.6])
def test_regions_of_narrow_posteriors_hold_the_truth_too_rarely(width):
    coverage, _ = curves(*pairs(width))
    at_half = coverage.coverage[len(coverage.levels) // 2]
    # The region of level 1/2 of N(0, w^2 I) has radius w sqrt(2 ln 2): it holds 1 - 2^(-w^2) of N(0, I).
    assert at_half == pytest.approx(1.0 - 0.5 ** (width**2), abs=5.7 * np.sqrt(0.25 / N) + 0.03)
    assert coverage.p_value < 1e-8


def test_tarp_sees_a_posterior_that_ignores_the_data_where_references_follow_the_data():
    draws, truth, of_draws, of_truth = pairs(ignores_data=True)
    coverage, nearer = curves(draws, truth, of_draws, of_truth)
    assert min(coverage.p_value, nearer.p_value) > 1e-8  # the prior is calibrated
    near_truth = tarp_ranks(draws, truth, truth + 0.5 * RNG.normal(size=truth.shape), stream=Stream(3))
    assert coverage_curve(near_truth).p_value < 1e-8


def test_the_truth_beyond_the_support_lies_in_the_largest_region():
    found = density_ranks(np.zeros((4, 9)), np.full(4, -np.inf), stream=Stream(0))
    assert (found > 0.9).all()
