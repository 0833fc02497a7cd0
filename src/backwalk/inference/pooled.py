"""The posterior given several observations of the same parameters.

Observations x_1..x_n that are independent given the parameters have

    p(theta | x_1..x_n)  proportional to  p(theta | x_1) ... p(theta | x_n) / p(theta)^(n - 1),

which can be evaluated and not drawn: draws are weighted ones (`importance.py`). Labels among the parameters have the
probabilities that are the integrals of the product over the numbers.

Source: Geffner, Papamakarios & Mnih 2023, "Compositional score modeling for simulation-based inference".
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Iterator
from dataclasses import dataclass, replace
from functools import partial

import numpy as np
from numpy.typing import NDArray
from scipy.special import logsumexp

from backwalk.errors import InvalidInput
from backwalk.formatting import listed
from backwalk.inference.conditionals import ParameterConditional
from backwalk.inference.importance import Weighted, draw_weighted, joined
from backwalk.sampling import Sampler
from backwalk.streams import Stream

Array = NDArray[np.float64]
_INTERVALS = 4, 8, 16  # of the ODE: to fit the first proposal; for weights; for weights that need more
_N_PILOT, _PILOT_ERROR = 64, 0.1  # draws, and nats of their product by which 4 and 8 intervals may differ
_FEWEST_FIRST = 50  # draws for the first proposal of a combination of labels, and draws of each of its rounds
_LEAST_SHARE = 1e-4  # of a combination of labels among the first draws; others are left out
_BESIDE_BOUND = 0.2  # encoded: the last part of a map beside a bound, of about a thousandth of the nearest rows


@dataclass(frozen=True, eq=False)
class Product:
    """The product of p(theta | x) over observations, (b, d), which is not normalised.

    Raises InvalidInput without a prior, and for parameters that are rounded or have atoms.
    """

    conditional: ParameterConditional
    rows: Array

    def __post_init__(self) -> None:
        of, codec = self.conditional, self.conditional.model.codec
        with_atoms = {block.column for block in codec.blocks if block.number is not None}
        uneven = [
            name
            for name, j in zip(of.names, of.parameters, strict=True)
            if codec.columns[j].cell_width or j in with_atoms
        ]
        if uneven:
            raise InvalidInput(
                f"Several observations need parameters with labels or on a continuous scale, but {listed(uneven)} are "
                'rounded or have atoms: give one observation, or fit them as columns={name: "number"}.'
            )
        if len(self.rows) > 1 and of.prior is None and of.model.conditions != "any":
            raise InvalidInput(
                "Several observations need the prior, which the model does not hold: give it to posterior(prior=...), "
                'or fit again with conditions="any". For observations of different parameters take sample_batched and '
                "log_prob_batched."
            )

    def log_prob(self, theta: Array, *, n_intervals: int = 16) -> tuple[Array, Array]:
        """Return the log of the product, and that of the mean of its factors: (n,) each.

        It is ln p(theta) + sum_i ln p(theta | x_i) / d(theta), where the divisor d is p(theta) but for a known prior
        beside a bound: see `_log_divisor`. The prior is evaluated where all factors are positive, and not at all for
        one observation.
        """
        by_observation = self.conditional.log_prob(theta, self.rows, n_intervals=n_intervals)
        mean = logsumexp(by_observation, axis=1) - math.log(len(self.rows))
        possible = np.isfinite(by_observation).all(axis=1)
        product = np.full(len(theta), -np.inf)
        product[possible] = by_observation[possible].sum(axis=1)
        if len(self.rows) > 1 and possible.any():
            some = theta[possible]
            of_prior = self.conditional.log_prior(some, n_intervals=n_intervals)
            divisor = self._log_divisor(some, of_prior)
            finite = np.isfinite(of_prior) & np.isfinite(divisor)
            product[possible] += np.where(finite, of_prior, -np.inf) - len(self.rows) * np.where(finite, divisor, 0.0)
        return product, np.asarray(mean)

    def draw(self, *, n_each: int, least_size: float, stream: Stream, sampler: Sampler | str | None = None) -> Weighted:
        """Return weighted draws.

        The first proposal is fitted to `n_each` draws of p(theta | x_i), as many for each observation, weighted by
        densities of few evaluations. Numbers are drawn given each combination of labels that occurs in these draws,
        and combinations without numbers are all evaluated. Raises InvalidInput where no draw is possible.
        """
        if self.conditional.numbers:
            weighted = self._draw_numbers(n_each, least_size, stream, sampler)
        else:
            weighted = self._weigh_labels()
        if not math.isfinite(weighted.log_integral):
            raise InvalidInput(
                f"No draw is possible under all {len(self.rows)} observations and the prior: check that the prior is "
                f"that of the simulations, with the parameters {listed(self.conditional.names)} in this order, and the "
                "units of x."
            )
        return weighted

    def _draw_numbers(self, n_each: int, least_size: float, stream: Stream, sampler: Sampler | str | None) -> Weighted:
        of = self.conditional
        theta = of.draw(self.rows, -(-n_each // len(self.rows)), stream=stream.child("posterior"), sampler=sampler)
        theta = theta.reshape(-1, len(of.parameters))
        product, mean = self.log_prob(theta, n_intervals=_INTERVALS[0])
        log_w = product - mean  # draws of a solver follow the mean up to its error
        pilot = slice(None, None, -(-len(theta) // _N_PILOT))
        n_intervals = self._enough_intervals(theta[pilot], product[pilot])
        parts = list[Weighted]()
        for i, (labels, is_of, share) in enumerate(self._by_labels(theta, log_w)):
            some = is_of if is_of.sum() >= _FEWEST_FIRST else np.full(len(theta), fill_value=True)
            part = draw_weighted(
                partial(self._log_prob_encoded, labels, n_intervals),
                of.codec.encode(theta[some][:, of.numbers]),
                log_w[some],
                n_each=max(math.ceil(share * n_each), _FEWEST_FIRST),
                least_size=share * least_size,
                stream=stream.child("importance", i),
            )
            parts.append(replace(part, points=of.with_labels(of.codec.decode(part.points), labels)))
        return joined(parts)

    def _enough_intervals(self, theta: Array, coarse: Array) -> int:
        """Return the intervals of the ODE for weights: 8 where the product at theta, (n, k), hardly changes from 4.

        `coarse`, (n,), is the log of the product by 4.
        """
        fine, _ = self.log_prob(theta, n_intervals=_INTERVALS[1])
        possible = np.isfinite(fine) & np.isfinite(coarse)
        is_enough = possible.any() and float((fine - coarse)[possible].std()) < _PILOT_ERROR
        return _INTERVALS[1] if is_enough else _INTERVALS[2]

    def _log_prob_encoded(self, labels: Array, n_intervals: int, z: Array) -> Array:
        """Return the log of the product, as a density of encoded numbers, (n, .), at the same labels, (.,): (n,)."""

        def log_prob(numbers: Array) -> Array:
            return self.log_prob(self.conditional.with_labels(numbers, labels), n_intervals=n_intervals)[0]

        return self.conditional.log_density_encoded(log_prob, z)

    def _log_divisor(self, theta: Array, log_prior: Array) -> Array:
        """Return the log-density of parameters, (n, k), by which p(theta | x) is divided: (n,).

        It is the prior, `log_prior`, where rows of the fit show what the prior is. The map of a parameter with bounds
        makes its last part beside a bound a normal tail, and so does a fitted model, whatever a known prior does there.
        A normal tail thus continues the prior: over the (n - 1)th power of one that vanishes at the bound, the product
        would have an infinite integral. Maps that are straight are of priors that are positive at the bounds.
        """
        of, resolved = self.conditional, theta.copy()
        for i, column in zip(of.numbers, of.codec.columns if of.numbers else (), strict=True):
            ends = getattr(column, "bounds", None)
            if of.prior is not None and ends is not None and ends.share is None:
                low, high = column.encode(np.array(column.value_range))[:, 0] + (_BESIDE_BOUND, -_BESIDE_BOUND)
                z = column.encode(theta[:, i])[:, 0]
                beside = (z < low) | (z > high)
                resolved[beside, i] = column.decode(z[beside, None].clip(low, high))
        divisor, moved = log_prior.copy(), (resolved != theta).any(axis=1)
        if moved.any():
            at = [numbers[moved][:, of.numbers] for numbers in (theta, resolved)]
            tail, tail_at_resolved = (
                of.codec.log_abs_det_jacobian(numbers) - 0.5 * np.square(of.codec.encode(numbers)).sum(axis=1)
                for numbers in at
            )
            divisor[moved] = of.log_prior(resolved[moved]) + tail - tail_at_resolved
        return divisor

    def _by_labels(self, theta: Array, log_w: Array) -> Iterator[tuple[Array, NDArray[np.bool_], float]]:
        """Yield each combination of labels of weighted parameters, which of these have it, and its weight."""
        labels = theta[:, self.conditional.labelled]
        total = logsumexp(log_w)
        for combination in np.unique(labels, axis=0):
            is_of = (labels == combination).all(axis=1)
            share = float(np.exp(logsumexp(log_w[is_of]) - total)) if np.isfinite(total) else float(is_of.mean())
            if share > _LEAST_SHARE:
                yield combination, is_of, share

    def _weigh_labels(self) -> Weighted:
        """Return all combinations of the labels with their probabilities."""
        blocks = [self.conditional.model.codec.block_of(j) for j in self.conditional.parameters]
        levels = [block.values[~np.isnan(block.values)] for block in blocks if block is not None]
        theta = np.array(list(itertools.product(*levels)))
        product, _ = self.log_prob(theta)
        total = float(logsumexp(product))
        return Weighted(theta, product - total if math.isfinite(total) else product, total, 0.0)
