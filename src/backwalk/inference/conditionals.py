"""The conditional of parameters given observations, and the product of several of them.

Several observations x_1..x_n that are independent given the parameters have

    p(theta | x_1..x_n)  proportional to  p(theta | x_1) ... p(theta | x_n) / p(theta)^(n - 1),

which can be evaluated and not drawn. Source: Geffner, Papamakarios & Mnih 2023, "Compositional score modeling for
simulation-based inference".
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Any, Protocol

import numpy as np
import torch
from numpy.typing import NDArray
from scipy.special import logsumexp
from torch import Tensor
from torch.distributions import constraints

from backwalk.errors import InvalidInput
from backwalk.formatting import listed
from backwalk.inference.gradients import climb
from backwalk.inference.importance import Weighted, draw_weighted
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
        given = Given(rows if len(rows) == 1 else np.repeat(rows, n, axis=0))
        drawn = sample_rows(self.model, 0, n * len(rows), stream=stream, sampler=sampler, given=given)
        return drawn[:, list(self.parameters)].reshape(len(rows), n, len(self.parameters))

    def log_prob(self, theta: Array, rows: Array) -> Array:
        """Return ln p(theta | x) of parameters, (n, k), given each observation: (n, b)."""
        return self.log_prob_paired(np.repeat(theta, len(rows), axis=0), np.tile(rows, (len(theta), 1))).reshape(
            len(theta), len(rows)
        )

    def log_prob_paired(self, theta: Array, rows: Array) -> Array:
        """Return ln p(theta | x) of parameters, (n, k), each given the observation in the same row, (n, d): (n,).

        Missing data are integrated out, as in `draw`, in columns whose gaps are generated, too.
        """
        values, log_p = self._joined(theta, rows), np.empty(len(rows))
        for at, observed in self._observed(rows):
            log_p[at] = log_density(self.model, values[at], given=observed, columns=self.parameters).log_prob.numpy()
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
        return climb(lambda theta: self.log_prob_and_gradient(theta, row), self._codec, best)

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

    def log_prior(self, theta: Array) -> Array:
        """Return ln p(theta) of parameters, (n, k): (n,); -inf beyond the support of a distribution of torch."""
        if self.prior is not None:
            return np.asarray(log_prior(self.prior, as_tensor(theta), self._names).numpy())
        values = np.full((len(theta), self.model.schema.n_columns), np.nan)
        values[:, list(self.parameters)] = theta
        return log_density(self.model, values, columns=self.parameters).log_prob.numpy()

    def log_product(self, theta: Array, rows: Array) -> tuple[Array, Array]:
        """Return the log of the product in the module's docstring, and that of the mean of its factors: (n,) each.

        The prior is evaluated where all factors are positive, and not at all for one observation.
        """
        by_observation = self.log_prob(theta, rows)
        mean = logsumexp(by_observation, axis=1) - math.log(len(rows))
        possible = np.isfinite(by_observation).all(axis=1)
        product = np.full(len(theta), -np.inf)
        product[possible] = by_observation[possible].sum(axis=1)
        if len(rows) > 1 and possible.any():
            of_prior = self.log_prior(theta[possible])
            product[possible] -= np.where(np.isfinite(of_prior), (len(rows) - 1) * of_prior, np.inf)
        return product, np.asarray(mean)

    def draw_weighted(
        self,
        rows: Array,
        *,
        n_each: int,
        least_size: float,
        stream: Stream,
        sampler: Sampler | str | None = None,
    ) -> Weighted:
        """Return weighted draws of the product.

        The first proposal is fitted to `n_each` draws of p(theta | x_i), as many for each observation. Raises
        InvalidInput without a prior, for parameters that are not on a continuous scale, and where no draw is possible.
        """
        codec = self._continuous()
        if len(rows) > 1 and self.prior is None and self.model.conditions != "any":
            raise InvalidInput(
                "Several observations need the prior, which the model does not hold: give it to posterior(prior=...), "
                'or fit again with conditions="any". For observations of different parameters take sample_batched and '
                "log_prob_batched."
            )
        each = -(-n_each // len(rows))
        theta = self.draw(rows, each, stream=stream.child("posterior"), sampler=sampler)
        theta = theta.reshape(-1, len(self.parameters))
        product, mean = self.log_product(theta, rows)  # draws of a solver follow the mean up to its error

        def log_product_of(z: Array) -> Array:
            theta = codec.decode(z)
            return self.log_product(theta, rows)[0] - codec.log_abs_det_jacobian(theta)

        weighted = draw_weighted(
            log_product_of,
            codec.encode(theta),
            product - mean,
            n_each=n_each,
            least_size=least_size,
            stream=stream.child("importance"),
        )
        if not math.isfinite(weighted.log_integral):
            raise InvalidInput(
                f"No draw is possible under all {len(rows)} observations and the prior: check that the prior is that "
                f"of the simulations, with the parameters {listed(self._names)} in this order, and the units of x."
            )
        return replace(weighted, points=codec.decode(weighted.points))

    @property
    def _names(self) -> list[str]:
        return [self.model.schema.names[j] for j in self.parameters]

    @property
    def _codec(self) -> Codec:
        return Codec(tuple(self.model.codec.columns[j] for j in self.parameters))

    def _continuous(self) -> Codec:
        codec = self._codec
        uneven = [name for i, name in enumerate(self._names) if i not in codec.continuous]
        if uneven:
            raise InvalidInput(
                f"Several observations need parameters on a continuous scale, but {listed(uneven)} are not: give one "
                'observation, or fit them as columns={name: "number"}.'
            )
        return codec


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
