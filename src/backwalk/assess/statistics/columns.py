"""Columns of tables: their kinds, single columns compared by kind, and the associations of pairs.

Rows are float64 (n, d) in the user's units. A column of levels holds one of finitely many numbers, such as the codes of
texts or the values of a rating. NaN is a missing cell.

Associations of columns of any kind make one matrix for the whole table. Numbers and ordered levels enter by their
ranks, so that heavy tails and units have no influence. Each pair uses the rows in which both cells are observed.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.stats import betabinom, ks_2samp, rankdata

from backwalk.errors import InvalidInput
from backwalk.estimates import Rows

_MOST_CATEGORIES = 255  # levels of a category in scikit-learn's histogram gradient boosting
LevelNumbers = NDArray[np.intp]


@dataclass(frozen=True)
class ColumnKind:
    """The kind of one column.

    - `levels`: the values of a column of levels, in their order; empty for a number. A missing cell is no level.
    - `is_ordered`: whether the levels have an order, as those of a rating or a count.
    - `atoms`: values that a number takes in many rows.
    - `generates_gaps`: whether missing cells are part of the distribution that is compared. Otherwise statistics use
      the observed cells alone.
    """

    levels: tuple[float, ...] = ()
    is_ordered: bool = False
    atoms: tuple[float, ...] = ()
    generates_gaps: bool = False

    @property
    def is_category(self) -> bool:
        """Whether the column has levels without an order."""
        return bool(self.levels) and not self.is_ordered


def categories_of(kinds: Sequence[ColumnKind]) -> NDArray[np.bool_]:
    """Return which columns boosted trees should treat as categories, (d,): those with up to 255 levels, their limit."""
    return np.array([kind.is_category and len(kind.levels) <= _MOST_CATEGORIES for kind in kinds])


def level_index(values: Rows, levels: tuple[float, ...]) -> NDArray[np.intp]:
    """Return the number of each value's level, (n,); -1 for a missing cell. Raises InvalidInput for other values.

    >>> import numpy as np
    >>> from backwalk.assess.statistics.columns import level_index
    >>> level_index(np.array([2.0, np.nan, 0.5]), (0.5, 2.0)).tolist()
    [1, -1, 0]
    >>> level_index(np.array([3.0, 1.0]), (3.0, 1.0, 2.0)).tolist()
    [0, 1]
    """
    ordered = np.asarray(levels, dtype=np.float64)
    ascending = np.argsort(ordered)
    index = ascending[np.minimum(np.searchsorted(ordered, values, sorter=ascending), len(ordered) - 1)]
    missing = np.isnan(values)
    is_other = ~missing & (ordered[index] != values)
    if is_other.any():
        raise InvalidInput(
            f"A column of {len(ordered)} levels should hold these alone, but holds {values[np.argmax(is_other)]:g}: "
            "score rows with the levels of the fit."
        )
    return np.where(missing, -1, index)


def column_distance(x: Rows, y: Rows, kind: ColumnKind) -> float:
    """Return the distance between the values x (n,) and y (m,) of one column, in [0, 1].

    For levels it is the total variation distance of their frequencies, (1/2) sum_l |p_l - q_l|; for numbers, with atoms
    or without, the Kolmogorov-Smirnov distance sup |F_x - F_y|. Missing cells are left out. If the kind generates gaps,
    they are one more level, or numbers above all others. Without a value in one set, the distance is 0 if the other has
    none, too, and 1 otherwise.

    >>> import numpy as np
    >>> from backwalk.assess.statistics.columns import ColumnKind, column_distance
    >>> column_distance(np.array([0.0, 0.0, 1.0, 1.0]), np.array([0.0, 0.0, 0.0, 1.0]), ColumnKind(levels=(0.0, 1.0)))
    0.25
    """
    if kind.generates_gaps:
        x, y = (np.where(np.isnan(values), np.inf, values) for values in (x, y))
        kind = ColumnKind((*kind.levels, np.inf)) if kind.levels else kind
    else:
        x, y = x[~np.isnan(x)], y[~np.isnan(y)]
    if not len(x) or not len(y):
        return float(len(x) != len(y))
    if not kind.levels:
        return float(ks_2samp(x, y, method="asymp").statistic)
    return 0.5 * float(np.abs(level_shares(x, kind.levels) - level_shares(y, kind.levels)).sum())


def level_shares(values: Rows, levels: tuple[float, ...]) -> Rows:
    """Return the share of each level among the observed values: (L,), sum 1.

    >>> import numpy as np
    >>> from backwalk.assess.statistics.columns import level_shares
    >>> level_shares(np.array([2.0, np.nan, 2.0]), (0.5, 2.0)).tolist()
    [0.0, 1.0]
    """
    counts = level_counts(values, levels)
    return np.asarray(counts / max(1, counts.sum()), dtype=np.float64)


def level_counts(values: Rows, levels: tuple[float, ...]) -> NDArray[np.intp]:
    """Return the number of observed values at each level: (L,)."""
    index = level_index(values, levels)
    return np.bincount(index[index >= 0], minlength=len(levels))


@dataclass(frozen=True, eq=False)
class LevelBands:
    """The shares of a column's levels in real and in generated rows, with a band for each, (L,).

    If both sets follow one distribution, all generated shares lie within their bands in 95 % of cases.
    """

    real: Rows
    generated: Rows
    low: Rows
    high: Rows


def level_bands(real: Rows, generated: Rows, levels: tuple[float, ...]) -> LevelBands:
    """Return the shares of levels in two columns of values, and the bands in which the generated ones should lie.

    A level with k of n real values has a Beta(k + 1/2, n - k + 1/2) posterior share (Jeffreys), so that m generated
    values hold it a beta-binomial number of times. The band is its central interval of probability
    1 - 0.05 / L: by Bonferroni's inequality all L shares lie within with 95 % at least.
    """
    k, drawn = level_counts(real, levels), level_counts(generated, levels)
    n, m = max(1, int(k.sum())), max(1, int(drawn.sum()))
    tail = 0.025 / len(levels)
    cumulated = np.cumsum(betabinom.pmf(np.arange(m + 1), m, k[:, None] + 0.5, n - k[:, None] + 0.5), axis=1)
    low, high = (cumulated < tail).sum(axis=1), (cumulated < 1.0 - tail).sum(axis=1)
    return LevelBands(k / n, drawn / m, low / m, np.minimum(high, m) / m)


def associations(rows: Rows, kinds: Sequence[ColumnKind]) -> Rows:
    """Return the matrix of associations of rows (n, d), whose columns have the `kinds`: (d, d), symmetric, diagonal 1.

    - Two numbers (or ordered levels): Spearman's rank correlation, in [-1, 1].
    - A category and a number: the correlation ratio of the ranks, in [0, 1]; eta^2 is the share of the variance between
      the levels' means, corrected for its expectation without association: 1 - (1 - eta^2) (n - 1) / (n - L)
      (Kelley 1935).
    - Two categories: Cramer's V in [0, 1], corrected in the same way (Bergsma 2013).

    A column that does not vary in the rows of a pair has no association: 0.

    >>> import numpy as np
    >>> from backwalk.assess.statistics.columns import ColumnKind, associations
    >>> associations(np.array([[0.0, 1.0], [1.0, 3.0], [2.0, 9.0]]), [ColumnKind(), ColumnKind()]).round(9).tolist()
    [[1.0, 1.0], [1.0, 1.0]]
    """
    observed = ~np.isnan(rows)
    columns: list[Any] = [
        np.unique(rows[:, j], return_inverse=True)[1] if kind.is_category else rankdata(rows[:, j], nan_policy="omit")
        for j, kind in enumerate(kinds)
    ]
    is_category = np.array([kind.is_category for kind in kinds])
    numbers = np.flatnonzero(~is_category)
    matrix = np.eye(len(kinds))
    if len(numbers):
        matrix[np.ix_(numbers, numbers)] = _correlations(np.stack([columns[j] for j in numbers], axis=1))
    for i in np.flatnonzero(is_category).tolist():
        for j in range(len(kinds)):
            if i == j or (is_category[j] and j > i):
                continue
            both = observed[:, i] & observed[:, j]
            of_pair = cramers_v if is_category[j] else correlation_ratio
            matrix[i, j] = matrix[j, i] = of_pair(columns[i][both], columns[j][both])
    return matrix


def cramers_v(a: LevelNumbers, b: LevelNumbers) -> float:
    """Return the bias-corrected Cramer's V of two columns of level numbers, (n,) each, in [0, 1].

    With phi^2 = chi^2 / n of the L x M table: phi~^2 = max(0, phi^2 - (L - 1)(M - 1)/(n - 1)), L~ = L - (L - 1)^2/(n -
    1), M~ likewise, and V = sqrt(phi~^2 / (min(L~, M~) - 1)). Source: Bergsma 2013.
    """
    n = len(a)
    if n < 2:
        return 0.0
    a, b = (np.unique(x, return_inverse=True)[1] for x in (a, b))
    of_a, of_b = np.bincount(a), np.bincount(b)
    n_a, n_b = len(of_a), len(of_b)
    cells, counts = np.unique(a * n_b + b, return_counts=True)  # the table may be too large, most of it empty
    phi_sq = float(np.sum(counts**2 / (of_a[cells // n_b] * of_b[cells % n_b]))) - 1.0
    corrected = max(0.0, phi_sq - (n_a - 1) * (n_b - 1) / (n - 1))
    most = min(size - (size - 1) ** 2 / (n - 1) for size in (n_a, n_b)) - 1.0
    return min(1.0, math.sqrt(corrected / most)) if most > 0.0 else 0.0


def correlation_ratio(levels: LevelNumbers, numbers: Rows) -> float:
    """Return the corrected correlation ratio of numbers (n,) given level numbers (n,), in [0, 1]."""
    n = len(numbers)
    if n < 2 or np.ptp(numbers) == 0.0:
        return 0.0
    _, index, counts = np.unique(levels, return_inverse=True, return_counts=True)
    if len(counts) == n or len(counts) == 1:
        return 0.0
    centred = numbers - numbers.mean()
    means = np.bincount(index, centred) / counts
    eta_sq = float(counts @ means**2) / float(centred @ centred)
    return math.sqrt(max(0.0, 1.0 - (1.0 - eta_sq) * (n - 1) / (n - len(counts))))


def _correlations(ranks: Rows) -> Rows:
    """Return the correlations of columns of ranks (n, d), NaN where missing: each pair by the rows that have both."""
    mask = (~np.isnan(ranks)).astype(np.float64)
    centred = np.where(mask > 0.0, ranks - 0.5 * (len(ranks) + 1), 0.0)  # of half-integers: the sums below are exact
    n = mask.T @ mask
    sums, squares = centred.T @ mask, np.square(centred).T @ mask
    covariance, variance = n * (centred.T @ centred) - sums * sums.T, n * squares - sums**2
    spread = np.sqrt(np.maximum(variance, 0.0) * np.maximum(variance.T, 0.0))
    matrix = np.divide(covariance, spread, out=np.zeros_like(spread), where=spread > 0.0)
    np.fill_diagonal(matrix, 1.0)
    return np.asarray(np.clip(matrix, -1.0, 1.0))
