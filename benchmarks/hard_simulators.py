"""Simulators whose posteriors are sharp, curved or of several modes, with draws of the exact posterior.

Six are of this project: scales that are known up to their sign, an angle up to its sign, a sphere, a funnel, a curved
ridge, and a Poisson regression. Their exact draws are those of sequential Monte Carlo with tempered likelihoods: Del
Moral et al. 2006. Two are sbibm's, Lotka-Volterra and the epidemic SIR: simulators written anew, with the package's
observations and reference draws. Source of these: Lueckmann et al. 2021, appendix T.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial

import numpy as np
from scipy import stats
from scipy.integrate import solve_ivp

from benchmarks.data import Rows
from benchmarks.simulators import Bounds, Task, uniform_prior

LogDensity = Callable[[Rows], Rows]
_N_PARTICLES, _KEPT_SHARE, _MOVES, _LAST_MOVES = 4_000, 0.6, 12, 120


@dataclass(frozen=True, eq=False)
class Model:
    """A model with a known likelihood: ln p(theta), (n,), and ln p(x | theta), (n,), for theta, (n, d).

    The posterior does not change where the sign of a `symmetric` parameter does.
    """

    prior: Callable[[int, np.random.Generator], Rows]
    log_prior: LogDensity
    log_likelihood: Callable[[Rows, Rows], Rows]
    symmetric: tuple[int, ...] = ()

    def posterior(self, n: int, x: Rows, generator: np.random.Generator) -> Rows:
        """Draw n parameters given data, (m,): (n, d)."""
        theta = self.prior(max(n, _N_PARTICLES), generator)
        log_likelihood, power = self.log_likelihood(theta, x), 0.0
        while power < 1.0:
            step = _next_step(log_likelihood, 1.0 - power)
            weight = np.exp(step * (log_likelihood - log_likelihood.max()))
            kept = generator.choice(len(theta), len(theta), p=weight / weight.sum())
            theta, log_likelihood, power = theta[kept], log_likelihood[kept], power + step
            for move in range(_LAST_MOVES if power >= 1.0 else _MOVES):
                proposed = self._proposed(theta, move, generator)
                new = self.log_likelihood(proposed, x)
                log_ratio = power * (new - log_likelihood) + self.log_prior(proposed) - self.log_prior(theta)
                accepted = np.log(generator.random(len(theta))) < log_ratio
                theta[accepted], log_likelihood[accepted] = proposed[accepted], new[accepted]
        return theta[generator.choice(len(theta), n, replace=False)]

    def _proposed(self, theta: Rows, move: int, generator: np.random.Generator) -> Rows:
        """Return proposals of Metropolis steps: along differences of particles, or from their deviations."""
        n, d = theta.shape
        if move % 2:
            size = np.exp(generator.uniform(-6.0, 0.0, (n, 1)))
            proposed = theta + size * theta.std(axis=0) * generator.normal(size=(n, d))
        else:
            one, other = generator.integers(0, n, (2, n))
            size = generator.choice([0.1, 0.3, 1.0], (n, 1)) * 2.38 / math.sqrt(2.0 * d)
            of_some = generator.random((n, d)) < generator.choice([0.3, 1.0], (n, 1))
            proposed = theta + size * (theta[one] - theta[other]) * of_some + 1e-5 * generator.normal(size=(n, d))
        for j in self.symmetric:
            proposed[:, j] *= generator.choice([-1.0, 1.0], n)
        return np.asarray(proposed)


def _next_step(log_likelihood: Rows, most: float) -> float:
    """Return the power, at most `most`, by which weights keep a share of the effective particles."""

    def effective_share(step: float) -> float:
        weight = np.exp(step * (log_likelihood - log_likelihood.max()))
        return float(weight.sum() ** 2 / np.square(weight).sum() / len(weight))

    if effective_share(most) >= _KEPT_SHARE:
        return most
    low, high = 0.0, most
    for _ in range(50):
        middle = 0.5 * (low + high)
        low, high = (middle, high) if effective_share(middle) > _KEPT_SHARE else (low, middle)
    return high


def scales() -> Task:
    """Return the task of four Laplace observations of each of two locations, whose scales are moduli: 4 and 8."""

    def scale(theta: Rows) -> Rows:
        return 0.02 + 0.6 * np.repeat(np.abs(theta[:, 2:]), 4, axis=1)

    def simulate(theta: Rows, generator: np.random.Generator) -> Rows:
        return np.repeat(theta[:, :2], 4, axis=1) + scale(theta) * generator.laplace(size=(len(theta), 8))

    def log_likelihood(theta: Rows, x: Rows) -> Rows:
        of_each = stats.laplace.logpdf(x, np.repeat(theta[:, :2], 4, axis=1), scale(theta))
        return np.asarray(of_each.sum(axis=1))

    return _bounded("scales", [(-3.0, 3.0)] * 4, 8, simulate, log_likelihood, symmetric=(2, 3))


def angle() -> Task:
    """Return the task of a place, a radius and an angle that is known up to its sign: 4 and 4."""

    def mean(theta: Rows) -> Rows:
        x, y, radius, turn = theta.T
        across = radius * np.abs(np.sin(turn))
        return np.column_stack([x + radius * np.cos(turn), y + across, x - y, radius * np.cos(2.0 * turn)])

    bounds = [(-1.0, 1.0), (-1.0, 1.0), (0.5, 2.0), (-math.pi, math.pi)]
    return _with_normal_errors("angle", bounds, 4, mean, 0.05, symmetric=(3,))


def sphere() -> Task:
    """Return the task of a point on a sphere, with a product and a square: 5 and 3."""

    def mean(theta: Rows) -> Rows:
        radius = np.sqrt(np.square(theta[:, :3]).sum(axis=1))
        return np.column_stack([radius, theta[:, 0] * theta[:, 3], theta[:, 3] + theta[:, 4] ** 2])

    return _with_normal_errors("sphere", [(-2.0, 2.0)] * 5, 3, mean, 0.05, symmetric=(1, 2, 4))


def ridge() -> Task:
    """Return the task of curved ridges: 6 and 4."""

    def mean(theta: Rows) -> Rows:
        a, b, c, d, e, f = theta.T
        return np.column_stack([b + a**2, c - b**2, d + e * f, a + f])

    return _with_normal_errors("ridge", [(-2.0, 2.0)] * 6, 4, mean, 0.07)


def funnel() -> Task:
    """Return the task of three normal parameters whose common variance is another's exponential: 4 and 2."""

    def prior(n: int, generator: np.random.Generator) -> Rows:
        log_variance = 1.5 * generator.normal(size=(n, 1))
        return np.hstack([log_variance, np.exp(0.5 * log_variance) * generator.normal(size=(n, 3))])

    def log_prior(theta: Rows) -> Rows:
        of_others = stats.norm.logpdf(theta[:, 1:], 0.0, np.exp(0.5 * theta[:, :1])).sum(axis=1)
        return np.asarray(stats.norm.logpdf(theta[:, 0], 0.0, 1.5) + of_others)

    def mean(theta: Rows) -> Rows:
        return np.column_stack([theta[:, 1] + theta[:, 2], theta[:, 3]])

    def log_likelihood(theta: Rows, x: Rows) -> Rows:
        return np.asarray(stats.norm.logpdf(x, mean(theta), 0.3).sum(axis=1))

    def simulate(theta: Rows, generator: np.random.Generator) -> Rows:
        return mean(theta) + 0.3 * generator.normal(size=(len(theta), 2))

    return _own("funnel", 4, 2, None, simulate, Model(prior, log_prior, log_likelihood))


