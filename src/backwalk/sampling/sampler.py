"""Samplers: a solver and the number of evaluations that it may spend, as a choice that can be named and stored."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np

from backwalk.diffusion import NoiseSchedule
from backwalk.errors import InvalidInput
from backwalk.limits import SOLVERS, SolverName, is_number, is_whole

FEWEST_WITH_NOISE = 15  # evaluations: with fewer "multistep" does better than "multistep-sde"
USUAL_EVALUATIONS = 20
_FARTHEST_LEVEL = 80.0  # beyond, x_0_hat is the data's mean: Karras et al. 2022 begin there
_EVEN_POWER = 0.4  # of the angle in which few steps are even; from 0.35 to 0.5 a classifier finds no difference


@dataclass(frozen=True)
class Sampler:
    """A solver by name, and how many evaluations of the denoiser a row costs: at most one for each step of the chain.

    None stands for 20, but with "ancestral" for one for each step, and with "distilled" for its one.

    - "ancestral": Ho et al. 2020's sampling from the chain, or from a shorter one.
    - "ddim": deterministic, first order; with `eta` in (0, 1] noise of variance eta^2 beta_tilde is added in each step,
      and eta = 1 is "ancestral" with beta_tilde. Other solvers take no eta.
    - "dpm++2m": deterministic, second order.
    - "multistep": deterministic, third order, the best with 6 to 14 evaluations, whose steps are fitted to the model
      when they are first asked for.
    - "multistep-sde": second order, with half of the reverse SDE's fresh noise: with 15 evaluations or more the best
      beyond the plane, and as good as any in it.
    - "distilled": one evaluation of the student that `Diffusion.distil` has put into the model.
    """

    solver: SolverName = "multistep-sde"
    n_evaluations: int | None = None
    eta: float = 0.0

    def __post_init__(self) -> None:
        if self.solver not in SOLVERS:
            raise InvalidInput(f"solver should be one of {', '.join(SOLVERS)}, but got {self.solver!r}.")
        k = self.n_evaluations
        if k is not None:
            if not is_whole(k) or k < 1:
                raise InvalidInput(
                    f"n_evaluations should be an integer >= 1 or None, but got {k!r}: {USUAL_EVALUATIONS} is usual."
                )
            object.__setattr__(self, "n_evaluations", int(k))  # NumPy's too, which no JSON takes
        elif self.solver not in ("ancestral", "distilled"):
            object.__setattr__(self, "n_evaluations", USUAL_EVALUATIONS)
        if self.solver == "distilled" and k not in (None, 1):
            raise InvalidInput(
                f'n_evaluations should be 1 or None for "distilled", but got {k}: for more, take another solver.'
            )
        check_eta(self.eta)
        object.__setattr__(self, "eta", float(self.eta))
        if self.eta > 0.0 and self.solver != "ddim":
            raise InvalidInput(
                f'eta should be 0 for "{self.solver}", but got {self.eta!r}: it is the share of fresh noise of "ddim".'
            )

    def times(self, schedule: NoiseSchedule) -> list[int]:
        """Return the steps of a chain that are visited: increasing, ending at n_steps.

        Few steps are even in s^(1/7) of the noise level s, as in Karras et al. 2022, up to s = 80 and from there to the
        last in one; those of "multistep-sde" are even in arctan(s)^0.4; rounded to steps of the chain. A model fits
        those of "multistep" to its own denoiser (`fitted_times`). A student is asked at the last step alone.
        """
        n, k = schedule.n_steps, self.n_evaluations
        if self.solver == "distilled":
            return [n]
        if k is None or k >= n:
            return list(range(1, n + 1))
        if self.solver == "multistep-sde":
            return spread_times(angle_places(schedule, _EVEN_POWER), k)
        return spread_times(schedule.noise_level[1:].clamp(max=_FARTHEST_LEVEL).numpy() ** (1 / 7), k)

    def describe(self, schedule: NoiseSchedule) -> str:
        """Return one line: the solver, what a row costs on a schedule, and which model the row is drawn from.

        >>> Sampler("ancestral", 10).describe(NoiseSchedule.linear(100))[:61]
        'ancestral, 10 evaluations; draws from a shorter chain of 10 s'
        """
        n, k = schedule.n_steps, len(self.times(schedule))
        cost = f"{k:,} evaluation{'s' * (k > 1)}"
        cost = cost if k < n or self.solver == "distilled" else f"{cost}, one for each step of the chain"
        eta = f" (eta = {self.eta:g})" if self.solver == "ddim" else ""
        return f"{self.solver}{eta}, {cost}; draws from {self._source(k, n)}"

    def _source(self, k: int, n: int) -> str:
        shorter = f"a shorter chain of {k:,} step{'s' * (k > 1)}"
        match self.solver:
            case "ancestral" if k < n:
                return f"{shorter} with reverse variances of its own, but for the noise of its decoder"
            case "ancestral":
                return "the chain p_theta that the bound is about, but for the noise of its decoder"
            case "ddim" if self.eta == 1.0:
                chain = "the chain" if k == n else shorter
                return f"{chain} with the reverse variance beta_tilde, but for the noise of its decoder"
            case "ddim" if self.eta > 0.0:
                return "DDIM's own chain, a model between beta_tilde's and the probability-flow ODE's"
            case "distilled":
                return "the student's map, an approximation of the probability-flow ODE's model"
            case "multistep-sde":
                return "an approximation of the reverse SDE's model, with half of its noise"
        return "an approximation of the probability-flow ODE's model"


def default_sampler(schedule: NoiseSchedule) -> Sampler:
    """Return the sampler of a model that is given none: 20 evaluations, or as many as its chain has steps.

    A classifier finds these rows as good as those of 50 evaluations (two moons, rings, a checkerboard, and two chains
    in eight columns).
    """
    k = min(USUAL_EVALUATIONS, schedule.n_steps)
    return Sampler(usual_solver(k), k)


def asked_sampler(
    own: Sampler, schedule: NoiseSchedule, sampler: Sampler | str | None, n_evaluations: int | None, eta: float = 0.0
) -> Sampler:
    """Return the sampler that is meant by a solver's name or a `Sampler`, and a number of evaluations.

    Without both it is a model's `own`, on its `schedule`. A number alone keeps the model's solver, unless that is the
    default one, which gives way to the `usual_solver` of so many. `eta` goes with a name.
    """
    if isinstance(sampler, Sampler):
        if n_evaluations is not None:
            raise InvalidInput("n_evaluations should be None where a Sampler is given: it holds its own.")
        return sampler
    if sampler is not None:
        return Sampler(sampler, n_evaluations, eta)  # type: ignore[arg-type]
    if n_evaluations is None:
        return own
    asked = replace(own, n_evaluations=n_evaluations)
    if own != default_sampler(schedule):
        return asked
    return replace(asked, solver=usual_solver(min(n_evaluations, schedule.n_steps)))


def usual_solver(n_evaluations: int) -> SolverName:
    """Return the solver that is taken for so many evaluations, where none is named."""
    return "multistep" if n_evaluations < FEWEST_WITH_NOISE else "multistep-sde"


def angle_places(schedule: NoiseSchedule, power: float) -> np.ndarray:
    """Return arctan(s)^power of the noise level s at a chain's steps, (n_steps,)."""
    place: np.ndarray = np.arctan(schedule.noise_level[1:].numpy()) ** power
    return place


