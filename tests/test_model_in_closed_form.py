"""A model whose denoiser is known: its samples, bound, densities and errors against closed forms, in the user's units.

An untrained residual denoiser is the exact one for data N(0, I) in encoded units, so with a codec around it everything
is known. Statistical tests have a false-alarm rate of 1e-8 each.
"""

from dataclasses import replace

import numpy as np
import pytest
import torch
from scipy import stats

from backwalk.denoiser import Residual, build_denoiser
from backwalk.diffusion import GaussianChain, NoiseSchedule
from backwalk.model import bound, log_density, measured_denoising_error, sample_rows
from backwalk.sampling import Sampler
from backwalk.streams import Stream
from backwalk.table import Codec, ConstantColumn, ScaledColumn

STREAM = Stream(6).child("test")
ALARM = 1e-8
Z = stats.norm.isf(ALARM / 2)
CENTRE, SCALE = np.array([3.0, -100.0]), np.array([0.5, 20.0])


@pytest.fixture(scope="module")
def exact(fitted):
    """A model of N(CENTRE, diag(SCALE^2)) beside the constant 7."""
    schedule = NoiseSchedule.log_snr_uniform(40, log_snr_max=8.0, log_snr_min=-7.0)
    first, second = (ScaledColumn(*map(float, pair)) for pair in zip(CENTRE, SCALE, strict=True))
    return replace(
        fitted.model_,
        schedule=schedule,
        denoiser=build_denoiser(Residual(8, 1), 2, schedule=schedule, floor=0.1, stream=STREAM),
        codec=Codec((first, ConstantColumn(7.0), second)),
        reverse_variance="beta",
        decoder_variance=float(schedule.beta[1]),
    )


def exact_rows(n):
    x = CENTRE + SCALE * STREAM.child("rows").normal(0, n, 2).numpy()
    return np.column_stack([x[:, 0], np.full(n, 7.0), x[:, 1]])


@pytest.mark.parametrize("solver", ["ancestral", "ddim", "dpm++2m", "dpm++2m-sde", "multistep"])
def test_samples_have_the_data_s_moments(exact, solver):
    n = 4000
    rows = sample_rows(exact, 0, n, stream=STREAM, sampler=Sampler(solver))
    assert (rows[:, 1] == 7.0).all()
    z = (rows[:, [0, 2]] - CENTRE) / SCALE
    # Every solver keeps N(0, I), but for its small errors and the noise that the last step leaves out, e^-8.
    off = 0.01
    assert np.abs(z.mean(axis=0)).max() < (1 + off) * Z / n**0.5
    low, high = stats.chi2.ppf([ALARM / 2, 1 - ALARM / 2], n) / n
    assert low * (1 - off) < (z**2).mean(axis=0).min()
    assert (z**2).mean(axis=0).max() < high * (1 + off)


def test_the_bound_is_the_chain_s(exact):
    rows = exact_rows(500)
    terms = bound(exact, rows, stream=STREAM, n_draws=2)
    chain = GaussianChain(torch.zeros(2), torch.eye(2), exact.schedule, exact.sigma_sq)
    z = torch.from_numpy((rows[:, [0, 2]] - CENTRE) / SCALE)
    expected = chain.prior_term(z) + chain.reconstruction_term(z) + np.log(SCALE).sum()
    expected += sum(chain.transition_term(z, t) for t in range(2, exact.schedule.n_steps + 1))
    off = terms.per_row - expected
    assert abs(float(off.mean())) < Z * float(off.std()) / len(rows) ** 0.5


def test_the_log_density_is_normal(exact):
    rows = exact_rows(50)
    expected = stats.norm.logpdf(rows[:, [0, 2]], CENTRE, SCALE).sum(axis=1)
    result = log_density(exact, rows)
    np.testing.assert_allclose(result.log_prob.numpy(), expected, atol=0.01)  # the blur of the least level, e^-4
    assert float(result.solver_error.max()) < 0.01


@pytest.mark.parametrize(("n_levels", "curvature"), [(64, 0.0), (8, 0.1)])
def test_the_denoising_error_is_the_posterior_variance(exact, n_levels, curvature):
    z = STREAM.child("z").normal(0, 20_000, 2, torch.float32)
    error = measured_denoising_error(exact.denoiser, z, exact.schedule, stream=STREAM, n_levels=n_levels)
    assert float(error[0]) == 0.0
    # Var[x_0 | x_t] = 1 - alpha_bar, measured by 40,000 squares; fewer levels are joined by straight lines.
    tolerance = Z * (2 / z.numel()) ** 0.5 + curvature
    torch.testing.assert_close(error[1:], exact.schedule.one_minus_alpha_bar[1:], rtol=tolerance, atol=0.0)


@pytest.mark.parametrize("value", [1e6, 1e18, 1e28])
def test_far_rows_have_small_densities_and_large_bounds(fitted, value):
    rows = np.array([[value, 7.25, 0.0]])
    assert float(log_density(fitted.model_, rows, n_intervals=2).log_prob) < -1e6
    assert 1e6 < bound(fitted.model_, rows, stream=STREAM).total < np.inf
