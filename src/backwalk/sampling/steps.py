"""Solvers, one class each: their base, and those that use the last visit alone; `multistep.py` has the others.

A step from x_t to x_{t-1} is a weighted sum of the visits so far and of noise.

A solver is a subclass of `Step` with a `name`, under which it registers itself in `SOLVERS`. The class also states the
steps of a chain that it visits, its default number of evaluations, and its options. A new solver needs nothing else.

All solvers walk over a schedule's own steps: a short chain is a respaced schedule. They get the visits so far,
(x_t, x_0_hat), newest first. Multistep solvers look back, the others use the first. Below, a = sqrt(alpha_bar),
b = sqrt(1 - alpha_bar), lambda = ln(a / b) = log_snr / 2 and h = lambda_{t-1} - lambda_t; the angle is
theta = arctan(b / a) = arctan s. In the last step, t = 1, b_0 = 0 and h is infinite: every solver returns x_0_hat there
and adds no noise.
"""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Any, ClassVar, Self

from torch import Tensor

from backwalk.diffusion import NoiseSchedule
from backwalk.errors import InvalidInput
from backwalk.limits import is_number
from backwalk.sampling.times import karras_times
from backwalk.threads import scripted

USUAL_EVALUATIONS = 20

SOLVERS: dict[str, type[Step]] = {}
"""The solvers by name."""


@dataclass(frozen=True, eq=False)
class Visit:
    """A point of the chain and the denoiser's estimate there, each (n, d)."""

    x_t: Tensor
    x_0_hat: Tensor


@dataclass(frozen=True)
class Weights:
    """The factors of each visit's x_t and x_0_hat, newest first, and of eps."""

    x_t: tuple[float, ...]
    x_0_hat: tuple[float, ...]
    eps: float = 0.0


class Step(ABC):
    """A solver's step from x_t to x_{t-1}: a weighted sum of the visits, and of eps where it is stochastic.

    The sum is one call that releases Python's lock, and all tiles share its weights.
    """

    name: ClassVar[str]
    default_evaluations: ClassVar[int | None] = USUAL_EVALUATIONS  # None: one per step of the chain
    takes_eta: ClassVar[bool] = False
    fits_times: ClassVar[bool] = False  # whether a model fits the visited steps to its denoiser
    needs_student: ClassVar[bool] = False  # whether the denoiser is the model's student
    draws_from: ClassVar[str] = "an approximation of the probability-flow ODE's model"
    n_visits: ClassVar[int] = 1  # that a step uses, the newest included

    def __init_subclass__(cls, **options: Any) -> None:
        super().__init_subclass__(**options)
        if "name" in vars(cls):
            SOLVERS[cls.name] = cls

    @classmethod
    def make(cls, sigma_sq: Tensor, eta: float) -> Self:
        """Return the solver for a chain with reverse variances `sigma_sq`, (n_steps + 1,), and a sampler's `eta`."""
        del sigma_sq, eta
        return cls()

    @classmethod
    def checked_evaluations(cls, k: int | None) -> int | None:
        """Return the number of evaluations per row, the default for None. Raises InvalidInput for others."""
        return cls.default_evaluations if k is None else k

    @classmethod
    def times(cls, schedule: NoiseSchedule, k: int | None) -> list[int]:
        """Return the k steps of a chain that are visited, or all: increasing, ending at n_steps."""
        n = schedule.n_steps
        return list(range(1, n + 1)) if k is None or k >= n else cls.few_times(schedule, k)

    @classmethod
    def few_times(cls, schedule: NoiseSchedule, k: int) -> list[int]:
        """Return k < n_steps of a chain's steps, increasing, ending at n_steps."""
        return karras_times(schedule, k)

    @classmethod
    def source(cls, k: int, n: int, eta: float) -> str:
        """Return in words which model rows are drawn from, by k of a chain's n steps."""
        del k, n, eta
        return cls.draws_from

    @property
    @abstractmethod
    def is_stochastic(self) -> bool:
        """Whether the step uses eps."""

    @abstractmethod
    def weights(self, t: int, schedule: NoiseSchedule, n_visits: int) -> Weights:
        """Return the weights of the step from t, with n_visits visits, those of t, t + 1, ..."""

    def __call__(self, past: Sequence[Visit], t: int, schedule: NoiseSchedule, eps: Tensor | None) -> Tensor:
        """Return x_{t-1}, (n, d), from the visits at t, t + 1, ... and standard normal eps."""
        weights = step_weights(self, t, schedule, min(len(past), self.n_visits))
        terms = [
            *zip((visit.x_t for visit in past), weights.x_t, strict=False),
            *zip((visit.x_0_hat for visit in past), weights.x_0_hat, strict=False),
        ]
        if weights.eps:
            terms.append((_given(eps), weights.eps))
        values, factors = zip(*((value, factor) for value, factor in terms if factor), strict=True)
        total: Tensor = scripted(weighted_sum, values[0].device)(list(values), list(factors))
        return total


@lru_cache(maxsize=4096)
def step_weights(step: Step, t: int, schedule: NoiseSchedule, n_visits: int) -> Weights:
    """Return the weights of a solver's step from t; those of the last step are x_0_hat alone."""
    return step.weights(t, schedule, n_visits) if t > 1 else Weights((), (1.0,))


