"""Samplers: a solver and its number of evaluations, as a choice that can be named and stored."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Literal, TypeAlias

from backwalk.diffusion import NoiseSchedule
from backwalk.errors import InvalidInput
from backwalk.limits import KnownSolver, is_whole
from backwalk.sampling.solvers import (
    AUTO,
    SOLVERS,
    USUAL_EVALUATIONS,
    Multistep,
    Solver,
    StochasticMultistep,
    check_eta,
)

SolverName: TypeAlias = Literal["auto"] | KnownSolver | str
"""The name of a solver, one of these or of your own."""
FEWEST_WITH_NOISE = 15  # evaluations: with fewer "multistep" does better than "multistep-sde"
EVALUATIONS_OF_ONE_NUMBER, EVALUATIONS_OF_CONDITIONALS = 8, 60  # by default, in place of the usual


@dataclass(frozen=True)
class Sampler:
    """A solver by name and its number of evaluations, for `Diffusion.sample(sampler=...)`.

    A sampler can be compared and stored.

    Parameters
    ----------
    solver : str, default="auto"
        The name of a solver in `backwalk.sampling.SOLVERS`, one of these or of your own, or "auto":

        - "ancestral": Ho et al. 2020's sampling from the chain, or from a shorter one.
        - "ddim": deterministic, first order. Other solvers take no `eta`.
        - "multistep": deterministic, third order, the best with 6 to 14 evaluations.
        - "multistep-sde": second order, with half of the reverse SDE's fresh noise. The best from 15 evaluations on
          beyond the plane, and as good as any in it.
        - "auto": "multistep" with fewer than 15 evaluations, and else "multistep-sde".
    n_evaluations : int, optional
        The number of evaluations of the denoiser per row, at most one per step of the chain. None is the solver's
        default: 20, but for "ancestral" one per step.
    eta : float, default=0.0
        The share of fresh noise of "ddim", in [0, 1]: each step adds noise of variance eta^2 beta_tilde, and eta = 1 is
        "ancestral" with beta_tilde.

    Raises
    ------
    InvalidInput
        For another solver, or a number out of range.

    See Also
    --------
    backwalk.Diffusion.sample : The method that draws.
    backwalk.sampling.Solver : The base class of solvers.

    Examples
    --------
    >>> from backwalk import Sampler
    >>> Sampler("ancestral", 10)
    Sampler(solver='ancestral', n_evaluations=10, eta=0.0)
    """

    solver: SolverName = AUTO
    n_evaluations: int | None = None
    eta: float = 0.0

    def __post_init__(self) -> None:
        if not isinstance(self.solver, str) or (self.solver != AUTO and self.solver not in SOLVERS):
            raise InvalidInput(
                f"solver should be one of {', '.join([AUTO, *SOLVERS])}, but got {self.solver!r}: give a name, for a "
                "subclass of Solver its `name`."
            )
        k = self.n_evaluations
        if k is not None and (not is_whole(k) or k < 1):
            raise InvalidInput(
                f"n_evaluations should be an integer >= 1 or None, but got {k!r}: {USUAL_EVALUATIONS} is usual."
            )
        if k is None:
            k = USUAL_EVALUATIONS if self.solver == AUTO else SOLVERS[self.solver].default_evaluations
        # NumPy's integers become Python's, which JSON takes.
        object.__setattr__(self, "n_evaluations", k if k is None else int(k))
        check_eta(self.eta)
        object.__setattr__(self, "eta", float(self.eta))
        if self.eta > 0.0 and not self.solver_class.takes_eta:
            raise InvalidInput(
                f'eta should be 0 for "{self.solver}", but got {self.eta!r}: it is the share of fresh noise of "ddim".'
            )

    @property
    def solver_class(self) -> type[Solver]:
        """The class that is registered under the solver's name; for "auto" that of the number of evaluations."""
        if self.solver != AUTO:
            return SOLVERS[self.solver]
        few = self.n_evaluations is not None and self.n_evaluations < FEWEST_WITH_NOISE
        return Multistep if few else StochasticMultistep

    def times(self, schedule: NoiseSchedule) -> list[int]:
        """Return the steps of a chain that are visited.

        Parameters
        ----------
        schedule : NoiseSchedule
            The noise levels of the chain.

        Returns
        -------
        list of int
            The steps, increasing and ending at n_steps.
        """
        return self.solver_class.times(schedule, self.n_evaluations)

    def describe(self, schedule: NoiseSchedule) -> str:
        """Return the solver, its evaluations per row on a schedule, and the model that rows are drawn from, in a line.

        Parameters
        ----------
        schedule : NoiseSchedule
            The noise levels of the chain.

        Returns
        -------
        str
            The line.

        Examples
        --------
        >>> from backwalk import NoiseSchedule, Sampler
        >>> Sampler("ancestral", 10).describe(NoiseSchedule.linear(100))[:61]
        'ancestral, 10 evaluations; draws from a shorter chain of 10 s'
        """
        n, k = schedule.n_steps, len(self.times(schedule))
        cost = f"{k:,} evaluation{'s' * (k > 1)}"
        cost = cost if k < n else f"{cost}, one for each step of the chain"
        eta = f" (eta = {self.eta:g})" if self.solver_class.takes_eta else ""
        return f"{self.solver_class.name}{eta}, {cost}; draws from {self.solver_class.source(k, n, self.eta)}"


def default_sampler(schedule: NoiseSchedule, n_evaluations: int = USUAL_EVALUATIONS) -> Sampler:
    """Return the sampler "auto" with this number of evaluations, or with one per step of a shorter chain."""
    return Sampler(AUTO, min(n_evaluations, schedule.n_steps))


def choose_sampler(
    default: Sampler,
    schedule: NoiseSchedule,
    sampler: Sampler | SolverName | None,
    n_evaluations: int | None,
    eta: float = 0,
) -> Sampler:
    """Return the sampler for a `Sampler`, or for a solver's name with a number of evaluations and `eta`.

    Without arguments it is the model's `default`, on its `schedule`. A number alone keeps the default's solver.
    """
    if isinstance(sampler, Sampler):
        if n_evaluations is not None:
            raise InvalidInput(
                f"n_evaluations should be None with a Sampler, but got {n_evaluations!r}: give it to the Sampler."
            )
        return sampler
    if sampler is not None:
        return Sampler(sampler, n_evaluations, eta)
    if n_evaluations is None:
        return default
    chosen = replace(default, n_evaluations=n_evaluations)
    return chosen if n_evaluations <= schedule.n_steps else replace(chosen, n_evaluations=schedule.n_steps)
