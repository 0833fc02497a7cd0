"""What chains generate from N(0, I) for Gaussian data, in d = 1, 2, 10 and 50, on four schedules.

First by moments, without chance: every step is linear, so its images of the corners and of single noises tell all.
Then by draws, with the noise of the streams: whitened by the exact moments, they are standard normal draws, so the
squared length of their mean and the sum of their squares are chi-square, and each axis has equally many draws in bins
of equal probability. The false-alarm rate of each statistic is 1e-8.
"""

import math

import pytest
import torch
from scipy import stats

from backwalk.diffusion import (
    GaussianDenoiser,
    NoiseSchedule,
    beta_tilde_variance,
    beta_variance,
    optimal_variance,
)
from backwalk.sampling import Ancestral, Ddim, walk_back
from backwalk.streams import Stream
from tests.gaussian_chain import GaussianChain

ALARM = 1e-8
BINS = 20
SCHEDULES = {
    "linear": NoiseSchedule.linear(30, beta_max=0.3),
    "cosine": NoiseSchedule.cosine(30),
    "log_snr_uniform": NoiseSchedule.log_snr_uniform(30, log_snr_max=9.0, log_snr_min=-9.0),
    "zero terminal SNR": NoiseSchedule(torch.tensor([math.inf, 7.0, 3.0, 0.0, -4.0, -math.inf])),
    "respaced levels": NoiseSchedule.from_noise_levels(torch.logspace(-2.7, 1.9, 60)).respace([1, 10, 20, 33, 50, 60]),
}


@pytest.fixture(params=SCHEDULES, ids=str)
def schedule(request):
    return SCHEDULES[request.param]


def data(d):
    """Return a mean and a covariance with eigenvalues from 0.01 to 2 in a random basis."""
    stream = Stream(51).child(d)
    axes, _ = torch.linalg.qr(stream.child("axes").normal(0, d, d))
    covariance = (axes * torch.logspace(-2, math.log10(2), d, dtype=torch.float64)) @ axes.T
    return stream.child("mean").normal(0, 1, d)[0], (covariance + covariance.T) / 2


def make_solver(name, covariance, schedule):
    """Return a solver and the variances of its chain."""
    if name == "ddim":
        return Ddim(), schedule.beta
    if name == "optimal":
        # m_t = tr (S^-1 + SNR_t I)^-1 / d
        left = 1 / (1 / torch.linalg.eigvalsh(covariance) + schedule.snr[1:, None])
        sigma_sq = optimal_variance(schedule, torch.cat([torch.zeros(1).double(), left.mean(1)]))
    else:
        sigma_sq = {"beta": beta_variance, "beta_tilde": beta_tilde_variance}[name](schedule)
    return Ancestral(sigma_sq), sigma_sq


def exact_moments(name, chain):
    return chain.ddim_marginal() if name == "ddim" else chain.generated_marginal()


def assert_drawn_from(x, mean, covariance):
    """Fail unless the rows of x look like independent draws of N(mean, covariance)."""
    n, d = x.shape
    variances, axes = torch.linalg.eigh(covariance)
    z = (x - mean) @ axes / variances.sqrt()
    assert n * float(z.mean(0).square().sum()) < stats.chi2.isf(ALARM, d)
    low, high = stats.chi2.ppf([ALARM / 2 / d, 1 - ALARM / 2 / d], n)
    assert ((low < z.square().sum(0)) & (z.square().sum(0) < high)).all()
    bins = (torch.special.ndtr(z) * BINS).long().clamp(max=BINS - 1)
    counts = torch.stack([(bins == b).sum(0) for b in range(BINS)]).double()
    worst = float(((counts - n / BINS).square().sum(0) / (n / BINS)).max())
    assert worst < stats.chi2.isf(ALARM / d, BINS - 1)


@pytest.mark.parametrize("name", ["beta", "beta_tilde", "optimal", "ddim"])
@pytest.mark.parametrize("d", [1, 2, 10, pytest.param(50, marks=pytest.mark.slow)])
def test_moments(d, name, schedule):
    mean, covariance = data(d)
    solver, sigma_sq = make_solver(name, covariance, schedule)
    corners = torch.cat([torch.zeros(1, d), torch.eye(d)]).double()
    n = schedule.n_steps if solver.sigma(2, schedule) > 0.0 else 0
    start = torch.zeros((n + 1) * (d + 1), d, dtype=torch.float64)
    start[: d + 1] = corners

    def noise(t):  # rows t (d + 1) and on start at 0 and meet noise at step t alone
        eps = torch.zeros_like(start)
        eps[t * (d + 1) : (t + 1) * (d + 1)] = corners
        return eps

    *_, end = walk_back(GaussianDenoiser(mean, covariance), schedule, solver, start, noise=noise)
    images = end.x_t.reshape(n + 1, d + 1, d)
    gains = (images[:, 1:] - images[:, :1]).mT
    expected_mean, expected = exact_moments(name, GaussianChain(mean, covariance, schedule, sigma_sq))
    torch.testing.assert_close(images[0, 0], expected_mean, rtol=1e-10, atol=1e-12)
    torch.testing.assert_close((gains @ gains.mT).sum(0), expected, rtol=1e-10, atol=1e-12)


@pytest.mark.parametrize("name", ["beta", "beta_tilde", "ddim"])
@pytest.mark.parametrize(("d", "n"), [(2, 10_000), pytest.param(50, 2_000, marks=pytest.mark.slow)])
def test_draws(d, n, name, schedule):
    mean, covariance = data(d)
    solver, sigma_sq = make_solver(name, covariance, schedule)
    stream = Stream(52).child(name, d)
    *_, end = walk_back(
        GaussianDenoiser(mean, covariance),
        schedule,
        solver,
        stream.child("x_N").normal(0, n, d),
        noise=lambda t: stream.child("eps", t).normal(0, n, d),
    )
    assert_drawn_from(end.x_t, *exact_moments(name, GaussianChain(mean, covariance, schedule, sigma_sq)))


def test_the_judge_of_draws_sees_what_is_wrong():
    z = Stream(54).normal(0, 20_000, 2)
    zero, unit = torch.zeros(2).double(), torch.eye(2).double()
    assert_drawn_from(z, zero, unit)
    uniform = math.sqrt(12) * (Stream(55).uniform(0, 20_000, 2) - 0.5)  # of the right mean and variance
    for wrong in (z + 0.05, 1.04 * z, z.clamp(-1.5, 1.5), uniform):
        with pytest.raises(AssertionError):
            assert_drawn_from(wrong, zero, unit)
