"""Solvers: one function each from x_t to x_{t-1}, given the denoiser's estimates of x_0.

All of them walk over a schedule's own steps, so a short chain is a respaced schedule and nothing else. They get what
was visited so far, (x_t, x_0_hat) newest first: a multistep solver looks back, the others use the first. With
a = sqrt(alpha_bar), b = sqrt(1 - alpha_bar), lambda = ln(a / b) = log_snr / 2 and h = lambda_{t-1} - lambda_t;
theta = arctan(b / a) = arctan s is the angle. In the
last step, t = 1, b_0 = 0 and h is infinite: every solver returns x_0_hat there and adds no noise.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Protocol

import torch
from numpy.polynomial import Polynomial
from torch import Tensor

from backwalk.diffusion import NoiseSchedule, eps_from_x_0, mu_from_x_0, v_from_x_0
from backwalk.errors import InvalidInput
from backwalk.sampling.sampler import check_eta


@dataclass(frozen=True, eq=False)
class Visit:
    """A point that the chain came through and the denoiser's estimate there, each (n, d)."""

    x_t: Tensor
    x_0_hat: Tensor


class Step(Protocol):
    """A solver's step from x_t to x_{t-1}."""

    @property
    def is_random(self) -> bool:
        """Whether the step uses eps."""
        ...

    def __call__(self, past: Sequence[Visit], t: int, schedule: NoiseSchedule, eps: Tensor | None, /) -> Tensor:
        """Return x_{t-1}, (n, d), from the visits at t, t + 1, ... and standard normal eps."""
        ...


@dataclass(frozen=True, eq=False)
class Ancestral:
    """x_{t-1} = mu_theta + sigma_t eps, a draw from p_theta(x_{t-1} | x_t); no noise at t = 1.

    `sigma_sq` is (n_steps + 1,). Source: Ho et al. 2020, Algorithm 2.
    """

    sigma_sq: Tensor
    is_random = True

    def __call__(self, past: Sequence[Visit], t: int, schedule: NoiseSchedule, eps: Tensor | None) -> Tensor:
        """Return x_{t-1}."""
        mu_theta = mu_from_x_0(past[0].x_t, past[0].x_0_hat, t, schedule)
        return mu_theta if t == 1 else mu_theta + math.sqrt(float(self.sigma_sq[t])) * _given(eps)


@dataclass(frozen=True)
class Ddim:
    """x_{t-1} = a_s x_0_hat + sqrt(b_s^2 - sigma^2) eps_theta + sigma eps, with sigma^2 = eta^2 beta_tilde_t.

    eta = 0 is deterministic: an Euler step of the probability-flow ODE in s = SNR^(-1/2), the noise level, where it
    reads d(x_t / a) / ds = eps_theta. eta = 1 is the ancestral step with beta_tilde. Raises InvalidInput for an eta
    outside [0, 1]. Source: Song et al. 2021, "Denoising diffusion implicit models", Eq. 12 and 16.
    """

    eta: float = 0.0

    def __post_init__(self) -> None:
        check_eta(self.eta)

    @property
    def is_random(self) -> bool:
        """Whether eta > 0."""
        return self.eta > 0.0

    def __call__(self, past: Sequence[Visit], t: int, schedule: NoiseSchedule, eps: Tensor | None) -> Tensor:
        """Return x_{t-1}."""
        x_0_hat = past[0].x_0_hat
        variance = self.eta**2 * float(schedule.beta_tilde[t])
        eps_theta = eps_from_x_0(past[0].x_t, x_0_hat, schedule.log_snr[t])
        noise_left = max(float(schedule.one_minus_alpha_bar[t - 1]) - variance, 0.0)
        x_s = math.sqrt(float(schedule.alpha_bar[t - 1])) * x_0_hat + math.sqrt(noise_left) * eps_theta
        return x_s if variance == 0.0 else x_s + math.sqrt(variance) * _given(eps)


