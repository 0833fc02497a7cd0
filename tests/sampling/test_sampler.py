"""Which steps of a chain a sampler visits."""

import math
from itertools import pairwise
from typing import get_args

import numpy as np
import pytest
import torch

from backwalk.diffusion import NoiseSchedule
from backwalk.errors import InvalidInput
from backwalk.sampling import (
    SOLVERS,
    Multistep,
    Sampler,
    SolverName,
    StochasticMultistep,
    choose_sampler,
    default_sampler,
)

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
@pytest.mark.parametrize("solver", ["ddim", "multistep-sde"])
def test_any_number_of_evaluations_visits_as_many_different_steps(schedule, solver):
    n = schedule.n_steps
    for k in range(1, n + 3):
        times = Sampler(solver, k).times(schedule)
        assert len(times) == min(k, n)
        assert times[-1] == n
        assert times[0] == 1 or k == 1
        assert all(s < t for s, t in pairwise(times))
    assert Sampler("ancestral").times(schedule) == list(range(1, n + 1))
    assert Sampler(solver) == Sampler(solver, 20)


@pytest.mark.parametrize("solver", ["ancestral", "ddim"])
def test_few_steps_are_even_in_the_seventh_root_of_the_noise_level(solver):
    schedule = NoiseSchedule.log_snr_uniform(1000, log_snr_max=12.0, log_snr_min=-6.0)
    roots = schedule.noise_level[Sampler(solver, 8).times(schedule)].numpy() ** (1 / 7)
    np.testing.assert_allclose(np.diff(roots), np.diff(roots).mean(), rtol=0.03)


def test_few_steps_with_fresh_noise_are_even_in_a_power_of_the_angle():
    schedule = NoiseSchedule.log_snr_uniform(1000, log_snr_max=12.0, log_snr_min=-6.0)
    places = np.arctan(schedule.noise_level[Sampler("multistep-sde", 8).times(schedule)].numpy()) ** 0.4
    np.testing.assert_allclose(np.diff(places), np.diff(places).mean(), rtol=0.03)


def test_type_checkers_know_the_solvers_names():
    assert {name for part in get_args(SolverName) for name in get_args(part)} == {"auto", *SOLVERS}


def test_every_solver_has_its_times_and_its_words():
    schedule, words = NoiseSchedule.linear(30), set()
    for solver in SOLVERS:
        assert Sampler(solver).times(schedule)[-1] == 30
        words.add(Sampler(solver).describe(schedule))
    assert len(words) == len(SOLVERS)


@pytest.mark.parametrize(("k", "solver"), [(3, Multistep), (14, Multistep), (15, StochasticMultistep)])
def test_auto_is_the_solver_that_does_best_with_as_many_evaluations(k, solver):
    assert default_sampler(NoiseSchedule.linear(k)) == Sampler("auto", k)
    assert Sampler("auto", k).solver_class is solver
    assert Sampler("auto", k).describe(SCHEDULES["linear"]).startswith(solver.name)
    assert default_sampler(NoiseSchedule.linear(1000)) == Sampler() == Sampler("auto", 20)


@pytest.mark.parametrize("solver", ["auto", *SOLVERS])
def test_a_number_alone_keeps_the_solver_that_was_named(solver):
    """Also where it is the one that "auto" takes with another number."""
    schedule = NoiseSchedule.linear(1000)
    for k in (10, 20, 30):
        own = Sampler(solver, k)
        assert choose_sampler(own, schedule, None, None) == own
        for n_evaluations in (5, 14, 15, 40):
            assert choose_sampler(own, schedule, None, n_evaluations) == Sampler(solver, n_evaluations)
        assert choose_sampler(own, schedule.respace([5, 1000]), None, 40) == Sampler(solver, 2)


@pytest.mark.parametrize(
    "bad",
    [
        *[("euler", None), (None, None), ("ddim", 0), ("ddim", 1.5), ("ddim", True), ("ddim", "9")],
        *[("ddim", None, eta) for eta in (-0.1, 1.1, math.nan, "1", True, None)],
        ("ancestral", None, 0.5),
        ("multistep", 10, 1.0),
    ],
)
def test_refused(bad):
    with pytest.raises(InvalidInput):
        Sampler(*bad)


EVEN_TO_THE_END = torch.cat([torch.tensor([math.inf]), torch.linspace(12.4, -6.0, 1000), torch.tensor([-math.inf])])


@pytest.mark.parametrize("schedule", [NoiseSchedule.cosine(1000), NoiseSchedule(EVEN_TO_THE_END)])
def test_few_steps_are_not_spent_where_there_is_noise_alone(schedule):
    """Found by review: 14 and 16 of 20 evaluations were where the noise is 18 times the data and more."""
    visited = schedule.noise_level[Sampler("ddim", 20).times(schedule)]
    assert (visited > 18.0).sum() <= 5
    assert (visited < 1.0).sum() >= 8
