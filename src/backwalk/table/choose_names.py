"""Which numbers with levels are names, such as the numbers of schools, whose order says nothing."""

from __future__ import annotations

import math
from collections.abc import Mapping
from functools import lru_cache

import numpy as np
from numpy.typing import NDArray
from scipy import stats

from backwalk.streams import Stream
from backwalk.table.basis import level_basis
from backwalk.table.choose_numbers import columns_looked_at
from backwalk.table.schema import FloatArray

_LEAST_GAIN = 0.02  # nats a row, of another column's log-probability
_STANDARD_ERRORS = 3.0  # taken off each gain, as the largest of many is often chance
_MOST_ROWS, _MOST_COLUMNS, _FOLDS = 10_000, 100, 2
_MOST_LABELS, _LEAST_SHARE_OF_LABEL = 5, 0.05  # of rows, with it and without
_LEAST_LEFT = 1e-3  # of a variance: closer predictions are exact


def find_names(x: FloatArray, candidates: Mapping[int, FloatArray], has_labels: NDArray[np.bool_]) -> set[int]:
    """Return which columns of rows x, (n, d), are names, of `candidates` with their values, (L,) each, increasing.

    A name predicts some other column of held-out rows better by a mean for each of its values than by a regression on
    functions of their order (`level_basis`), on as many of the smoothest as predict best: by .02 nats a row under a
    normal error, less three standard errors. Means are shrunk towards that of all rows as far as the rows of each value
    say little. Other columns count by the ranks of numbers, and by each of the five most frequent labels of a column
    that `has_labels`, (d,), if 5 to 95 % of the rows have it.

    >>> import numpy as np
    >>> from backwalk.table.choose_names import find_names
    >>> rng = np.random.default_rng(0)
    >>> weight, school = rng.integers(100, size=(2, 3000)).astype(float)
    >>> x = np.stack([weight, school, weight + 1e5 * np.sin(school**2) + rng.normal(size=3000)], axis=1)
    >>> find_names(x, {j: np.arange(100.0) for j in (0, 1)}, np.zeros(3, dtype=bool))
    {1}
    """
    if not candidates or x.shape[1] < 2:
        return set()
    x = x[Stream(0).child("names").permutation(len(x))[:_MOST_ROWS]]
    compared = columns_looked_at(range(x.shape[1]), _MOST_COLUMNS)
    of_others = [_features(x[:, j], has_labels=bool(has_labels[j])) for j in compared]
    of_column = np.repeat(compared, [features.shape[1] for features in of_others])
    features, found = np.concatenate(of_others, axis=1), set[int]()
    for j, values in candidates.items():
        seen = ~np.isnan(x[:, j])
        level = np.searchsorted(values, x[seen, j]).clip(max=len(values) - 1)
        others = features[seen][:, of_column != j]
        if any(_gain(level, len(values), y) >= _LEAST_GAIN for y in others.T):
            found.add(j)
    return found


def _features(column: FloatArray, *, has_labels: bool) -> FloatArray:
    """Return what is compared of a column, (n, p): ranks of numbers, or which rows have each frequent label.

    Missing values are NaN. Of a number that has one value in nearly all rows nothing is compared.
    """
    has_value = ~np.isnan(column)
    labels, counts = np.unique(column[has_value], return_counts=True)
    if not has_labels:
        is_rare = counts.max(initial=0) > (1.0 - _LEAST_SHARE_OF_LABEL) * counts.sum()
        return np.empty((len(column), 0)) if is_rare else np.asarray(stats.rankdata(column, nan_policy="omit")[:, None])
    frequent = labels[np.argsort(-counts, kind="stable")[:_MOST_LABELS]]
    shares = np.array([np.mean(column[has_value] == label) for label in frequent])
    frequent = frequent[(shares >= _LEAST_SHARE_OF_LABEL) & (shares <= 1.0 - _LEAST_SHARE_OF_LABEL)]
    return np.where(has_value[:, None], (column[:, None] == frequent).astype(np.float64), np.nan)


@lru_cache(maxsize=1)
def _basis(counts: tuple[float, ...]) -> FloatArray:
    """Return the basis of levels that so many rows have: most other columns are seen in the same rows."""
    basis = level_basis((np.array(counts) + 0.5) / (np.array(counts) + 0.5).sum(), n_rows=int(sum(counts)))
    assert basis is not None
    return basis


def _gain(level: NDArray[np.intp], n_levels: int, y: FloatArray) -> float:
    """Return by how many nats a row means of levels, (n,), predict held-out y, (n,), better than their order does.

    It is the least gain that chance leaves: three standard errors below the estimate.
    """
    seen = ~np.isnan(y)
    level, y = level[seen], y[seen]
    n, variance = len(y), float(y.var()) if len(y) else 0.0
    counts = np.bincount(level, minlength=n_levels).astype(np.float64)
    if n <= 2 * n_levels or not variance > 0.0:
        return -math.inf
    basis = _basis(tuple(counts.tolist()))
    sizes = [*(2**i for i in range(2, 7) if 2**i < basis.shape[1]), basis.shape[1]]
    fold, errors = np.arange(n) % _FOLDS, np.empty((1 + len(sizes), n))  # those of levels are the first
    for i in range(_FOLDS):
        train, test = fold != i, fold == i
        mean = y[train].mean()
        rest = y[train] - mean
        rows = np.bincount(level[train], minlength=n_levels).astype(np.float64)
        sums = np.bincount(level[train], rest, n_levels)
        means = sums / np.maximum(rows, 1.0)
        within = float(np.square(rest - means[level[train]]).sum()) / max(len(rest) - (rows > 0).sum(), 1.0)
        within = max(within, _LEAST_LEFT * variance)
        between = max(float(np.square(rest).mean()) - within, _LEAST_LEFT * variance)
        shrunk = sums / (rows + within / between)
        squares = (basis.T * rows) @ basis + (within / between) * np.eye(basis.shape[1])
        smooth = [basis[:, :k] @ np.linalg.solve(squares[:k, :k], sums @ basis[:, :k]) for k in sizes]
        for of_rows, predicted in zip(errors, [shrunk, *smooth], strict=True):
            of_rows[test] = np.square(y[test] - mean - predicted[level[test]])
    best = 1 + int(errors[1:].mean(axis=1).argmin())
    by_level, by_order = np.maximum(errors[[0, best]].mean(axis=1), _LEAST_LEFT * variance)
    chance = float(np.std(errors[best] / by_order - errors[0] / by_level)) / math.sqrt(n)  # of the ratio's logarithm
    return 0.5 * (math.log(by_order / by_level) - _STANDARD_ERRORS * chance)
