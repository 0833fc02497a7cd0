"""Distances against brute force, scipy and closed forms. Statistical tests have a false-alarm rate of 1e-8 each."""

import math

import numpy as np
import pytest
from scipy import stats
from scipy.spatial.distance import cdist

from backwalk.assess.statistics import distances
from backwalk.assess.statistics.distances import (
    correlation_difference,
    correlation_matrix,
    coverage,
    energy_distance,
    marginal_ks,
    sliced_wasserstein,
    total_variation,
    wasserstein_1d,
)
from backwalk.errors import InvalidInput
from backwalk.streams import Stream

Z = stats.norm.isf(0.5e-8)


def normal(seed, n, d):
    return Stream(seed).normal(0, n, d).numpy()


@pytest.mark.parametrize(("n", "m"), [(1, 1), (1, 7), (50, 50), (40, 60), (37, 101)])
def test_wasserstein_1d_is_that_of_scipy(n, m):
    x, y = normal(0, n, 1)[:, 0], normal(1, m, 1)[:, 0] + 0.5
    assert wasserstein_1d(x, y) == pytest.approx(stats.wasserstein_distance(x, y), rel=1e-12)


def test_sliced_wasserstein_of_a_shift_is_the_mean_length_of_its_shadow():
    """W1 of points and the same points moved by v is |<theta, v>|, on average |v| 2/pi in the plane."""
    x, v = normal(0, 30, 2), np.array([3.0, 4.0])
    n = 4000
    error = 5.0 * math.sqrt(0.5 - 4.0 / math.pi**2) / n**0.5
    assert abs(sliced_wasserstein(x, x + v, n_projections=n, stream=Stream(2)) - 10.0 / math.pi) < Z * error


def test_sliced_wasserstein_is_symmetric_homogeneous_and_blind_to_order():
    x, y = normal(0, 60, 3), normal(1, 45, 3)
    value = sliced_wasserstein(x, y, stream=Stream(0))
    assert sliced_wasserstein(y, x, stream=Stream(0)) == pytest.approx(value, rel=1e-12)
    assert sliced_wasserstein(5.0 * x, 5.0 * y, stream=Stream(0)) == pytest.approx(5.0 * value, rel=1e-12)
    assert sliced_wasserstein(x[::-1], y, stream=Stream(0)) == pytest.approx(value, rel=1e-12)
    # Every row twice is the same distribution.
    assert sliced_wasserstein(np.tile(x, (2, 1)), y, stream=Stream(0)) == pytest.approx(value, rel=1e-12)
    assert sliced_wasserstein(np.tile(x, (2, 1)), x, stream=Stream(0)) == pytest.approx(0.0, abs=1e-14)


def test_energy_distances_are_the_means_over_pairs(monkeypatch):
    x, y = normal(0, 23, 4), normal(1, 31, 4)
    xx, yy, xy = (cdist(a, b) for a, b in ((x, x), (y, y), (x, y)))
    other_x, other_y = (m[~np.eye(len(m), dtype=bool)].mean() for m in (xx, yy))
    monkeypatch.setattr(distances, "_BLOCK", 70)  # a few rows at a time
    assert energy_distance(x, y) == pytest.approx(2.0 * xy.mean() - other_x - other_y, rel=1e-10)


def test_unbiased_energy_distance_is_zero_on_average_for_one_density():
    values = np.array([energy_distance(normal(2 * k, 12, 2), normal(2 * k + 1, 20, 2)) for k in range(400)])
    assert values.min() < 0.0
    assert abs(values.mean()) < Z * values.std() / 20.0


def test_marginal_ks_is_that_of_scipy_with_ties_too():
    x, y = np.round(normal(0, 90, 3), 1), np.round(normal(1, 70, 3) + np.array([0.0, 0.3, 1.0]), 1)
    expected = [stats.ks_2samp(a, b).statistic for a, b in zip(x.T, y.T, strict=True)]
    np.testing.assert_allclose(marginal_ks(x, y), expected, rtol=1e-12)


