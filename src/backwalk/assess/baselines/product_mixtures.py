"""Mixtures of product distributions: latent classes for levels, and normal densities for numbers.

    p(x) = sum_k w_k prod_j p_jk(x_j),   p_jk categorical for levels, N(mu_jk, v_jk) for numbers.

A missing cell drops out of the product, so that marginals and conditionals are exact. Fitted by EM. Source: Lazarsfeld
and Henry 1968; Moustaki 1996 for mixed columns.
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise

import numpy as np
from numpy.typing import NDArray
from scipy import sparse
from scipy.special import logsumexp

from backwalk.assess.baselines.features import Feature, FittedDensity
from backwalk.estimates import Rows, random_rows
from backwalk.streams import Stream

_MOST_ROWS = 20_000
_MOST_STEPS = 60
_TOLERANCE = 1e-3  # nats per row and step of EM
_LEAST_VARIANCE = 1e-4  # of that of a number over all rows
_ROWS_A_COMPONENT = 10
_SEED_SHARE = 0.5  # of a component's first frequencies at the levels of the row that starts it


@dataclass(frozen=True, eq=False)
class SplitRows:
    """Rows of features as a sparse matrix of level indicators, (n, sum L), and numbers with their mask, (n, p)."""

    indicators: sparse.csr_array
    numbers: Rows
    observed: Rows

    @classmethod
    def of(cls, rows: Rows, features: Sequence[Feature]) -> SplitRows:
        """Split rows (n, k); missing cells have no indicator, and the number 0."""
        levels = [j for j, feature in enumerate(features) if feature.n_levels]
        numbers = rows[:, [j for j, feature in enumerate(features) if not feature.n_levels]]
        starts = np.cumsum([0, *(features[j].n_levels for j in levels)])
        codes = rows[:, levels]
        row, column = np.nonzero(~np.isnan(codes))
        places = starts[column] + codes[row, column].astype(np.intp)
        indicators = sparse.csr_array((np.ones(len(row)), (row, places)), shape=(len(rows), int(starts[-1])))
        observed = ~np.isnan(numbers)
        return cls(indicators, np.where(observed, numbers, 0.0), observed.astype(np.float64))


@dataclass(frozen=True, eq=False)
class ProductMixture:
    """A mixture of K product distributions of `features`.

    `log_weights` is (K,), `log_levels` (K, sum L) holds the log-probabilities of all levels side by side, `means` and
    `variances` are (K, p) for the p numbers.
    """

    features: tuple[Feature, ...]
    log_weights: Rows
    log_levels: Rows
    means: Rows
    variances: Rows

    @property
    def n_components(self) -> int:
        """The number of components, K."""
        return len(self.log_weights)

    @property
    def n_parameters(self) -> int:
        """The number of free parameters."""
        levels = sum(feature.n_levels - 1 for feature in self.features if feature.n_levels)
        return self.n_components * (levels + 2 * int(self.means.shape[1]) + 1) - 1

    def log_joint(self, rows: SplitRows) -> Rows:
        """Return ln (w_k p_k(row)) of each row and component: (n, K)."""
        precision = 1.0 / self.variances
        constant = self.means**2 * precision + np.log(2.0 * np.pi * self.variances)
        squares = rows.numbers**2 @ precision.T - 2.0 * rows.numbers @ (self.means * precision).T
        normal = -0.5 * (squares + rows.observed @ constant.T)
        return np.asarray(self.log_weights + rows.indicators @ self.log_levels.T + normal)

    def log_prob(self, rows: Rows) -> Rows:
        """Return ln p of rows of features (n, k): (n,), nats; of a row with missing cells the marginal's."""
        return np.asarray(logsumexp(self.log_joint(SplitRows.of(rows, self.features)), axis=1))

    def sample(self, n: int, stream: Stream) -> Rows:
        """Return n rows of features, (n, k)."""
        u = stream.child("levels").uniform(0, n, 1 + len(self.features)).numpy()
        noise = stream.child("numbers").normal(0, n, max(1, self.means.shape[1])).numpy()
        component = _drawn(np.exp(self.log_weights)[None], u[:, 0], np.zeros(n, dtype=np.intp))
        rows, number = np.empty((n, len(self.features))), 0
        for j, feature in enumerate(self.features):
            if feature.n_levels:
                rows[:, j] = _drawn(np.exp(self.log_levels[:, self._slice(j)]), u[:, 1 + j], component)
            else:
                spread = self.variances[component, number] ** 0.5
                rows[:, j] = self.means[component, number] + spread * noise[:, number]
                number += 1
        return _where_they_apply(rows, self.features)

    def _slice(self, feature: int) -> slice:
        start = sum(other.n_levels for other in self.features[:feature])
        return slice(start, start + self.features[feature].n_levels)


