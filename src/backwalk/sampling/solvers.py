"""Solvers, one class each: how x_{t-1} follows from x_t and from the denoiser's estimate there.

Every solver's step is x_{t-1} = mean + sigma eps. The mean is a formula in the points that the chain has visited and
the estimates x_0_hat there, newest first, and sigma is 0 where the solver is deterministic. A short chain is a respaced
schedule, so a step goes from t to t - 1 in all of them. In the last step, t = 1, every solver returns x_0_hat.

Below, x_t = a_t x_0 + b_t eps with a = sqrt(alpha_bar) and b = sqrt(1 - alpha_bar); s stands for t - 1;
lambda = ln(a / b) = log_snr / 2 and h = lambda_s - lambda_t; theta = arctan(b / a) is the angle.

A solver is a subclass of `Solver` with a `name`, under which it registers itself in `SOLVERS`. The class also states
which steps of a chain it visits, its default number of evaluations, and its options. A new solver needs nothing else.
"""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from inspect import signature
from typing import Any, ClassVar, NamedTuple, Self

import numpy as np
import torch
from numpy.polynomial import Polynomial
from scipy.integrate import fixed_quad
from torch import Tensor

from backwalk.diffusion import NoiseSchedule
from backwalk.errors import InvalidInput
from backwalk.limits import SOLVER_NAMES, is_number
from backwalk.sampling.times import angle_places, karras_times, spread_times

AUTO = "auto"
USUAL_EVALUATIONS = 20

SOLVERS: dict[str, type[Solver]] = {}
"""The solvers by name."""


class Visit(NamedTuple):
    """A point of the chain and the denoiser's estimate there.

    A solver's mean is a formula in the last few of these.

    Parameters
    ----------
    x_t : Tensor of shape (n, d)
        The points.
    x_0_hat : Tensor of shape (n, d)
        The estimates of x_0.

    See Also
    --------
    Solver : What reads them.

    Examples
    --------
    >>> import torch
    >>> from backwalk.sampling import Visit
    >>> x_t, x_0_hat = Visit(torch.ones(1, 2), torch.zeros(1, 2))
    >>> x_t.shape
    torch.Size([1, 2])
    """

    x_t: Tensor
    x_0_hat: Tensor


