"""Latents against closed forms: for Gaussian data the ODE is a linear map, and so is everything built on it."""

import dataclasses
import math

import numpy as np
import pandas as pd
import pytest
import torch
from scipy import stats

from backwalk.denoiser import Residual
from backwalk.diffusion import GaussianDenoiser, NoiseSchedule
from backwalk.errors import InvalidInput
from backwalk.estimator import Diffusion
from backwalk.model.latent import from_latent, to_latent
from backwalk.streams import Stream

STREAM = Stream(41)
MEAN = torch.tensor([0.3, -0.2], dtype=torch.float64)
COVARIANCE = torch.tensor([[1.0, 0.6], [0.6, 0.5]], dtype=torch.float64)
SCHEDULE = NoiseSchedule.log_snr_uniform(20, log_snr_max=9.0, log_snr_min=-6.0)
LOW, HIGH = float(SCHEDULE.noise_level[1]), float(SCHEDULE.noise_level[-1])
CENTRE, SCALE = np.array([3.0, -100.0]), np.array([0.5, 20.0])
VARIANCES, AXES = torch.linalg.eigh(COVARIANCE)
STRETCH = (((VARIANCES + HIGH**2) / (VARIANCES + LOW**2)) ** 0.5).numpy()
AXES_, MEAN_ = AXES.numpy(), MEAN.numpy()


def encoded_draws(n, name):
    return MEAN + STREAM.child(name).normal(0, n, 2) @ torch.linalg.cholesky(COVARIANCE).T


Z_ROWS = encoded_draws(50, "rows").numpy()
ROWS = CENTRE + SCALE * Z_ROWS


@pytest.fixture(scope="module")
def model(oracle_in_units):
    exact = GaussianDenoiser(MEAN, COVARIANCE)
    return oracle_in_units(exact, SCHEDULE, encoded_draws(100, "validation"), centre=CENTRE, scale=SCALE)


def closed_form(z):
    """x_max = m + U diag(stretch) U' (x - m), over the standard deviation of the noise's end."""
    return (MEAN_ + ((z - MEAN_) @ AXES_ * STRETCH) @ AXES_.T) / math.sqrt(1.0 + HIGH**2)


def test_latents_of_gaussian_data_are_a_linear_map_and_rows_its_inverse(model):
    errors = [np.abs(to_latent(model, ROWS, n_intervals=n) - closed_form(Z_ROWS)).max() for n in (16, 32, 64)]
    assert errors[1] < 1e-4
    assert errors[2] < errors[0]
    back = from_latent(model, closed_form(Z_ROWS))
    np.testing.assert_allclose(back / SCALE, ROWS / SCALE, rtol=0.0, atol=1e-4)
    np.testing.assert_allclose(from_latent(model, to_latent(model, ROWS)) / SCALE, ROWS / SCALE, rtol=0.0, atol=1e-3)


def test_latents_at_zero_terminal_snr_have_their_closed_form(model):
    """As s_max grows, stretch / sqrt(1 + s_max^2) goes to 1 / sqrt(S + s_min^2), and the angle to pi / 2."""
    to_noise = NoiseSchedule(torch.cat([SCHEDULE.log_snr, torch.tensor([-math.inf]).double()]))
    endless = dataclasses.replace(model, schedule=to_noise)
    expected = ((Z_ROWS - MEAN_) @ AXES_ / np.sqrt(VARIANCES.numpy() + LOW**2)) @ AXES_.T
    np.testing.assert_allclose(to_latent(endless, ROWS, n_intervals=32), expected, atol=1e-3)
    np.testing.assert_allclose(from_latent(endless, expected, n_intervals=32), ROWS, atol=1e-3 * SCALE.max())


@pytest.mark.slow
def test_latents_of_data_are_standard_normal_draws(model):
    # n |mean|^2 and sum |z|^2 are chi-square; the prior mismatch and the blur move them by less than a part in 100.
    n, alarm = 4000, 1e-8
    rows = CENTRE + SCALE * encoded_draws(n, "many").numpy()
    latents = to_latent(model, rows, n_intervals=16)
    assert n * (latents.mean(axis=0) ** 2).sum() < 1.05 * stats.chi2.isf(alarm, 2)
    low, high = stats.chi2.ppf([alarm / 2, 1 - alarm / 2], 2 * n)
    assert 0.99 * low < (latents**2).sum() < 1.01 * high
    # A correlation is 0 but for sampling: its standard error is 1 / sqrt(n).
    assert abs(np.corrcoef(latents.T)[0, 1]) < stats.norm.isf(alarm / 2) / n**0.5 + 0.005


def test_rows_that_differ_by_less_than_float32_can_tell_have_other_latents(model):
    near = ROWS[:1] + 1e-9 * SCALE
    assert 1e-10 < np.abs(to_latent(model, near) - to_latent(model, ROWS[:1])).max() < 1e-6


def test_refused(fitted, rows, model):
    for latents, message in (
        (np.zeros((2, 3)), r"shape \(n, 2\)"),
        (np.zeros(2), "Expected 2D array for Z"),
        (np.array([[0.0, np.nan]]), "NaN at row 0, column 1"),
        ([["a", "b"]], "numbers"),
        (np.array([[0.0, 1e7]]), "within 1e\\+06"),
    ):
        with pytest.raises(InvalidInput, match=message):
            fitted.from_latent(latents)
    other = rows[:2].copy()
    other[0, 1] = 7.0
    with pytest.raises(InvalidInput, match=r"got 7 at row 0 .* in column \d+, which is constant.*drop such rows"):
        fitted.to_latent(other)
    with pytest.raises(InvalidInput, match="n_intervals should be even"):
        to_latent(model, ROWS, n_intervals=3)


def test_rows_of_latents_are_of_the_kind_of_the_fitted_ones():
    rng = np.random.default_rng(0)
    table = pd.DataFrame(
        {"x": rng.normal(size=60), "n": rng.integers(0, 30, 60), "site": 3, "y": rng.normal(size=60).astype("float32")},
        index=rng.permutation(60),
    )
    model = Diffusion(
        n_steps=10, max_steps=3, denoiser=Residual(8, 1), columns={"n": "integer"}, random_state=0, verbose=False
    ).fit(table)
    latents = model.to_latent(table[["site", "y", "n", "x"]][:4])
    np.testing.assert_array_equal(latents, model.to_latent(table[:4]))
    assert latents.shape == (4, 3)
    rows = model.from_latent(latents)
    assert rows.dtypes.to_dict() == table.dtypes.to_dict()
    assert list(rows.columns) == list(table.columns)
    assert (rows["site"] == 3).all()
    assert (rows["n"].to_numpy() == table["n"][:4].to_numpy()).all()
    np.testing.assert_allclose(rows["x"], table["x"][:4], atol=1e-3)
