import pytest
import torch

from backwalk.diffusion import (
    GaussianDenoiser,
    NoiseSchedule,
    beta_tilde_variance,
    beta_variance,
    optimal_variance,
    p_transition,
)
from backwalk.errors import InvalidInput
from backwalk.streams import Stream

SCHEDULE = NoiseSchedule.linear(20)


def test_variances_are_the_schedules_but_for_the_decoder():
    assert torch.equal(beta_variance(SCHEDULE), SCHEDULE.beta)
    assert torch.equal(beta_variance(SCHEDULE, decoder_variance=0.5)[2:], SCHEDULE.beta[2:])
    assert torch.equal(beta_tilde_variance(SCHEDULE)[2:], SCHEDULE.beta_tilde[2:])
    assert beta_tilde_variance(SCHEDULE)[1] == SCHEDULE.beta[1]
    assert SCHEDULE.beta_tilde[1] == 0  # the schedule itself is not written to


@pytest.mark.parametrize("make", [beta_variance, beta_tilde_variance])
@pytest.mark.parametrize("value", [0.0, 0.3])
def test_decoder_variance_is_entry_one(make, value):
    assert make(SCHEDULE, decoder_variance=value)[1] == value


def test_optimal_variance_lies_between_its_two_limits():
    # A perfect guess (m = 0) leaves beta_tilde; for N(0, I), whose error is 1 - alpha_bar, beta is right.
    nothing = torch.zeros(21, dtype=torch.float64)
    torch.testing.assert_close(optimal_variance(SCHEDULE, nothing), SCHEDULE.beta_tilde, rtol=0, atol=0)
    standard = SCHEDULE.one_minus_alpha_bar
    torch.testing.assert_close(optimal_variance(SCHEDULE, standard)[1:], SCHEDULE.beta[1:], rtol=1e-12, atol=0)
    assert optimal_variance(SCHEDULE, standard, decoder_variance=0.25)[1] == 0.25


@pytest.mark.parametrize("t", [1, 7, 20, torch.tensor([1, 7, 20])])
def test_transition_of_a_gaussian_is_the_textbook_one(t):
    # mu_theta = (I - beta_t C_t^-1) / sqrt(alpha_t) x + beta_t sqrt(alpha_bar_{t-1}) C_t^-1 m.
    mean, covariance = torch.tensor([1.0, -0.5]).double(), torch.tensor([[1.0, 0.4], [0.4, 0.3]]).double()
    x_t, sigma_sq = Stream(4).normal(0, 3, 2), beta_variance(SCHEDULE)
    got = p_transition(GaussianDenoiser(mean, covariance), x_t, t, SCHEDULE, sigma_sq)
    for row, time in enumerate(torch.as_tensor(t).expand(3).tolist()):
        beta, alpha, ab = SCHEDULE.beta[time], SCHEDULE.alpha[time], SCHEDULE.alpha_bar
        identity = torch.eye(2, dtype=torch.float64)
        inverse = torch.linalg.inv(ab[time] * covariance + (1 - ab[time]) * identity)
        expected = (identity - beta * inverse) @ x_t[row] / alpha.sqrt() + beta * ab[time - 1].sqrt() * inverse @ mean
        torch.testing.assert_close(got.mean[row], expected, rtol=1e-10, atol=1e-12)
        assert got.variance.expand(3, 1)[row] == sigma_sq[time]


def test_errors_give_rule_value_and_remedy():
    with pytest.raises(InvalidInput, match="decoder_variance should be >= 0, but got -1"):
        beta_variance(SCHEDULE, decoder_variance=-1.0)
    with pytest.raises(InvalidInput, match="denoising_error should be 21 numbers >= 0"):
        optimal_variance(SCHEDULE, torch.zeros(20))
    with pytest.raises(InvalidInput, match="least value -1"):
        optimal_variance(SCHEDULE, -torch.ones(21))
