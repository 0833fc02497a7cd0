"""Densities that are defined column by column: Neal's funnel, a curved chain, a rotated chain.

By the chain rule log p(x) is a sum of one-dimensional normal log-densities, and the entropy the sum of their entropies.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

from backwalk.datasets.density import Density, check_at_least, exact, normal_rows
from backwalk.datasets.warps import Rotation, Warped, random_rotation
from backwalk.errors import InvalidInput
from backwalk.estimates import Estimate, Rows
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
        # The mean of x_1 is 0, so the scales exp(x_1 / 2) add nothing.
        return exact(_normal_entropy(3.0) + (self.d - 1) * _normal_entropy(1.0))


@dataclass(frozen=True, eq=False)
class SineChain(Density):
    """x_1 ~ N(0, 1) and x_{i+1} = sin(2 x_i) + noise * Z_i, with Z_i standard normal."""

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
    """Return Neal's funnel: a narrow neck and a wide mouth.

    Parameters
    ----------
    d : int, default=10
        The number of columns, at least 2.

    Returns
    -------
    Density
        The density of x_1 ~ N(0, 3^2) and, given it, x_2..x_d ~ N(0, exp(x_1)).

    See Also
    --------
    curved_chain : Another density that is defined column by column.

    Notes
    -----
    Source: Neal 2003.

    Examples
    --------
    >>> from backwalk.datasets import funnel
    >>> round(funnel(d=2).entropy, 4)
    3.9365
    """
    check_at_least(2, d=d)
    return Funnel("funnel", d)


def curved_chain(d: int = 8, noise: float = 0.1) -> Density:
    """Return a chain of columns, each near the sine of the one before.

    Parameters
    ----------
    d : int, default=8
        The number of columns, at least 2.
    noise : float, default=0.1
        The standard deviation of a step, > 0.

    Returns
    -------
    Density
        The density of x_1 ~ N(0, 1) and x_{i+1} = sin(2 x_i) + noise * Z_i, with Z_i standard normal.

    See Also
    --------
    rotated_chain : The same under a rotation.

    Examples
    --------
    >>> from backwalk.datasets import curved_chain
    >>> curved_chain().sample(3, random_state=0).shape
    (3, 8)
    """
    check_at_least(2, d=d)
    if not 0.0 < noise < math.inf:
        raise InvalidInput(f"noise should be finite and positive, but got {noise}: 0.1 is usual.")
    return SineChain("curved_chain", d, noise)


def rotated_chain(d: int = 10, noise: float = 0.1, *, seed: int = 0) -> Density:
    """Return the curved chain under a random rotation, so that no single column shows its structure.

    Parameters
    ----------
    d : int, default=10
        The number of columns, at least 2.
    noise : float, default=0.1
        The standard deviation of a step, > 0.
    seed : int, default=0
        The seed of the rotation.

    Returns
    -------
    Density
        The density.

    See Also
    --------
    curved_chain : The chain itself.

    Examples
    --------
    >>> from backwalk.datasets import rotated_chain
    >>> rotated_chain().sample(3, random_state=0).shape
    (3, 10)
    """
    base = curved_chain(d, noise)
    rotation = Rotation(random_rotation(d, Stream(seed).child("datasets", "rotated_chain", d)))
    return Warped("rotated_chain", d, base, (rotation,))


def _log_normal(x: Rows, scale: float) -> Rows:
    return np.asarray(-0.5 * (x / scale) ** 2 - math.log(scale) - 0.5 * math.log(2.0 * math.pi))


def _normal_entropy(scale: float) -> float:
    return 0.5 * math.log(2.0 * math.pi * math.e) + math.log(scale)
