"""The steps of a short chain, fitted to a denoiser: a choice that is always one, follows from the model, and pays."""

import threading
from functools import cache, partial
from itertools import pairwise

import numpy as np
import pytest
import torch

from backwalk.diffusion import GaussianMixtureDenoiser, NoiseSchedule
from backwalk.fit.oracle import oracle_model
from backwalk.model import sample_rows, visited_times
from backwalk.sampling import DpmSolver, Multistep, Sampler, fit_times, last_state, spread_times, walk_back
from backwalk.streams import Stream

STREAM = Stream(29)
SCHEDULE = NoiseSchedule.log_snr_uniform(300, log_snr_max=10.0, log_snr_min=-6.0)
MEANS = torch.tensor([[-1.5, 0.0], [1.0, 0.5], [1.0, -0.5]]).double()
EXACT = GaussianMixtureDenoiser(
    torch.tensor([0.5, 0.3, 0.2]).double(), MEANS, torch.stack([v * torch.eye(2).double() for v in (1e-3, 0.02, 0.01)])
)
ROWS = MEANS.repeat(100, 1) + 0.05 * STREAM.child("rows").normal(0, 300, 2)


def noise(name, n):
    return STREAM.child(name).normal(0, n, 2)


FRESH = noise("fresh", 1000)


def landed(times, solver):
    return last_state(walk_back(EXACT, SCHEDULE.respace(times), solver, FRESH, noise=lambda _: None)).x_t


whole_chain = cache(partial(landed, range(1, 301)))


def log_error(times, solver):
    """Return the mean logarithm of the distance of fresh rows to the x_0 of the whole chain."""
    return float((landed(times, solver) - whole_chain(solver)).norm(dim=1).clamp(min=1e-12).log().mean())


@pytest.mark.slow
@pytest.mark.parametrize(
    "schedule",
    [
        NoiseSchedule.linear(30),
        NoiseSchedule.log_snr_uniform(12, log_snr_max=8.0, log_snr_min=-8.0),
        NoiseSchedule(torch.tensor([torch.inf, 7.0, 3.0, 0.0, -4.0, -torch.inf])),
        NoiseSchedule.from_noise_levels(torch.cat([torch.linspace(1, 1.001, 20), torch.tensor([50.0])])),
    ],
    ids=["linear", "even", "zero terminal SNR", "nearly equal steps"],
)
def test_any_number_of_times_increases_to_the_end_of_the_chain(schedule):
    model, n = oracle_model(EXACT, ROWS, schedule), schedule.n_steps
    for k in sorted({*range(1, 6), n // 2, n - 1, n, n + 1}):
        times = visited_times(model, Sampler("multistep", k))
        assert len(times) == min(k, schedule.n_steps)
        assert times[0] >= 1
        assert times[-1] == schedule.n_steps
        assert all(s < t for s, t in pairwise(times))


@pytest.mark.slow
@pytest.mark.parametrize("solver", [Multistep(), DpmSolver()], ids=lambda solver: type(solver).__name__)
@pytest.mark.parametrize("k", [2, 6, 20])
def test_fitted_times_err_less_on_fresh_noise_than_any_spread_by_a_rule(solver, k):
    """By e^0.1 for few times, which are moved one by one; more are the best of five rules, within the noise of rows."""
    fitted = log_error(fit_times(EXACT, SCHEDULE, solver, k, noise("pilot", 256)), solver)
    angle = np.arctan(SCHEDULE.noise_level[1:].numpy())
    ruled = [
        log_error(spread_times(place, k), solver)
        for place in (angle**0.2, angle**0.3, angle**0.4, angle**0.5, angle**0.6, np.tan(angle) ** (1 / 7))
    ]
    assert fitted < min(ruled) - (0.1 if k < 10 else -0.1)


def test_a_hundred_times_or_more_are_not_tried_out():
    """They are spread by a rule, and the denoiser, which would be asked thousands of times, is never asked."""

    def unasked(*_):
        raise AssertionError("the denoiser was asked")

    times = fit_times(unasked, SCHEDULE, Multistep(), 150, noise("pilot", 4))
    assert times == spread_times(np.arctan(SCHEDULE.noise_level[1:].numpy()) ** 0.4, 150)


@pytest.mark.slow
def test_times_follow_from_the_model_alone():
    """Not from who asks first: threads at once get what one gets, and the same model anew."""
    sampler, torch_threads = Sampler("multistep", 6), torch.get_num_threads()
    expected = visited_times(oracle_model(EXACT, ROWS, SCHEDULE), sampler)
    model, found = oracle_model(EXACT, ROWS, SCHEDULE), []
    try:
        torch.set_num_threads(2)
        threads = [threading.Thread(target=lambda: found.append(visited_times(model, sampler))) for _ in range(3)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    finally:
        torch.set_num_threads(torch_threads)
    assert found == [expected] * 3
    assert sample_rows(model, 0, 5, stream=STREAM, sampler=sampler).shape == (5, 2)


def test_the_whole_chain_and_other_solvers_keep_their_times():
    model = oracle_model(EXACT, ROWS, SCHEDULE)
    for sampler in (Sampler("multistep", 300), Sampler("multistep", 1), Sampler("ddim", 7)):
        assert visited_times(model, sampler) == sampler.times(SCHEDULE)