def fit_components(
    rows: Rows, features: Sequence[Feature], n_components: int, *, stream: Stream
) -> tuple[ProductMixture, float]:
    """Return the mixture that EM finds for rows of features (n, k), and its mean log-probability of them, nats.

    One pseudo-row in each component, with the frequencies of all rows, keeps every level possible. Components start at
    random rows.
    """
    split = SplitRows.of(rows, features)
    counts = split.indicators.sum(axis=0)
    bounds = np.cumsum([0, *(feature.n_levels for feature in features if feature.n_levels)])
    n_observed = np.maximum(1.0, split.observed.sum(axis=0))
    centre = split.numbers.sum(axis=0) / n_observed
    spread = np.maximum(np.square(split.numbers).sum(axis=0) / n_observed - centre**2, np.finfo(np.float64).tiny)
    frequencies = _normalised(counts[None] + 1.0 / max(1, len(counts)), bounds)

    def mixture_of(weights: Rows, levels: Rows, means: Rows, variances: Rows) -> ProductMixture:
        return ProductMixture(tuple(features), np.log(weights), np.log(levels), means, variances)

    picked = stream.permutation(len(rows))[:n_components]
    seeds = split.indicators[picked].toarray()
    means = np.where(split.observed[picked] > 0, split.numbers[picked], centre)
    if n_components == 1:
        seeds, means = np.zeros_like(seeds), centre[None]
    started = _normalised(frequencies + _SEED_SHARE / (1.0 - _SEED_SHARE) * seeds, bounds)
    mixture = mixture_of(np.full(n_components, 1.0 / n_components), started, means, np.tile(spread, (n_components, 1)))
    last = -np.inf
    for _ in range(_MOST_STEPS):
        joint = mixture.log_joint(split)
        log_p = logsumexp(joint, axis=1)
        score = float(log_p.mean())
        if score - last < _TOLERANCE:
            break
        last = score
        share = np.exp(joint - log_p[:, None])
        weights = share.sum(axis=0)
        seen = share.T @ split.observed + 1.0
        means = (share.T @ split.numbers + centre) / seen
        squares = (share.T @ np.square(split.numbers) + spread + centre**2) / seen
        variances = np.maximum(squares - means**2, _LEAST_VARIANCE * spread)
        levels = _normalised((split.indicators.T @ share).T + frequencies, bounds)
        mixture = mixture_of((weights + 1.0) / (weights + 1.0).sum(), levels, means, variances)
    return mixture, score


def choose_mixture(
    rows: Rows,
    features: Sequence[Feature],
    *,
    n_components: Sequence[int] = (1, 2, 4, 8, 16, 32, 64),
    stream: Stream,
) -> ProductMixture:
    """Return the mixture whose number of components has the least BIC.

    BIC = -2 ln p(rows) + (number of parameters) ln n. Source: Schwarz 1978. The numbers are tried in order, up to one
    for every ten rows, until BIC has risen.
    """
    best, least = None, np.inf
    for k in n_components:
        if best is not None and k > len(rows) // _ROWS_A_COMPONENT:
            break
        mixture, score = fit_components(rows, features, k, stream=stream.child(k))
        bic = -2.0 * score * len(rows) + mixture.n_parameters * np.log(len(rows))
        if bic >= least:
            break
        best, least = mixture, bic
    assert best is not None
    return best


def fit_product_mixture(rows: Rows, features: Sequence[Feature], *, stream: Stream) -> FittedDensity:
    """Return the mixture of product distributions of `choose_mixture`, of at most 20,000 of the rows (n, k)."""
    started = time.perf_counter()
    mixture = choose_mixture(random_rows(rows, _MOST_ROWS, stream=stream.child("rows")), features, stream=stream)
    return FittedDensity(
        f"Product mixture ({mixture.n_components})",
        time.perf_counter() - started,
        mixture.log_prob,
        mixture.sample,
    )


def fit_independent_columns(rows: Rows, features: Sequence[Feature], *, stream: Stream) -> FittedDensity:
    """Return independent columns: the frequencies of levels, and a mixture of normal densities for each number.

    A number that applies at one level only is independent of all others there. Uses at most 20,000 of the rows (n, k).
    """
    started = time.perf_counter()
    kept = random_rows(rows, _MOST_ROWS, stream=stream.child("rows"))
    parts: list[ProductMixture] = []
    for j, feature in enumerate(features):
        observed = kept[~np.isnan(kept[:, j]), j][:, None]
        alone = [Feature(feature.n_levels)]
        some = {"n_components": (1,)} if feature.n_levels else {}
        parts.append(choose_mixture(observed, alone, stream=stream.child(j), **some))

    def log_prob(rows: Rows) -> Rows:
        return np.asarray(sum(part.log_prob(rows[:, [j]]) for j, part in enumerate(parts)))

    def sample(n: int, stream: Stream) -> Rows:
        drawn = [part.sample(n, stream.child(j)) for j, part in enumerate(parts)]
        return _where_they_apply(np.concatenate(drawn, axis=1), features)

    return FittedDensity("Independent columns", time.perf_counter() - started, log_prob, sample)


def _normalised(levels: Rows, bounds: NDArray[np.intp]) -> Rows:
    """Return positive numbers (K, sum L) scaled to sum 1 within each feature's levels."""
    levels = levels.copy()
    for start, stop in pairwise(bounds):
        levels[:, start:stop] /= levels[:, start:stop].sum(axis=1, keepdims=True)
    return levels


def _drawn(probabilities: Rows, u: Rows, of: NDArray[np.intp]) -> NDArray[np.intp]:
    """Return for each row a number in 0..L-1 with the probabilities (K, L) of its component `of`, by its uniform u."""
    cumulated = np.cumsum(probabilities, axis=1)
    # Row k holds numbers in (k, k + 1], so that one search serves all components.
    places = (cumulated / cumulated[:, -1:] + np.arange(len(cumulated))[:, None]).ravel()
    return np.asarray(np.searchsorted(places, of + u) - of * probabilities.shape[1])


def _where_they_apply(rows: Rows, features: Sequence[Feature]) -> Rows:
    """Return rows of features (n, k) with NaN where a number does not apply."""
    rows = rows.copy()
    for j, feature in enumerate(features):
        if feature.applies is not None:
            other, level = feature.applies
            rows[rows[:, other] != level, j] = np.nan
    return rows
