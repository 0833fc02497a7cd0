"""Truncated proposals: a prior within the region of highest posterior density, for further rounds of simulations.

The region holds the parameters with p(theta | x) >= c, where c is the epsilon quantile of the densities of the
posterior's own draws. Within it the proposal is proportional to the prior, and so is a mixture of such proposals with
the prior: a fit to the rows of all rounds needs no correction for the posterior given this x.

Candidates come from a mixture of Student's t distributions that is fitted to the region by adaptive importance sampling
(`importance.py`), and are rejected by the ratio of the prior to it, and then by the region, which takes a log-density.
So the cost does not depend on the share of the prior that the region holds. The largest ratio is that of all candidates
so far that lie in the region.

Source: Deistler, Goncalves & Macke 2022, "Truncated proposals for scalable and hassle-free simulation-based inference".
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np
from numpy.typing import NDArray
from torch import Tensor

from backwalk.errors import InvalidInput
from backwalk.formatting import listed
from backwalk.inference.conditionals import ParameterConditional
from backwalk.inference.importance import Proposal, draw_weighted, fit_proposal
from backwalk.inference.values import as_tensor, read_parameters, read_shape
from backwalk.limits import is_number
from backwalk.streams import RandomState, Stream, as_stream

Array = NDArray[np.float64]
_DRAWS_BEYOND = 2  # of the posterior's draws, those beyond the region
_FEWEST_DRAWS, _MOST_DRAWS = 1_000, 10_000
_N_EACH, _LEAST_SIZE = 1_000, 500.0  # weighted draws to which the proposal is fitted
_N_INTERVALS = 8  # of the ODE
_AT_ONCE = 2_048  # candidates
_MOST_REJECTED = 1_000  # candidates for each draw


@dataclass(frozen=True, eq=False)
class _Region:
    """The prior where the log-density given an observation, (1, d), is at least `log_threshold`."""

    conditional: ParameterConditional  # with the prior
    row: Array
    log_threshold: float

    def holds(self, theta: Array) -> NDArray[np.bool_]:
        """Return which parameters, (n, k), lie in the region."""
        if not len(theta):
            return np.empty(0, dtype=bool)
        log_p = self.conditional.log_prob(theta, self.row, n_intervals=_N_INTERVALS)[:, 0]
        return np.asarray(log_p >= self.log_threshold)

    def log_prior(self, theta: Array) -> Array:
        """Return the log-density of the prior, (n,), at parameters, (n, k), of the region, and -inf at others."""
        found = self.conditional.log_prior(theta)
        possible = np.isfinite(found)
        found[possible] = np.where(self.holds(theta[possible]), found[possible], -np.inf)
        return found


class TruncatedPrior:
    """A prior within the region of highest density of a posterior.

    `Posterior.truncated` makes it. Further simulations are drawn from it.

    Parameters
    ----------
    prior_share : float
        Probability of the region under the prior, an estimate; for a prior that is not normalised, its integral over
        the region.
    region : region
        The prior where the posterior's density is high.
    proposal : proposal
        The mixture that candidates are drawn from.
    log_bound : float
        Largest ln of prior over proposal in the region so far.

    See Also
    --------
    Posterior.truncated : Makes it.

    Examples
    --------
    >>> import numpy as np
    >>> import torch
    >>> from backwalk import Diffusion, Number, posterior
    >>> theta = np.random.default_rng(0).uniform(size=(300, 1))
    >>> rows = np.hstack([theta, theta + 0.1 * np.random.default_rng(1).normal(size=(300, 1))])
    >>> options = {"conditions": [[1]], "columns": {"x1": Number(bounds=(0, 1))}, "max_steps": 20, "verbose": False}
    >>> model = Diffusion(**options, random_state=0).fit(rows)
    >>> prior = torch.distributions.Uniform(0.0, 1.0)
    >>> second = posterior(model, given=[1]).truncated(prior, [0.5], epsilon=0.01, random_state=0)
    >>> theta = second.sample(5, random_state=1)
    >>> theta.shape, second.log_prob(theta).shape, 0.0 < second.prior_share < 1.0
    (torch.Size([5, 1]), torch.Size([5]), True)
    """

    def __init__(self, prior_share: float, region: _Region, proposal: Proposal, log_bound: float) -> None:
        self.prior_share = prior_share
        self._region, self._proposal, self._log_bound = region, proposal, log_bound

    def sample(self, sample_shape: int | Sequence[int] = (), *, random_state: RandomState = None) -> Tensor:
        """Draw parameters from the prior within the region.

        Parameters
        ----------
        sample_shape : int or tuple of int, default=()
            The shape of the draws; () is a single one.
        random_state : int, numpy.random.Generator or RandomState, default=None
            Seed of the draws.

        Returns
        -------
        Tensor, (..., k)
            The leading axes are `sample_shape`. Float64, with the parameters in the order of
            `Posterior.parameter_names`.

        Raises
        ------
        InvalidInput
            A ValueError: the shape cannot be used, or of 1,000 candidates fewer than one is accepted.
        """
        shape, stream, of = (
            read_shape(sample_shape),
            as_stream(random_state).child("truncated"),
            self._region.conditional,
        )
        n, tried, bound = math.prod(shape), 0, self._log_bound
        theta, log_w, log_u = np.empty((0, len(of.parameters))), np.empty(0), np.empty(0)
        while (is_accepted := log_u < log_w - bound).sum() < n:
            if tried > _MOST_REJECTED * n + 10 * _AT_ONCE:
                raise InvalidInput(
                    f"Of {tried:,} candidates {n:,} should be accepted, but {is_accepted.sum():,} are: take a larger "
                    "epsilon."
                )
            candidates = stream.child("candidates", tried)
            z = self._proposal.draw(_AT_ONCE, candidates.child("z"))
            tried += len(z)
            u = np.log(candidates.child("u").uniform(0, len(z), 1).numpy()[:, 0])
            w = of.log_density_encoded(of.log_prior, z) - self._proposal.log_density(z)
            passing = np.flatnonzero(u < w - bound)
            passed = of.codec.decode(z[passing])
            is_inside = self._region.holds(passed)
            inside, theta = passing[is_inside], np.concatenate([theta, passed[is_inside]])
            log_w, log_u = np.concatenate([log_w, w[inside]]), np.concatenate([log_u, u[inside]])
            bound = max(bound, log_w.max(initial=-math.inf))
        return as_tensor(theta[is_accepted][:n].reshape(*shape, theta.shape[1]))

    def log_prob(self, theta: Any) -> Tensor:
        """Return the log-density of parameters: that of the prior less ln `prior_share` in the region, -inf beyond.

        Parameters
        ----------
        theta : tensor or array, (..., k), or table with n rows
            Parameters.

        Returns
        -------
        Tensor, (...) or (n,)
            Nats, in the units of the parameters.
        """
        conditional = self._region.conditional
        read = read_parameters(conditional.model, conditional.parameters, theta)
        log_p = self._region.log_prior(read.reshape(-1, read.shape[-1])) - math.log(self.prior_share)
        return as_tensor(log_p.reshape(read.shape[:-1]))

    def __repr__(self) -> str:
        """Return the share of the prior."""
        return f"TruncatedPrior({self.prior_share:.3g} of the prior)"


def truncate(conditional: ParameterConditional, row: Array, *, epsilon: float, stream: Stream) -> TruncatedPrior:
    """Return the prior of a conditional within the region of highest density 1 - epsilon given a row, (1, d).

    Raises InvalidInput for several rows, for another epsilon than 1e-4 to 0.5, for parameters that are not on a
    continuous scale, and where the prior has no mass there.
    """
    _check(conditional, row, epsilon)
    n = int(np.clip(math.ceil(_DRAWS_BEYOND / epsilon), _FEWEST_DRAWS, _MOST_DRAWS))
    theta = conditional.draw(row, n, stream=stream.child("posterior"))[0]
    log_p = conditional.log_prob(theta, row, n_intervals=_N_INTERVALS)[:, 0]
    region = _Region(conditional, row, float(np.sort(log_p)[int(epsilon * (n + 1))]))
    within = log_p >= region.log_threshold
    weighted = draw_weighted(
        partial(conditional.log_density_encoded, region.log_prior),
        conditional.codec.encode(theta[within]),
        conditional.log_prior(theta[within]) - log_p[within],
        n_each=_N_EACH,
        least_size=_LEAST_SIZE,
        stream=stream.child("importance"),
    )
    if not math.isfinite(weighted.log_integral):
        raise InvalidInput(
            "The prior should have mass where the posterior has, but no draw of the posterior lies within its support: "
            f"check that it is the prior of the simulations, with the parameters {listed(conditional.names)} in this "
            "order."
        )
    proposal = fit_proposal(weighted.points, weighted.log_weights, stream.child("proposal"))
    inside = weighted.points[np.isfinite(weighted.log_weights)]
    log_w = conditional.log_density_encoded(conditional.log_prior, inside) - proposal.log_density(inside)
    return TruncatedPrior(math.exp(weighted.log_integral), region, proposal, float(log_w.max()))


def _check(conditional: ParameterConditional, row: Array, epsilon: float) -> None:
    continuous = conditional.model.codec.continuous
    uneven = [name for name, j in zip(conditional.names, conditional.parameters, strict=True) if j not in continuous]
    if len(row) > 1:
        raise InvalidInput(f"x should be one observation for a truncated prior, but has {len(row)} rows: give one.")
    if not is_number(epsilon) or not 1e-4 <= epsilon <= 0.5:
        raise InvalidInput(f"epsilon should be a number from 1e-4 to 0.5, but got {epsilon!r}: 1e-3 is usual.")
    if uneven:
        raise InvalidInput(
            f"A truncated prior needs parameters on a continuous scale, but {listed(uneven)} are not: fit them as "
            'columns={name: "number"}, or draw from the prior.'
        )
