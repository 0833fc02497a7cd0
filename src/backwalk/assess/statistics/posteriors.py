"""Calibration of posteriors in several dimensions: expected coverage and TARP.

Row i has true parameters theta_i, drawn from the prior, and m draws of a posterior given the data that were simulated
with theta_i. If the posterior is exact, truth and draws are exchangeable, and any function of a parameter that does not
look at the truth has a uniform rank:

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
from numpy.typing import ArrayLike
from scipy.stats import binom, kstest, kstwo

from backwalk.assess.statistics.calibration import ranks_in_draws
from backwalk.errors import InvalidInput
from backwalk.estimates import Rows
from backwalk.streams import Stream

_LEVELS = np.linspace(0.0, 1.0, 41)


@dataclass(frozen=True, eq=False)
class CoverageCurve:
    """The share of rows whose truth lies in the region of each level, of `n_rows` rows: (L,) each.

    With exact posteriors `found` is `levels`, and lies in `low`..`high` at one level in 95 % of cases. `deviation` is
    the largest difference of the two over all levels, `limit` what it exceeds in 5 % of cases, and `p_value` the
    probability of a larger one.
    """

    levels: Rows
    found: Rows
    low: Rows
    high: Rows
    n_rows: int
    deviation: float
    limit: float
    p_value: float


def coverage_curve(ranks: ArrayLike) -> CoverageCurve:
    """Return how often regions hold the truth, from the level of the smallest that does, (n,) in (0, 1).

    >>> curve = coverage_curve([0.1, 0.3, 0.5, 0.7, 0.9])
    >>> float(curve.found[20]), round(curve.deviation, 6)
    (0.6, 0.1)
    """
    u = np.asarray(ranks, dtype=np.float64)
    n = len(u)
    test = kstest(u, "uniform")
    found = np.array([float(np.mean(u <= level)) for level in _LEVELS])
    low, high = (binom.ppf(tail, n, _LEVELS) / n for tail in (0.025, 0.975))
    limit = float(kstwo.ppf(0.95, n))
    return CoverageCurve(_LEVELS, found, low, high, n, float(test.statistic), limit, float(test.pvalue))


def density_ranks(of_draws: ArrayLike, of_truth: ArrayLike, *, stream: Stream) -> Rows:
    """Return the level of the smallest highest-density region that holds the truth, (n,).

    From log-densities of m draws, (n, m), and of the truth, (n,), -inf where it cannot be: the level is then the
    largest.

    >>> bool(density_ranks([[1.0, 2.0, 3.0]], [2.5], stream=Stream(0))[0] < 0.5)
    True
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
