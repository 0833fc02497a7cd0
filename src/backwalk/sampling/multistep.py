"""Solvers that look back: a step uses the denoiser's estimates at the visits before as well.

`steps.py` has their base and the symbols.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.polynomial import Polynomial
from scipy.integrate import fixed_quad

from backwalk.diffusion import NoiseSchedule
from backwalk.errors import InvalidInput
from backwalk.sampling.steps import Step, Weights, scales_at
from backwalk.sampling.times import angle_places, spread_times

_EVEN_POWER = 0.4  # few steps are even in this power of the angle


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
        (a_s, b_s), (_, b_t), h = scales_at(schedule, t - 1), scales_at(schedule, t), _step_size(schedule, t)
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
        scales = [scales_at(schedule, t + k) for k in range(n_visits)]
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
        (a_s, b_s), (_, b_t), h = scales_at(schedule, t - 1), scales_at(schedule, t), _step_size(schedule, t)
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


def _half_log_snr(schedule: NoiseSchedule, t: int) -> float:
    """Return lambda at step t."""
    return 0.5 * float(schedule.log_snr[t])


def _step_size(schedule: NoiseSchedule, t: int) -> float:
    return _half_log_snr(schedule, t - 1) - _half_log_snr(schedule, t)
