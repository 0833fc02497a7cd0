"""Draws from a density that can be evaluated and not drawn: adaptive importance sampling.

Equally many points come from several proposals q_1..q_R. All of them are weighted by their mixture,

    w(z) = p(z) / mean_r q_r(z),

so that a poor early proposal does no harm. Each proposal is a mixture of Student's t distributions, fitted to the
points so far; their weights are tempered, w^tau, as far as the effective sample size (sum w)^2 / sum w^2 needs it.

Source: Cornuet et al. 2012, "Adaptive multiple importance sampling"; Veach & Guibas 1995 (the mixture's weights).
"""

from __future__ import annotations

import math
import warnings
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy import stats
from scipy.special import logsumexp

from backwalk.streams import Stream

Array = NDArray[np.float64]
MOST_ROUNDS = 8
_FREEDOM = 5.0  # of the proposals: their tails lie above those of a normal distribution
_SIZES = (1, 2, 4)  # of the mixtures
_POINTS_A_COMPONENT = 10  # per coordinate, at least
_TEMPERED_SHARE = 0.1  # of the points: the least effective sample size that a proposal is fitted to


@dataclass(frozen=True, eq=False)
class Weighted:
    """Points, (n, k), with normalised log-weights, (n,).

    `log_integral` is the logarithm of the integral of the density, and `standard_error` its error.
    """

    points: Array
    log_weights: Array
    log_integral: float
    standard_error: float

    @property
    def effective_sample_size(self) -> float:
        """The number of equally weighted points with the same variance of a mean: 1 / sum of squared weights."""
        return effective_size(self.log_weights)

    def resample(self, n: int, *, stream: Stream) -> NDArray[np.intp]:
        """Return the numbers of n points, drawn by their weights and in random order: (n,).

        Draws are systematic: a point of weight w is drawn floor(n w) or ceil(n w) times.
        """
        u = (np.arange(n) + float(stream.child("place").uniform(0, 1, 1))) / max(n, 1)
        order = stream.child("order").permutation(n)
        places = np.searchsorted(np.cumsum(np.exp(self.log_weights)), u).clip(max=len(self.points) - 1)
        return np.asarray(places[order])


def effective_size(log_weights: Array) -> float:
    """Return (sum w)^2 / sum w^2 from logarithms of weights, (n,); 0 where all weights are 0."""
    total = logsumexp(log_weights)
    return float(np.exp(2.0 * total - logsumexp(2.0 * log_weights))) if np.isfinite(total) else 0.0


def draw_weighted(
    evaluate: Callable[[Array], Array],
    first: Array,
    log_first: Array,
    *,
    n_each: int,
    least_size: float,
    stream: Stream,
) -> Weighted:
    """Draw weighted points of a density, in rounds of `n_each` points until the effective sample size suffices.

    `evaluate` maps points, (n, k), to the log-density, (n,), which need not be normalised. The first proposal is fitted
    to the points `first`, with the logarithms of their weights, (m,), and they are no part of the result: their weights
    need not be exact. Rounds end at an effective sample size of `least_size`, or after `MOST_ROUNDS`.
    """
    proposals = [fit_proposal(first, log_first, stream.child("resampled", 0))]
    points, log_p = np.empty((0, first.shape[1])), np.empty(0)
    for turn in range(1, MOST_ROUNDS + 1):
        drawn = proposals[-1].draw(n_each, stream.child("round", turn))
        points, log_p = np.concatenate([points, drawn]), np.concatenate([log_p, evaluate(drawn)])
        log_q = np.array([proposal.log_density(points) for proposal in proposals])
        log_w = log_p - (logsumexp(log_q, axis=0) - math.log(len(proposals)))
        if effective_size(log_w) >= least_size or turn == MOST_ROUNDS:
            break
        proposals.append(fit_proposal(points, log_w, stream.child("resampled", turn)))
    total = logsumexp(log_w)
    if not np.isfinite(total):
        return Weighted(points, log_w, -math.inf, 0.0)
    relative = np.exp(log_w - total) * len(log_w)
    error = float(relative.std() / math.sqrt(len(log_w)))
    return Weighted(points, log_w - total, float(total - math.log(len(log_w))), error)


