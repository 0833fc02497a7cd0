"""Moments of rows with gaps: those of the greatest likelihood of what is seen."""

import numpy as np
import pytest

from backwalk.diffusion import moments_with_gaps
from backwalk.streams import Stream
from tests.diffusion.normal import COVARIANCE, MEAN, K

RNG = np.random.default_rng(0)


def test_moments_of_rows_with_gaps_are_those_of_the_distribution():
    """Missing where another column is large: leaving out rows would bias the mean. False alarm below 1e-8."""
    n = 4000
    z = RNG.multivariate_normal(MEAN.numpy(), COVARIANCE.numpy(), size=n)
    z[z[:, 0] > float(MEAN[0]), 1] = np.nan
    z[RNG.uniform(size=n) < 0.7, 3] = np.nan
    mean, covariance, _ = moments_with_gaps(z, stream=Stream(0))
    error = 6.0 * np.sqrt(COVARIANCE.diagonal().max().item() / (n / 2))
    np.testing.assert_allclose(mean, MEAN, atol=error)
    variance = COVARIANCE.diagonal().numpy()
    np.testing.assert_allclose(covariance.diagonal(), variance, rtol=6.0 * np.sqrt(2.0 / (0.3 * n)))
    assert abs(np.nanmean(z[:, 1]) - float(MEAN[1])) > error  # the seen rows alone are biased


def log_likelihood(mean, covariance, z):
    """Return that of the cells of z, (n, k), that are seen, up to a constant."""
    total = 0.0
    for row in z:
        own = ~np.isnan(row)
        block, off = covariance[np.ix_(own, own)], (row - mean)[own]
        total -= 0.5 * (np.linalg.slogdet(block)[1] + off @ np.linalg.solve(block, off))
    return total


def test_moments_have_the_greatest_likelihood_of_what_is_seen():
    """No move of a mean or of a covariance raises it, in rows from none to all seen."""
    z = RNG.multivariate_normal(MEAN.numpy(), COVARIANCE.numpy(), size=80)
    z[6:][RNG.uniform(size=(74, K)) < 0.4] = np.nan
    z[:2] = np.nan
    mean, covariance, _ = moments_with_gaps(z, stream=Stream(0))
    most = log_likelihood(mean, covariance, z)
    unit = 0.01 * np.eye(K)
    for i in range(K):
        for sign in (-1.0, 1.0):
            assert log_likelihood(mean + sign * unit[i], covariance, z) < most
            for j in range(i + 1):
                move = np.outer(unit[i], unit[j])
                assert log_likelihood(mean, covariance + sign * (move + move.T), z) < most


@pytest.mark.parametrize("n", [200, 2000])
def test_slopes_of_columns_with_three_quarters_of_gaps_are_those_of_maximum_likelihood(n):
    """Found by review: EM stopped after ten steps, and the slope was .62 instead of .9.

    The maximum has a closed form where one column is always seen (Anderson 1957). Where both have gaps, 5,000 steps of
    EM from sums over the rows reach it.
    """
    generator = np.random.default_rng(n)
    z = generator.multivariate_normal([0.0, 0.0], [[1.0, 0.9], [0.9, 1.0]], size=n)
    one = np.where([[False, True]] & (generator.uniform(size=(n, 1)) < 0.75), np.nan, z)
    complete = np.cov(one[~np.isnan(one[:, 1])], rowvar=False)
    found = moments_with_gaps(one, stream=Stream(0)).covariance
    assert slope_of(found) == pytest.approx(slope_of(complete), abs=1e-3)
    both = np.where(generator.uniform(size=z.shape) < 0.75, np.nan, z)
    expected = slope_of(covariance_by_plain_em(both))
    assert slope_of(moments_with_gaps(both, stream=Stream(0)).covariance) == pytest.approx(expected, abs=1e-3)


def slope_of(covariance):
    return covariance[0, 1] / covariance[0, 0]


def covariance_by_plain_em(z):
    """Return the covariance of two columns, of which each may be missing, by 5,000 steps of EM."""
    seen = ~np.isnan(z)
    complete = z[seen.all(axis=1)]
    alone = [z[seen[:, i] & ~seen[:, 1 - i], i] for i in range(2)]
    n = len(complete) + len(alone[0]) + len(alone[1])
    mean, covariance = np.zeros(2), np.eye(2)
    for _ in range(5_000):
        first, second = complete.sum(axis=0), complete.T @ complete
        for i, j, x in ((0, 1, alone[0]), (1, 0, alone[1])):
            slope = covariance[0, 1] / covariance[i, i]
            y = mean[j] + slope * (x - mean[i])
            first[i] += x.sum()
            first[j] += y.sum()
            second[i, i] += x @ x
            second[0, 1] += x @ y
            second[1, 0] += x @ y
            second[j, j] += y @ y + len(x) * (covariance[j, j] - slope * covariance[0, 1])
        mean = first / n
        covariance = second / n - np.outer(mean, mean)
    return covariance


