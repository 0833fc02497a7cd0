import math
from itertools import combinations, pairwise

import pytest
import torch

from backwalk.diffusion import (
    NoiseSchedule,
    best_steps,
    evenly_spaced,
    optimal_step_cost,
    optimal_variance,
    prior_term,
)
from backwalk.errors import InvalidInput
from tests.gaussian_chain import GaussianChain

VARIANCES = torch.tensor([1.0, 0.01], dtype=torch.float64)
SCHEDULES = {
    "log_snr_uniform": NoiseSchedule.log_snr_uniform(9, log_snr_max=8.0, log_snr_min=-6.0),
    "cosine": NoiseSchedule.cosine(9),
    "zero terminal SNR": NoiseSchedule(torch.tensor([math.inf, 6.0, 4.0, 2.5, 1.0, 0.0, -1.0, -3.0, -5.0, -math.inf])),
}


@pytest.fixture(params=SCHEDULES, ids=str)
def schedule(request):
    return SCHEDULES[request.param]


def exact_error(schedule):
    """m_t of a perfect denoiser of N(0, diag(VARIANCES))."""
    return (1 / (1 / VARIANCES[None, :] + schedule.snr[:, None])).mean(1)


def total(schedule, times, decoder_variance=None):
    """The bound of the respaced chain with the best scalar variances, by a route that knows no path."""
    short = schedule.respace(times)
    sigma_sq = optimal_variance(short, exact_error(short), decoder_variance=decoder_variance)
    return GaussianChain(torch.zeros(2), torch.diag(VARIANCES), short, sigma_sq).expected_bound()


@pytest.mark.slow
def test_the_best_steps_of_a_long_chain_are_nearly_as_good_as_those_of_a_shorter_one():
    """Found by review: 10,000 steps took gigabytes, 100,000 the machine."""
    long, short = (NoiseSchedule.log_snr_uniform(n, log_snr_max=8.0, log_snr_min=-6.0) for n in (5001, 1000))
    m = {schedule: exact_error(schedule) for schedule in (long, short)}
    chosen = best_steps(long, m[long], 10)
    assert len(chosen) == 10
    assert total(long, chosen) == pytest.approx(total(short, best_steps(short, m[short], 10)), abs=2e-4)
    assert best_steps(long, m[long], 3000) == evenly_spaced(5001, 3000)
    for k in (10, 3000):
        with pytest.raises(InvalidInput, match="denoising_error should be 5002 numbers"):
            best_steps(long, m[long][:-1], k)
        with pytest.raises(InvalidInput, match="decoder_variance should be > 0"):
            best_steps(long, m[long], k, decoder_variance=0.0)


def every_choice(n, k):
    return [[*chosen, n] for chosen in combinations(range(1, n), k - 1)]


@pytest.mark.parametrize("k", [1, 2, 4, 8, 9])
def test_best_steps_is_the_best_of_every_choice(schedule, k):
    m, n = exact_error(schedule), schedule.n_steps
    best = min(every_choice(n, k), key=lambda times: total(schedule, times))
    assert best_steps(schedule, m, k) == best


@pytest.mark.parametrize("variance", [1e-4, 0.3])
def test_best_steps_for_a_given_decoder_are_the_best_of_every_choice(schedule, variance):
    m, n = exact_error(schedule), schedule.n_steps
    best = min(every_choice(n, 3), key=lambda times: total(schedule, times, variance))
    assert best_steps(schedule, m, 3, decoder_variance=variance) == best


def test_costs_along_a_path_and_the_prior_term_are_the_bound(schedule):
    cost = optimal_step_cost(schedule, exact_error(schedule))
    corners = 2**0.5 * torch.diag(VARIANCES.sqrt())  # of the data's second moments, and mean 0 with their mirror images
    prior = float(prior_term(corners, schedule).mean())
    for path in ([9], [1, 9], [2, 5, 9]):
        along = 2 * sum(float(cost[s, t]) for s, t in pairwise([0, *path]))
        assert prior + along == pytest.approx(total(schedule, path), rel=1e-9, abs=1e-11)


def test_only_steps_towards_the_data_are_allowed(schedule):
    cost = optimal_step_cost(schedule, exact_error(schedule))
    assert (cost[torch.ones(10, 10, dtype=torch.bool).tril()] == math.inf).all()
    assert cost[torch.ones(10, 10, dtype=torch.bool).triu(1)].isfinite().all()


def test_a_long_chain_does_better_than_even_spacing():
    schedule = NoiseSchedule.linear(300, beta_min=1e-4, beta_max=0.04)
    times = best_steps(schedule, exact_error(schedule), 12)
    assert len(times) == 12
    assert total(schedule, times) < total(schedule, evenly_spaced(300, 12)) - 0.1


def test_errors_give_rule_value_and_remedy():
    schedule = SCHEDULES["cosine"]
    with pytest.raises(InvalidInput, match=r"k should lie in 1..9, but got 10"):
        best_steps(schedule, exact_error(schedule), 10)
    with pytest.raises(InvalidInput, match="denoising_error should be 10 numbers"):
        best_steps(schedule, torch.zeros(10), 3)
    for variance in (0.0, -1.0, math.nan):
        with pytest.raises(InvalidInput, match="decoder_variance should be > 0"):
            best_steps(schedule, exact_error(schedule), 3, decoder_variance=variance)