class Solver(ABC):
    """The base class of solvers: how x_{t-1} follows from x_t.

    A subclass with a class attribute `name` registers itself in `SOLVERS`, and `Diffusion.sample(sampler=name)` uses
    it. It defines `mean`, and `sigma` if it adds noise. `n_visits` says how many visits its mean needs (1 by default),
    and `default_evaluations` how many steps it takes (20; None is one per step of the chain).

    See Also
    --------
    SOLVERS : The registered solvers.
    walk_back : The chain of a solver.
    mean_weights : A solver's mean as factors.

    Notes
    -----
    Each step is `x_{t-1} = mean + sigma eps`. In the last one, t = 1, every solver returns x_0_hat.

    Examples
    --------
    >>> from backwalk.sampling import SOLVERS, Solver
    >>> class LastEstimate(Solver):  # x_{t-1} is x_0_hat with fresh noise
    ...     name = "last-estimate"
    ...
    ...     def mean(self, visits, t, schedule):
    ...         return float(schedule.alpha_bar[t - 1]) ** 0.5 * visits[0].x_0_hat
    ...
    ...     def sigma(self, t, schedule):
    ...         return float(schedule.one_minus_alpha_bar[t - 1]) ** 0.5
    >>> SOLVERS.pop("last-estimate") is LastEstimate
    True
    """

    name: ClassVar[str]
    default_evaluations: ClassVar[int | None] = USUAL_EVALUATIONS  # None: one per step of the chain
    takes_eta: ClassVar[bool] = False
    draws_from: ClassVar[str] = "an approximation of the probability-flow ODE's model"
    n_visits: ClassVar[int] = 1  # how many visits a step uses, with the newest

    def __init_subclass__(cls, **options: Any) -> None:
        super().__init_subclass__(**options)
        _check_solver(cls)
        SOLVERS[cls.name] = cls

    @classmethod
    def make(cls, sigma_sq: Tensor, eta: float) -> Self:
        """Return the solver for a chain. Each class takes what its formula needs, and ignores the rest.

        Parameters
        ----------
        sigma_sq : Tensor of shape (n_steps + 1,)
            The reverse variances of the chain.
        eta : float
            The `eta` of a `Sampler`.

        Returns
        -------
        Solver
            The solver.
        """
        del sigma_sq, eta
        return cls()

    @classmethod
    def times(cls, schedule: NoiseSchedule, k: int | None) -> list[int]:
        """Return the steps of a chain that are visited.

        Parameters
        ----------
        schedule : NoiseSchedule
            The noise levels of the chain.
        k : int or None
            The number of steps; None for all.

        Returns
        -------
        list of int
            The steps, increasing and ending at n_steps.
        """
        n = schedule.n_steps
        return list(range(1, n + 1)) if k is None or k >= n else cls.few_times(schedule, k)

    @classmethod
    def few_times(cls, schedule: NoiseSchedule, k: int) -> list[int]:
        """Return k steps of a chain of more steps, by default even in s^(1/7) of the noise level s.

        Parameters
        ----------
        schedule : NoiseSchedule
            The noise levels of the chain.
        k : int
            The number of steps, below n_steps.

        Returns
        -------
        list of int
            The steps, increasing and ending at n_steps.

        Notes
        -----
        Source: Karras et al. 2022, for the power.
        """
        return karras_times(schedule, k)

    @classmethod
    def source(cls, k: int, n: int, eta: float) -> str:
        """Return in words which model rows are drawn from.

        Parameters
        ----------
        k : int
            The number of visited steps.
        n : int
            The number of steps of the chain.
        eta : float
            The `eta` of a `Sampler`.

        Returns
        -------
        str
            The words.
        """
        del k, n, eta
        return cls.draws_from

    def step(self, visits: Sequence[Visit], t: int, schedule: NoiseSchedule) -> tuple[Tensor, float]:
        """Return the mean of x_{t-1} and the standard deviation of its noise.

        Parameters
        ----------
        visits : sequence of Visit
            The visits at t, t + 1, ...
        t : int
            The step, from t to t - 1.
        schedule : NoiseSchedule
            The noise levels of the visited steps.

        Returns
        -------
        mean : Tensor of shape (n, d)
            The mean; x_0_hat at t = 1.
        sigma : float
            The standard deviation; 0 at t = 1.
        """
        if t == 1:
            return visits[0].x_0_hat, 0.0
        mean, sigma = self.mean(visits, t, schedule), self.sigma(t, schedule)
        sigma = sigma.item() if isinstance(sigma, Tensor) and sigma.numel() == 1 else sigma
        if not isinstance(mean, Tensor) or mean.shape != visits[0].x_t.shape:
            raise InvalidInput(
                f"{type(self).__name__}.mean should return a tensor of the shape of x_t, {tuple(visits[0].x_t.shape)}, "
                f"but returned a {type(mean).__name__} of shape {tuple(np.shape(mean))}: give a point for each row."
            )
        if not is_number(sigma) or not 0.0 <= sigma < math.inf:
            raise InvalidInput(
                f"{type(self).__name__}.sigma should return a finite number >= 0, but returned {sigma!r} at t = {t}: "
                "give the standard deviation of the noise as a float."
            )
        return mean, sigma

    @abstractmethod
    def mean(self, visits: Sequence[Visit], t: int, schedule: NoiseSchedule) -> Tensor:
        """Return the mean of x_{t-1}, linear in the points and the estimates.

        Parameters
        ----------
        visits : sequence of Visit
            The visits at t, t + 1, ...; at most `n_visits` of them.
        t : int
            The step, t >= 2.
        schedule : NoiseSchedule
            The noise levels of the visited steps.

        Returns
        -------
        Tensor of shape (n, d)
            The mean.
        """

    def sigma(self, t: int, schedule: NoiseSchedule) -> float:
        """Return the standard deviation of the noise in x_{t-1}.

        Parameters
        ----------
        t : int
            The step, t >= 2.
        schedule : NoiseSchedule
            The noise levels of the visited steps.

        Returns
        -------
        float
            The standard deviation; 0 for a deterministic solver.
        """
        del t, schedule
        return 0.0