def test_without_gaps_moments_are_those_of_the_rows():
    z = RNG.normal(size=(50, 3))
    mean, covariance, n = moments_with_gaps(z, stream=Stream(0))
    assert n == 50
    np.testing.assert_allclose(mean, z.mean(axis=0))
    np.testing.assert_allclose(covariance, np.cov(z, rowvar=False, bias=True))
    assert moments_with_gaps(np.empty((5, 0)), stream=Stream(0)).covariance.shape == (0, 0)


@pytest.mark.parametrize("has_gaps", [False, True])
def test_whole_weights_count_as_repeated_rows(has_gaps):
    z, times = RNG.normal(size=(60, 3)) @ RNG.normal(size=(3, 3)), RNG.integers(1, 4, size=60)
    if has_gaps:
        z[RNG.uniform(size=z.shape) < 0.3] = np.nan
    weighted = moments_with_gaps(z, weights=times / times.mean(), stream=Stream(0))
    repeated = moments_with_gaps(np.repeat(z, times, axis=0), stream=Stream(0))
    for of_weights, of_rows in zip(weighted[:2], repeated[:2], strict=True):
        np.testing.assert_allclose(of_weights, of_rows, atol=1e-12)


def test_many_rows_that_lack_the_same_coordinates_have_the_moments_of_few():
    """Of many EM keeps the sums alone: 30 rows of eight coordinates, and the same twelve times."""
    z = RNG.normal(size=(30, 8)) @ RNG.normal(size=(8, 8)) + RNG.normal(size=8)
    z[RNG.uniform(size=z.shape) < 0.3] = np.nan
    few, many = (moments_with_gaps(rows, stream=Stream(0)) for rows in (z, np.repeat(z, 12, axis=0)))
    for of_few, of_many in zip(few[:2], many[:2], strict=True):
        np.testing.assert_allclose(of_many, of_few, rtol=1e-6, atol=1e-8)


def test_rows_far_from_zero_have_the_covariance_of_rows_near_it():
    z = RNG.normal(size=(500, 3)) @ RNG.normal(size=(3, 3))
    z[RNG.uniform(size=z.shape) < 0.2] = np.nan
    near, far = (moments_with_gaps(rows, stream=Stream(0)) for rows in (z, z + 1e8))
    np.testing.assert_allclose(far.mean - 1e8, near.mean, atol=1e-5)
    np.testing.assert_allclose(far.covariance, near.covariance, atol=1e-5)


@pytest.mark.parametrize("has_gaps", [False, True])
def test_rows_count_by_their_weights(has_gaps):
    """Found by review: 100,000 rows of which EM takes 20,000 counted as 100,000, and weights not at all."""
    z = RNG.normal(size=(24_000, 2))
    if has_gaps:
        z[::7, 0] = np.nan
    weights = np.where(np.arange(24_000) < 30, 1.0, 0.0)
    assert moments_with_gaps(z[:30], weights=weights[:30], stream=Stream(0)).n == pytest.approx(30)
    assert moments_with_gaps(z[:100], weights=weights[:100], stream=Stream(0)).n == pytest.approx(30)
    assert moments_with_gaps(z, stream=Stream(0)).n == pytest.approx(20_000 if has_gaps else 24_000)


def test_gaps_leave_the_spread_of_a_thin_distribution():
    """The ridge was added in every step of EM, which widened the rest of a column given others.

    Of the rows .64 have both columns. False-alarm rate 1e-8.
    """
    generator = np.random.default_rng(1)
    z = generator.normal(size=(20_000, 2)) @ np.array([[1.0, 1.0], [0.0, 0.2]])
    z[generator.uniform(size=z.shape) < 0.2] = np.nan
    _, covariance, _ = moments_with_gaps(z, stream=Stream(0))
    of_rest = covariance[1, 1] - covariance[0, 1] ** 2 / covariance[0, 0]
    assert of_rest == pytest.approx(0.04, abs=5.73 * 0.04 * np.sqrt(2.0 / 0.64 / 20_000))
