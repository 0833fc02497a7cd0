"""Associations between pairs of columns of any kind: one matrix for the whole table.

Numbers and ordered levels enter by their ranks, so that heavy tails and units have no influence. Each pair uses the
rows in which both cells are observed.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.stats import rankdata

from backwalk.assess.statistics.kinds import ColumnKind
from backwalk.estimates import Rows

Levels = NDArray[np.intp]


def associations(rows: Rows, kinds: Sequence[ColumnKind]) -> Rows:
    """Return the matrix of associations of rows (n, d), whose columns have the `kinds`: (d, d), symmetric, diagonal 1.

    - Two numbers (or ordered levels): Spearman's rank correlation, in [-1, 1].
    - A category and a number: the correlation ratio of the ranks, in [0, 1]; eta^2 is the share of the variance between
      the levels' means, corrected for its expectation without association: 1 - (1 - eta^2) (n - 1) / (n - L)
      (Kelley 1935).
    - Two categories: Cramer's V in [0, 1], corrected in the same way (Bergsma 2013).

    A column that does not vary in the rows of a pair has no association: 0.

    >>> associations(np.array([[0.0, 1.0], [1.0, 3.0], [2.0, 9.0]]), [ColumnKind(), ColumnKind()]).tolist()
    [[1.0, 1.0], [1.0, 1.0]]
    """
    d = len(kinds)
    matrix = np.eye(d)
    observed = ~np.isnan(rows)
    columns: list[Any] = [
        _relabelled(rows[:, j]) if kind.is_category else rankdata(rows[:, j], nan_policy="omit")
        for j, kind in enumerate(kinds)
    ]
    for i in range(d):
        for j in range(i):
            both = observed[:, i] & observed[:, j]
            # Categories first, so that a correlation ratio has one form.
            first, second = sorted((i, j), key=lambda column: not kinds[column].is_category)
            a, b = columns[first][both], columns[second][both]
            if kinds[second].is_category:
                value = cramers_v(a, b)
            elif kinds[first].is_category:
                value = correlation_ratio(a, b)
            else:
                value = _correlation(a, b)
            matrix[i, j] = matrix[j, i] = value
    return matrix


def association_difference(x: Rows, y: Rows, kinds: Sequence[ColumnKind]) -> float:
    """Return the mean absolute difference between the associations of x and those of y, over pairs of columns."""
    pairs = np.triu_indices(len(kinds), k=1)
    differences = (associations(x, kinds) - associations(y, kinds))[pairs]
    return float(np.abs(differences).mean()) if differences.size else 0.0


def cramers_v(a: Levels, b: Levels) -> float:
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


def correlation_ratio(levels: Levels, numbers: Rows) -> float:
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


def _correlation(a: Rows, b: Rows) -> float:
    if len(a) < 2 or np.ptp(a) == 0.0 or np.ptp(b) == 0.0:
        return 0.0
    a, b = a - a.mean(), b - b.mean()
    return float(a @ b / np.sqrt((a @ a) * (b @ b)))


def _relabelled(values: Rows) -> Levels:
    return np.unique(values, return_inverse=True)[1]