def _check_solver(cls: type[Solver]) -> None:
    """Raise InvalidInput where a class cannot be used as a solver: its name, or the arguments of its formulas."""
    name = vars(cls).get("name")
    if not isinstance(name, str) or not name or name == AUTO:
        raise InvalidInput(
            f"{cls.__name__} should have a text as its class attribute `name`, but has {name!r}: give a name, by which "
            "`sampler` calls it."
        )
    if name in SOLVER_NAMES and name in SOLVERS:
        raise InvalidInput(f"{cls.__name__} should have a name of its own, but {name!r} is taken: choose another one.")
    if getattr(cls.mean, "__isabstractmethod__", False):
        raise InvalidInput(f"{cls.__name__} should define mean(self, visits, t, schedule), but does not: add it.")
    for method, arguments in ((cls.mean, "self, visits, t, schedule"), (cls.sigma, "self, t, schedule")):
        try:
            signature(method).bind(*arguments.split(", "))
        except TypeError as error:
            raise InvalidInput(
                f"{method.__qualname__} should take ({arguments}), but takes {signature(method)}: take these."
            ) from error


@dataclass(frozen=True, eq=False)
class Ancestral(Solver):
    """Ancestral sampling: a draw from p_theta(x_{t-1} | x_t) at each step.

    Its name is "ancestral". With all steps of the chain, it draws from the chain of the bound.

    Parameters
    ----------
    sigma_sq : Tensor of shape (n_steps + 1,)
        The reverse variances sigma_t^2.

    See Also
    --------
    Ddim : The deterministic form of it.
    backwalk.diffusion.p_transition : The distribution that it draws from.

    Notes
    -----
    `x_{t-1} = mu_theta + sigma_t eps`. Source: Ho et al. 2020, Algorithm 2.

    Examples
    --------
    >>> from backwalk import NoiseSchedule
    >>> from backwalk.diffusion import beta_variance
    >>> from backwalk.sampling import Ancestral
    >>> schedule = NoiseSchedule.from_beta([0.19, 0.36])
    >>> round(Ancestral(beta_variance(schedule)).sigma(2, schedule), 4)  # sqrt(beta_2)
    0.6
    """

    sigma_sq: Tensor
    name = "ancestral"
    default_evaluations: ClassVar[int | None] = None

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
            return f"{_shorter_chain(k)} with its own reverse variances, without the decoder's noise"
        return "the chain p_theta of the bound, without the decoder's noise"

    def mean(self, visits: Sequence[Visit], t: int, schedule: NoiseSchedule) -> Tensor:
        """Return mu_theta, the mean of q(x_{t-1} | x_t, x_0) at x_0_hat. Source: Ho et al. 2020, Eq. 7."""
        x_t, x_0_hat = visits[0]
        return float(schedule.x_t_weight[t]) * x_t + float(schedule.x_0_weight[t]) * x_0_hat

    def sigma(self, t: int, schedule: NoiseSchedule) -> float:
        """Return sigma_t."""
        del schedule
        return math.sqrt(float(self.sigma_sq[t]))


