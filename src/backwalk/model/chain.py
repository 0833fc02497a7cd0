"""The reverse chain of a model, on the steps that a sampler visits."""

from __future__ import annotations

from dataclasses import dataclass

from backwalk.diffusion import NoiseSchedule
from backwalk.model.diffusion_model import DiffusionModel, reverse_variances
from backwalk.sampling import Sampler, Solver, choose_sampler
from backwalk.torch_state import in_initial_torch_state


@dataclass(frozen=True, eq=False)
class ReverseChain:
    """The chain that a sampler walks, on some of the steps of the model's chain.

    - `schedule`: the respaced schedule, whose steps are the visited ones.
    - `times`: the visited steps of the model's chain, increasing, after a 0: `times[t]` is step t of `schedule`.
    """

    schedule: NoiseSchedule
    solver: Solver
    times: list[int]


@in_initial_torch_state
def make_chain(model: DiffusionModel, sampler: Sampler | str | None) -> ReverseChain:
    """Return the chain of a sampler, which may be given by its solver's name; None is the model's default sampler."""
    chosen = choose_sampler(model.sampler, model.schedule, sampler, None)
    times = chosen.times(model.schedule)
    return ReverseChain(model.schedule.respace(times), make_solver(model, chosen, times), [0, *times])


def make_solver(model: DiffusionModel, sampler: Sampler, times: list[int]) -> Solver:
    """Return a sampler's solver on the chain that visits these times."""
    return sampler.solver_class.make(reverse_variances(model, times), sampler.eta)
