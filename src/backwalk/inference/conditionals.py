"""The conditional of parameters given observations, and the product of several of them.

Several observations x_1..x_n that are independent given the parameters have

    p(theta | x_1..x_n)  proportional to  p(theta | x_1) ... p(theta | x_n) / p(theta)^(n - 1),

which can be evaluated and not drawn. Source: Geffner, Papamakarios & Mnih 2023, "Compositional score modeling for
simulation-based inference".
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from functools import cached_property, partial
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
from backwalk.inference.importance import Weighted, draw_weighted, joined
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
_INTERVALS = 4, 8, 16  # of the ODE: to fit the first proposal; for weights; for weights that need more
_N_PILOT, _PILOT_ERROR = 64, 0.1  # draws, and nats of their product by which 4 and 8 intervals may differ
_FEWEST_FIRST = 50  # draws for the first proposal of a combination of labels, and draws of each of its rounds
_BESIDE_BOUND = 0.2  # encoded: the last part of a map beside a bound, of about a thousandth of the nearest rows
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
        given = Given(rows if len(rows) == 1 else np.repeat(rows, n, axis=0))
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

    def log_product(self, theta: Array, rows: Array, *, n_intervals: int = 16) -> tuple[Array, Array]:
        """Return the log of the product in the module's docstring, and that of the mean of its factors: (n,) each.

        It is ln p(theta) + sum_i ln p(theta | x_i) / d(theta), where the divisor d is p(theta) but for a known prior
        beside a bound: see `_log_divisor`. The prior is evaluated where all factors are positive, and not at all for
        one observation.
        """
        by_observation = self.log_prob(theta, rows, n_intervals=n_intervals)
        mean = logsumexp(by_observation, axis=1) - math.log(len(rows))
        possible = np.isfinite(by_observation).all(axis=1)
        product = np.full(len(theta), -np.inf)
        product[possible] = by_observation[possible].sum(axis=1)
        if len(rows) > 1 and possible.any():
            some = theta[possible]
            of_prior = self.log_prior(some, n_intervals=n_intervals)
            divisor = self._log_divisor(some, of_prior)
            finite = np.isfinite(of_prior) & np.isfinite(divisor)
            product[possible] += np.where(finite, of_prior, -np.inf) - len(rows) * np.where(finite, divisor, 0.0)
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

        The first proposal is fitted to `n_each` draws of p(theta | x_i), as many for each observation, weighted by
        densities of few evaluations. Numbers are drawn given each combination of labels that occurs in these draws,
        whose probabilities are the integrals over the numbers; combinations without numbers are all evaluated. Raises
        InvalidInput without a prior, for parameters that are rounded or have atoms, and where no draw is possible.
        """
        self._check_parameters(rows)
        if not self._numbers:
            weighted = self._weigh_labels(rows)
        else:
            each = -(-n_each // len(rows))
            theta = self.draw(rows, each, stream=stream.child("posterior"), sampler=sampler)
            theta = theta.reshape(-1, len(self.parameters))
            product, mean = self.log_product(theta, rows, n_intervals=_INTERVALS[0])
            log_w = product - mean  # draws of a solver follow the mean up to its error
            n_intervals = self._enough_intervals(theta[:: -(-len(theta) // _N_PILOT)], rows)
            parts = list[Weighted]()
            for i, (labels, is_of, share) in enumerate(self._by_labels(theta, log_w)):
                some = is_of if is_of.sum() >= _FEWEST_FIRST else np.full(len(theta), fill_value=True)
                of_labels = partial(self._log_product_of_numbers, rows, labels, n_intervals)
                codec = self.codec
                part = draw_weighted(
                    of_labels,
                    codec.encode(theta[some][:, self._numbers]),
                    log_w[some],
                    n_each=max(math.ceil(share * n_each), _FEWEST_FIRST),
                    least_size=share * least_size,
                    stream=stream.child("importance", i),
                )
                parts.append(replace(part, points=self._with_labels(codec.decode(part.points), labels)))
            weighted = joined(parts)
        if not math.isfinite(weighted.log_integral):
            raise InvalidInput(
                f"No draw is possible under all {len(rows)} observations and the prior: check that the prior is that "
                f"of the simulations, with the parameters {listed(self.names)} in this order, and the units of x."
            )
        return weighted

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
    def _numbers(self) -> list[int]:
        """The places of the numbers among the parameters; the others have labels."""
        return [i for i, j in enumerate(self.parameters) if j not in self.model.codec.block_numbers]

    @cached_property
    def _labelled(self) -> list[int]:
        return [i for i in range(len(self.parameters)) if i not in self._numbers]

    @cached_property
    def codec(self) -> Codec:
        """The codec of the parameters that are numbers, of which there are some."""
        return Codec(tuple(self.model.codec.columns[self.parameters[i]] for i in self._numbers))

    def _with_labels(self, numbers: Array, labels: Array) -> Array:
        """Return parameters, (n, k), of numbers, (n, .), and the same labels, (.,), in all rows."""
        theta = np.empty((len(numbers), len(self.parameters)))
        theta[:, self._numbers] = numbers
        theta[:, self._labelled] = labels
        return theta

    def _enough_intervals(self, theta: Array, rows: Array) -> int:
        """Return the intervals of the ODE for weights: 8 where the product at theta, (n, k), hardly changes from 4."""
        coarse, fine = (self.log_product(theta, rows, n_intervals=n)[0] for n in _INTERVALS[:2])
        possible = np.isfinite(fine) & np.isfinite(coarse)
        is_enough = possible.any() and float((fine - coarse)[possible].std()) < _PILOT_ERROR
        return _INTERVALS[1] if is_enough else _INTERVALS[2]

    def _log_product_of_numbers(self, rows: Array, labels: Array, n_intervals: int, z: Array) -> Array:
        """Return the log of the product at encoded numbers, (n, .), and labels, (.,): (n,)."""

        def log_product(numbers: Array) -> Array:
            return self.log_product(self._with_labels(numbers, labels), rows, n_intervals=n_intervals)[0]

        return self.log_density_encoded(log_product, z)

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

    def _log_divisor(self, theta: Array, log_prior: Array) -> Array:
        """Return the log-density of parameters, (n, k), by which p(theta | x) is divided: (n,).

        It is the prior, `log_prior`, where rows of the fit show what the prior is. The map of a parameter with bounds
        makes its last part beside a bound a normal tail, and so does a fitted model, whatever a known prior does there.
        A normal tail thus continues the prior: over the (n - 1)th power of one that vanishes at the bound, the product
        would have an infinite integral.
        """
        resolved = theta.copy()
        for i, column in zip(self._numbers, self.codec.columns if self._numbers else (), strict=True):
            if self.prior is not None and getattr(column, "bounds", None) is not None:
                low, high = column.encode(np.array(column.value_range))[:, 0] + (_BESIDE_BOUND, -_BESIDE_BOUND)
                z = column.encode(theta[:, i])[:, 0]
                beside = (z < low) | (z > high)
                resolved[beside, i] = column.decode(z[beside, None].clip(low, high))
        divisor, moved = log_prior.copy(), (resolved != theta).any(axis=1)
        if moved.any():
            at = [numbers[moved][:, self._numbers] for numbers in (theta, resolved)]
            tail, tail_at_resolved = (
                self.codec.log_abs_det_jacobian(numbers) - 0.5 * np.square(self.codec.encode(numbers)).sum(axis=1)
                for numbers in at
            )
            divisor[moved] = self.log_prior(resolved[moved]) + tail - tail_at_resolved
        return divisor

    def _by_labels(self, theta: Array, log_w: Array) -> Iterator[tuple[Array, NDArray[np.bool_], float]]:
        """Yield each combination of labels of weighted parameters, which of these have it, and its weight."""
        labels = theta[:, self._labelled]
        total = logsumexp(log_w)
        for combination in np.unique(labels, axis=0):
            is_of = (labels == combination).all(axis=1)
            share = float(np.exp(logsumexp(log_w[is_of]) - total)) if np.isfinite(total) else float(is_of.mean())
            if share > 0.0:
                yield combination, is_of, share

    def _weigh_labels(self, rows: Array) -> Weighted:
        """Return all combinations of the labels with their probabilities."""
        blocks = [self.model.codec.block_of(j) for j in self.parameters]
        levels = [block.values[~np.isnan(block.values)] for block in blocks if block is not None]
        theta = np.array(list(itertools.product(*levels)))
        product, _ = self.log_product(theta, rows)
        total = float(logsumexp(product))
        return Weighted(theta, product - total if math.isfinite(total) else product, total, 0.0)

    def _check_parameters(self, rows: Array) -> None:
        codec = self.model.codec
        with_atoms = {block.column for block in codec.blocks if block.number is not None}
        uneven = [
            name
            for name, j in zip(self.names, self.parameters, strict=True)
            if codec.columns[j].cell_width or j in with_atoms
        ]
        if uneven:
            raise InvalidInput(
                f"Several observations need parameters with labels or on a continuous scale, but {listed(uneven)} are "
                'rounded or have atoms: give one observation, or fit them as columns={name: "number"}.'
            )
        if len(rows) > 1 and self.prior is None and self.model.conditions != "any":
            raise InvalidInput(
                "Several observations need the prior, which the model does not hold: give it to posterior(prior=...), "
                'or fit again with conditions="any". For observations of different parameters take sample_batched and '
                "log_prob_batched."
            )


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