def spread_times(place: np.ndarray, k: int) -> list[int]:
    """Return k times of a chain, increasing and ending at n_steps, that are spread evenly in `place`, (n_steps,).

    `place` does not fall along the chain.
    """
    targets = np.linspace(place[0], place[-1], k) if k > 1 else place[-1:]
    above = np.searchsorted(place, targets).clip(max=len(place) - 1)
    below = np.maximum(above - 1, 0)
    nearest = np.where(targets - place[below] <= place[above] - targets, below, above)
    return _made_distinct(1 + nearest, len(place))


def check_eta(eta: float) -> None:
    """Raise InvalidInput unless eta, the share of fresh noise in a DDIM step, lies in [0, 1]."""
    if not is_number(eta) or not 0.0 <= eta <= 1.0:
        raise InvalidInput(f"eta should lie in [0, 1], but got {eta!r}: 0 adds no noise, 1 that of beta_tilde.")


def _made_distinct(times: np.ndarray, n_steps: int) -> list[int]:
    """Return the times moved apart by as little as is needed, downwards from n_steps."""
    distinct = [n_steps]
    for time in reversed(times[:-1].tolist()):
        distinct.append(min(time, distinct[-1] - 1))
    # Some may have been pushed below the first step: the i-th visited is at least i.
    return [max(time, i) for i, time in enumerate(reversed(distinct), start=1)]
