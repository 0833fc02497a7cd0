"""Which numbers with few values are measured on a scale, such as ages, and not names or grades."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
from numpy.typing import NDArray
from scipy import stats

from backwalk.table.grids import RunningGrid
from backwalk.table.schema import FloatArray

_LEAST_SPREAD = 20.0  # exp of the entropy of the values, in nats: as many values of equal shares
_LEAST_FILLED = 0.5  # of the grid's cells from the least to the largest value
_MOST_CONTRAST = 3.0  # of a measure; 1 is chance, and bends of smooth relations make up to 2.5
_MOST_ROWS, _MOST_LABELS = 5_000, 5
_LEAST_SHARE = 0.01  # of a column's variance that counts as noise: finer relations are not told from steps


def find_measures(x: FloatArray, candidates: Mapping[int, FloatArray], has_labels: NDArray[np.bool_]) -> set[int]:
    """Return which columns of rows x, (n, d), are measures, of `candidates` with few values, each (L,), increasing.

    A measure has values of about equal shares, at least as spread as 20 of them; they fill at least half of a grid; and
    neighbours go with the same rows: let m_l be the mean of another column over the rows of value l, and D_l its
    difference from the line between the two neighbours', with variance V_l for independent rows. The mean of D^2 / V is
    about 1 for smooth relations of any form, and large for numbers that are names, as of schools. A measure's is below
    3 for every other column: numbers, by their ranks, and each of the five most frequent labels of those that
    `has_labels`, (d,). Nor does it determine another number with 20 values or more that fill no grid, as an age
    does its square: levels keep such a pair exactly. Missing values do not count.

    >>> import numpy as np
    >>> from backwalk.table.choose_measures import find_measures
    >>> rng = np.random.default_rng(0)
    >>> age, school = rng.integers(20, 70, size=(2, 2000)).astype(float)
    >>> x = np.stack([age, school, 0.1 * age + (7 * school) % 5 + rng.normal(size=2000)], axis=1)
    >>> find_measures(x, {j: np.unique(x[:, j]) for j in (0, 1)}, np.zeros(3, dtype=bool))
    {0}
    """
    x = x[:: max(-(-len(x) // _MOST_ROWS), 1)]
    filled = {j: values for j, values in candidates.items() if _fills_a_grid(values)}
    if not filled:
        return set()
    others = [_features(x[:, j], has_labels=bool(has_labels[j])) for j in range(x.shape[1])]
    of_column = np.repeat(np.arange(len(others)), [features.shape[1] for features in others])
    features = np.concatenate(others, axis=1)
    has_steps = np.isin(of_column, [j for j in candidates if j not in filled and len(candidates[j]) >= _LEAST_SPREAD])
    found = set[int]()
    for j in filled:
        has_value = ~np.isnan(x[:, j])
        column, y = x[has_value, j], features[has_value][:, of_column != j]
        if np.exp(stats.entropy(np.unique(column, return_counts=True)[1])) < _LEAST_SPREAD:
            continue
        contrasts, noise = _contrasts(column, y)
        is_determined = (noise < _LEAST_SHARE) & has_steps[of_column != j]
        if (contrasts < _MOST_CONTRAST).all() and not is_determined.any():
            found.add(j)
    return found


def _fills_a_grid(values: FloatArray) -> bool:
    if len(values) < _LEAST_SPREAD:
        return False
    running = RunningGrid("float64")
    running.add(values)
    grid = running.grid(len(values))
    if grid is None:
        return False
    ends = grid.places(values[[0, -1]])
    return len(values) >= _LEAST_FILLED * float(ends[1] - ends[0] + 1.0)


def _features(column: FloatArray, *, has_labels: bool) -> FloatArray:
    """Return what is compared of a column, (n, p): ranks of numbers, or which rows have each frequent label."""
    if not has_labels:
        ranks = stats.rankdata(column, nan_policy="omit")
        return np.asarray(np.where(np.isnan(ranks), np.nanmean(ranks) if len(ranks) else 0.0, ranks)[:, None])
    labels, counts = np.unique(column[~np.isnan(column)], return_counts=True)
    return np.asarray(column[:, None] == labels[np.argsort(-counts, kind="stable")[:_MOST_LABELS]], dtype=np.float64)


def _contrasts(column: FloatArray, y: FloatArray) -> tuple[FloatArray, FloatArray]:
    """Return the mean of D^2 / V over the inner values of a column, (n,), for each of other columns y, (n, p): (p,).

    Return also the share of each other column's variance within the rows of a value, (p,).
    """
    values, which, counts = np.unique(column, return_inverse=True, return_counts=True)
    deviation = y.std(axis=0)
    y = (y - y.mean(axis=0)) / np.where(deviation > 0.0, deviation, 1.0)
    of_rows, starts = y[np.argsort(which, kind="stable")], np.append(0, counts.cumsum()[:-1])
    means = np.add.reduceat(of_rows, starts) / counts[:, None]
    within = np.square(of_rows - np.repeat(means, counts, axis=0)).sum(axis=0) / max(len(y) - len(values), 1)
    w = ((values[1:-1] - values[:-2]) / (values[2:] - values[:-2]))[:, None]
    difference = means[1:-1] - (1.0 - w) * means[:-2] - w * means[2:]
    n = counts[:, None]
    of_noise = 1.0 / n[1:-1] + (1.0 - w) ** 2 / n[:-2] + w**2 / n[2:]
    contrasts = (np.square(difference) / of_noise).mean(axis=0) / np.maximum(within, _LEAST_SHARE)
    return np.asarray(contrasts), np.asarray(np.where(deviation > 0.0, within, 1.0))
