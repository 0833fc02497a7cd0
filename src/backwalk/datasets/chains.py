"""Densities built one column at a time: Neal's funnel, a curved chain, a rotated one.

By the chain rule log p(x) is a sum of one-dimensional normal log-densities, and the entropy the sum of their entropies.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

from backwalk.datasets.density import Density, exact, normal_rows
from backwalk.datasets.warps import Rotation, Warped, random_rotation
from backwalk.errors import InvalidInput
from backwalk.evaluation.estimates import Estimate
from backwalk.evaluation.rows import Rows
from backwalk.streams import Stream


@dataclass(frozen=True, eq=False)
class Funnel(Density):
    """x_1 ~ N(0, 3^2), and given it x_2..x_d ~ N(0, exp(x_1)): a neck and a mouth. Source: Neal 2003."""

    def _draw(self, start: int, stop: int, stream: Stream) -> Rows:
        z = normal_rows(start, stop, self.d, stream)
        x_1 = 3.0 * z[:, :1]
        return np.concatenate([x_1, np.exp(0.5 * x_1) * z[:, 1:]], axis=1)

    def _log_prob(self, x: Rows) -> Rows:
        x_1, rest = x[:, 0], x[:, 1:]
        return np.asarray(
            _log_normal(x_1, 3.0)
            + _log_normal(rest * np.exp(-0.5 * x_1[:, None]), 1.0).sum(axis=1)
            - 0.5 * (self.d - 1) * x_1
        )

    def _find_entropy(self) -> Estimate:
        # The mean of log exp(x_1 / 2) is 0, so the narrow and the wide places cancel.
        return exact(_normal_entropy(3.0) + (self.d - 1) * _normal_entropy(1.0))


@dataclass(frozen=True, eq=False)
class SineChain(Density):
    """x_1 ~ N(0, 1) and x_{i+1} = sin(2 x_i) + noise * Z_i: each column is a curve of the one before."""

    noise: float

    def _draw(self, start: int, stop: int, stream: Stream) -> Rows:
        x = normal_rows(start, stop, self.d, stream)
        for i in range(1, self.d):
            x[:, i] = np.sin(2.0 * x[:, i - 1]) + self.noise * x[:, i]
        return x

    def _log_prob(self, x: Rows) -> Rows:
        steps = x[:, 1:] - np.sin(2.0 * x[:, :-1])
        return np.asarray(_log_normal(x[:, 0], 1.0) + _log_normal(steps, self.noise).sum(axis=1))

    def _find_entropy(self) -> Estimate:
        return exact(_normal_entropy(1.0) + (self.d - 1) * _normal_entropy(self.noise))


def funnel(d: int = 10) -> Density:
    """Return Neal's funnel, d >= 2.

    >>> round(funnel(d=2).entropy, 4)
    3.9365
    """
    return Funnel("funnel", _at_least_two(d))


def curved_chain(d: int = 8, noise: float = 0.1) -> Density:
    """Return the chain x_{i+1} = sin(2 x_i) + noise * Z_i, d >= 2."""
    return SineChain("curved_chain", _at_least_two(d), _positive(noise))


def rotated_chain(d: int = 10, noise: float = 0.1, *, seed: int = 0) -> Density:
    """Return the curved chain turned by a random rotation, d >= 2, so that no column shows its structure alone."""
    base = curved_chain(d, noise)
    rotation = Rotation(random_rotation(d, Stream(seed).child("datasets", "rotated_chain", d)))
    return Warped("rotated_chain", d, base, (rotation,))


def _log_normal(x: Rows, scale: float) -> Rows:
    return np.asarray(-0.5 * (x / scale) ** 2 - math.log(scale) - 0.5 * math.log(2.0 * math.pi))


def _normal_entropy(scale: float) -> float:
    return 0.5 * math.log(2.0 * math.pi * math.e) + math.log(scale)


def _at_least_two(d: int) -> int:
    if d < 2:
        raise InvalidInput(f"d should be at least 2, but got {d}: a chain needs two columns.")
    return d


def _positive(noise: float) -> float:
    if not 0.0 < noise < math.inf:
        raise InvalidInput(f"noise should be positive, but got {noise}: without noise there is no density.")
    return noise
