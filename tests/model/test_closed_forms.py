"""A model whose denoiser is known: its samples, bound, densities and errors against closed forms, in the user's units.

Its data are Gaussian with a correlation of 0.9 in encoded units. (N(0, I) would not do: there v is 0, and what stands
still cannot go wrong.) Statistical tests have a false-alarm rate of 1e-8 each.
"""

import numpy as np
import pytest
import torch
from scipy import stats

from backwalk.diffusion import GaussianDenoiser, NoiseSchedule
from backwalk.fit.oracle import oracle_model
from backwalk.model import bound, log_density, measure_denoising_error, sample_rows
from backwalk.sampling import Sampler
from backwalk.streams import Stream
from backwalk.table import Codec, ConstantColumn, NumberColumn
from tests.gaussian_chain import GaussianChain

STREAM = Stream(6).child("test")
ALARM = 1e-8
Z = stats.norm.isf(ALARM / 2)
CENTRE, SCALE = np.array([3.0, -100.0]), np.array([0.5, 20.0])
MEAN, COVARIANCE = torch.tensor([0.4, -0.3]).double(), torch.tensor([[1.0, 0.72], [0.72, 0.64]]).double()
SCHEDULE = NoiseSchedule.log_snr_uniform(200, log_snr_max=8.0, log_snr_min=-9.0)


def encoded_draws(n):
    return MEAN + STREAM.child("rows").normal(0, n, 2) @ torch.linalg.cholesky(COVARIANCE).T


def exact_rows(n):
    x = CENTRE + SCALE * encoded_draws(n).numpy()
    return np.column_stack([x[:, 0], np.full(n, 7.0), x[:, 1]])


@pytest.fixture(scope="module")
def exact():
    """A model of those data beside the constant 7."""
    first, second = (NumberColumn(*map(float, pair)) for pair in zip(CENTRE, SCALE, strict=True))
    codec = Codec((first, ConstantColumn(7.0), second))
    denoiser = GaussianDenoiser(MEAN, COVARIANCE)
    return oracle_model(denoiser, exact_rows(500), SCHEDULE, codec=codec, reverse_variance="beta")


@pytest.mark.slow
@pytest.mark.parametrize("solver", ["ancestral", "ddim", "multistep", "multistep-sde"])
def test_samples_have_the_data_s_moments(exact, solver):
    n = 4000
    rows = sample_rows(exact, 0, n, stream=STREAM, sampler=Sampler(solver, exact.schedule.n_steps))
    assert (rows[:, 1] == 7.0).all()
    variances, axes = np.linalg.eigh(COVARIANCE.numpy())
    z = (((rows[:, [0, 2]] - CENTRE) / SCALE - MEAN.numpy()) @ axes) / np.sqrt(variances)
    # What a solver of 200 steps errs by, most along the short axis, of variance 0.08: 3 % for DDIM, of first order.
    off = 0.04
    assert np.abs(z.mean(axis=0)).max() < (1 + off) * Z / n**0.5
    low, high = stats.chi2.ppf([ALARM / 2, 1 - ALARM / 2], n) / n
    assert low * (1 - off) < (z**2).mean(axis=0).min()
    assert (z**2).mean(axis=0).max() < high * (1 + off)
    assert abs(np.corrcoef(z.T)[0, 1]) < Z / n**0.5 + off


def test_the_bound_is_the_chain_s(exact):
    rows = exact_rows(500)
    terms = bound(exact, rows, stream=STREAM, n_draws=2)
    chain = GaussianChain(MEAN, COVARIANCE, exact.schedule, exact.sigma_sq)
    z = encoded_draws(500)
    expected = chain.prior_term(z) + chain.reconstruction_term(z) + np.log(SCALE).sum()
    expected += sum(chain.transition_term(z, t) for t in range(2, exact.schedule.n_steps + 1))
    off = terms.per_row - expected
    assert abs(float(off.mean())) < Z * float(off.std()) / len(rows) ** 0.5


def test_the_log_density_is_normal(exact):
    blurred = torch.distributions.MultivariateNormal(MEAN, COVARIANCE + np.exp(-8.0) * torch.eye(2).double())
    expected = blurred.log_prob(encoded_draws(50)) - np.log(SCALE).sum()
    result = log_density(exact, exact_rows(50))
    # What is left is the wrong start at s_max = 90: |x_N| |m| / s_max.
    np.testing.assert_allclose(result.log_prob.numpy(), expected.numpy(), atol=0.02)
    assert float(result.solver_error.max()) < 0.01


@pytest.mark.slow
@pytest.mark.parametrize(("n_levels", "curvature"), [(200, 0.0), (8, 0.1)])
def test_the_denoising_error_is_the_posterior_variance(exact, n_levels, curvature):
    z, d = encoded_draws(20_000).float(), 2
    error = measure_denoising_error(exact.denoiser, z, exact.schedule, stream=STREAM, n_levels=n_levels)
    assert float(error[0]) == 0.0
    # m_t = tr (S^-1 + SNR_t I)^-1 / d, by 20,000 squares of relative variance 2 at most; fewer levels are joined by
    # straight lines.
    expected = (1 / (1 / torch.linalg.eigvalsh(COVARIANCE) + exact.schedule.snr[1:, None])).sum(1) / d
    torch.testing.assert_close(error[1:], expected, rtol=Z * (2 / len(z)) ** 0.5 + curvature, atol=0.0)


@pytest.mark.parametrize(
    "schedule",
    [
        NoiseSchedule.linear(1000, beta_min=1e-4, beta_max=0.02),
        NoiseSchedule.cosine(1000),
        NoiseSchedule(torch.cat([SCHEDULE.log_snr, torch.tensor([-np.inf]).double()])),
    ],
    ids=["linear", "cosine", "to noise alone"],
)
def test_the_denoising_error_is_joined_where_it_is_smooth(exact, schedule):
    """Found by review: joined by straight lines in t, it was half of the truth in a linear schedule's first steps."""
    z = encoded_draws(5_000).float()
    error = measure_denoising_error(exact.denoiser, z, schedule, stream=STREAM)
    expected = (1 / (1 / torch.linalg.eigvalsh(COVARIANCE) + schedule.snr[1:, None])).sum(1) / 2
    torch.testing.assert_close(error[1:], expected, rtol=Z * (2 / len(z)) ** 0.5 + 0.02, atol=0.0)


@pytest.mark.parametrize("value", [1e6, 1e18, 1e28])
def test_far_rows_have_small_densities_and_large_bounds(fitted, value):
    rows = np.array([[value, 7.25, 0.0]])
    assert float(log_density(fitted.model_, rows, n_intervals=2).log_prob) < -1e6
    assert 1e6 < bound(fitted.model_, rows, stream=STREAM).total < np.inf
