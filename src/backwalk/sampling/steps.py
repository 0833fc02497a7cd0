"""Solvers: one function each from x_t to x_{t-1}, given the denoiser's estimates of x_0.

All of them walk over a schedule's own steps, so a short chain is a respaced schedule and nothing else. They get the
estimates of the current step and of the steps before it, newest first; a multistep solver looks back, the others use
the first. With a = sqrt(alpha_bar), b = sqrt(1 - alpha_bar), lambda = ln(a / b) = log_snr / 2 and
h = lambda_{t-1} - lambda_t. In the last step, t = 1, b_0 = 0 and h is infinite: every solver returns x_0_hat there and
adds no noise.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

import torch
from torch import Tensor

from backwalk.diffusion import NoiseSchedule, eps_from_x_0, mu_from_x_0
from backwalk.errors import InvalidInput


class Step(Protocol):
    """A solver's step from x_t to x_{t-1}."""

    @property
    def is_random(self) -> bool:
        """Whether the step uses eps."""
        ...

    def __call__(
        self, x_t: Tensor, x_0_hats: Sequence[Tensor], t: int, schedule: NoiseSchedule, eps: Tensor | None, /
    ) -> Tensor:
        """Return x_{t-1}, (n, d), from x_t, the estimates at t, t + 1, ... and standard normal eps."""
        ...


@dataclass(frozen=True, eq=False)
class Ancestral:
    """x_{t-1} = mu_theta + sigma_t eps, a draw from p_theta(x_{t-1} | x_t); no noise at t = 1.

    `sigma_sq` is (n_steps + 1,). Source: Ho et al. 2020, Algorithm 2.
    """

    sigma_sq: Tensor
    is_random = True

    def __call__(
        self, x_t: Tensor, x_0_hats: Sequence[Tensor], t: int, schedule: NoiseSchedule, eps: Tensor | None
    ) -> Tensor:
        """Return x_{t-1}."""
        mu_theta = mu_from_x_0(x_t, x_0_hats[0], t, schedule)
        return mu_theta if t == 1 else mu_theta + math.sqrt(float(self.sigma_sq[t])) * _given(eps)


@dataclass(frozen=True)
class Ddim:
    """x_{t-1} = a_s x_0_hat + sqrt(b_s^2 - sigma^2) eps_theta + sigma eps, with sigma^2 = eta^2 beta_tilde_t.

    eta = 0 is deterministic, an Euler step of the probability-flow ODE in 1 / SNR; eta = 1 is the ancestral step with
    beta_tilde. Source: Song et al. 2021, "Denoising diffusion implicit models", Eq. 12 and 16.
    """

    eta: float = 0.0

    @property
    def is_random(self) -> bool:
        """Whether eta > 0."""
        return self.eta > 0.0

    def __call__(
        self, x_t: Tensor, x_0_hats: Sequence[Tensor], t: int, schedule: NoiseSchedule, eps: Tensor | None
    ) -> Tensor:
        """Return x_{t-1}."""
        variance = self.eta**2 * float(schedule.beta_tilde[t])
        eps_theta = eps_from_x_0(x_t, x_0_hats[0], schedule.log_snr[t])
        noise_left = max(float(schedule.one_minus_alpha_bar[t - 1]) - variance, 0.0)
        x_s = math.sqrt(float(schedule.alpha_bar[t - 1])) * x_0_hats[0] + math.sqrt(noise_left) * eps_theta
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

    def __call__(
        self, x_t: Tensor, x_0_hats: Sequence[Tensor], t: int, schedule: NoiseSchedule, eps: Tensor | None
    ) -> Tensor:
        """Return x_{t-1}."""
        if t == 1:
            return x_0_hats[0]
        a_s, b_s, b_t = _scales(schedule, t)
        h = _step_size(schedule, t)
        estimate = x_0_hats[0]
        if len(x_0_hats) > 1:
            r = _step_size(schedule, t + 1) / h
            estimate = torch.lerp(x_0_hats[1], x_0_hats[0], 1.0 + 0.5 / r)
        if not self.sde:
            return (b_s / b_t) * x_t - a_s * math.expm1(-h) * estimate
        fresh = -math.expm1(-2.0 * h)
        return (b_s / b_t * math.exp(-h)) * x_t + a_s * fresh * estimate + b_s * math.sqrt(fresh) * _given(eps)


@dataclass(frozen=True)
class Multistep:
    """The exponential Adams-Bashforth method of order 3 in lambda, for the probability-flow ODE.

    x_s = (b_s / b_t) x_t + a_s int_0^h e^{u - h} P(u) du, where P is the polynomial in u = lambda - lambda_t through the
    last three estimates (as many as there are in the first steps). With I_k = int_0^h e^{u - h} u^k du,
    I_0 = 1 - e^{-h}, I_1 = h - I_0 and I_2 = h^2 - 2 I_1. Source: Zhang & Chen 2023 (DEIS), here in lambda.
    """

    is_random = False

    def __call__(
        self, x_t: Tensor, x_0_hats: Sequence[Tensor], t: int, schedule: NoiseSchedule, eps: Tensor | None
    ) -> Tensor:
        """Return x_{t-1}."""
        if t == 1:
            return x_0_hats[0]
        a_s, b_s, b_t = _scales(schedule, t)
        h = _step_size(schedule, t)
        i_0 = -math.expm1(-h)
        i_1 = h - i_0
        i_2 = h * h - 2.0 * i_1
        integral = i_0 * x_0_hats[0]
        if len(x_0_hats) > 1:
            h_1 = _step_size(schedule, t + 1)
            slope = (x_0_hats[0] - x_0_hats[1]) / h_1
            integral = integral + i_1 * slope
            if len(x_0_hats) > 2:
                h_2 = _step_size(schedule, t + 2)
                curvature = (slope - (x_0_hats[1] - x_0_hats[2]) / h_2) / (h_1 + h_2)
                integral = integral + (i_2 + h_1 * i_1) * curvature
        return (b_s / b_t) * x_t + a_s * integral


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
