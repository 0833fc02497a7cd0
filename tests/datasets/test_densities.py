"""Every density: its draws, its log-density and its entropy are of one piece.

A log-density that integrates to 1 and whose mean over the draws is minus the entropy is that of the draws (Gibbs'
inequality is strict). Statistical tests have a false-alarm rate of 1e-8 each.
"""

import numpy as np
import pytest
from scipy import stats

from backwalk.datasets import (
    DENSITIES,
    checkerboard,
    circles,
    curved_chain,
    funnel,
    gaussian_mixture,
    pinwheel,
    rings,
    rotated_chain,
    spirals,
    two_moons,
    warped_mixture,
)
from backwalk.errors import InvalidInput
from backwalk.streams import Stream

ALARM = 1e-8
Z = stats.norm.isf(ALARM / 2)

# Densities of the plane, each with a grid step that resolves it.
PLANE = {
    "two_moons": (two_moons(noise=0.1), 1 / 16),
    "circles": (circles(), 1 / 32),
    "rings": (rings(), 1 / 32),
    "spirals": (spirals(noise=0.1), 1 / 16),
    "checkerboard": (checkerboard(), 1 / 16),
    "pinwheel": (pinwheel(), 1 / 64),
    "gaussian_mixture": (gaussian_mixture(), 1 / 16),
    "warped_mixture": (warped_mixture(d=2), 1 / 32),
    "curved_chain": (curved_chain(d=2), 1 / 32),
    "rotated_chain": (rotated_chain(d=2), 1 / 32),
}


COARSE = {"two_moons": {"noise": 0.1}, "spirals": {"noise": 0.2}}  # whose entropies take less time


@pytest.fixture(params=DENSITIES, scope="module")
def density(request):
    return DENSITIES[request.param](**COARSE.get(request.param, {}))


@pytest.fixture(params=PLANE, scope="module")
def cells(request):
    """A density, the corners of cells of 8 x 8 grid points, and the probability of each by the midpoint rule."""
    density, step = PLANE[request.param]
    x = density.sample(4000, random_state=0)
    lower, upper = np.floor(x.min(axis=0)) - 2.0, np.ceil(x.max(axis=0)) + 2.0
    axes = [np.arange(a, b, step) + step / 2 for a, b in zip(lower, upper, strict=True)]
    grid = np.stack(np.meshgrid(*axes, indexing="ij"), axis=-1).reshape(-1, 2)
    p = np.exp(density.log_prob(grid)).reshape(len(axes[0]), len(axes[1])) * step**2
    edges = [np.arange(a, b + step, 8 * step) for a, b in zip(lower, upper, strict=True)]
    return density, edges, p.reshape(len(axes[0]) // 8, 8, len(axes[1]) // 8, 8).sum(axis=(1, 3))


def test_log_prob_integrates_to_one(cells):
    assert cells[2].sum() == pytest.approx(1.0, abs=2e-6)


def test_draws_fall_into_cells_as_log_prob_says(cells):
    density, edges, probability = cells
    n = 20_000
    x = density.sample(n, random_state=13)
    counts = np.histogram2d(x[:, 0], x[:, 1], bins=edges)[0]
    large = n * probability >= 10.0
    expected = np.append(n * probability[large], n * (1.0 - probability[large].sum()) + 1e-3)
    observed = np.append(counts[large], n - counts[large].sum())
    chi2 = np.sum((observed - expected) ** 2 / expected)
    assert chi2 < stats.chi2.isf(ALARM, large.sum())


def test_funnel_integrates_to_one():
    x_1, z = np.meshgrid(np.arange(-24.0, 24.0, 0.25), np.arange(-9.0, 9.0, 0.25), indexing="ij")
    width = np.exp(0.5 * x_1)  # the grid follows the funnel
    log_p = funnel(d=2).log_prob(np.stack([x_1.ravel(), (width * z).ravel()], axis=1))
    assert np.sum(np.exp(log_p) * width.ravel()) * 0.25**2 == pytest.approx(1.0, abs=1e-12)


@pytest.mark.slow
def test_mean_of_minus_log_prob_is_the_entropy(density):
    minus_log_p = -density.log_prob(density.sample(5_000, random_state=11))
    error = np.hypot(minus_log_p.std() / 5_000**0.5, density.entropy_standard_error)
    assert abs(minus_log_p.mean() - density.entropy) <= Z * error + 1e-9


def test_shorter_draw_is_the_head_of_a_longer_one(density):
    rows = density.sample(1001, random_state=7)
    assert rows.shape == (1001, density.d)
    assert rows.dtype == np.float64
    for n in (0, 1, 2, 3, 100):
        np.testing.assert_array_equal(density.sample(n, random_state=7), rows[:n])
    np.testing.assert_array_equal(density.sample_rows(500, 517, stream=Stream(7)), rows[500:517])


def test_log_prob_of_a_row_does_not_depend_on_the_others(density):
    x = density.sample(300, random_state=2)
    np.testing.assert_allclose(density.log_prob(x[100:101]), density.log_prob(x)[100:101], rtol=1e-12)
    assert density.log_prob(x[:0]).shape == (0,)


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: two_moons(noise=0.0), "noise should be"),
        (lambda: two_moons(noise=float("nan")), "noise should be"),
        (lambda: curved_chain(noise=-1.0), "noise should be"),
        (lambda: checkerboard(1), "n_cells should be"),
        (lambda: gaussian_mixture(0), "d should be finite and at least 1"),
        (lambda: pinwheel(0), "n_arms should be"),
        (lambda: warped_mixture(d=1), "d should be finite and at least 2"),
        (lambda: funnel(d=1), "d should be finite and at least 2"),
        (lambda: two_moons().sample(-1), "n should be finite and at least 0"),
        (lambda: two_moons().sample(1, random_state=-1), "random_state should be"),
        (lambda: two_moons().log_prob([[0.0, 0.0, 0.0]]), "should have 2 columns"),
        (lambda: two_moons().log_prob([[0.0, float("nan")]]), "row 0, column 1"),
    ],
)
def test_wrong_settings_are_refused_with_the_rule(call, message):
    with pytest.raises(InvalidInput, match=message):
        call()
