"""The methods of densities: ours, the notebook and a mixture. Those from other packages are in `peers.py`.

A method is `fit(X, budget, seed) -> Fitted`: rows (n, d) in, and within `budget` seconds, the choice of settings
included, something that samples and, where it has a density, scores. Each chooses its settings by itself, from the
rows that it was given: by BIC, on a tenth that it holds out, or by what the time allows. What it may choose from is
stated in its docstring.
"""

from __future__ import annotations

import time
import warnings
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial
from typing import Any, Protocol

import numpy as np
import torch
from sklearn.exceptions import ConvergenceWarning
from sklearn.mixture import GaussianMixture

from backwalk import Diffusion
from backwalk.denoiser import Residual
from benchmarks.data import Rows
from benchmarks.notebook import N_EPOCHS, Notebook
from benchmarks.record import timed

LEAST_LAST_COMPONENTS = 16  # few are a poor guide: on one draw of the funnel two and three were worse than one


@dataclass(frozen=True, eq=False)
class Fitted:
    """What a fit left: (n, seed) -> rows, rows -> log-density or None, and the settings that were chosen, in words."""

    sample: Callable[[int, int], Rows]
    log_prob: Callable[[Rows], Rows] | None
    choice: str


class Method(Protocol):
    """A way to get from rows to new rows."""

    @property
    def name(self) -> str:
        """What tables call it."""
        ...

    def fit(self, X: Rows, budget: float, seed: int) -> Fitted:
        """Fit within `budget` seconds."""
        ...


@dataclass(frozen=True)
class Ours:
    """`Diffusion(max_time=budget)`, all else at its default; *2 x 3 blocks of 48*: the mean of two networks of three
    residual blocks of 48 units each.
    """

    name: str = "Diffusion"

    def fit(self, X: Rows, budget: float, seed: int) -> Fitted:
        """Fit within `budget` seconds."""
        model = Diffusion(max_time=budget, random_state=seed, verbose=False).fit(X)
        sizes = model.model_.architecture
        assert isinstance(sizes, Residual)
        choice = f"{model.history_.n_steps} steps of {sizes.n_members} x {sizes.n_blocks} blocks of {sizes.width}"
        return Fitted(lambda n, seed: model.sample(n, random_state=seed), model.score_samples, choice)


@dataclass(frozen=True)
class NotebookAsWritten:
    """The notebook's loop, up to its 5,000 epochs; drawn all at once, without autograd, which changes speed alone."""

    name: str = "notebook"

    def fit(self, X: Rows, budget: float, seed: int) -> Fitted:
        """Fit within `budget` seconds."""
        model = Notebook(X, seed=seed)
        n_epochs = len(model.train(N_EPOCHS, max_seconds=budget))

        def sample(n: int, seed: int) -> Rows:
            model.generator.manual_seed(seed)
            return model.sample(n)

        return Fitted(sample, None, f"{n_epochs} epochs")


@dataclass(frozen=True)
class MixtureHeldOut:
    """scikit-learn's `GaussianMixture`, full covariances, as many components as score best on a held-out tenth.

    Of 1 to 240 components, in order of size, until the held-out log-density has fallen twice, at 16 or more, or half of
    the budget is spent. The best is fitted to all rows, to a tolerance of 1e-5, from up to 5 starts as far as time
    allows: the likeliest is kept.
    """

    name: str = "held-out GaussianMixture"
    n_components: tuple[int, ...] = (1, 2, 3, 5, 8, 12, 16, 20, 30, 40, 60, 80, 120, 160, 240)
    n_starts: int = 5

    def fit(self, X: Rows, budget: float, seed: int) -> Fitted:
        """Fit within about `budget` seconds: the last fit is not stopped."""
        scale, clock = Scale.of(X), Clock(budget)
        training, held_out = (scale.encode(rows) for rows in split(X, seed, most=1000))
        scores, last = dict[int, float](), 0.0
        for k in (k for k in self.n_components if 2 * k <= len(training)):
            if scores and clock.left() - 2.0 * last < budget / 2:
                break
            mixture, last = timed(partial(_mixture, training, k, seed, covariance_type="full"))
            scores[k] = mixture.score(held_out)
            if k >= LEAST_LAST_COMPONENTS and _falls_twice(list(scores.values())):
                break
        k = max(scores, key=lambda k: scores[k])
        best, taken = timed(partial(_mixture, scale.encode(X), k, seed, tol=1e-5, max_iter=1000))
        for start in range(1, self.n_starts):
            if clock.left() < 1.5 * taken:
                break
            other, taken = timed(partial(_mixture, scale.encode(X), k, seed + 1000 * start, tol=1e-5, max_iter=1000))
            best = max(best, other, key=lambda mixture: mixture.lower_bound_)
        return _fitted_mixture(best, scale)


def _mixture(z: Rows, k: int, seed: int, **settings: Any) -> GaussianMixture:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)  # judged by its score, however far it came
        return GaussianMixture(k, random_state=seed, **settings).fit(z)


def _fitted_mixture(mixture: GaussianMixture, scale: Scale) -> Fitted:
    def sample(n: int, seed: int) -> Rows:
        points, _ = mixture.set_params(random_state=seed).sample(n)
        return scale.decode(np.random.default_rng(seed).permutation(points))  # scikit-learn sorts them by component

    def log_prob(x: Rows) -> Rows:
        return np.asarray(mixture.score_samples(scale.encode(x))) + scale.log_abs_det

    return Fitted(sample, log_prob, f"{mixture.n_components} components, {mixture.covariance_type}")


@dataclass(frozen=True, eq=False)
class Scale:
    """z = (x - centre) / deviation: the standardised columns that peers are given."""

    centre: Rows
    deviation: Rows

    @classmethod
    def of(cls, X: Rows) -> Scale:
        """Return the scale of rows (n, d)."""
        return cls(X.mean(axis=0), X.std(axis=0))

    @property
    def log_abs_det(self) -> float:
        """What is added to a log-density of z to make it one of x, nats."""
        return -float(np.log(self.deviation).sum())

    def encode(self, x: Rows) -> Rows:
        """Return z, (n, d)."""
        return (x - self.centre) / self.deviation

    def decode(self, z: Rows) -> Rows:
        """Return x, (n, d)."""
        return np.asarray(z, dtype=np.float64) * self.deviation + self.centre


class Clock:
    """A limit of seconds, counted from when it is made."""

    def __init__(self, budget: float) -> None:
        self.budget, self._began = budget, time.perf_counter()

    def left(self) -> float:
        """Return the seconds that are left."""
        return self.budget - (time.perf_counter() - self._began)


def split(X: Rows, seed: int, *, most: int) -> tuple[Rows, Rows]:
    """Return nine tenths of the rows to train on and a tenth, at most so many, to choose by."""
    order = np.random.default_rng(seed).permutation(len(X))
    n = min(most, len(X) // 10)
    return X[order[n:]], X[order[:n]]


def batches(z: torch.Tensor, size: int, seed: int) -> Iterator[torch.Tensor]:
    """Yield batches without end: the rows in a new order each time round, the last short batch dropped."""
    generator = torch.Generator().manual_seed(seed)
    while True:
        order = torch.randperm(len(z), generator=generator)
        for first in range(0, max(len(z) - size, 0) + 1, size):
            yield z[order[first : first + size]]


def _falls_twice(scores: list[float]) -> bool:
    return len(scores) > 2 and scores[-1] < scores[-2] < scores[-3]
