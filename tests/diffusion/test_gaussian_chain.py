"""The closed forms against what they describe: chains run on moments, and the formulas written another way."""

import math

import pytest
import torch

from backwalk.diffusion import (
    GaussianDenoiser,
    NoiseSchedule,
    beta_tilde_variance,
    beta_variance,
    denoise_at_time,
    eps_from_x_0,
    p_transition,
)
from tests.gaussian_chain import GaussianChain

MEAN = torch.tensor([0.5, -1.0, 0.2], dtype=torch.float64)
COVARIANCE = torch.tensor([[1.0, 0.5, 0.1], [0.5, 0.6, 0.0], [0.1, 0.0, 0.05]], dtype=torch.float64)
SCHEDULES = {
    "linear": NoiseSchedule.linear(60),
    "cosine": NoiseSchedule.cosine(40),
    "zero terminal SNR": NoiseSchedule(torch.tensor([math.inf, 7.0, 3.0, 0.0, -4.0, -math.inf])),
}
CORNERS = torch.cat([torch.zeros(1, 3), torch.eye(3)]).double()  # what a linear map does to these tells all


@pytest.fixture(params=SCHEDULES, ids=str)
def schedule(request):
    return SCHEDULES[request.param]


def run_chain(step, n_steps):
    """Return the moments after x_{t-1} = step(x_t, t) + N(0, variance) from N(0, I), for a linear step."""
    mean, covariance = torch.zeros(3, dtype=torch.float64), torch.eye(3, dtype=torch.float64)
    for t in range(n_steps, 0, -1):
        images, variance = step(CORNERS, t)
        slope = (images[1:] - images[0]).T
        mean = slope @ mean + images[0]
        covariance = slope @ covariance @ slope.T + variance * torch.eye(3, dtype=torch.float64)
    return mean, covariance


@pytest.mark.parametrize("noise_at_last_step", [False, True])
@pytest.mark.parametrize("make", [beta_variance, beta_tilde_variance])
def test_generated_marginal_is_what_the_reverse_steps_do(schedule, make, noise_at_last_step):
    sigma_sq, denoiser = make(schedule), GaussianDenoiser(MEAN, COVARIANCE)

    def step(x, t):
        transition = p_transition(denoiser, x, t, schedule, sigma_sq)
        return transition.mean, transition.variance if t > 1 or noise_at_last_step else 0.0

    got = GaussianChain(MEAN, COVARIANCE, schedule, sigma_sq).generated_marginal(noise_at_last_step=noise_at_last_step)
    for ours, theirs in zip(got, run_chain(step, schedule.n_steps), strict=True):
        torch.testing.assert_close(ours, theirs, rtol=1e-10, atol=1e-11)


def test_ddim_marginal_is_what_ddim_steps_do(schedule):
    denoiser = GaussianDenoiser(MEAN, COVARIANCE)

    def step(x, t):
        x_0_hat = denoise_at_time(denoiser, x, t, schedule)
        eps = eps_from_x_0(x, x_0_hat, schedule.log_snr[t])
        return schedule.alpha_bar[t - 1].sqrt() * x_0_hat + schedule.one_minus_alpha_bar[t - 1].sqrt() * eps, 0.0

    got = GaussianChain(MEAN, COVARIANCE, schedule, schedule.beta).ddim_marginal()
    for ours, theirs in zip(got, run_chain(step, schedule.n_steps), strict=True):
        torch.testing.assert_close(ours, theirs, rtol=1e-9, atol=1e-10)


@pytest.mark.slow
def test_both_samplers_approach_the_data_as_steps_are_added():
    errors = []
    for n_steps in (30, 300, 3000):
        schedule = NoiseSchedule.log_snr_uniform(n_steps, log_snr_max=12.0, log_snr_min=-12.0)
        chain = GaussianChain(MEAN, COVARIANCE, schedule, beta_variance(schedule))
        moments = (chain.generated_marginal(), chain.ddim_marginal())
        errors.append([float((m - MEAN).abs().max() + (s - COVARIANCE).abs().max()) for m, s in moments])
    for sampler in range(2):
        assert errors[1][sampler] < 0.2 * errors[0][sampler]
        assert errors[2][sampler] < 0.2 * errors[1][sampler]
        assert errors[2][sampler] < 0.01


def test_true_reverse_variance_of_standard_data_is_beta():
    schedule = SCHEDULES["linear"]
    chain = GaussianChain(torch.zeros(2), torch.eye(2), schedule, beta_variance(schedule))
    mean, covariance = chain.generated_marginal(noise_at_last_step=True)
    torch.testing.assert_close(mean, torch.zeros(2, dtype=torch.float64))
    torch.testing.assert_close(covariance, torch.eye(2, dtype=torch.float64), rtol=1e-12, atol=1e-12)
    assert chain.expected_bound() == pytest.approx(math.log(2 * math.pi * math.e), rel=1e-12)


@pytest.mark.parametrize(
    ("n_steps", "variance", "excess"),
    [(100, "beta_tilde", 0.48), (100, "beta", 0.17), (1000, "beta_tilde", 0.046), (1000, "beta", 0.018)],
)
def test_excess_of_the_bound_on_a_thin_gaussian(n_steps, variance, excess):
    # Figures computed independently of this code, by the decoder variance m_1 and two digits.
    schedule = NoiseSchedule.log_snr_uniform(n_steps, log_snr_max=9.0, log_snr_min=-9.0)
    covariance = torch.diag(torch.tensor([1.0, 0.05**2], dtype=torch.float64))
    decoder = float((1 / (1 / covariance.diagonal() + schedule.snr[1])).mean())
    make = {"beta": beta_variance, "beta_tilde": beta_tilde_variance}[variance]
    sigma_sq = make(schedule) if variance == "beta" else make(schedule, decoder_variance=decoder)
    entropy = 0.5 * float(torch.logdet(2 * math.pi * math.e * covariance))
    bound = GaussianChain(torch.zeros(2), covariance, schedule, sigma_sq).expected_bound()
    assert bound - entropy == pytest.approx(excess, rel=0.05)
