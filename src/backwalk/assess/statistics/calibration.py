"""Calibration: do events to which a model gives probability p happen with frequency p?

For levels the model states probabilities, (n, L), one row of them per scored row; for numbers it draws from its
conditional, (n, m). Each figure stands beside its null: what a model would show whose statements are exactly true.

Posteriors of several parameters: row i has true parameters theta_i, drawn from the prior, and m draws of a posterior
given the data that were simulated with theta_i. If the posterior is exact, truth and draws are exchangeable, and any
function of a parameter that does not look at the truth has a uniform rank:

- each parameter alone (rank statistics, SBC): `ranks_in_draws`;
- the posterior's own density: the share of draws of higher density is the level of the smallest highest-density region
  that holds the truth, so that regions of level a hold it in a share a of rows (expected coverage);
- the distance from a point that may depend on the data but not on theta_i (TARP). Where it does depend on them, this
  also sees a posterior that ignores the data.

Source: Talts et al. 2018 (SBC); Hermans et al. 2022 (expected coverage); Lemos et al. 2023 (TARP).
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy.stats import binom, kstest, kstwo

from backwalk.errors import InvalidInput
from backwalk.estimates import Estimate, Rows, mean_estimate
from backwalk.streams import Stream

_N_SIMULATIONS, _N_BINS = 200, 10
_LEAST_PROBABILITY = 1e-300
_LEVELS = np.linspace(0.0, 1.0, 41)


@dataclass(frozen=True, eq=False)
class Reliability:
    """The calibration of stated probabilities.

    For bin b: `stated` is the mean of the probabilities in it and `observed` the share of these events that happened,
    with `low` and `high` the central 95 % of that share if the statements are true, and `counts` the number of
    statements.
    `error` is the expected calibration error, the mean of |observed - stated| over statements; `null` and `null_spread`
    are its mean and its standard deviation if the statements are true.
    """

    stated: Rows
    observed: Rows
    low: Rows
    high: Rows
    counts: NDArray[np.intp]
    error: float
    null: float
    null_spread: float

    @property
    def excess(self) -> float:
        """The calibration error beyond its null, in standard deviations of the null."""
        return (self.error - self.null) / self.null_spread if self.null_spread > 0.0 else 0.0


def reliability(probabilities: ArrayLike, levels: ArrayLike, *, stream: Stream) -> Reliability:
    """Return how the stated probabilities of levels, (n, L), compare with the levels that came, (n,) in 0..L-1.

    Each of the n L statements "row i has level l" with its probability is an event; with two levels, where one follows
    from the other, only those of level 1 count. Bins have equal width in the probability, as equal numbers
    would put nearly all statements about rare levels near 0 into a bin each. The null is simulated: levels are drawn
    from the stated probabilities 200 times. Raises InvalidInput for probabilities that do not sum to 1 in each row.

    >>> from backwalk.assess.statistics.calibration import reliability
    >>> from backwalk.streams import Stream
    >>> scores = reliability([[0.5, 0.5]] * 4, [0, 1, 0, 1], stream=Stream(0))
    >>> scores.stated.tolist(), scores.observed.tolist(), scores.error
    ([0.5], [0.5], 0.0)
    """
    p, index = _checked(probabilities, levels)
    n, n_levels = p.shape
    shown = slice(1, None) if n_levels == 2 else slice(None)
    p_shown = p[:, shown]
    bins = np.minimum((p_shown * _N_BINS).astype(np.intp), _N_BINS - 1)
    counts = np.bincount(bins.ravel(), minlength=_N_BINS)
    used = counts > 0
    stated = np.bincount(bins.ravel(), p_shown.ravel(), _N_BINS)[used] / counts[used]

    def shares(drawn: NDArray[np.intp]) -> Rows:
        column = drawn - (shown.start or 0)
        rows = np.flatnonzero(column >= 0)
        happened = np.bincount(bins[rows, column[rows]], minlength=_N_BINS)
        return np.asarray(happened[used] / counts[used])

    def error(observed: Rows) -> float:
        return float(counts[used] @ np.abs(observed - stated)) / float(counts.sum())

    observed = shares(index)
    cumulated = np.cumsum(p, axis=1)
    simulated = []
    for k in range(_N_SIMULATIONS):
        u = stream.child(k).uniform(0, n, 1).numpy()
        simulated.append(shares(np.minimum((cumulated < u).sum(axis=1), n_levels - 1)))
    low, high = np.quantile(simulated, [0.025, 0.975], axis=0)
    errors = np.array([error(drawn) for drawn in simulated])
    return Reliability(
        stated, observed, low, high, counts[used], error(observed), float(errors.mean()), float(errors.std(ddof=1))
    )


def log_loss(probabilities: ArrayLike, levels: ArrayLike) -> Rows:
    """Return -ln P(the level that came) of each row, (n,), nats, from probabilities (n, L) and levels (n,).

    A probability of 0 counts as 1e-300, 691 nats. Raises InvalidInput as above.
    """
    p, index = _checked(probabilities, levels)
    return np.asarray(-np.log(np.maximum(p[np.arange(len(p)), index], _LEAST_PROBABILITY)))


def ranks_in_draws(draws: ArrayLike, values: ArrayLike, *, stream: Stream) -> Rows:
    """Return the randomised probability integral transform of values (n,) in draws (n, m) of each: (n,), in (0, 1).

    u = (number of draws below the value + V (number of draws equal to it + 1)) / (m + 1), with V uniform on (0, 1). If
    value and draws are independent with one distribution, with atoms or without, u is exactly uniform, for every m.
    Source: Czado, Gneiting and Held 2009; Talts et al. 2018.

    >>> from backwalk.assess.statistics.calibration import ranks_in_draws
    >>> from backwalk.streams import Stream
    >>> bool(0.5 < ranks_in_draws([[1.0, 2.0, 3.0]], [2.5], stream=Stream(0))[0] < 0.75)
    True
    """
    x, y = np.asarray(draws, dtype=np.float64), np.asarray(values, dtype=np.float64)
    if x.ndim != 2 or y.shape != x.shape[:1] or not len(y):
        raise InvalidInput(
            f"draws should be (n, m) and values (n,), but are {x.shape} and {y.shape}: give the draws of each value."
        )
    below, equal = (x < y[:, None]).sum(axis=1), (x == y[:, None]).sum(axis=1)
    v = stream.uniform(0, len(y), 1).numpy()[:, 0]
    return np.asarray((below + v * (equal + 1)) / (x.shape[1] + 1))


@dataclass(frozen=True, eq=False)
class RankHistogram:
    """The histogram of probability integral transforms: the share of rows in each of ten equal bins of (0, 1), (10,).

    If the draws follow the values' distribution, all shares lie in [`low`, `high`] in 95 % of cases. `distance` is the
    Kolmogorov-Smirnov distance to the uniform distribution; `p_value` is the probability of a larger one under it.
    """

    shares: Rows
    low: float
    high: float
    distance: float
    p_value: float


def rank_histogram(ranks: ArrayLike) -> RankHistogram:
    """Return the histogram of uniform ranks (n,) of `ranks_in_draws`, with its bands (Bonferroni over the bins)."""
    u = np.asarray(ranks, dtype=np.float64)
    n, tail = len(u), 0.025 / _N_BINS
    counts = np.histogram(u, _N_BINS, (0.0, 1.0))[0]
    test = kstest(u, "uniform")
    low, high = binom.ppf(tail, n, 1.0 / _N_BINS) / n, binom.isf(tail, n, 1.0 / _N_BINS) / n
    return RankHistogram(counts / n, float(low), float(high), float(test.statistic), float(test.pvalue))


def interval_coverage(ranks: ArrayLike, probability: float) -> Estimate:
    """Return the share of values within the central interval of the given probability, from their ranks (n,).

    A value lies in the interval if |u - 1/2| <= `probability` / 2. For true draws the share is `probability`.

    >>> from backwalk.assess.statistics.calibration import interval_coverage
    >>> interval_coverage([0.1, 0.3, 0.5, 0.9], 0.5).value
    0.5
    """
    return mean_estimate((np.abs(np.asarray(ranks, dtype=np.float64) - 0.5) <= 0.5 * probability).astype(np.float64))


@dataclass(frozen=True, eq=False)
class CoverageCurve:
    """How often a posterior's regions of each level hold the truth, beside what exact posteriors would show.

    `coverage` is the share of `n_rows` rows whose truth lies in the region, for each of the `levels`, (L,), and `low`
    and `high` the central 95 % of that share for exact posteriors and one level. `deviation` is the largest difference
    of coverage and level, `limit` what it exceeds in 5 % of cases for exact posteriors, and `p_value` the probability
    of a larger one.
    """

    levels: Rows
    coverage: Rows
    low: Rows
    high: Rows
    n_rows: int
    deviation: float
    limit: float
    p_value: float


def coverage_curve(ranks: ArrayLike) -> CoverageCurve:
    """Return how often regions hold the truth; `ranks` (n,) are the levels of the smallest ones that do, in (0, 1).

    Source: Hermans et al. 2022 (expected coverage).

    >>> from backwalk.assess.statistics.calibration import coverage_curve
    >>> curve = coverage_curve([0.1, 0.3, 0.5, 0.7, 0.9])
    >>> float(curve.coverage[20]), round(curve.deviation, 6)
    (0.6, 0.1)
    """
    u = np.asarray(ranks, dtype=np.float64)
    n = len(u)
    test = kstest(u, "uniform")
    coverage = np.array([float(np.mean(u <= level)) for level in _LEVELS])
    low, high = (binom.ppf(tail, n, _LEVELS) / n for tail in (0.025, 0.975))
    limit = float(kstwo.ppf(0.95, n))
    return CoverageCurve(_LEVELS, coverage, low, high, n, float(test.statistic), limit, float(test.pvalue))


def density_ranks(of_draws: ArrayLike, of_truth: ArrayLike, *, stream: Stream) -> Rows:
    """Return the level of the smallest highest-density region that holds the truth: (n,), uniform for exact posteriors.

    `of_draws` (n, m) are the log-densities of m draws of each row's posterior, `of_truth` (n,) those of the true
    parameters; -inf where they cannot be, whose level is the largest.
    """
    return 1.0 - ranks_in_draws(of_draws, of_truth, stream=stream)


def tarp_ranks(draws: ArrayLike, truth: ArrayLike, references: ArrayLike, *, stream: Stream) -> Rows:
    """Return the share of draws nearer to a reference point than the truth is, randomised: (n,).

    `draws` is (n, m, k), `truth` and `references` (n, k). A reference may depend on the data, but not on the truth of
    its row. Distances are Euclidean: scale the coordinates first.
    """
    x, y, r = (np.asarray(values, dtype=np.float64) for values in (draws, truth, references))
    if x.ndim != 3 or y.shape != x.shape[::2] or r.shape != y.shape:
        raise InvalidInput(
            f"draws should be (n, m, k), truth and references (n, k), but are {x.shape}, {y.shape} and {r.shape}."
        )
    of_draws = np.linalg.norm(x - r[:, None], axis=2)
    return ranks_in_draws(of_draws, np.linalg.norm(y - r, axis=1), stream=stream)


def _checked(probabilities: ArrayLike, levels: ArrayLike) -> tuple[Rows, NDArray[np.intp]]:
    p, index = np.asarray(probabilities, dtype=np.float64), np.asarray(levels)
    if p.ndim != 2 or index.shape != p.shape[:1] or not len(p):
        raise InvalidInput(
            f"probabilities should be (n, L) and levels (n,), but are {p.shape} and {index.shape}: give both of the "
            "same rows."
        )
    if not (np.abs(p.sum(axis=1) - 1.0) < 1e-4).all() or (p < 0.0).any():
        raise InvalidInput("probabilities should be >= 0 and sum to 1 in each row, but do not: normalise them.")
    if index.min() < 0 or index.max() >= p.shape[1]:
        raise InvalidInput(f"levels should lie in 0..{p.shape[1] - 1}, but reach {index.min()} and {index.max()}.")
    return p, index.astype(np.intp)
