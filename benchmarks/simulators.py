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
from scipy import stats

from benchmarks.data import Rows, data_of_crescents, exact_crescents, wheel

Bounds = list[tuple[float, float]]  # of each parameter
ExactDraws = Callable[[int, Rows, np.random.Generator], Rows]  # of n rows, given values


@dataclass(frozen=True, eq=False)
class Task:
    """A simulator of m data for d parameters, whose prior is uniform within `bounds`, if there are any.

    `prior` draws n parameters; `simulate` draws data, (n, m), of parameters, (n, d); `posterior`, where there is one,
    draws n parameters given data, (m,), exactly. Observations and reference draws are the package's where the task
    `is_published`.
    """

    name: str
    d: int
    m: int
    bounds: Bounds | None
    prior: Callable[[int, np.random.Generator], Rows]
    simulate: Callable[[Rows, np.random.Generator], Rows]
    posterior: ExactDraws | None = None
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
        generator = np.random.default_rng([seed, 3])
        theta = self.prior(n, generator)
        return np.column_stack([theta, self.simulate(theta, generator)])

    def observation(self, number: int) -> Rows:
        """Return an observation, 1 to 10: (m,)."""
        return (
            self._read(number, "observation.csv")[0]
            if self.is_published
            else self.simulations(1, 1_000_000 + number)[0, self.d :]
        )

    def reference(self, number: int) -> Rows:
        """Return the 10,000 reference draws of the posterior given an observation, 1 to 10: (10_000, d)."""
        if not self.is_published:
            assert self.posterior is not None
            generator = np.random.default_rng([number, 4])
            return self.posterior(10_000, self.observation(number), generator)
        return self._read(number, "reference_posterior_samples.csv.bz2")

    def _read(self, number: int, file: str) -> Rows:
        with zipfile.ZipFile(wheel("sbibm")) as archive:
            content = archive.read(f"sbibm/tasks/{self.name}/files/num_observation_{number}/{file}")
        text = bz2.decompress(content) if file.endswith(".bz2") else content
        return np.loadtxt(io.BytesIO(text), delimiter=",", skiprows=1, ndmin=2)


def two_moons() -> Task:
    """Return the task whose posteriors are two crescents: x = a crescent at (-|t1 + t2|, t2 - t1) / sqrt 2."""
    box = [(-1.0, 1.0)] * 2

    def simulate(theta: Rows, generator: np.random.Generator) -> Rows:
        return data_of_crescents(theta, generator)

    return Task("two_moons", 2, 2, box, uniform_prior(box), simulate, exact_crescents)


def gaussian_mixture() -> Task:
    """Return the task with two normal distributions about the parameters, of deviations 1 and .1."""
    bound, deviations = 10.0, np.array([1.0, 0.1])
    box = [(-bound, bound)] * 2

    def simulate(theta: Rows, generator: np.random.Generator) -> Rows:
        return theta + generator.choice(deviations, (len(theta), 1)) * generator.normal(size=theta.shape)

    def posterior(n: int, x: Rows, generator: np.random.Generator) -> Rows:
        of_normal = stats.norm(loc=x, scale=deviations[:, None])
        p = (of_normal.cdf(bound) - of_normal.cdf(-bound)).prod(axis=1)  # of the data, with each deviation
        deviation = generator.choice(deviations, size=(n, 1), p=p / p.sum())
        low, high = (-bound - x) / deviation, (bound - x) / deviation
        return np.asarray(stats.truncnorm.rvs(low, high, x, deviation, size=(n, 2), random_state=generator))

    return Task("gaussian_mixture", 2, 2, box, uniform_prior(box), simulate, posterior)


def gaussian_linear() -> Task:
    """Return the task in ten dimensions with a normal prior and a normal likelihood, both of variance .1."""
    d, deviation = 10, math.sqrt(0.1)

    def prior(n: int, generator: np.random.Generator) -> Rows:
        return deviation * generator.normal(size=(n, d))

    def simulate(theta: Rows, generator: np.random.Generator) -> Rows:
        return theta + deviation * generator.normal(size=theta.shape)

    def posterior(n: int, x: Rows, generator: np.random.Generator) -> Rows:
        return np.asarray(0.5 * x + math.sqrt(0.5) * deviation * generator.normal(size=(n, d)))

    return Task("gaussian_linear", d, d, None, prior, simulate, posterior)


TASKS = {"two_moons": two_moons, "gaussian_mixture": gaussian_mixture, "gaussian_linear": gaussian_linear}


def uniform_prior(bounds: Bounds) -> Callable[[int, np.random.Generator], Rows]:
    """Return the draws of n parameters that are uniform within bounds."""
    low, high = np.array(bounds).T
    return lambda n, generator: generator.uniform(low, high, (n, len(bounds)))