@dataclass(frozen=True)
class DpmSolver:
    """DPM-Solver++(2M): the exponential integrator in lambda with the denoiser extrapolated from two steps.

    As an ODE, x_s = (b_s / b_t) x_t + a_s (1 - e^{-h}) D; as an SDE, which forgets its errors on the way,
    x_s = (b_s / b_t) e^{-h} x_t + a_s (1 - e^{-2h}) D + b_s sqrt(1 - e^{-2h}) eps. In both
    D = D_t + (D_t - D_{t+1}) / (2r) with r = h_{t+1} / h, and D = D_t in the first step.

    Source: Lu et al. 2022, "DPM-Solver++".
    """

    sde: bool = False

    @property
    def is_random(self) -> bool:
        """Whether it is the SDE."""
        return self.sde

    def __call__(self, past: Sequence[Visit], t: int, schedule: NoiseSchedule, eps: Tensor | None) -> Tensor:
        """Return x_{t-1}."""
        estimate = past[0].x_0_hat
        if t == 1:
            return estimate
        a_s, b_s, b_t = _scales(schedule, t)
        h = _step_size(schedule, t)
        if len(past) > 1:
            r = _step_size(schedule, t + 1) / h
            estimate = torch.lerp(past[1].x_0_hat, estimate, 1.0 + 0.5 / r)
        if not self.sde:
            return (b_s / b_t) * past[0].x_t - a_s * math.expm1(-h) * estimate
        fresh = -math.expm1(-2.0 * h)
        return (b_s / b_t * math.exp(-h)) * past[0].x_t + a_s * fresh * estimate + b_s * math.sqrt(fresh) * _given(eps)


@dataclass(frozen=True)
class Multistep:
    """Adams' methods for the probability-flow ODE, in the angle theta = arctan(b / a): predict, then correct.

    With x_t = cos(theta) x_0 + sin(theta) eps the ODE reads dx / dtheta = v, and v is 0 where data of unit variance
    stay as they are. It is smooth, and theta runs from pi / 2 (noise alone) to 0 (clean data), so that few steps do:
    x_s = x_t + int v dtheta, with v the straight line through its last two values (Bashforth). Once v is known at the
    end of a step, that step is made again with the parabola through it and the two before (Moulton), at no further
    evaluation: the order becomes 3, and the median error of ten steps five times smaller. (Predicting by the parabola
    as well is better on smooth paths and worse where paths part; in lambda, where the other solvers extrapolate, ten
    steps are too long.)

    Source: Salimans & Ho 2022 for v and the angle; Zhao et al. 2023 for correcting with the evaluation at hand.
    """

    is_random = False

    def __call__(self, past: Sequence[Visit], t: int, schedule: NoiseSchedule, eps: Tensor | None) -> Tensor:
        """Return x_{t-1}."""
        del eps  # a deterministic step
        if t == 1:
            return past[0].x_0_hat
        theta = [math.atan(float(schedule.noise_level[t + k])) for k in range(len(past))]
        v = [v_from_x_0(visit.x_t, visit.x_0_hat, schedule.log_snr[t + k]) for k, visit in enumerate(past)]
        x_t = past[0].x_t
        if len(past) > 1:
            x_t = x_t + _integral(v, theta, theta[1], theta[0]) - _integral(v[1:], theta[1:], theta[1], theta[0])
        return x_t + _integral(v[:2], theta[:2], theta[0], math.atan(float(schedule.noise_level[t - 1])))


def _integral(values: Sequence[Tensor], nodes: Sequence[float], start: float, end: float) -> Tensor:
    """Return the integral from `start` to `end` of the polynomial through the values at the nodes."""
    weights = _integration_weights(tuple(nodes), start, end)
    total = weights[0] * values[0]
    for weight, value in zip(weights[1:], values[1:], strict=True):
        total = total + weight * value
    return total


@lru_cache(maxsize=4096)  # the same for every tile
def _integration_weights(nodes: tuple[float, ...], start: float, end: float) -> list[float]:
    """Return the w with sum_k w_k f(nodes[k]) = int f from start to end, exact for polynomials through the nodes.

    They are found on u = (node - start) / h, h = end - start: near pi / 2 the nodes themselves agree in nearly all of
    their digits, and powers of them would cancel.
    """
    h = end - start
    places = [(node - start) / h for node in nodes]
    weights = []
    for k, place in enumerate(places):
        basis = Polynomial([1.0])
        for other in (*places[:k], *places[k + 1 :]):
            basis *= Polynomial([-other, 1.0]) / (place - other)
        weights.append(h * float(basis.integ()(1.0)))
    return weights


def _scales(schedule: NoiseSchedule, t: int) -> tuple[float, float, float]:
    a_s = math.sqrt(float(schedule.alpha_bar[t - 1]))
    b_s, b_t = (math.sqrt(float(schedule.one_minus_alpha_bar[step])) for step in (t - 1, t))
    return a_s, b_s, b_t


def _step_size(schedule: NoiseSchedule, t: int) -> float:
    return 0.5 * float(schedule.log_snr[t - 1] - schedule.log_snr[t])


def _given(eps: Tensor | None) -> Tensor:
    if eps is None:
        raise InvalidInput("eps should be given, as this solver adds noise, but got None: draw it for every step.")
    return eps
