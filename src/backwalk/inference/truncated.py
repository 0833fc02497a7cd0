"""Truncated proposals: a prior within the region of highest posterior density, for further rounds of simulations.

The region holds the parameters with p(theta | x) >= c, where c is the epsilon quantile of the densities of the
posterior's own draws. Within it the proposal is proportional to the prior, and so is a mixture of such proposals with
the prior: a fit to the rows of all rounds needs no correction for the posterior given this x.

Candidates come from a mixture of Student's t distributions that is fitted to the region by adaptive importance sampling
(`importance.py`), and are rejected by the ratio of the prior to it. So the cost does not depend on the share of the
prior that the region holds. The largest ratio is that of all candidates of a call.

Source: Deistler, Goncalves & Macke 2022, "Truncated proposals for scalable and hassle-free simulation-based inference".
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from torch import Tensor

from backwalk.errors import InvalidInput
from backwalk.formatting import listed
from backwalk.inference.conditionals import ParameterConditional
from backwalk.inference.importance import Proposal, draw_weighted, fit_proposal
from backwalk.inference.values import as_tensor, read_parameters, read_shape
from backwalk.streams import RandomState, Stream, as_stream

Array = NDArray[np.float64]
_DRAWS_BEYOND = 2  # of the posterior's draws, those beyond the region
_FEWEST_DRAWS, _MOST_DRAWS = 1_000, 10_000
_N_EACH, _LEAST_SIZE = 1_000, 500.0  # weighted draws to which the proposal is fitted
_N_INTERVALS = 8  # of the ODE
_FEWEST_CANDIDATES, _MOST_CANDIDATES = 256, 8_192  # at once
_MOST_REJECTED = 1_000  # candidates for each draw


@dataclass(frozen=True, eq=False)
class _Region:
    """The prior where the log-density given an observation, (1, d), is at least `log_threshold`."""

    conditional: ParameterConditional  # with the prior
    row: Array
    log_threshold: float

    def log_prior(self, theta: Array) -> Array:
        """Return the log-density of the prior, (n,), at parameters, (n, k), of the region, and -inf at others."""
        found = self.conditional.log_prior(theta)
        possible = np.isfinite(found)
        log_p = np.full(len(theta), -np.inf)
        if possible.any():
            log_p[possible] = self.conditional.log_prob(theta[possible], self.row, n_intervals=_N_INTERVALS)[:, 0]
        return np.where(log_p >= self.log_threshold, found, -np.inf)

    def log_prior_encoded(self, z: Array) -> Array:
        """Return the log-density of encoded parameters, (n, k): (n,)."""
        return self.conditional.log_density_encoded(self.log_prior, z)


@dataclass(frozen=True, eq=False)
class TruncatedPrior:
    """A prior within the region of highest density of a posterior: see `Posterior.truncated`, which makes it.

    `prior_share` is the probability of the region under the prior, an estimate; for a prior that is not normalised, its
    integral over the region.
    """

    prior_share: float
    _region: _Region
    _proposal: Proposal

    def sample(self, sample_shape: int | Sequence[int] = (), *, random_state: RandomState = None) -> Tensor:
        """Draw parameters from the prior within the region.

        Parameters
        ----------
        sample_shape : int or tuple of int, default=()
        random_state : int, numpy.random.Generator or RandomState, default=None

        Returns
        -------
        Tensor, (*sample_shape, n_parameters)
            Float64, with the parameters in the order of `Posterior.parameter_names`.

        Raises
        ------
        InvalidInput
            A ValueError: the shape cannot be used, or of 1,000 candidates fewer than one is accepted.
        """
        shape, stream = read_shape(sample_shape), as_stream(random_state).child("truncated")
        n, accepted, tried = math.prod(shape), np.empty(0, dtype=np.intp), 0
        z, log_w, log_u = np.empty((0, len(self._region.conditional.parameters))), np.empty(0), np.empty(0)
        while len(accepted) < n:
            if tried > _MOST_REJECTED * n + _MOST_CANDIDATES:
                raise InvalidInput(
                    f"Of {tried:,} candidates some should be accepted, but {len(accepted)} are: take a larger epsilon."
                )
            wanted = math.ceil(1.2 * (n - len(accepted)) * tried / max(len(accepted), 1)) if tried else 4 * n
            of_turn = stream.child("candidates", tried)
            some = self._proposal.draw(min(max(wanted, _FEWEST_CANDIDATES), _MOST_CANDIDATES), of_turn.child("z"))
            tried += len(some)
            z = np.concatenate([z, some])
            log_w = np.concatenate([log_w, self._region.log_prior_encoded(some) - self._proposal.log_density(some)])
            log_u = np.concatenate([log_u, np.log(of_turn.child("u").uniform(0, len(some), 1).numpy()[:, 0])])
            accepted = np.flatnonzero(log_u < log_w - log_w.max()) if np.isfinite(log_w.max()) else accepted
        theta = self._region.conditional.codec.decode(z[accepted[:n]])
        return as_tensor(theta.reshape(*shape, theta.shape[1]))

    def log_prob(self, theta: Any) -> Tensor:
        """Return the log-density of parameters: that of the prior less ln `prior_share` in the region, -inf beyond.

        Parameters
        ----------
        theta : tensor or array, (..., k), or table with n rows

        Returns
        -------
        Tensor, (...) or (n,)
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

    Raises InvalidInput where the prior has no mass there.
    """
    n = int(np.clip(math.ceil(_DRAWS_BEYOND / epsilon), _FEWEST_DRAWS, _MOST_DRAWS))
    theta = conditional.draw(row, n, stream=stream.child("posterior"))[0]
    log_p = conditional.log_prob(theta, row, n_intervals=_N_INTERVALS)[:, 0]
    region = _Region(conditional, row, float(np.sort(log_p)[int(epsilon * (n + 1))]))
    within = log_p >= region.log_threshold
    weighted = draw_weighted(
        region.log_prior_encoded,
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
    return TruncatedPrior(math.exp(weighted.log_integral), region, proposal)