def poisson() -> Task:
    """Return the task of a Poisson regression with 60 counts and 10 normal weights: the sufficient statistics, 10."""
    design = np.random.default_rng(5).normal(size=(60, 10)) / math.sqrt(10.0)

    def prior(n: int, generator: np.random.Generator) -> Rows:
        return generator.normal(size=(n, 10))

    def simulate(theta: Rows, generator: np.random.Generator) -> Rows:
        return np.asarray(generator.poisson(np.exp(theta @ design.T)) @ design)

    def log_likelihood(theta: Rows, x: Rows) -> Rows:
        return np.asarray(theta @ x - np.exp(theta @ design.T).sum(axis=1))  # up to a constant

    def log_prior(theta: Rows) -> Rows:
        return np.asarray(-0.5 * np.square(theta).sum(axis=1))

    return _own("poisson", 10, 10, None, simulate, Model(prior, log_prior, log_likelihood))


def lotka_volterra() -> Task:
    """Return sbibm's task of hares and lynxes at ten times, with log-normal errors: 4 and 20."""

    def simulate(theta: Rows, generator: np.random.Generator) -> Rows:
        alpha, beta, gamma, delta = theta.T

        def derivatives(_: float, state: Rows) -> Rows:
            prey, predators = state.reshape(2, -1)
            return np.concatenate([(alpha - beta * predators) * prey, (delta * prey - gamma) * predators])

        start = np.repeat([30.0, 1.0], len(theta))
        states = _solved(derivatives, start, np.arange(0.0, 20.0, 2.1))
        both = states.reshape(2, len(theta), -1).clip(1e-10, 1e4)
        return np.exp(np.log(np.concatenate(both, axis=1)) + 0.1 * generator.normal(size=(len(theta), 20)))

    prior = partial(_log_normal, np.array([-0.125, -3.0, -0.125, -3.0]), np.full(4, 0.5))
    return Task("lotka_volterra", 4, 20, None, prior, simulate)