@dataclass(frozen=True)
class Ddim(Solver):
    """DDIM: from x_0_hat and eps_theta, with a share of fresh noise.

    Its name is "ddim". eta = 0 is deterministic, and eta = 1 is the ancestral step with beta_tilde.

    Parameters
    ----------
    eta : float, default=0.0
        The share of fresh noise, in [0, 1].

    Raises
    ------
    InvalidInput
        For an eta outside [0, 1].

    See Also
    --------
    Ancestral : Draws from p_theta.
    Multistep : A deterministic solver of third order.

    Notes
    -----
    `x_s = a_s x_0_hat + sqrt(b_s^2 - sigma^2) eps_theta + sigma eps` with s = t - 1, a = sqrt(alpha_bar), b = sqrt(1 -
    alpha_bar) and `sigma^2 = eta^2 beta_tilde_t`. With eta = 0 this is an Euler step of the probability-flow ODE in the
    noise level b / a, where it reads `d(x_t / a) / d(b / a) = eps_theta`.

    Source: Song, Meng & Ermon 2021 (DDIM), Eq. 12 and 16.

    Examples
    --------
    >>> from backwalk import NoiseSchedule
    >>> from backwalk.sampling import Ddim
    >>> Ddim().sigma(2, NoiseSchedule.linear(10)), round(Ddim(eta=1.0).sigma(2, NoiseSchedule.linear(10)), 4)
    (0.0, 0.0275)
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
        chain = "the chain" if k == n else _shorter_chain(k)
        return f"{chain} with the reverse variance beta_tilde, without the decoder's noise"

    def mean(self, visits: Sequence[Visit], t: int, schedule: NoiseSchedule) -> Tensor:
        """Return a_s x_0_hat + sqrt(b_s^2 - sigma^2) eps_theta."""
        x_t, x_0_hat = visits[0]
        (a_s, b_s), (a_t, b_t) = signal_and_noise(schedule, t - 1), signal_and_noise(schedule, t)
        eps_theta = (x_t - a_t * x_0_hat) / b_t
        return a_s * x_0_hat + math.sqrt(max(b_s**2 - self.sigma(t, schedule) ** 2, 0.0)) * eps_theta

    def sigma(self, t: int, schedule: NoiseSchedule) -> float:
        """Return eta sqrt(beta_tilde_t)."""
        return self.eta * math.sqrt(float(schedule.beta_tilde[t]))


@dataclass(frozen=True)
class Multistep(Solver):
    """Adams' methods for the probability-flow ODE in the angle: predict, then correct.

    Its name is "multistep". It is deterministic, of third order, and the best with 6 to 14 evaluations.

    See Also
    --------
    StochasticMultistep : The default, with noise.
    Ddim : A deterministic solver of first order.

    Notes
    -----
    With x_t = cos(theta) x_0 + sin(theta) eps the ODE reads dx / dtheta = v, and v is 0 where data of unit variance
    stay as they are. It is smooth, and theta runs from pi / 2 (noise alone) to 0 (clean data), so few steps suffice:
    `x_s = x_t + int v dtheta`, with v the straight line through its last two values (Bashforth). Once v is known at the
    end of a step, the step is repeated with the parabola through it and the two values before (Moulton), at no further
    evaluation.

    Source: Salimans & Ho 2022 for v and the angle; Zhao et al. 2023 for correcting with the evaluation at hand.

    Examples
    --------
    >>> from backwalk.sampling import Multistep
    >>> Multistep.n_visits, Multistep.default_evaluations
    (3, 20)
    """

    name = "multistep"
    n_visits = 3

    @classmethod
    def few_times(cls, schedule: NoiseSchedule, k: int) -> list[int]:
        """Return k times that are even in theta^0.4."""
        return spread_times(angle_places(schedule), k)

    def mean(self, visits: Sequence[Visit], t: int, schedule: NoiseSchedule) -> Tensor:
        """Return x_s, with v = (a x_t - x_0_hat) / b at each visit."""
        lambdas = [half_log_snr(schedule, t + k) for k in range(len(visits))]
        scales = [signal_and_noise(schedule, t + k) for k in range(len(visits))]
        v = [(a * x_t - x_0_hat) / b for (x_t, x_0_hat), (a, b) in zip(visits, scales, strict=True)]

        def integral(values: Sequence[Tensor], nodes: Sequence[float], start: float, end: float) -> Tensor:
            """Return int v dtheta of the polynomial with these values at the nodes; all places are given as lambda."""
            weights = integration_weights(tuple(turn(start, node) for node in nodes), turn(start, end))
            products = (weight * value for weight, value in zip(weights, values, strict=True))
            return sum(products, torch.zeros(()).to(values[0]))

        x_t = visits[0].x_t
        if len(visits) > 1:  # correct the step from t + 1 to t, which was predicted without v at t
            last_step = lambdas[1], lambdas[0]
            x_t = x_t + integral(v, lambdas, *last_step) - integral(v[1:], lambdas[1:], *last_step)
        return x_t + integral(v[:2], lambdas[:2], lambdas[0], half_log_snr(schedule, t - 1))


@dataclass(frozen=True)
class StochasticMultistep(Solver):
    """Adams' method for a reverse SDE, with the denoiser extrapolated in the angle.

    Its name is "multistep-sde", and it is the default. It is of second order in the moments.

    Parameters
    ----------
    noise : float, default=0.5
        The variance of the fresh noise relative to Song's reverse SDE, >= 0. 0 is the probability-flow ODE. Noise
        reduces the effect of earlier errors, but needs more steps.

    Raises
    ------
    InvalidInput
        For a noise that is negative or not finite.

    See Also
    --------
    Multistep : The deterministic solver.
    Ancestral : Draws from p_theta.

    Notes
    -----
    All these SDEs have the marginals of q. With rate = 1 + noise, `x_s = (b_s / b_t) e^{-noise h} x_t + a_s (1 -
    e^{-rate h}) D + b_s sqrt(1 - e^{-2 noise h}) eps`, where D is the mean of x_0_hat over the step, weighted by
    `e^{-rate (lambda_s - lambda)}`. Between visits x_0_hat is the straight line in theta through the last two
    estimates, and in the first step the last one. (A line in lambda would extrapolate too far, as steps at both ends of
    the chain are long in lambda.)

    Source: Xue et al. 2023, "SA-Solver", where `noise` is tau^2 and lines are in lambda.

    Examples
    --------
    >>> from backwalk.sampling import StochasticMultistep
    >>> StochasticMultistep().noise
    0.5
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
        """Return k times that are even in theta^0.4."""
        return spread_times(angle_places(schedule), k)

    def mean(self, visits: Sequence[Visit], t: int, schedule: NoiseSchedule) -> Tensor:
        """Return (b_s / b_t) e^{-noise h} x_t + a_s (1 - e^{-rate h}) D."""
        (a_s, b_s), (_, b_t), h = signal_and_noise(schedule, t - 1), signal_and_noise(schedule, t), _rise(schedule, t)
        x_t, estimate = visits[0]
        rate = 1.0 + self.noise
        if len(visits) > 1:
            here, before = half_log_snr(schedule, t), half_log_snr(schedule, t + 1)
            share = _mean_turn(here, h, rate) / turn(before, here)
            estimate = estimate + share * (estimate - visits[1].x_0_hat)
        return b_s / b_t * math.exp(-self._noise_times(h)) * x_t - a_s * math.expm1(-rate * h) * estimate

    def sigma(self, t: int, schedule: NoiseSchedule) -> float:
        """Return b_s sqrt(1 - e^{-2 noise h})."""
        _, b_s = signal_and_noise(schedule, t - 1)
        return b_s * math.sqrt(-math.expm1(-2.0 * self._noise_times(_rise(schedule, t))))

    def _noise_times(self, h: float) -> float:
        return self.noise * h if self.noise else 0.0  # h may be infinite, and 0 times it NaN


