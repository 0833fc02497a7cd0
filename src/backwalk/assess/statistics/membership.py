"""Membership tests: do scores of training rows tell them from rows that the fit never saw?

A test takes one score per row, higher for rows that it holds to be training rows. If the model has learned the density
and not the rows, both kinds are exchangeable: the area under the ROC curve is 1/2, and a threshold that k of n unseen
rows exceed is exceeded by (k + 1) / (n + 1) of the training rows on average. Scores may be infinite.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike
from scipy.stats import betabinom, binomtest, rankdata

from backwalk.errors import InvalidInput
from backwalk.estimates import Estimate, Rows

FALSE_ALARM = 0.01
_CONFIDENCE = 0.95


def area_under_roc(trained: ArrayLike, unseen: ArrayLike) -> Estimate:
    """Return P(score of a training row > score of an unseen row), where a tie counts one half; 1/2 by chance.

    `trained` is (n,) and `unseen` (m,). The standard error is that of DeLong, DeLong and Clarke-Pearson 1988: with the
    share p_i of unseen rows below training row i and the share q_j of training rows above unseen row j, the variance is
    var(p) / n + var(q) / m. Raises InvalidInput for fewer than two rows of a kind, and for NaN.

    >>> import numpy as np
    >>> from backwalk.assess.statistics.membership import area_under_roc
    >>> round(area_under_roc([2.0, 3.0, 4.0], [1.0, 2.0, -np.inf]).value, 3)
    0.944
    """
    x, y = _checked(trained, unseen)
    n, m = len(x), len(y)
    ranks = rankdata(np.concatenate([x, y]))
    above = (ranks[:n] - rankdata(x)) / m
    below = 1.0 - (ranks[n:] - rankdata(y)) / n
    variance = above.var(ddof=1) / n + below.var(ddof=1) / m
    return Estimate(float(above.mean()), float(variance) ** 0.5, n + m)


def smallest_area_shown(n_trained: int, n_unseen: int) -> float:
    """Return the smallest area under the ROC curve that lies two standard errors above 1/2.

    The error is that of exchangeable rows without ties, sqrt((n + m + 1) / (12 n m)).

    >>> from backwalk.assess.statistics.membership import smallest_area_shown
    >>> round(smallest_area_shown(2_000, 2_000), 3)
    0.518
    """
    n, m = n_trained, n_unseen
    return 0.5 + 2.0 * math.sqrt((n + m + 1) / (12.0 * n * m))


@dataclass(frozen=True)
class Found:
    """The share of training rows above a threshold that few unseen rows exceed, with its 95 % interval.

    The interval is that of Clopper and Pearson, at this threshold. By chance, which also moves the threshold, the share
    is `by_chance` on average, and above `limit` in 2.5 % of cases.
    """

    share: float
    low: float
    high: float
    by_chance: float
    limit: float


def found_rows(trained: ArrayLike, unseen: ArrayLike) -> Found | None:
    """Return the share of training rows that a test finds at a false-alarm rate of at most 1 %.

    `trained` is (n,) and `unseen` (m,); None with m < 99, which cannot show such a rate. Raises InvalidInput as above.

    >>> import numpy as np
    >>> from backwalk.assess.statistics.membership import found_rows
    >>> found = found_rows([5.0, 200.0], np.arange(99.0))
    >>> found.share, round(found.low, 3), round(found.high, 3), round(found.by_chance, 3), found.limit
    (0.5, 0.013, 0.987, 0.01, 0.0)
    """
    x, y = _checked(trained, unseen)
    n_above = int(FALSE_ALARM * (len(y) + 1) + 1e-9) - 1
    if n_above < 0:
        return None
    threshold = np.sort(y)[-1 - n_above]
    found = binomtest(int((x > threshold).sum()), len(x))
    interval = found.proportion_ci(_CONFIDENCE, method="exact")
    # Among exchangeable rows without ties the share above an order statistic of the unseen ones is a beta variable.
    chance = betabinom(len(x), n_above + 1, len(y) - n_above)
    limit = float(chance.ppf(0.5 + 0.5 * _CONFIDENCE)) / len(x)
    return Found(found.k / found.n, float(interval.low), float(interval.high), float(chance.mean()) / len(x), limit)


def _checked(trained: ArrayLike, unseen: ArrayLike) -> tuple[Rows, Rows]:
    """Return scores as float64, or raise InvalidInput."""
    x, y = (np.asarray(scores, dtype=np.float64) for scores in (trained, unseen))
    for name, scores in (("trained", x), ("unseen", y)):
        if scores.ndim != 1 or len(scores) < 2 or np.isnan(scores).any():
            raise InvalidInput(
                f"{name} should hold at least two scores, (n,), none of them NaN, but has shape {scores.shape} and "
                f"{int(np.isnan(scores).sum())} NaN: score every row once."
            )
    return x, y