def sir() -> Task:
    """Return sbibm's task of an epidemic among a million: ten counts among a thousand, in 160 days: 2 and 10."""
    size = 1e6

    def simulate(theta: Rows, generator: np.random.Generator) -> Rows:
        beta, gamma = theta.T

        def derivatives(_: float, state: Rows) -> Rows:
            susceptible, infected = state.reshape(2, -1)
            new = beta * susceptible * infected / size
            return np.concatenate([-new, new - gamma * infected])

        start = np.repeat([size - 1.0, 1.0], len(theta))
        states = _solved(derivatives, start, np.arange(0.0, 161.0, 17.0))
        share = (states.reshape(2, len(theta), -1)[1] / size).clip(0.0, 1.0)
        return generator.binomial(1000, share).astype(float)

    prior = partial(_log_normal, np.log([0.4, 0.125]), np.array([0.5, 0.2]))
    return Task("sir", 2, 10, None, prior, simulate)


HARD_TASKS = {task.__name__: task for task in (scales, angle, sphere, ridge, funnel, poisson, lotka_volterra, sir)}


def _solved(derivatives: Callable[[float, Rows], Rows], start: Rows, times: Rows) -> Rows:
    """Return the states of many systems at once at some times: (states, times)."""
    solution = solve_ivp(derivatives, (0.0, times[-1]), start, method="DOP853", t_eval=times, rtol=1e-8, atol=1e-8)
    return np.asarray(solution.y)


def _log_normal(location: Rows, scale: Rows, n: int, generator: np.random.Generator) -> Rows:
    return np.exp(location + scale * generator.normal(size=(n, len(location))))


def _with_normal_errors(
    name: str,
    bounds: Bounds,
    m: int,
    mean: Callable[[Rows], Rows],
    deviation: float,
    symmetric: tuple[int, ...] = (),
) -> Task:
    def simulate(theta: Rows, generator: np.random.Generator) -> Rows:
        return mean(theta) + deviation * generator.normal(size=(len(theta), m))

    def log_likelihood(theta: Rows, x: Rows) -> Rows:
        return np.asarray(stats.norm.logpdf(x, mean(theta), deviation).sum(axis=1))

    return _bounded(name, bounds, m, simulate, log_likelihood, symmetric)


def _bounded(
    name: str,
    bounds: Bounds,
    m: int,
    simulate: Callable[[Rows, np.random.Generator], Rows],
    log_likelihood: Callable[[Rows, Rows], Rows],
    symmetric: tuple[int, ...] = (),
) -> Task:
    low, high = np.array(bounds).T

    def log_prior(theta: Rows) -> Rows:
        return np.where(((theta >= low) & (theta <= high)).all(axis=1), 0.0, -np.inf)

    model = Model(uniform_prior(bounds), log_prior, log_likelihood, symmetric)
    return _own(name, len(bounds), m, bounds, simulate, model)


def _own(
    name: str,
    d: int,
    m: int,
    bounds: Bounds | None,
    simulate: Callable[[Rows, np.random.Generator], Rows],
    model: Model,
) -> Task:
    return Task(name, d, m, bounds, model.prior, simulate, model.posterior, is_published=False)