def mean_weights(solver: Solver, t: int, schedule: NoiseSchedule, n_visits: int) -> tuple[list[float], list[float]]:
    """Return a solver's mean as factors of the points and estimates.

    As the mean is linear, they are its values for unit vectors.

    Parameters
    ----------
    solver : Solver
        The solver.
    t : int
        The step.
    schedule : NoiseSchedule
        The noise levels of the visited steps.
    n_visits : int
        The number of visits.

    Returns
    -------
    x_t : list of float
        The factors of each visit's x_t, newest first.
    x_0_hat : list of float
        The factors of each visit's x_0_hat.

    See Also
    --------
    Solver : The solvers.

    Examples
    --------
    >>> from backwalk import NoiseSchedule
    >>> from backwalk.sampling import Ddim, mean_weights
    >>> schedule = NoiseSchedule.linear(10)
    >>> x_t, x_0_hat = mean_weights(Ddim(eta=1.0), 5, schedule, 1)
    >>> round(x_t[0] / float(schedule.x_t_weight[5]), 6), round(x_0_hat[0] / float(schedule.x_0_weight[5]), 6)
    (1.0, 1.0)
    """
    units = torch.eye(2 * n_visits, dtype=torch.float64)
    visits = [Visit(units[k], units[n_visits + k]) for k in range(n_visits)]
    weights = solver.step(visits, t, schedule)[0].tolist()
    return weights[:n_visits], weights[n_visits:]


