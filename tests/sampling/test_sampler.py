"""Which steps of a chain a sampler visits."""

import math
from itertools import pairwise

import numpy as np
import pytest
import torch

from backwalk.diffusion import NoiseSchedule
from backwalk.errors import InvalidInput
from backwalk.sampling import Sampler

SCHEDULES = {
    "linear": NoiseSchedule.linear(100),
    "even": NoiseSchedule.log_snr_uniform(100, log_snr_max=12.0, log_snr_min=-6.0),
    "cosine": NoiseSchedule.cosine(60),
    "zero terminal SNR": NoiseSchedule(torch.tensor([math.inf, 7.0, 3.0, 0.0, -4.0, -math.inf])),
    "one step": NoiseSchedule.linear(1),
    "nearly equal steps": NoiseSchedule.from_noise_levels(
        torch.cat([torch.linspace(1, 1.001, 50), torch.tensor([50.0])])
    ),
}


@pytest.mark.parametrize("schedule", SCHEDULES.values(), ids=SCHEDULES)
def test_any_number_of_evaluations_visits_as_many_different_steps(schedule):
    n = schedule.n_steps
    for k in range(1, n + 3):
        times = Sampler("ddim", k).times(schedule)
        assert len(times) == min(k, n)
        assert times[-1] == n
        assert times[0] == 1 or k == 1
        assert all(s < t for s, t in pairwise(times))
    assert Sampler("ddim").times(schedule) == list(range(1, n + 1))


@pytest.mark.parametrize("solver", ["ancestral", "ddim", "dpm++2m", "dpm++2m-sde"])
def test_few_steps_are_even_in_the_seventh_root_of_the_noise_level(solver):
    schedule = NoiseSchedule.log_snr_uniform(1000, log_snr_max=12.0, log_snr_min=-6.0)
    roots = schedule.noise_level[Sampler(solver, 8).times(schedule)].numpy() ** (1 / 7)
    np.testing.assert_allclose(np.diff(roots), np.diff(roots).mean(), rtol=0.03)


@pytest.mark.parametrize("solver", ["ancestral", "ddim", "dpm++2m", "dpm++2m-sde", "multistep"])
def test_a_sampler_says_in_one_line_what_it_draws_from(solver):
    for n, cost in ((None, "every step"), (10, "10 evaluations")):
        text = Sampler(solver, n).describe()
        assert text.startswith(f"{solver}, {cost}")
        assert "draws from" in text
        assert "\n" not in text


@pytest.mark.parametrize(
    "bad", [("euler", None), (None, None), ("ddim", 0), ("ddim", 1.5), ("ddim", True), ("ddim", "9")]
)
def test_refused(bad):
    with pytest.raises(InvalidInput):
        Sampler(*bad)
