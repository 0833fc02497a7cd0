"""The conditional of parameters given an observation: draws, log-densities and their gradients, and the prior."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any, Protocol

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.distributions import constraints

from backwalk.errors import InvalidInput
from backwalk.formatting import listed
from backwalk.inference.gradients import climb
from backwalk.inference.values import as_tensor
from backwalk.model import (
    DiffusionModel,
    Given,
    estimate_scores,
    log_density,
    log_density_and_gradient,
    sample_rows,
)
from backwalk.sampling import Sampler
from backwalk.streams import Stream
from backwalk.table import Codec

Array = NDArray[np.float64]
_ROUNDING = 0.01  # encoded, beside a bound


class Prior(Protocol):
    """A distribution of torch, or anything else with its `log_prob`."""

    def log_prob(self, value: Tensor, /) -> Tensor:
        """Return the log-density of parameters, (m, k): (m,)."""
        ...


@dataclass(frozen=True, eq=False)
class ParameterConditional:
    """p(theta | x) of a model: `given` are the numbers of the observed columns, `parameters` those of the others.

    Observations are rows, (b, d), with NaN in other columns. `prior` may be None, for the model's own.
    """

    model: DiffusionModel
    given: Sequence[int]
    parameters: Sequence[int]
    prior: Prior | None

    def draw(self, rows: Array, n: int, *, stream: Stream, sampler: Sampler | str | None = None) -> Array:
        """Return n draws of parameters given each observation: (b, n, k). Draw i of observation j is row j n + i."""
        given = Given.to_draw(self.model, rows if len(rows) == 1 else np.repeat(rows, n, axis=0))
        drawn = sample_rows(self.model, 0, n * len(rows), stream=stream, sampler=sampler, given=given)
        return drawn[:, list(self.parameters)].reshape(len(rows), n, len(self.parameters))

    def log_prob(self, theta: Array, rows: Array, *, n_intervals: int = 16) -> Array:
        """Return ln p(theta | x) of parameters, (n, k), given each observation: (n, b)."""
        paired = np.repeat(theta, len(rows), axis=0), np.tile(rows, (len(theta), 1))
        return self.log_prob_paired(*paired, n_intervals=n_intervals).reshape(len(theta), len(rows))

    def log_prob_paired(self, theta: Array, rows: Array, *, n_intervals: int = 16) -> Array:
        """Return ln p(theta | x) of parameters, (n, k), each given the observation in the same row, (n, d): (n,).

        Missing data are integrated out, as in `draw`, in columns whose gaps are generated, too.
        """
        values, log_p = self._joined(theta, rows), np.empty(len(rows))
        for at, observed in self._observed(rows):
            log_p[at] = self._log_density(values[at], observed, n_intervals)
        return log_p

    def log_prob_and_gradient(self, theta: Array, rows: Array) -> tuple[Array, Array]:
        """Return `log_prob_paired`, (n,), and its gradient by theta, (n, k).

        Raises InvalidInput for parameters that are not on a continuous scale.
        """
        values, log_p, gradient = self._joined(theta, rows), np.empty(len(rows)), np.empty(theta.shape)
        for at, observed in self._observed(rows):
            found = log_density_and_gradient(self.model, values[at], given=observed, columns=self.parameters)
            log_p[at], gradient[at] = (part.numpy() for part in found)
        return log_p, gradient

    def scores(self, theta: Array, rows: Array) -> Array:
        """Return the score of ln p(theta | x) at parameters, (n, k), each given the observation in the same row."""
        values, found = self._joined(theta, rows), np.empty(theta.shape)
        for at, observed in self._observed(rows):
            found[at] = estimate_scores(self.model, values[at], given=observed, columns=self.parameters).numpy()
        return found

    def highest(self, row: Array, n_draws: int, *, stream: Stream) -> Array:
        """Return the parameters, (k,), of the largest density given an observation, (1, d), from the best of draws."""
        theta = self.draw(row, n_draws, stream=stream)[0]
        best = theta[self.log_prob(theta, row)[:, 0].argmax()]
        return climb(lambda theta: self.log_prob_and_gradient(theta, row), self.codec, best)

    def _joined(self, theta: Array, rows: Array) -> Array:
        values = rows.copy()
        values[:, list(self.parameters)] = theta
        return values

    def _observed(self, rows: Array) -> Iterator[tuple[NDArray[np.bool_], list[int]]]:
        """Yield which rows, (n, d), have the same given columns, (n,), and these; gaps that are generated are none."""
        given = np.array(self.given, dtype=np.intp)
        absent = np.isnan(rows[:, given]) & np.isin(given, self.model.codec.missing_levels)
        for pattern in np.unique(absent, axis=0) if absent.any() else np.zeros((1, len(given)), dtype=bool):
            yield (absent == pattern).all(axis=1), given[~pattern].tolist()

    def log_prior(self, theta: Array, *, n_intervals: int = 16) -> Array:
        """Return ln p(theta) of parameters, (n, k): (n,); -inf beyond the support of a distribution of torch."""
        if self.prior is not None:
            return np.asarray(log_prior(self.prior, as_tensor(theta), self.names).numpy())
        values = np.full((len(theta), self.model.schema.n_columns), np.nan)
        values[:, list(self.parameters)] = theta
        return self._log_density(values, [], n_intervals)

    def _log_density(self, values: Array, given: Sequence[int], n_intervals: int) -> Array:
        found = log_density(
            self.model, values, given=given, columns=self.parameters, n_intervals=n_intervals, with_error=False
        )
        return found.log_prob.numpy()

    @property
    def names(self) -> list[str]:
        """The names of the parameters."""
        return [self.model.schema.names[j] for j in self.parameters]

    @cached_property
    def numbers(self) -> list[int]:
        """The places of the numbers among the parameters; the others have labels."""
        return [i for i, j in enumerate(self.parameters) if j not in self.model.codec.block_numbers]

    @cached_property
    def labelled(self) -> list[int]:
        """The places of the parameters with labels."""
        return [i for i in range(len(self.parameters)) if i not in self.numbers]

    @cached_property
    def codec(self) -> Codec:
        """The codec of the parameters that are numbers, of which there are some."""
        return Codec(tuple(self.model.codec.columns[self.parameters[i]] for i in self.numbers))

    def with_labels(self, numbers: Array, labels: Array) -> Array:
        """Return parameters, (n, k), of numbers, (n, .), and the same labels, (.,), in all rows."""
        theta = np.empty((len(numbers), len(self.parameters)))
        theta[:, self.numbers] = numbers
        theta[:, self.labelled] = labels
        return theta

    def log_density_encoded(self, log_density: Callable[[Array], Array], z: Array) -> Array:
        """Return a log-density of the parameters that are numbers as that of encoded ones, (n, .): (n,).

        It is -inf at z that no number is encoded as: beyond a bound, the codec's inverse is not one to one.
        """
        numbers = self.codec.decode(z)
        is_encoded = (np.abs(self.codec.encode(numbers) - z) < _ROUNDING).all(axis=1)
        log_p = np.full(len(z), -np.inf)
        if is_encoded.any():
            some = numbers[is_encoded]
            log_p[is_encoded] = log_density(some) - self.codec.log_abs_det_jacobian(some)
        return log_p


def log_prior(prior: Prior, theta: Tensor, names: Sequence[str]) -> Tensor:
    """Return ln p(theta) of the named parameters, (n, k), float64: (n,); -inf beyond the support.

    Distributions of torch refuse parameters beyond their support. Raises InvalidInput where the prior is not one of k
    parameters.
    """
    log_p = torch.full((len(theta),), -math.inf, dtype=torch.float64)
    try:
        within = _within_support(prior, theta)
        log_p_within = _log_prob(prior, theta[within]) if within.any() else log_p[within]
    except (RuntimeError, ValueError) as error:
        raise InvalidInput(
            f"The prior should be a distribution of {listed(names)} in this order, but its log_prob failed: {error}"
        ) from error
    if log_p_within.shape == (len(log_p_within), 1) and theta.shape[1] == 1:  # a distribution of a single number
        log_p_within = log_p_within[:, 0]
    if log_p_within.ndim != 1 or len(log_p_within) != int(within.sum()):
        raise InvalidInput(
            f"The prior's log_prob should have shape ({int(within.sum())},), but has {tuple(log_p_within.shape)}: take "
            "torch.distributions.Independent(prior, 1)."
        )
    log_p[within] = log_p_within
    return log_p


def _within_support(prior: Prior, theta: Tensor) -> Tensor:
    everywhere = torch.ones(len(theta), dtype=torch.bool)
    try:
        support: Any = getattr(prior, "support", None)
    except NotImplementedError:  # a distribution that does not state it
        return everywhere
    if not len(theta) or not isinstance(support, constraints.Constraint):
        return everywhere
    within = torch.as_tensor(support.check(theta)).cpu()  # type: ignore[no-untyped-call]
    return within.reshape(len(theta), -1).all(dim=1)


def _log_prob(prior: Prior, theta: Tensor) -> Tensor:
    try:
        log_p = prior.log_prob(theta)
    except RuntimeError:  # a distribution of float32, which is torch's default
        log_p = prior.log_prob(theta.float())
    return torch.as_tensor(log_p).detach().double().cpu()
