"""The forward process: composed steps are the marginal, and the posterior obeys Bayes' rule."""

import pytest
import torch

from backwalk.diffusion import NoiseSchedule, q_marginal, q_posterior, q_sample, q_step
from backwalk.streams import Stream

SCHEDULES = {
    "linear": NoiseSchedule.linear(100),
    "cosine": NoiseSchedule.cosine(30),
    "log_snr_uniform": NoiseSchedule.log_snr_uniform(25, log_snr_max=8.0, log_snr_min=-8.0),
    "respaced": NoiseSchedule.linear(1000).respace([1, 50, 400, 1000]),
}
X_0, X_S, X_T, EPS = (Stream(1).child(i).normal(0, 5, 3) for i in range(4))


@pytest.fixture(params=SCHEDULES, ids=str)
def schedule(request):
    return SCHEDULES[request.param]


def test_stepwise_equals_marginal(schedule):
    mean, variance = X_0, torch.zeros((), dtype=torch.float64)
    for t in range(1, schedule.n_steps + 1):
        step = q_step(mean, t, schedule)
        mean, variance = step.mean, schedule.alpha[t] * variance + step.variance
        marginal = q_marginal(X_0, t, schedule)
        torch.testing.assert_close(mean, marginal.mean, rtol=1e-11, atol=0)
        torch.testing.assert_close(variance, marginal.variance, rtol=1e-11, atol=0)


def test_posterior_obeys_bayes_rule(schedule):
    # q(x_s | x_t, x_0) q(x_t | x_0) = q(x_t | x_s) q(x_s | x_0), at points of our choosing.
    for t in range(2, schedule.n_steps + 1):
        left = q_posterior(X_T, X_0, t, schedule).log_prob(X_S) + q_marginal(X_0, t, schedule).log_prob(X_T)
        right = q_step(X_S, t, schedule).log_prob(X_T) + q_marginal(X_0, t - 1, schedule).log_prob(X_S)
        torch.testing.assert_close(left, right, rtol=1e-9, atol=1e-8)


def test_posterior_at_the_first_step_is_the_data_point(schedule):
    posterior = q_posterior(X_T, X_0, 1, schedule)
    assert torch.equal(posterior.mean, X_0)
    assert posterior.variance == 0


def test_no_noise_at_time_zero(schedule):
    assert torch.equal(q_sample(X_0, 0, EPS, schedule), X_0)


@pytest.mark.parametrize("q", [lambda t, s: q_sample(X_0, t, EPS, s), lambda t, s: q_posterior(X_T, X_0, t, s).mean])
def test_a_time_for_each_row_equals_row_by_row(q, schedule):
    times = torch.tensor([1, 2, 4, 3, 1])
    rows = torch.stack([q(int(t), schedule)[i] for i, t in enumerate(times)])
    assert torch.equal(q(times, schedule), rows)


def test_sample_follows_the_marginal():
    # Moments of 10^5 draws; 6 standard errors is a false-alarm rate of 2e-9 a comparison (4 of them: 8e-9 in all).
    schedule, n, x_0 = NoiseSchedule.linear(10, beta_max=0.5), 100_000, torch.tensor([[1.0, -2.0]], dtype=torch.float64)
    x_t = q_sample(x_0.expand(n, 2), 7, Stream(2).normal(0, n, 2), schedule)
    marginal = q_marginal(x_0, 7, schedule)
    z = (x_t - marginal.mean) / marginal.variance.sqrt()
    assert (z.mean(0).abs() < 6 / n**0.5).all()
    assert ((z.square().mean(0) - 1).abs() < 6 * (2 / n) ** 0.5).all()
