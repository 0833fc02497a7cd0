"""Which numbers with few values are measured on a scale, such as ages, and which with many are names, as of schools."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy import stats

from backwalk.streams import Stream
from backwalk.table.grids import find_grid
from backwalk.table.schema import FloatArray

_LEAST_SPREAD = 20.0  # exp of the entropy of the values, in nats: as many values of equal shares
_LEAST_FILLED = 0.5  # of the grid's cells from the least to the largest value
_MOST_CONTRAST = 3.0  # of a measure; 1 is chance, and bends of smooth relations make up to 2.5
_LEAST_ROUGHNESS, _LEAST_EXPLAINED = 0.3, 0.1  # of a name for another column, and of that one's variance
_MOST_ROWS, _MOST_COLUMNS = 5_000, 100
_MOST_LABELS, _LEAST_SHARE_OF_LABEL = 5, 0.05  # of rows, with it and without; means of rarer ones have heavy tails
_FEWEST_FREE = 20  # rows beyond one of each value, from which noise is estimated
_LEAST_NOISE = 0.01  # share of a column's variance: finer relations are not told from steps


def find_measures(
    x: FloatArray, candidates: Mapping[int, FloatArray], has_labels: NDArray[np.bool_], dtypes: Sequence[str]
) -> set[int]:
    """Return which columns of rows x, (n, d), are measures, of `candidates` with few values, each (L,), increasing.

    A measure has values of about equal shares, at least as spread as 20 of them; they fill at least half of a grid; and
    neighbours go with the same rows: let m_l be the mean of another column over the rows of value l, and D_l its
    difference from the line between the two neighbours', with variance V_l for independent rows. The mean of D^2 / V is
    about 1 for smooth relations of any form, and large for numbers that are names, as of schools. A measure's is below
    3 for the ranks of every other number, and for each of the five most frequent labels of a column that `has_labels`,
    (d,), if 5 to 95 % of the rows have it. Nor does a measure determine another number with 20 values or more that fill
    no grid, as an age does its square: levels keep such a pair exactly. Rows in which one of two columns is missing do
    not count for the pair. Of more than 100 columns, 100 are compared. `dtypes` are those of the columns.

    >>> import numpy as np
    >>> from backwalk.table.choose_measures import find_measures
    >>> rng = np.random.default_rng(0)
    >>> age, school = rng.integers(20, 70, size=(2, 2000)).astype(float)
    >>> x = np.stack([age, school, 0.1 * age + (7 * school) % 5 + rng.normal(size=2000)], axis=1)
    >>> find_measures(x, {j: np.unique(x[:, j]) for j in (0, 1)}, np.zeros(3, dtype=bool), ["float64"] * 3)
    {0}
    """
    on_grid = {j for j, values in candidates.items() if _fills_a_grid(values, dtypes[j])}
    spread = {j for j in on_grid if _effective_number(x[:, j]) >= _LEAST_SPREAD}
    has_steps = {j for j in candidates if j not in on_grid and len(candidates[j]) >= _LEAST_SPREAD}

    def is_measure(to: _Comparison) -> bool:
        with_steps = np.isin(to.column, list(has_steps))
        return bool((to.contrast < _MOST_CONTRAST).all() and not (with_steps & (to.noise < _LEAST_NOISE)).any())

    return {j for j, to in _compared(x, spread, has_labels) if is_measure(to)}


def find_names(x: FloatArray, candidates: Collection[int], has_labels: NDArray[np.bool_]) -> set[int]:
    """Return which columns of rows x, (n, d), are names, such as the numbers of schools, of `candidates`.

    Some other column, compared as in `find_measures`, has means m_l that explain at least a tenth of its variance and
    jump between neighbours: D^2 / V is at least 3, and the variance of D beyond chance is at least .3 of what means
    in any order would give D. Of a smooth relation that is near 0.

    >>> import numpy as np
    >>> from backwalk.table.choose_measures import find_names
    >>> rng = np.random.default_rng(0)
    >>> weight, school = rng.integers(300, size=(2, 3000)).astype(float)
    >>> x = np.stack([weight, school, weight + 1e5 * np.sin(school**2) + rng.normal(size=3000)], axis=1)
    >>> find_names(x, [0, 1], np.zeros(3, dtype=bool))
    {1}
    """

    def is_name(to: _Comparison) -> bool:
        jumps = (to.contrast >= _MOST_CONTRAST) & (to.roughness >= _LEAST_ROUGHNESS)
        return bool((jumps & (to.explained >= _LEAST_EXPLAINED)).any())

    return {j for j, to in _compared(x, candidates, has_labels) if is_name(to)}


@dataclass(frozen=True)
class _Comparison:
    """What the means of other columns say of one whose values are neighbours, (p,) each.

    `column` has the number of the other column, `contrast` the mean of D^2 / V, `noise` and `explained` the shares of
    its variance within and between the values, and `roughness` the part of the latter that jumps between neighbours.
    """

    column: NDArray[np.intp]
    contrast: FloatArray
    noise: FloatArray
    explained: FloatArray
    roughness: FloatArray


def _compared(
    x: FloatArray, columns: Collection[int], has_labels: NDArray[np.bool_]
) -> Iterator[tuple[int, _Comparison]]:
    """Yield each of some columns of x, (n, d), with its comparison to the others."""
    if not columns:
        return
    if len(x) > _MOST_ROWS:
        x = x[Stream(0).child("measures").permutation(len(x))[:_MOST_ROWS]]
    compared = np.unique(np.linspace(0, x.shape[1] - 1, min(x.shape[1], _MOST_COLUMNS)).astype(int)).tolist()
    of_others = [_features(x[:, j], has_labels=bool(has_labels[j])) for j in compared]
    of_column = np.repeat(compared, [features.shape[1] for features in of_others])
    features = np.concatenate(of_others, axis=1)
    for j in columns:
        has_value, is_other = ~np.isnan(x[:, j]), of_column != j
        if not has_value.any():
            continue
        yield j, _compare(x[has_value, j], features[has_value][:, is_other], of_column[is_other])


def _fills_a_grid(values: FloatArray, dtype: str) -> bool:
    if len(values) < _LEAST_SPREAD:
        return False
    grid = find_grid(values, dtype)
    if grid is None:
        return False
    ends = grid.places(values[[0, -1]])
    return len(values) >= _LEAST_FILLED * float(ends[1] - ends[0] + 1.0)


def _effective_number(column: FloatArray) -> float:
    """Return exp of the entropy of a column's values, (n,)."""
    return float(np.exp(stats.entropy(np.unique(column[~np.isnan(column)], return_counts=True)[1])))


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


