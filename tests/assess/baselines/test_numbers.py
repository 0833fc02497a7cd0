import numpy as np
import pytest
from numpy.testing import assert_allclose, assert_array_equal
from scipy.stats import chi2

from backwalk.assess.baselines.numbers import fit_gaussian_mixture, fit_kernel_density
from backwalk.errors import InvalidInput
from backwalk.streams import Stream

TWO_HEAPS = Stream(0).normal(0, 600, 2).numpy() * 0.3 + np.repeat([[-1.0, 0.0], [1.0, 0.0]], 300, axis=0)
BASELINES = (fit_gaussian_mixture, fit_kernel_density)


@pytest.mark.parametrize("fit", BASELINES)
def test_the_density_integrates_to_one(fit):
    baseline = fit(TWO_HEAPS, stream=Stream(1))
    axis = np.linspace(-5.0, 5.0, 151)
    grid = np.stack(np.meshgrid(axis, axis), axis=-1).reshape(-1, 2)
    assert_allclose(np.exp(baseline.log_prob(grid)).sum() * (axis[1] - axis[0]) ** 2, 1.0, rtol=1e-4)


@pytest.mark.parametrize("fit", BASELINES)
def test_samples_follow_the_density_and_repeat(fit):
    baseline = fit(TWO_HEAPS, stream=Stream(1))
    rows = baseline.sample(4000, Stream(2))
    assert_array_equal(rows, baseline.sample(4000, Stream(2)))
    assert not np.array_equal(rows, baseline.sample(4000, Stream(3)))
    # The share of rows in each half plane, against the density's; false alarm 1e-8.
    axis = np.linspace(-4.975, 4.975, 200)  # the middles of cells, of which -1 is an edge
    grid = np.stack(np.meshgrid(axis, axis), axis=-1).reshape(-1, 2)
    mass = np.exp(baseline.log_prob(grid))
    share = mass[grid[:, 0] < -1.0].sum() / mass.sum()
    found = np.mean(rows[:, 0] < -1.0)
    assert 4000 * (found - share) ** 2 / (share * (1 - share)) < chi2.isf(1e-8, 1)


def test_rows_are_in_random_order():
    rows = fit_gaussian_mixture(TWO_HEAPS, stream=Stream(1)).sample(2000, Stream(2))
    halves = (rows[:1000, 0] > 0).mean(), (rows[1000:, 0] > 0).mean()
    # Two binomial shares of 1,000 draws: 6 standard deviations of their difference are 0.134 (2e-9).
    assert abs(halves[0] - halves[1]) < 0.134


def test_bic_finds_the_number_of_heaps():
    assert fit_gaussian_mixture(TWO_HEAPS, stream=Stream(1)).name == "GaussianMixture(2)"
    assert fit_gaussian_mixture(TWO_HEAPS[:300], stream=Stream(1)).name == "GaussianMixture(1)"


def test_a_few_rows_get_few_components():
    assert fit_gaussian_mixture(TWO_HEAPS[:15], stream=Stream(1)).name == "GaussianMixture(1)"


def test_the_bandwidth_is_the_better_of_two_by_far():
    rows = Stream(5).normal(0, 400, 1).numpy()
    for bandwidths in ((0.3, 3.0), (0.3, 0.003)):
        assert fit_kernel_density(rows, bandwidths=bandwidths, stream=Stream(6)).name == "KernelDensity(0.3)"


@pytest.mark.parametrize("fit", BASELINES)
def test_rows_that_are_not_finite_are_refused(fit):
    with pytest.raises(InvalidInput, match="finite"):
        fit([[0.0], [np.nan], [1.0], [2.0], [3.0]], stream=Stream(0))
