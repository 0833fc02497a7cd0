"""Expected coverage and TARP: exact where draws and truth have one distribution, and sharp where they do not.

Statistical tests have a false-alarm rate of 1e-8.
"""

import numpy as np
import pytest
from scipy import stats

from backwalk.assess.statistics import coverage_curve, density_ranks, tarp_ranks
from backwalk.errors import InvalidInput
from backwalk.streams import Stream

RNG = np.random.default_rng(0)
N, M = 800, 19


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
        assert np.mean((curve.found >= curve.low) & (curve.found <= curve.high)) > 0.5
        np.testing.assert_allclose(curve.limit, 1.358 / np.sqrt(N), rtol=0.02)


@pytest.mark.parametrize("width", [0.6, 1.6])
def test_regions_of_narrow_posteriors_hold_the_truth_too_rarely(width):
    coverage, _ = curves(*pairs(width))
    at_half = coverage.found[len(coverage.levels) // 2]
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


def test_shapes_are_checked():
    with pytest.raises(InvalidInput, match="references"):
        tarp_ranks(np.zeros((3, 4, 2)), np.zeros((3, 2)), np.zeros((2, 2)), stream=Stream(0))