def _compare(column: FloatArray, y: FloatArray, of_column: NDArray[np.intp]) -> _Comparison:
    """Compare the values of a column, (n,), by the means of features y, (n, p), of the columns (p,)."""
    values, which, counts = np.unique(column, return_inverse=True, return_counts=True)
    order, starts = np.argsort(which, kind="stable"), np.append(0, counts.cumsum()[:-1])
    y = y[order]
    has_value = ~np.isnan(y)
    n = np.add.reduceat(has_value, starts, dtype=np.float64)  # rows of each value, (L, p)
    y = np.where(has_value, y, 0.0)
    mean = y.sum(axis=0) / np.maximum(n.sum(axis=0), 1.0)
    deviations = np.where(has_value, y - mean, 0.0)
    variance = np.square(deviations).sum(axis=0) / np.maximum(n.sum(axis=0), 1.0)
    with np.errstate(divide="ignore", invalid="ignore"):
        means = np.add.reduceat(deviations, starts) / n
        of_values = np.where(n > 0.0, np.square(means) * n, 0.0).sum(axis=0)
        freedom = np.maximum(n.sum(axis=0) - (n > 0.0).sum(axis=0), 1.0)
        noise = (np.square(deviations).sum(axis=0) - of_values) / freedom / variance
        w = ((values[1:-1] - values[:-2]) / (values[2:] - values[:-2]))[:, None]
        difference = means[1:-1] - (1.0 - w) * means[:-2] - w * means[2:]
        of_noise = 1.0 / n[1:-1] + (1.0 - w) ** 2 / n[:-2] + w**2 / n[2:]
        square = np.square(difference) / variance
        contrast = _mean(square / (of_noise * np.maximum(noise, _LEAST_NOISE)))
        explained = _mean(np.square(means) / variance - noise / n)
        roughness = _mean(square - of_noise * noise) / (_mean(1.0 + (1.0 - w) ** 2 + w**2) * explained)
    is_told = (variance > 0.0) & (freedom >= _FEWEST_FREE)
    return _Comparison(
        of_column,
        np.where(is_told, contrast, 0.0),
        np.where(is_told, noise, 1.0),
        np.where(is_told, explained, 0.0),
        np.where(is_told & (explained > 0.0), roughness, 0.0),
    )


def _mean(of_values: FloatArray) -> FloatArray:
    """Return the means of finite numbers, (L, p), by column, (p,); 0 where there are none."""
    is_seen = np.isfinite(of_values)
    return np.asarray(np.where(is_seen, of_values, 0.0).sum(axis=0) / np.maximum(is_seen.sum(axis=0), 1))
