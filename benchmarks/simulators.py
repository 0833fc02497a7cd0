"""Three tasks of the package `sbibm` with known posteriors: prior, simulator and exact posterior, written in NumPy.

Observations and reference draws of their posteriors are read from the package's wheel. Source: Lueckmann et al. 2021,
"Benchmarking simulation-based inference", appendix T.
"""

from __future__ import annotations

import bz2
import io
import math
import zipfile
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy import stats

from backwalk.streams import Stream
from benchmarks.wheels import wheel

Rows = NDArray[np.float64]
Bounds = list[tuple[float, float]]  # of each parameter
ExactDraws = Callable[[int, Rows, np.random.Generator], Rows]  # of n rows, given values
N_OBSERVATIONS = 10
PRIOR_VARIANCE = 0.1
"""Of the parameters of a task without bounds."""


@dataclass(frozen=True, eq=False)
class Task:
    """A simulator of m data for d parameters, whose prior is uniform within `bounds`, if there are any.

    `prior` draws n parameters; `simulate` draws data, (n, m), of parameters, (n, d); `posterior`, where there is one,
    draws n parameters given data, (m,), exactly. `conditional`, where there is one, draws n rows of parameters and
    data, (n, d + m), exactly, given those of a row, (d + m,), that are not NaN. Observations and reference draws are
    the package's where the task `is_published`.
    """

    name: str
    d: int
    m: int
    bounds: Bounds | None
    prior: Callable[[int, np.random.Generator], Rows]
    simulate: Callable[[Rows, np.random.Generator], Rows]
    posterior: ExactDraws | None = None
    conditional: ExactDraws | None = None
    is_published: bool = True

    @property
    def parameters(self) -> list[str]:
        """The names of the parameters."""
        return [f"theta{j + 1}" for j in range(self.d)]

    @property
    def data(self) -> list[str]:
        """The names of the data."""
        return [f"x{j + 1}" for j in range(self.m)]

    def simulations(self, n: int, seed: int) -> Rows:
        """Return n parameters with their data, (n, d + m)."""
        generator = Stream(seed).child("benchmark simulations", self.name).generator()
        theta = self.prior(n, generator)
        return np.column_stack([theta, self.simulate(theta, generator)])

    def row_with_gaps(self, number: int) -> Rows:
        """Return a simulation of which each value is given with probability 1/2, (d + m,), and the others are NaN.

        At least one value is given, and one is not.
        """
        generator = Stream(number).child("benchmark row with gaps", self.name).generator()
        theta = self.prior(1, generator)
        row = np.concatenate([theta, self.simulate(theta, generator)], axis=1)[0]
        is_given = np.zeros(self.d + self.m, bool)
        while is_given.all() or not is_given.any():
            is_given = generator.random(self.d + self.m) < 0.5
        return np.where(is_given, row, np.nan)

    def observation(self, number: int) -> Rows:
        """Return an observation, 1 to 10: (m,)."""
        return (
            self._read(number, "observation.csv")[0] if self.is_published else self.simulations(1, -number)[0, self.d :]
        )

    def reference(self, number: int) -> Rows:
        """Return the 10,000 reference draws of the posterior given an observation, 1 to 10: (10_000, d)."""
        if not self.is_published:
            assert self.posterior is not None
            generator = Stream(number).child("benchmark references", self.name).generator()
            return self.posterior(10_000, self.observation(number), generator)
        return self._read(number, "reference_posterior_samples.csv.bz2")

    def _read(self, number: int, file: str) -> Rows:
        with zipfile.ZipFile(wheel("sbibm", "1.1.0")) as archive:
            content = archive.read(f"sbibm/tasks/{self.name}/files/num_observation_{number}/{file}")
        text = bz2.decompress(content) if file.endswith(".bz2") else content
        return np.loadtxt(io.BytesIO(text), delimiter=",", skiprows=1, ndmin=2)