def check_eta(eta: float) -> None:
    """Raise InvalidInput unless eta, the share of fresh noise in a DDIM step, lies in [0, 1]."""
    if not is_number(eta) or not 0.0 <= eta <= 1.0:
        raise InvalidInput(f"eta should lie in [0, 1], but got {eta!r}: 0 adds no noise, 1 that of beta_tilde.")


def signal_and_noise(schedule: NoiseSchedule, t: int) -> tuple[float, float]:
    """Return a and b at step t."""
    return math.sqrt(float(schedule.alpha_bar[t])), math.sqrt(float(schedule.one_minus_alpha_bar[t]))


def half_log_snr(schedule: NoiseSchedule, t: int) -> float:
    """Return lambda at step t."""
    return 0.5 * float(schedule.log_snr[t])


def turn(start: float, end: float) -> float:
    """Return theta(end) - theta(start), for a start and an end given as lambda.

    It is computed by arctan p - arctan q = arctan((p - q) / (1 + p q)), where p and q are e^{-lambda} at the end and
    the start: the difference of the angles themselves would lose its digits where both are nearly pi / 2.
    """
    if start == -math.inf or end == -math.inf:
        return math.atan(math.exp(start)) - math.atan(math.exp(end))
    return math.atan(math.sinh(0.5 * (start - end)) / math.cosh(0.5 * (start + end)))


@lru_cache(maxsize=4096)  # all tiles of rows share them
def integration_weights(nodes: tuple[float, ...], end: float) -> tuple[float, ...]:
    """Return the w with sum_k w_k f(nodes[k]) = int f from 0 to `end`, exact for the polynomial through the nodes.

    They are the integrals of Lagrange's basis, computed on node / end, as powers of small nodes would cancel.
    """
    places = [node / end for node in nodes]
    weights = []
    for k, place in enumerate(places):
        basis = Polynomial([1.0])
        for other in (*places[:k], *places[k + 1 :]):
            basis *= Polynomial([-other, 1.0]) / (place - other)
        weights.append(end * float(basis.integ()(1.0)))
    return tuple(weights)


@lru_cache(maxsize=4096)
def _mean_turn(start: float, h: float, rate: float) -> float:
    """Return the mean of theta - theta(start) over lambda = start + u, u in (0, h), weighted by e^{-rate (h - u)}."""

    def weighted_turn(u: np.ndarray) -> np.ndarray:
        turn_by_u = np.arctan(np.sinh(-0.5 * u) / np.cosh(start + 0.5 * u))  # as in `turn`, where all is finite
        weighted: np.ndarray = turn_by_u * np.exp(-rate * (h - u))
        return weighted

    integral, _ = fixed_quad(weighted_turn, 0.0, h, n=24)
    return rate * float(integral) / -math.expm1(-rate * h)


def _rise(schedule: NoiseSchedule, t: int) -> float:
    """Return h, by which lambda rises in the step from t to t - 1."""
    return half_log_snr(schedule, t - 1) - half_log_snr(schedule, t)


def _shorter_chain(k: int) -> str:
    return f"a shorter chain of {k:,} step{'s' * (k > 1)}"
