"""Distances against brute force, scipy and closed forms. Statistical tests have a false-alarm rate of 1e-8 each."""

import math

import numpy as np
import pytest
from scipy import stats
from scipy.spatial.distance import cdist

from backwalk.assess.statistics.distances import coverage, sliced_wasserstein
from backwalk.errors import InvalidInput
from backwalk.streams import Stream

Z = stats.norm.isf(0.5e-8)


def normal(seed, n, d):
    return Stream(seed).normal(0, n, d).numpy()


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
        (lambda x: sliced_wasserstein(x, x * [1.0, np.nan], stream=Stream(0)), "holds nan in row 0, column 1"),
        (lambda x: coverage(x, x, k=len(x)), "k should lie in 1..2"),
    ],
)
def test_wrong_input_is_refused_with_the_place(call, message):
    with pytest.raises(InvalidInput, match=message):
        call(np.arange(6.0).reshape(3, 2))
