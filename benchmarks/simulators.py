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

from backwalk.streams import Stream
from benchmarks.wheels import wheel

Rows = NDArray[np.float64]
N_OBSERVATIONS = 10


@dataclass(frozen=True, eq=False)
class Task:
    """A simulator of d data for d parameters, whose prior is uniform within `bound`, or normal where that is None.

    `prior` draws n parameters; `simulate` draws data of parameters, (n, d); `posterior` draws n parameters given data,
    (d,), exactly.
    """

    name: str
    d: int
    bound: float | None
    prior: Callable[[int, np.random.Generator], Rows]
    simulate: Callable[[Rows, np.random.Generator], Rows]
    posterior: Callable[[int, Rows, np.random.Generator], Rows]

    @property
    def parameters(self) -> list[str]:
        """The names of the parameters."""
        return [f"theta{j + 1}" for j in range(self.d)]

    @property
    def data(self) -> list[str]:
        """The names of the data."""
        return [f"x{j + 1}" for j in range(self.d)]

    def simulations(self, n: int, seed: int) -> Rows:
        """Return n parameters with their data, (n, 2 d)."""
        generator = Stream(seed).child("benchmark simulations", self.name).generator()
        theta = self.prior(n, generator)
        return np.column_stack([theta, self.simulate(theta, generator)])

    def observation(self, number: int) -> Rows:
        """Return an observation, 1 to 10: (d,)."""
        return self._read(number, "observation.csv")[0]

    def reference(self, number: int) -> Rows:
        """Return the 10,000 reference draws of the posterior given an observation, 1 to 10: (10_000, d)."""
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

    return Task("two_moons", 2, 1.0, _uniform(2, 1.0), simulate, posterior)


def gaussian_mixture() -> Task:
    """Return the task with two normal distributions about the parameters, of deviations 1 and .1."""

    def around(theta: Rows, generator: np.random.Generator) -> Rows:
        deviation = np.where(generator.random(len(theta)) < 0.5, 1.0, 0.1)
        return theta + deviation[:, None] * generator.normal(size=theta.shape)

    def posterior(n: int, x: Rows, generator: np.random.Generator) -> Rows:
        return _within(10.0, n, lambda m: around(np.tile(x, (m, 1)), generator))

    return Task("gaussian_mixture", 2, 10.0, _uniform(2, 10.0), around, posterior)


def gaussian_linear() -> Task:
    """Return the task in ten dimensions with a normal prior and a normal likelihood, both of variance .1."""
    d, deviation = 10, math.sqrt(0.1)

    def prior(n: int, generator: np.random.Generator) -> Rows:
        return deviation * generator.normal(size=(n, d))

    def simulate(theta: Rows, generator: np.random.Generator) -> Rows:
        return theta + deviation * generator.normal(size=theta.shape)

    def posterior(n: int, x: Rows, generator: np.random.Generator) -> Rows:
        return 0.5 * x + math.sqrt(0.05) * generator.normal(size=(n, d))

    return Task("gaussian_linear", d, None, prior, simulate, posterior)


TASKS = {"two_moons": two_moons, "gaussian_mixture": gaussian_mixture, "gaussian_linear": gaussian_linear}


def _uniform(d: int, bound: float) -> Callable[[int, np.random.Generator], Rows]:
    return lambda n, generator: generator.uniform(-bound, bound, (n, d))


def _within(bound: float, n: int, draw: Callable[[int], Rows]) -> Rows:
    """Return the first n draws whose coordinates all lie within -bound..bound."""
    kept = np.empty((0, 0))
    while len(kept) < n:
        drawn = draw(2 * n)
        inside = drawn[(np.abs(drawn) <= bound).all(axis=1)]
        kept = np.concatenate([kept, inside]) if len(kept) else inside
    return kept[:n]