def joined(parts: Sequence[Weighted]) -> Weighted:
    """Return weighted points of the sum of densities, of weighted points of each."""
    log_integrals = np.array([part.log_integral for part in parts])
    total = float(logsumexp(log_integrals)) if len(parts) else -math.inf
    shares = log_integrals - total if math.isfinite(total) else log_integrals
    points = np.concatenate([part.points for part in parts])
    log_weights = np.concatenate([part.log_weights + share for part, share in zip(parts, shares, strict=True)])
    error = math.hypot(*(math.exp(share) * part.standard_error for part, share in zip(parts, shares, strict=True)))
    return Weighted(points, log_weights, total, error)


@dataclass(frozen=True, eq=False)
class Proposal:
    """A mixture of Student's t distributions: weights (c,), centres (c, k), and scale matrices (c, k, k)."""

    weights: Array
    centres: Array
    scales: Array

    def log_density(self, points: Array) -> Array:
        """Return the log-density of points, (n, k): (n,)."""
        parts = [
            np.log(w) + np.atleast_1d(stats.multivariate_t(c, s, df=_FREEDOM).logpdf(points))
            for w, c, s in zip(self.weights, self.centres, self.scales, strict=True)
        ]
        return np.asarray(logsumexp(parts, axis=0))

    def draw(self, n: int, stream: Stream) -> Array:
        """Return n points, (n, k)."""
        generator, k = stream.generator(), self.centres.shape[1]
        which = generator.choice(len(self.weights), size=n, p=self.weights)
        factor = np.linalg.cholesky(self.scales)[which]
        radius = np.sqrt(_FREEDOM / generator.chisquare(_FREEDOM, n))
        return np.asarray(
            self.centres[which] + radius[:, None] * np.einsum("nij,nj->ni", factor, generator.normal(size=(n, k)))
        )


def fit_proposal(points: Array, log_w: Array, stream: Stream) -> Proposal:
    """Return the mixture of the least BIC, fitted to points that are drawn by their tempered weights."""
    from sklearn.exceptions import ConvergenceWarning  # takes a second
    from sklearn.mixture import GaussianMixture

    k = points.shape[1]
    tempered = _temper(log_w, max(_TEMPERED_SHARE * len(points), 2.0 * _POINTS_A_COMPONENT * k))
    weighted = Weighted(points, tempered - logsumexp(tempered), 0.0, 0.0)
    n = max(int(weighted.effective_sample_size), 2)
    drawn = points[weighted.resample(n, stream=stream)]
    spread = np.maximum(drawn.std(axis=0), 1e-12)
    best, least = None, np.inf
    for size in _SIZES:
        if size > 1 and n < size * _POINTS_A_COMPONENT * k:
            continue
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", ConvergenceWarning)
            mixture = GaussianMixture(size, init_params="random_from_data", reg_covar=1e-4, random_state=0)
            mixture.fit(drawn / spread)
            score = mixture.bic(drawn / spread)
        if score < least:
            best, least = mixture, score
    assert best is not None
    return Proposal(best.weights_, best.means_ * spread, best.covariances_ * np.multiply.outer(spread, spread))


def _temper(log_w: Array, least: float) -> Array:
    """Return tau log w for the largest tau in [0, 1] with this effective sample size, or about the largest there is."""
    is_finite = np.isfinite(log_w)
    if not is_finite.any():
        return np.zeros(len(log_w))
    shifted = np.where(is_finite, log_w - log_w[is_finite].max(), 0.0)
    least = min(least, 0.5 * is_finite.sum())

    def scaled(tau: float) -> Array:
        return np.where(is_finite, tau * shifted, -np.inf)

    if effective_size(scaled(1.0)) >= least:
        return scaled(1.0)
    low, high = 0.0, 1.0
    for _ in range(40):
        tau = 0.5 * (low + high)
        low, high = (tau, high) if effective_size(scaled(tau)) >= least else (low, tau)
    return scaled(low)
