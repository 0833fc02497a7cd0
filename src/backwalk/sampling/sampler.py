"""Samplers: a solver and the number of evaluations that it may spend, as a choice that can be named and stored."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal, get_args

import numpy as np

from backwalk.diffusion import NoiseSchedule
from backwalk.errors import InvalidInput

SolverName = Literal["ancestral", "ddim", "dpm++2m", "dpm++2m-sde", "multistep"]

_DRAWS_FROM = {
    "ancestral": "the chain p_theta that the bound is about, but for the noise of its decoder",
    "ddim": "a coarse probability-flow ODE (eta = 0)",
    "dpm++2m": "an approximation of the probability-flow ODE's model",
    "dpm++2m-sde": "an approximation of the reverse SDE's model",
    "multistep": "an approximation of the probability-flow ODE's model",
}


@dataclass(frozen=True)
class Sampler:
    """A solver by name, and how many evaluations of the denoiser a row costs: None is one for each step of the chain.

    - "ancestral": Ho et al. 2020's sampling from the chain, or from a shorter one.
    - "ddim": deterministic, first order.
    - "dpm++2m": deterministic, second order; "dpm++2m-sde" with fresh noise, for 20 evaluations or more.
    - "multistep": deterministic, third order, the best with about 10 evaluations.
    """

    solver: SolverName = "dpm++2m-sde"
    n_evaluations: int | None = None

    def __post_init__(self) -> None:
        if self.solver not in get_args(SolverName):
            raise InvalidInput(f"solver should be one of {', '.join(get_args(SolverName))}, but got {self.solver!r}.")
        k = self.n_evaluations
        if k is not None and (not isinstance(k, int) or isinstance(k, bool) or k < 1):
            raise InvalidInput(f"n_evaluations should be an integer >= 1 or None, but got {k!r}: 50 is usual.")

    def times(self, schedule: NoiseSchedule) -> list[int]:
        """Return the steps of a chain that are visited: increasing, ending at n_steps.

        Few steps are even in s^(1/7) of the noise level s, as in Karras et al. 2022, or, for the multistep solver, in
        arctan(s)^0.45; they are rounded to steps of the chain.
        """
        n, k = schedule.n_steps, self.n_evaluations
        if k is None or k >= n:
            return list(range(1, n + 1))
        level = schedule.noise_level[1:].clamp(max=1e6).numpy()
        place = np.arctan(level) ** 0.45 if self.solver == "multistep" else level ** (1 / 7)
        targets = np.linspace(place[0], place[-1], k) if k > 1 else place[-1:]
        nearest = 1 + np.abs(place[:, None] - targets).argmin(axis=0)
        return _made_distinct(nearest, n)

    def describe(self) -> str:
        """Return one line: the solver, its evaluations, and which model it draws from."""
        cost = "every step of the chain" if self.n_evaluations is None else f"{self.n_evaluations} evaluations"
        return f"{self.solver}, {cost}; draws from {_DRAWS_FROM[self.solver]}"


def _made_distinct(times: np.ndarray, n_steps: int) -> list[int]:
    """Return the times moved apart by as little as is needed, downwards from n_steps."""
    distinct = [n_steps]
    for time in reversed(times[:-1].tolist()):
        distinct.append(min(time, distinct[-1] - 1))
    # Some may have been pushed below the first step: the i-th visited is at least i.
    return [max(time, i) for i, time in enumerate(reversed(distinct), start=1)]