def weighted_sum(values: list[Tensor], weights: list[float]) -> Tensor:
    """Return sum_k weights[k] values[k], for TorchScript."""
    total = weights[0] * values[0]
    for k in range(1, len(values)):
        total.add_(values[k], alpha=weights[k])
    return total


@dataclass(frozen=True, eq=False)
class Ancestral(Step):
    """x_{t-1} = mu_theta + sigma_t eps, a draw from p_theta(x_{t-1} | x_t); no noise at t = 1.

    `sigma_sq` is (n_steps + 1,). Source: Ho et al. 2020, Algorithm 2.
    """

    sigma_sq: Tensor
    name = "ancestral"
    default_evaluations = None
    is_stochastic = True

    @classmethod
    def make(cls, sigma_sq: Tensor, eta: float) -> Self:
        """Return the solver with these reverse variances."""
        del eta
        return cls(sigma_sq)

    @classmethod
    def source(cls, k: int, n: int, eta: float) -> str:
        """Return in words which model rows are drawn from."""
        del eta
        if k < n:
            return f"{_shorter(k)} with its own reverse variances, without the decoder's noise"
        return "the chain p_theta of the bound, without the decoder's noise"

    def weights(self, t: int, schedule: NoiseSchedule, n_visits: int) -> Weights:
        """Return the weights of mu_theta, those of q's posterior, and sigma_t."""
        del n_visits
        x_t, x_0 = float(schedule.x_t_weight[t]), float(schedule.x_0_weight[t])
        return Weights((x_t,), (x_0,), math.sqrt(float(self.sigma_sq[t])))


@dataclass(frozen=True)
class Ddim(Step):
    """x_{t-1} = a_s x_0_hat + sqrt(b_s^2 - sigma^2) eps_theta + sigma eps, with sigma^2 = eta^2 beta_tilde_t.

    eta = 0 is deterministic: an Euler step of the probability-flow ODE in s = SNR^(-1/2), the noise level, where it
    reads d(x_t / a) / ds = eps_theta. eta = 1 is the ancestral step with beta_tilde. Raises InvalidInput for an eta
    outside [0, 1]. Source: Song, Meng & Ermon 2021 (DDIM), Eq. 12 and 16.
    """

    eta: float = 0.0
    name = "ddim"
    takes_eta = True

    def __post_init__(self) -> None:
        check_eta(self.eta)

    @classmethod
    def make(cls, sigma_sq: Tensor, eta: float) -> Self:
        """Return the solver with this eta."""
        del sigma_sq
        return cls(eta)

    @classmethod
    def source(cls, k: int, n: int, eta: float) -> str:
        """Return in words which model rows are drawn from."""
        if eta == 0.0:
            return super().source(k, n, eta)
        if eta < 1.0:
            return "DDIM's own chain, a model between beta_tilde's and the probability-flow ODE's"
        chain = "the chain" if k == n else _shorter(k)
        return f"{chain} with the reverse variance beta_tilde, without the decoder's noise"

    @property
    def is_stochastic(self) -> bool:
        """Whether eta > 0."""
        return self.eta > 0.0

    def weights(self, t: int, schedule: NoiseSchedule, n_visits: int) -> Weights:
        """Return the weights, with eps_theta = (x_t - a_t x_0_hat) / b_t."""
        del n_visits
        (a_s, b_s), (a_t, b_t) = scales_at(schedule, t - 1), scales_at(schedule, t)
        variance = self.eta**2 * float(schedule.beta_tilde[t])
        eps_theta = math.sqrt(max(b_s**2 - variance, 0.0))
        return Weights((eps_theta / b_t,), (a_s - eps_theta * a_t / b_t,), math.sqrt(variance))


@dataclass(frozen=True)
class Distilled(Ddim):
    """One step from x_N to the x_0 that a student returns; see `backwalk.distillation`."""

    name = "distilled"
    default_evaluations = 1
    takes_eta = False
    needs_student = True
    draws_from = "the student's map, an approximation of the probability-flow ODE's model"

    @classmethod
    def checked_evaluations(cls, k: int | None) -> int | None:
        """Return 1. Raises InvalidInput for other numbers."""
        if k not in (None, 1):
            raise InvalidInput(
                f'n_evaluations should be 1 or None for "{cls.name}", but got {k}: for more, take another solver.'
            )
        return cls.default_evaluations

    @classmethod
    def times(cls, schedule: NoiseSchedule, k: int | None) -> list[int]:
        """Return the last step of the chain."""
        del k
        return [schedule.n_steps]


def check_eta(eta: float) -> None:
    """Raise InvalidInput unless eta, the share of fresh noise in a DDIM step, lies in [0, 1]."""
    if not is_number(eta) or not 0.0 <= eta <= 1.0:
        raise InvalidInput(f"eta should lie in [0, 1], but got {eta!r}: 0 adds no noise, 1 that of beta_tilde.")


def _shorter(k: int) -> str:
    return f"a shorter chain of {k:,} step{'s' * (k > 1)}"


def scales_at(schedule: NoiseSchedule, t: int) -> tuple[float, float]:
    """Return a and b at step t."""
    return math.sqrt(float(schedule.alpha_bar[t])), math.sqrt(float(schedule.one_minus_alpha_bar[t]))


def _given(eps: Tensor | None) -> Tensor:
    if eps is None:
        raise InvalidInput("eps should be given, as this solver adds noise, but got None: draw it for every step.")
    return eps
