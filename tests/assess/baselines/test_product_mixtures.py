"""Mixtures of product distributions in closed form. False-alarm rate 1e-8 for each statistical test."""

import numpy as np
import pytest
from numpy.testing import assert_allclose, assert_array_equal
from scipy import stats

from backwalk.assess.baselines.features import Feature
from backwalk.assess.baselines.product_mixtures import (
    ProductMixture,
    choose_mixture,
    fit_components,
    fit_independent_columns,
    fit_product_mixture,
)
from backwalk.streams import Stream

FEATURES = (Feature(3), Feature(), Feature(2))
LEVELS = np.array([[0.7, 0.2, 0.1, 0.9, 0.1], [0.1, 0.1, 0.8, 0.3, 0.7]])
TRUTH = ProductMixture(
    FEATURES, np.log([0.4, 0.6]), np.log(LEVELS), np.array([[-2.0], [1.5]]), np.array([[0.25], [1.0]])
)
ROWS = TRUTH.sample(1500, Stream(0))


def by_hand(row):
    total = 0.0
    for weight, p, mean, variance in zip([0.4, 0.6], LEVELS, [-2.0, 1.5], [0.25, 1.0], strict=True):
        factors = [p[int(row[0])] if row[0] == row[0] else 1.0, p[3 + int(row[2])] if row[2] == row[2] else 1.0]
        number = stats.norm.pdf(row[1], mean, variance**0.5) if row[1] == row[1] else 1.0
        total += weight * np.prod(factors) * number
    return np.log(total)


@pytest.mark.parametrize("row", [[0, 0.3, 1], [2, np.nan, 1], [np.nan, -1.0, np.nan], [np.nan] * 3])
def test_the_log_probability_is_the_sum_over_components(row):
    assert_allclose(TRUTH.log_prob(np.array([row], dtype=float)), by_hand(row), atol=1e-12)


def test_samples_follow_the_probabilities():
    shares = np.exp(np.logaddexp.reduce(np.log([0.4, 0.6])[:, None] + np.log(LEVELS[:, :3])))
    counts = np.bincount(ROWS[:, 0].astype(int), minlength=3)
    assert stats.chisquare(counts, len(ROWS) * shares).pvalue > 1e-8
    cdf = lambda x: 0.4 * stats.norm.cdf(x, -2.0, 0.5) + 0.6 * stats.norm.cdf(x, 1.5)  # noqa: E731
    assert stats.kstest(ROWS[:, 1], cdf).pvalue > 1e-8
    assert_array_equal(ROWS[:7], TRUTH.sample(7, Stream(0)))


def test_bic_finds_the_classes_and_em_the_probabilities():
    """Twelve parameters cost about half a nat each in all: 6 nats of 1,500 rows, against a spread of 1e-8."""
    mixture = choose_mixture(ROWS, FEATURES, n_components=(1, 2, 3), stream=Stream(1))
    assert mixture.n_components == 2
    fresh = TRUTH.sample(4000, Stream(5))
    gap = TRUTH.log_prob(fresh) - mixture.log_prob(fresh)
    assert -0.01 < gap.mean() < 0.03
    assert mixture.n_parameters == 2 * (2 + 1 + 2 + 1) - 1


def test_missing_cells_are_no_evidence():
    """A third of the cells at random: the same classes are found."""
    gaps = np.where(Stream(2).uniform(0, *ROWS.shape).numpy() < 1 / 3, np.nan, ROWS)
    mixture, _ = fit_components(gaps, FEATURES, 2, stream=Stream(1))
    fresh = TRUTH.sample(4000, Stream(5))
    assert (TRUTH.log_prob(fresh) - mixture.log_prob(fresh)).mean() < 0.05


def test_a_level_that_never_came_stays_possible():
    mixture, _ = fit_components(ROWS, (Feature(5), Feature(), Feature(2)), 2, stream=Stream(1))
    assert np.isfinite(mixture.log_prob(np.array([[4.0, 0.0, 1.0]])))


def test_numbers_have_no_value_where_they_do_not_apply():
    features = (Feature(2), Feature(applies=(0, 1)))
    x = ROWS[:, [2, 1]].copy()
    x[x[:, 0] == 0, 1] = np.nan
    for fit in (fit_product_mixture, fit_independent_columns):
        rows = fit(x, features, stream=Stream(1)).sample(200, Stream(2))
        assert_array_equal(np.isnan(rows[:, 1]), rows[:, 0] == 0)


def test_independent_columns_are_products_of_their_densities():
    baseline = fit_independent_columns(ROWS, FEATURES, stream=Stream(1))
    grid = np.linspace(-12.0, 14.0, 2601)
    cells = np.array([[level, x, flag] for level in range(3) for flag in range(2) for x in grid])
    p = np.exp(baseline.log_prob(cells)).reshape(6, -1).sum(axis=1) * (grid[1] - grid[0])
    assert_allclose(p.sum(), 1.0, rtol=1e-3)
    shares = np.bincount(ROWS[:, 0].astype(int)) / len(ROWS), np.bincount(ROWS[:, 2].astype(int)) / len(ROWS)
    assert_allclose(p, np.outer(*shares).ravel(), atol=2e-3)
    rows = baseline.sample(1000, Stream(3))
    # Correlations of 1,000 independent pairs: 5.7 standard errors.
    assert abs(np.corrcoef(rows[:, 0], rows[:, 1])[0, 1]) < 5.7 / 1000**0.5
    assert abs(np.corrcoef(ROWS[:, 0], ROWS[:, 1])[0, 1]) > 0.5
