"""Known densities as mixtures of normals: the density, its denoiser and its noisy versions agree."""

import numpy as np
import pytest
import torch

from backwalk.datasets import DENSITIES, around_points, gaussian_mixture, mixture_form
from backwalk.errors import InvalidInput

MIXTURES = ["two_moons", "circles", "rings", "spirals", "gaussian_mixture"]


@pytest.mark.parametrize("name", MIXTURES)
def test_the_form_has_the_density(name):
    density = DENSITIES[name]()
    x = density.sample(200, random_state=1)
    np.testing.assert_allclose(mixture_form(density).log_prob(x), density.log_prob(x), atol=1e-8)


def test_other_densities_have_no_form():
    assert {name for name in DENSITIES if mixture_form(DENSITIES[name]()) is None} == set(DENSITIES) - set(MIXTURES)


def test_the_denoiser_is_the_score_of_the_noisy_form():
    """Tweedie: a E[x_0 | x_t] = x_t + b^2 grad ln q(x_t), the gradient by central differences."""
    form, log_snr = mixture_form(DENSITIES["two_moons"]()), 1.5
    a, b_sq = (1.0 + np.exp(-log_snr)) ** -0.5, 1.0 / (1.0 + np.exp(log_snr))
    x_t, noisy, h = np.random.default_rng(0).normal(size=(20, 2)), form.noisy(log_snr), 1e-5
    step = h * np.eye(2)
    gradient = np.stack([(noisy.log_prob(x_t + s) - noisy.log_prob(x_t - s)) / (2 * h) for s in step], axis=1)
    x_0_hat = form.denoiser()(torch.from_numpy(x_t), torch.tensor(log_snr, dtype=torch.float64)).numpy()
    np.testing.assert_allclose(x_0_hat, (x_t + b_sq * gradient) / a, atol=1e-6)


def test_encoded_and_marginal_forms():
    density = gaussian_mixture(d=3)
    x, centre, scale = density.sample(50, random_state=0), np.array([1.0, -2.0, 0.5]), np.array([2.0, 0.5, 1.5])
    form = mixture_form(density)
    encoded = form.encoded(centre, scale)
    shift = np.log(scale).sum()
    np.testing.assert_allclose(encoded.log_prob((x - centre) / scale), form.log_prob(x) + shift, atol=1e-9)
    grid = np.linspace(-30.0, 30.0, 4001)
    rows = np.stack([np.full_like(grid, x[0, 0]), np.full_like(grid, x[0, 1]), grid], axis=1)
    integral = np.log(np.trapezoid(np.exp(form.log_prob(rows)), grid))
    assert form.marginal([0, 1]).log_prob(x[:1, :2])[0] == pytest.approx(integral, abs=1e-6)
    log_snr = -1.0
    one = form.noisy(log_snr).marginal([1]).log_prob(x[:, 1:2])
    np.testing.assert_allclose(one, form.marginal([1]).noisy(log_snr).log_prob(x[:, 1:2]), atol=1e-12)


@pytest.mark.slow
def test_points_become_a_density_around_them():
    points = np.random.default_rng(0).uniform(-1.0, 1.0, size=(10, 2))
    density = around_points(points)
    x = density.sample(2000, random_state=0)
    nearest = np.sqrt(np.square(x[:, None] - points).sum(-1)).min(axis=1)
    distance = np.sqrt(np.square(points[:, None] - points).sum(-1)) + 9.0 * np.eye(len(points))
    noise = distance.min(axis=1).mean()
    assert density.factors[0, 0, 0] == pytest.approx(noise)
    assert nearest.max() < 6.0 * noise  # 6 deviations: 2000 x 1.5e-8
    np.testing.assert_array_equal(around_points(points, noise=0.1).factors[3], 0.1 * np.eye(2))
    mean = -density.log_prob(x)
    assert density.entropy == pytest.approx(mean.mean(), abs=6 * mean.std() / len(x) ** 0.5 + 1e-3)


@pytest.mark.parametrize(
    ("points", "message"), [([[0.0, 0.0]], "two at least"), (np.ones((3, 2)), "all points coincide")]
)
def test_points_that_make_no_density_are_refused(points, message):
    with pytest.raises(InvalidInput, match=message):
        around_points(points)
