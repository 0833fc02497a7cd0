"""The denoiser and the density of x_t at points."""

import numpy as np
import pytest
import torch

from backwalk.datasets import gaussian_mixture, mixture_form
from backwalk.diffusion import NoiseSchedule
from backwalk.errors import InvalidInput
from backwalk.fit.oracle import oracle_model
from backwalk.model import denoise, log_density, log_density_at
from backwalk.sampling import TILE_ROWS


@pytest.fixture(scope="module")
def mixture():
    density = gaussian_mixture(n_components=2)
    rows = density.sample(300, random_state=0)
    form = mixture_form(density).encoded(rows.mean(axis=0), rows.std(axis=0))
    schedule = NoiseSchedule.log_snr_uniform(40, log_snr_max=9.0, log_snr_min=-9.0)
    return oracle_model(form.denoiser(), (rows - rows.mean(axis=0)) / rows.std(axis=0), schedule), form


def test_the_density_of_x_t_is_the_mixture_s(mixture):
    """The ODE of an exact denoiser has q's density at every step, which adds the noise of x_t to the data."""
    model, form = mixture
    x_0, eps = (np.random.default_rng(0).normal(size=(40, 2)) for _ in range(2))
    t = 25
    a, b = float(model.schedule.alpha_bar[t]) ** 0.5, float(model.schedule.one_minus_alpha_bar[t]) ** 0.5
    points = a * x_0 + b * eps
    found = log_density_at(model, torch.from_numpy(points), t)
    exact = form.noisy(float(model.schedule.log_snr[t])).log_prob(points)
    np.testing.assert_allclose(found.log_prob, exact, atol=0.02)
    assert float(found.solver_error.max()) < 0.05


def test_the_density_at_the_first_step_is_that_of_log_density(mixture):
    model, _ = mixture
    rows = np.random.default_rng(1).normal(size=(30, 2))
    shift = 0.5 * torch.log(model.schedule.alpha_bar[1])
    at = log_density_at(model, torch.from_numpy(rows) * torch.exp(shift), 1)
    np.testing.assert_allclose(at.log_prob + 2 * shift, log_density(model, rows).log_prob, atol=1e-3)


def test_points_are_denoised_tile_by_tile(fitted, penguins):
    model = fitted.model_
    x_t = torch.randn(TILE_ROWS + 3, 2, generator=torch.Generator().manual_seed(0))
    found = denoise(model, x_t, model.schedule.log_snr[10].float())
    torch.testing.assert_close(found, model.denoiser(x_t, model.schedule.log_snr[10].float()), rtol=1e-4, atol=1e-5)
    by_row = denoise(model, x_t, torch.full((len(x_t),), float(model.schedule.log_snr[10])))
    torch.testing.assert_close(found, by_row, rtol=1e-4, atol=1e-5)
    of_table = penguins.model_
    z = torch.zeros(5, of_table.codec.n_encoded)
    assert denoise(of_table, z, torch.full(z.shape, -torch.inf)).shape == z.shape


def test_densities_that_there_are_not_are_refused(fitted, penguins):
    with pytest.raises(InvalidInput, match="but got 31"):
        log_density_at(fitted.model_, torch.zeros(1, 2), 31)
    with pytest.raises(InvalidInput, match="all columns are numbers"):
        log_density_at(penguins.model_, torch.zeros(1, 6), 3)