def test_correlations_are_those_of_numpy_and_constants_have_none():
    x = normal(0, 40, 4) @ normal(1, 4, 4)
    np.testing.assert_allclose(correlation_matrix(x), np.corrcoef(x.T), rtol=0.0, atol=1e-12)
    x[:, 2] = 0.1
    assert correlation_matrix(x)[2].tolist() == [0.0, 0.0, 1.0, 0.0]


def test_correlation_difference_ignores_units_and_sees_a_flipped_sign():
    x = normal(0, 50, 1)
    both = np.concatenate([x, 2.0 * x], axis=1)
    assert correlation_difference(both, 7.0 * both + 1.0) == pytest.approx(0.0, abs=1e-12)
    assert correlation_difference(both, both * [1.0, -1.0]) == pytest.approx(2.0)
    assert correlation_difference(x, x + 1.0) == 0.0


@pytest.mark.parametrize("shift", [0.1, 1.0, 4.0])
def test_total_variation_of_shifted_normals_is_closed(shift):
    x = normal(0, 20_000, 1)[:, 0]
    estimate = total_variation(stats.norm.logpdf(x), stats.norm.logpdf(x, loc=shift))
    expected = 2.0 * stats.norm.cdf(shift / 2.0) - 1.0
    assert abs(estimate.value - expected) < Z * estimate.standard_error


def test_total_variation_counts_mass_outside_the_support():
    """Uniform on [0, 1] against uniform on [0, 2]: one half; half the mean of |1 - q/p| would be one quarter."""
    log_p = np.zeros(10)
    assert total_variation(log_p, log_p - math.log(2.0)).value == pytest.approx(0.5)
    assert total_variation(log_p, log_p).value == 0.0


@pytest.mark.parametrize("k", [1, 3])
def test_coverage_is_the_share_of_balls_that_hold_a_generated_row(k):
    real, generated = normal(0, 40, 3), normal(1, 25, 3) + 0.5
    radius = np.sort(cdist(real, real), axis=1)[:, k]
    expected = np.mean((cdist(real, generated) <= radius[:, None]).any(axis=1))
    assert coverage(real, generated, k) == expected


def test_coverage_of_one_density_has_its_closed_mean():
    n, m, k = 30, 20, 3
    expected = 1.0 - math.comb(n - 1, k) / math.comb(n + m - 1, k)
    values = np.array([coverage(normal(2 * i, n, 2), normal(2 * i + 1, m, 2), k) for i in range(400)])
    assert abs(values.mean() - expected) < Z * values.std() / 20.0


def test_copies_cover_repeated_rows():
    rows = np.repeat(normal(0, 5, 2), 4, axis=0)
    assert coverage(rows, rows[::4], k=2) == 1.0


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda x: sliced_wasserstein(x, x[:, :1], stream=Stream(0)), "y should have 2 columns, but has 1"),
        (lambda x: sliced_wasserstein(x, x, n_projections=0, stream=Stream(0)), "n_projections should be"),
        (lambda x: energy_distance(x, x[:1]), "y should have at least 2 rows"),
        (lambda x: energy_distance(x[0], x), "x should have shape"),
        (lambda x: marginal_ks(x, x * [1.0, np.nan]), "y should be finite, but holds nan in row 0, column 1"),
        (lambda x: marginal_ks(x.astype(str), x), "x should hold real numbers"),
        (lambda x: marginal_ks(x + 1j, x), "x should hold real numbers"),
        (lambda x: coverage(x, x, k=len(x)), "k should lie in 1..2"),
        (lambda x: total_variation(x, x), "should both be"),
        (lambda x: total_variation(np.log(x[:, 0]), x[:, 0]), "log_p_true should be finite, but is -inf in row 0"),
        (lambda x: total_variation(x[:, 0], x[:, 0] * np.nan), "log_p_model should be below infinity, but is nan"),
    ],
)
def test_wrong_input_is_refused_with_the_place(call, message):
    with pytest.raises(InvalidInput, match=message), np.errstate(divide="ignore"):
        call(np.arange(6.0).reshape(3, 2))
