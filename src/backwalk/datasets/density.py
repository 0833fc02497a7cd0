"""The base class of densities: independent rows, their exact log-density, and the entropy.

Generative models are compared by nats above the entropy and by two-sample statistics on new draws. Row i of a draw is a
function of (seed, i), so a shorter draw is the head of a longer one.
"""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property

import numpy as np
from numpy.typing import ArrayLike

from backwalk.errors import InvalidInput
from backwalk.estimates import Estimate, Rows, as_rows
from backwalk.streams import RandomState, Stream, as_stream


@dataclass(frozen=True, eq=False)
class Density(ABC):
    """A probability density on R^d whose logarithm and entropy are known.

    The functions of this package, such as `two_moons`, make densities. Rows are drawn independently, and row i of a
    draw is a function of the seed and i: a shorter draw is the head of a longer one.

    Parameters
    ----------
    name : str
        The name, which is part of the seed.
    d : int
        The number of columns.

    See Also
    --------
    DENSITIES : The functions that make densities, by name.

    Examples
    --------
    >>> from backwalk.datasets import two_moons
    >>> moons = two_moons()
    >>> x = moons.sample(1000, random_state=0)
    >>> x.shape, moons.log_prob(x).shape, round(moons.entropy, 4)
    ((1000, 2), (1000,), 0.2892)
    """

    name: str
    d: int

    def sample(self, n: int, *, random_state: RandomState = None) -> Rows:
        """Return independent draws.

        Parameters
        ----------
        n : int
            The number of rows.
        random_state : int, NumPy generator or None, default=None
            As in scikit-learn; the same integer gives the same rows.

        Returns
        -------
        ndarray of shape (n, d)
            The rows, float64.
        """
        check_at_least(0, n=n)
        return self.sample_rows(0, n, stream=as_stream(random_state))

    def sample_rows(self, start: int, stop: int, *, stream: Stream) -> Rows:
        """Return a range of rows of a stream's sample.

        Parameters
        ----------
        start : int
            The number of the first row.
        stop : int
            The number after the last one.
        stream : Stream
            The random numbers.

        Returns
        -------
        ndarray of shape (stop - start, d)
            The rows, float64.
        """
        return self._draw(start, stop, stream.child("datasets", self.name))

    def log_prob(self, x: ArrayLike) -> Rows:
        """Return the log-density of rows.

        Parameters
        ----------
        x : array-like of shape (n, d)
            The rows.

        Returns
        -------
        ndarray of shape (n,)
            The natural logarithms of the density, in nats; -inf outside the support.
        """
        return self._log_prob(as_rows(x, d=self.d, at_least=0))

    @property
    def entropy(self) -> float:
        """The differential entropy -E[log p(x)], nats: the least mean of -log p of any model."""
        return self._entropy.value

    @property
    def entropy_standard_error(self) -> float:
        """The standard error of `entropy`, nats: 0 where it has a closed form or a converged quadrature."""
        return self._entropy.standard_error

    @abstractmethod
    def _draw(self, start: int, stop: int, stream: Stream) -> Rows: ...

    @abstractmethod
    def _log_prob(self, x: Rows) -> Rows: ...

    @cached_property
    def _entropy(self) -> Estimate:
        return self._find_entropy()

    @abstractmethod
    def _find_entropy(self) -> Estimate: ...


def check_at_least(least: float, **arguments: float) -> None:
    """Raise InvalidInput unless every argument is finite and at least `least`."""
    for name, value in arguments.items():
        if not least <= value < math.inf:
            raise InvalidInput(
                f"{name} should be finite and at least {least:g}, but got {value}: choose another value."
            )


def exact(value: float) -> Estimate:
    """Return a value without sampling error."""
    return Estimate(float(value), 0.0, 0)


def uniform_rows(start: int, stop: int, d: int, stream: Stream) -> Rows:
    """Return rows start..stop-1 of d uniform numbers in (0, 1) as an array."""
    return stream.uniform(start, stop, d).numpy()


def normal_rows(start: int, stop: int, d: int, stream: Stream) -> Rows:
    """Return rows start..stop-1 of d standard normal numbers as an array."""
    return stream.normal(start, stop, d).numpy()


def transform(x: Rows, matrix: Rows) -> Rows:
    """Return x @ matrix.T (n, k), summed column by column.

    A library's matrix product may round a row differently in a larger batch. This sum does not.
    """
    result = np.zeros((len(x), len(matrix)))
    for j in range(x.shape[1]):
        result += x[:, j, None] * matrix[None, :, j]
    return result


def in_chunks(function: Callable[[Rows], Rows], x: Rows, cost: int) -> Rows:
    """Return function(x) (n,), computed in chunks that hold about 2^21 numbers, at `cost` numbers per row."""
    step = max(1, 2**21 // cost)
    return np.concatenate([function(x[i : i + step]) for i in range(0, len(x), step)] or [np.zeros(0)])


def panel_nodes(lower: float, upper: float, n_panels: int) -> tuple[Rows, Rows]:
    """Return the nodes and weights of 16-point Gauss-Legendre quadrature on equal panels of [lower, upper]."""
    nodes, weights = np.polynomial.legendre.leggauss(16)
    width = (upper - lower) / n_panels
    middles = lower + width * (np.arange(n_panels) + 0.5)
    return (middles[:, None] + 0.5 * width * nodes).ravel(), np.tile(0.5 * width * weights, n_panels)