def two_moons() -> Task:
    """Return the task whose posteriors are two crescents: x = a crescent at (-|t1 + t2|, t2 - t1) / sqrt 2."""

    def crescent(n: int, generator: np.random.Generator) -> Rows:
        angle, radius = generator.uniform(-0.5 * math.pi, 0.5 * math.pi, n), generator.normal(0.1, 0.01, n)
        return np.column_stack([radius * np.cos(angle) + 0.25, radius * np.sin(angle)])

    def simulate(theta: Rows, generator: np.random.Generator) -> Rows:
        along, across = theta.sum(axis=1) / math.sqrt(2.0), (theta[:, 1] - theta[:, 0]) / math.sqrt(2.0)
        return crescent(len(theta), generator) + np.column_stack([-np.abs(along), across])

    def proposed(n: int, x: Rows, generator: np.random.Generator) -> Rows:
        shift = x - crescent(n, generator)  # = (-|along|, across)
        along = np.where(generator.random(n) < 0.5, -1.0, 1.0) * -shift[:, 0]
        return np.column_stack([along - shift[:, 1], along + shift[:, 1]]) / math.sqrt(2.0)

    def posterior(n: int, x: Rows, generator: np.random.Generator) -> Rows:
        return _within(1.0, n, lambda m: proposed(m, x, generator))

    box = [(-1.0, 1.0)] * 2
    return Task("two_moons", 2, 2, box, uniform_prior(box), simulate, posterior)


def gaussian_mixture() -> Task:
    """Return the task with two normal distributions about the parameters, of deviations 1 and .1."""
    bound, deviations = 10.0, np.array([1.0, 0.1])
    box = [(-bound, bound)] * 2

    def simulate(theta: Rows, generator: np.random.Generator) -> Rows:
        deviation = deviations[(generator.random(len(theta)) < 0.5).astype(int)]
        return theta + deviation[:, None] * generator.normal(size=theta.shape)

    def conditional(n: int, row: Rows, generator: np.random.Generator) -> Rows:
        theta, x = row[:2], row[2:]
        of_normal = stats.norm(loc=x, scale=deviations[:, None])
        p = np.where(np.isnan(theta), of_normal.cdf(bound) - of_normal.cdf(-bound), of_normal.pdf(theta))
        p = np.where(np.isnan(x), 1.0, p).prod(axis=1)  # of what is given, with each deviation
        deviation = generator.choice(deviations, size=(n, 1), p=p / p.sum())
        known = np.broadcast_to(np.nan_to_num(x), (n, 2))
        around = stats.truncnorm.rvs(
            (-bound - known) / deviation, (bound - known) / deviation, known, deviation, random_state=generator
        )
        drawn = np.where(np.isnan(x), generator.uniform(-bound, bound, (n, 2)), around)
        theta = np.where(np.isnan(theta), drawn, theta)
        return np.column_stack([theta, np.where(np.isnan(x), theta + deviation * generator.normal(size=(n, 2)), x)])

    return Task(
        "gaussian_mixture", 2, 2, box, uniform_prior(box), simulate, _of_conditional(2, conditional), conditional
    )


def gaussian_linear() -> Task:
    """Return the task in ten dimensions with a normal prior and a normal likelihood, both of variance .1."""
    d, deviation = 10, math.sqrt(PRIOR_VARIANCE)

    def prior(n: int, generator: np.random.Generator) -> Rows:
        return deviation * generator.normal(size=(n, d))

    def simulate(theta: Rows, generator: np.random.Generator) -> Rows:
        return theta + deviation * generator.normal(size=theta.shape)

    def conditional(n: int, row: Rows, generator: np.random.Generator) -> Rows:
        theta, x = row[:d], row[d:]
        drawn = np.where(
            np.isnan(x), prior(n, generator), 0.5 * x + math.sqrt(0.5) * deviation * generator.normal(size=(n, d))
        )
        theta = np.where(np.isnan(theta), drawn, theta)
        return np.column_stack([theta, np.where(np.isnan(x), simulate(theta, generator), x)])

    return Task("gaussian_linear", d, d, None, prior, simulate, _of_conditional(d, conditional), conditional)


TASKS = {"two_moons": two_moons, "gaussian_mixture": gaussian_mixture, "gaussian_linear": gaussian_linear}


def _of_conditional(d: int, conditional: ExactDraws) -> ExactDraws:
    """Return the exact draws of the parameters given all data."""
    return lambda n, x, generator: conditional(n, np.concatenate([np.full(d, np.nan), x]), generator)[:, :d]


def uniform_prior(bounds: Bounds) -> Callable[[int, np.random.Generator], Rows]:
    """Return the draws of n parameters that are uniform within bounds."""
    low, high = np.array(bounds).T
    return lambda n, generator: generator.uniform(low, high, (n, len(bounds)))


def _within(bound: float, n: int, draw: Callable[[int], Rows]) -> Rows:
    """Return the first n draws whose coordinates all lie within -bound..bound."""
    kept = np.empty((0, 0))
    while len(kept) < n:
        drawn = draw(2 * n)
        inside = drawn[(np.abs(drawn) <= bound).all(axis=1)]
        kept = np.concatenate([kept, inside]) if len(kept) else inside
    return kept[:n]
