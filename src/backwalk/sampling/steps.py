"""Solvers, one class each. A step from x_t to x_{t-1} is a weighted sum of the visits so far and of noise.

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

import numpy as np
from numpy.polynomial import Polynomial
from scipy.integrate import fixed_quad
from torch import Tensor

from backwalk.diffusion import NoiseSchedule
from backwalk.errors import InvalidInput
from backwalk.limits import is_number
from backwalk.sampling.times import angle_places, karras_times, spread_times
from backwalk.threads import scripted

USUAL_EVALUATIONS = 20
_EVEN_POWER = 0.4  # few steps are even in this power of the angle

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
        (a_s, b_s), (a_t, b_t) = _scales(schedule, t - 1), _scales(schedule, t)
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


@dataclass(frozen=True)
class DpmSolver(Step):
    """DPM-Solver++(2M): the exponential integrator in lambda with the denoiser extrapolated from two steps.

    x_s = (b_s / b_t) x_t + a_s (1 - e^{-h}) D with D = D_t + (D_t - D_{t+1}) / (2r), r = h_{t+1} / h; in the first step
    D = D_t. Source: Lu et al. 2022, "DPM-Solver++".
    """

    name = "dpm++2m"
    is_stochastic = False
    n_visits = 2

    def weights(self, t: int, schedule: NoiseSchedule, n_visits: int) -> Weights:
        """Return the weights."""
        (a_s, b_s), (_, b_t), h = _scales(schedule, t - 1), _scales(schedule, t), _step_size(schedule, t)
        beyond = 0.5 * h / _step_size(schedule, t + 1) if n_visits > 1 else 0.0
        estimate = -a_s * math.expm1(-h)
        return Weights((b_s / b_t,), ((1.0 + beyond) * estimate, -beyond * estimate))


@dataclass(frozen=True)
class Multistep(Step):
    """Adams' methods for the probability-flow ODE, in the angle theta = arctan(b / a): predict, then correct.

    With x_t = cos(theta) x_0 + sin(theta) eps the ODE reads dx / dtheta = v, and v is 0 where data of unit variance
    stay as they are. It is smooth, and theta runs from pi / 2 (noise alone) to 0 (clean data), so few steps suffice:
    x_s = x_t + int v dtheta, with v the straight line through its last two values (Bashforth). Once v is known at the
    end of a step, the step is repeated with the parabola through it and the two values before (Moulton), at no further
    evaluation: the order becomes 3. (Predicting by the parabola as well is better on smooth paths and worse where paths
    diverge.)

    Source: Salimans & Ho 2022 for v and the angle; Zhao et al. 2023 for correcting with the evaluation at hand.
    """

    name = "multistep"
    fits_times = True
    is_stochastic = False
    n_visits = 3

    def weights(self, t: int, schedule: NoiseSchedule, n_visits: int) -> Weights:
        """Return the weights, with v = (a x_t - x_0_hat) / b at every visit."""
        end, *visits = (_half_log_snr(schedule, t + k) for k in range(-1, n_visits))
        v = np.zeros(n_visits)
        v[:2] += _integration_weights([_turn(visits[0], visit) for visit in visits[:2]], _turn(visits[0], end))
        if n_visits > 1:
            theta = [_turn(visits[1], visit) for visit in visits]
            v += _integration_weights(theta, theta[0])
            v[1:] -= _integration_weights(theta[1:], theta[0])
        scales = [_scales(schedule, t + k) for k in range(n_visits)]
        x_t = [weight * a / b for weight, (a, b) in zip(v, scales, strict=True)]
        return Weights((1.0 + x_t[0], *x_t[1:]), tuple(-weight / b for weight, (_, b) in zip(v, scales, strict=True)))


@dataclass(frozen=True)
class StochasticMultistep(Step):
    """Adams' method for a reverse SDE, of second order in the moments, with the denoiser extrapolated in the angle.

    There is a reverse SDE for each `noise` >= 0, the variance of its fresh noise relative to Song's; 0 is the
    probability-flow ODE. All have q's marginals. Noise reduces the effect of earlier errors, but needs more steps. With
    r = 1 + noise,

        x_s = (b_s / b_t) e^{-noise h} x_t + a_s (1 - e^{-r h}) D + b_s sqrt(1 - e^{-2 noise h}) eps,

    where D is the mean of x_0_hat over the step, weighted by e^{-r (lambda_s - lambda)}: of the straight line in theta
    through the last two estimates, and of the last one alone in the first step. (A line in lambda would extrapolate
    too far, as steps at both ends of the chain are long in lambda.)

    Raises InvalidInput for a noise that is negative or not finite. Source: Xue et al. 2023, "SA-Solver", but for the
    angle.
    """

    noise: float = 0.5
    name = "multistep-sde"
    n_visits = 2
    draws_from = "an approximation of the reverse SDE's model, with half of its noise"

    def __post_init__(self) -> None:
        if not 0.0 <= self.noise < math.inf:
            raise InvalidInput(
                f"noise should be finite and >= 0, but got {self.noise!r}: 0 is the ODE, 0.5 the usual share."
            )

    @classmethod
    def few_times(cls, schedule: NoiseSchedule, k: int) -> list[int]:
        """Return k times even in arctan(s)^0.4 of the noise level s."""
        return spread_times(angle_places(schedule, _EVEN_POWER), k)

    @property
    def is_stochastic(self) -> bool:
        """Whether there is fresh noise."""
        return self.noise > 0.0

    def weights(self, t: int, schedule: NoiseSchedule, n_visits: int) -> Weights:
        """Return the weights."""
        (a_s, b_s), (_, b_t), h = _scales(schedule, t - 1), _scales(schedule, t), _step_size(schedule, t)
        forgotten, rate = self.noise * h if self.noise else 0.0, 1.0 + self.noise  # h may be infinite
        estimate, beyond = -a_s * math.expm1(-rate * h), 0.0
        if n_visits > 1:
            here, before = (_half_log_snr(schedule, t + k) for k in range(2))
            beyond = _mean_turn(here, h, rate) / _turn(before, here)
        return Weights(
            (b_s / b_t * math.exp(-forgotten),),
            ((1.0 + beyond) * estimate, -beyond * estimate),
            b_s * math.sqrt(-math.expm1(-2.0 * forgotten)),
        )


def check_eta(eta: float) -> None:
    """Raise InvalidInput unless eta, the share of fresh noise in a DDIM step, lies in [0, 1]."""
    if not is_number(eta) or not 0.0 <= eta <= 1.0:
        raise InvalidInput(f"eta should lie in [0, 1], but got {eta!r}: 0 adds no noise, 1 that of beta_tilde.")


def _shorter(k: int) -> str:
    return f"a shorter chain of {k:,} step{'s' * (k > 1)}"


def _turn(start: float, end: float) -> float:
    """Return theta(end) - theta(start), both given as lambda.

    The difference of the angles themselves would lose its digits where both are nearly pi / 2.
    """
    if start == -math.inf or end == -math.inf:
        return math.atan(math.exp(start)) - math.atan(math.exp(end))
    return math.atan(math.sinh(0.5 * (start - end)) / math.cosh(0.5 * (start + end)))


def _mean_turn(start: float, h: float, rate: float) -> float:
    """Return the mean of theta - theta(start) over a step of h in lambda, weighted by e^{-rate (lambda_s - lambda)}."""

    def weighted(u: np.ndarray) -> np.ndarray:
        turned = np.arctan(np.sinh(-0.5 * u) / np.cosh(start + 0.5 * u))
        product: np.ndarray = turned * np.exp(-rate * (h - u))
        return product

    integral, _ = fixed_quad(weighted, 0.0, h, n=24)
    return rate * float(integral) / -math.expm1(-rate * h)


def _integration_weights(nodes: Sequence[float], h: float) -> list[float]:
    """Return the w with sum_k w_k f(nodes[k]) = int f from 0 to h, exact for polynomials through the nodes.

    They are computed on u = node / h, as powers of small nodes would cancel.
    """
    places = [node / h for node in nodes]
    weights = []
    for k, place in enumerate(places):
        basis = Polynomial([1.0])
        for other in (*places[:k], *places[k + 1 :]):
            basis *= Polynomial([-other, 1.0]) / (place - other)
        weights.append(h * float(basis.integ()(1.0)))
    return weights


def _scales(schedule: NoiseSchedule, t: int) -> tuple[float, float]:
    """Return a and b at step t."""
    return math.sqrt(float(schedule.alpha_bar[t])), math.sqrt(float(schedule.one_minus_alpha_bar[t]))


def _half_log_snr(schedule: NoiseSchedule, t: int) -> float:
    """Return lambda at step t."""
    return 0.5 * float(schedule.log_snr[t])


def _step_size(schedule: NoiseSchedule, t: int) -> float:
    return _half_log_snr(schedule, t - 1) - _half_log_snr(schedule, t)


def _given(eps: Tensor | None) -> Tensor:
    if eps is None:
        raise InvalidInput("eps should be given, as this solver adds noise, but got None: draw it for every step.")
    return eps
