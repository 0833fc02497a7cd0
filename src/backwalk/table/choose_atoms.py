"""Which values of numbers are atoms: those that stand out among their neighbours, or that new rows repeat.

New rows repeat the values of a column such as the number of a household, or a price that few shops set, though they lie
on no short grid: a density spreads them over places that no row has.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence

import numpy as np
from numpy.typing import NDArray
from scipy import special, stats

from backwalk.table.choose_numbers import columns_looked_at
from backwalk.table.grids import Grid, find_grid
from backwalk.table.schema import FloatArray

_LEAST_SHARE, _FEWEST_ROWS = 0.002, 10  # of rows that equal an atom: both at least
_SPIKE = 2.0  # times as frequent as its neighbours make likely
_FALSE_ALARMS = 1e-6  # a column
_NEIGHBOURS = 5  # distinct values on either side
FEWEST_OTHERS = 4  # distinct values of the number beside its atoms
_COST_OF_UNSEEN = 10.0  # nats, of a row whose value is no atom: the number beside the atoms is learnt from few rows
_LEAST_SPREAD = 1e-9  # of what does not vary
_MOST_COLUMNS = 100  # of other numbers, at regular places among all


def find_atoms(some: FloatArray, dtype: str = "float64") -> FloatArray:
    """Return the values, increasing, that many rows share and that stand out among their neighbours.

    Let a value occur c times among n rows, and e be the number of rows that its neighbours on the column's grid make
    likely. Neighbours have rates, their rows over the cells from one to the next, and e is the largest of: the mean
    rate of the next 5 distinct values on either side; and the geometric mean of the rates next to the value or, at an
    end, those beside it continued. The value is an atom if c is at least 0.2 % of n, 10, and 2 e, and if a Poisson
    count of mean e reaches c with a probability below 1e-6 / L in a column of L distinct values. So a dense grid has no
    atoms, such as that of ages or of counts. Numbers on no grid do not repeat by chance, and e is 0. The rarest four
    values are no atoms. `some`, (n,), are random rows of a column of a dtype; missing values do not count.

    >>> import numpy as np
    >>> from backwalk.table.choose_atoms import find_atoms
    >>> find_atoms(np.array([0.0] * 30 + [0.1 * i for i in range(1, 31)]))
    array([0.])
    """
    observed = some[~np.isnan(some)]
    values, counts = np.unique(observed, return_counts=True)
    if len(values) <= FEWEST_OTHERS:
        return np.empty(0)
    grid = find_grid(values, dtype)
    is_atom = np.asarray(counts >= max(_LEAST_SHARE * counts.sum(), _FEWEST_ROWS))
    is_atom[counts.argsort(kind="stable")[:FEWEST_OTHERS]] = False
    if grid is not None:
        place = np.rint(grid.places(values))
        before, after = _rates(place, counts), [rates[::-1] for rates in _rates(-place[::-1], counts[::-1])]
        expected = np.maximum(np.maximum(before[1], after[1]), np.sqrt(before[0] * after[0]))
        is_atom &= stats.poisson.logsf(counts - 1, expected) < math.log(_FALSE_ALARMS / len(values))
        is_atom &= counts >= _SPIKE * expected
    return np.asarray(values[is_atom])


def _rates(place: FloatArray, counts: NDArray[np.int64]) -> tuple[FloatArray, FloatArray]:
    """Return the rate of the value before each, (L,), and the mean rate of the five before it, which is 0 for none.

    The first value has r^3 / s^2 before it, with r and s the rates of the next two: its geometric mean with r is then
    r^2 / s, by which the two continue.
    """
    first = np.maximum(np.arange(len(place)) - _NEIGHBOURS, 0)
    so_far = np.concatenate([[0], counts.cumsum()])
    mean = (so_far[:-1] - so_far[first]) / np.maximum(place - place[first], 1.0)
    one = np.concatenate([[0.0], counts[:-1] / np.diff(place)])
    one[0] = (counts[1] / (place[1] - place[0])) ** 3 / (counts[2] / (place[2] - place[1])) ** 2
    return one, mean


def repeated_values(values: FloatArray, rows: FloatArray) -> FloatArray:
    """Return those of values, (L,), that are in two rows or more, but for the rarest four: the number has to vary."""
    is_repeated = rows > 1.0
    is_repeated[rows.argsort(kind="stable")[:FEWEST_OTHERS]] = False
    return values[is_repeated]


def find_repeating(
    some: FloatArray,
    candidates: Mapping[int, tuple[FloatArray, FloatArray]],
    dtypes: Sequence[str],
    has_labels: NDArray[np.bool_],
) -> dict[int, FloatArray]:
    """Return the atoms of the columns whose values say more about new rows than a density and the other columns do.

    `candidates` have the values of numbers, (L,), increasing, and the rows that each is in; those on no grid are left
    out. The `repeated_values` of a column are its atoms if `gain_of_values` is more than the sum of two costs: ten nats
    for each row whose value is in no other row; and the `nats_from_others`, the other numbers, which a density learns
    more closely than many atoms can. Columns that `has_labels` are not among these. `some`, (n, d), are random rows.
    """
    found, features, owner = dict[int, FloatArray](), np.empty((len(some), 0)), np.empty(0)
    for j, (values, rows) in candidates.items():
        grid = find_grid(values, dtypes[j])
        if grid is None or len(values) <= FEWEST_OTHERS:
            continue
        atoms = find_atoms(some[:, j], dtypes[j])
        left = gain_of_values(values, rows, grid, atoms) - _COST_OF_UNSEEN * float((rows == 1.0).sum() / rows.sum())
        if left <= 0.0:
            continue
        if not len(owner):
            numbers = columns_looked_at(np.flatnonzero(~has_labels).tolist(), _MOST_COLUMNS)
            features, owner = _features(some[:, numbers]), np.tile(numbers, 2)
        is_seen = ~np.isnan(some[:, j])
        is_free = is_seen & ~np.isin(some[:, j], atoms)
        scores = _normal_scores(some[is_free, j])
        from_others = nats_from_others(scores, features[is_free][:, owner != j])
        if left > from_others * is_free.sum() / is_seen.sum():
            found[j] = repeated_values(values, rows)
    return found


def gain_of_values(values: FloatArray, rows: FloatArray, grid: Grid, atoms: FloatArray) -> float:
    """Return by how much the values of a column say more about a new row than a density through their neighbours: nats.

    A value in r of n rows has the probability (1 - u) (r - 1) / (n - 1) + u e / n, with the share u of rows whose value
    is in no other row (Good 1953), and the e rows that a density makes likely: the mean rate of the five next values on
    either side. The density's probability is e / n. The gain is the mean, over rows, of the logarithm of their ratio;
    r - 1 of n - 1 leaves the row itself out. Values that are `atoms` already gain nothing. Values of a smooth column on
    a dense grid have a gain of 0 or below.

    >>> import numpy as np
    >>> from backwalk.table.choose_atoms import gain_of_values
    >>> from backwalk.table.grids import Grid
    >>> values, rows = np.arange(9.0), np.full(9, 3.0)
    >>> round(gain_of_values(values, rows, Grid(), np.empty(0)), 2)
    -0.37
    >>> round(gain_of_values(100.0 * values, rows, Grid(), np.empty(0)), 2)
    4.24
    """
    n_all, is_free = rows.sum(), ~np.isin(values, atoms)
    place, rows = np.rint(grid.places(values[is_free])), rows[is_free]
    if (rows == 1.0).sum() >= len(rows) - 1:  # none repeats, or one, whose neighbours say nothing of its rate
        return 0.0
    n, at = rows.sum(), np.arange(len(rows))
    unseen = (rows == 1.0).sum() / n
    so_far = np.concatenate([[0.0], rows.cumsum()])
    first, last = np.maximum(at - _NEIGHBOURS, 0), np.minimum(at + _NEIGHBOURS, len(rows) - 1)
    expected = (so_far[last + 1] - so_far[first] - rows) / (place[last] - place[first])
    ratio = (1.0 - unseen) * (rows - 1.0) / (n - 1.0) * n / expected + unseen
    return float((rows * np.log(ratio)).sum() / n_all)


def nats_from_others(scores: FloatArray, features: FloatArray) -> float:
    """Return what features of other columns, (n, p), say about the normal scores of a number, (n,): nats, 0 to ln n.

    It is -1/2 ln of a share of the scores' variance: of what a ridge regression leaves of each row when that row is
    left out of the fit.

    >>> import numpy as np
    >>> from backwalk.table.choose_atoms import nats_from_others
    >>> x, noise = np.random.default_rng(0).normal(size=(2, 1000))
    >>> round(nats_from_others(x + 0.1 * noise, x[:, None]), 1), round(nats_from_others(noise, x[:, None]), 1)
    (2.3, 0.0)
    """
    n = len(scores)
    if n < _FEWEST_ROWS or not features.shape[1]:
        return 0.0
    y, centred = scores - scores.mean(), features - features.mean(axis=0)
    unit = centred / np.maximum(centred.std(axis=0), _LEAST_SPREAD)
    inverse = np.linalg.inv(unit.T @ unit + np.eye(unit.shape[1]))
    leverage = ((unit @ inverse) * unit).sum(axis=1) + 1.0 / n
    residuals = (y - unit @ (inverse @ (unit.T @ y))) / np.maximum(1.0 - leverage, _LEAST_SPREAD)
    share = np.square(residuals).mean() / max(np.square(y).mean(), _LEAST_SPREAD)
    return max(0.0, -0.5 * math.log(max(float(share), n**-2.0)))


def _features(numbers: FloatArray) -> FloatArray:
    """Return the normal scores of numbers, (n, d), and their squares, (n, 2 d), less their means: 0 for gaps."""
    scores = np.stack([_normal_scores(column) for column in numbers.T], axis=1)
    return np.concatenate([_without_gaps(scores), _without_gaps(np.square(scores))], axis=1)


def _without_gaps(scores: FloatArray) -> FloatArray:
    n_seen = np.maximum((~np.isnan(scores)).sum(axis=0), 1)
    return np.asarray(np.nan_to_num(scores - np.nansum(scores, axis=0) / n_seen))


def _normal_scores(x: FloatArray) -> FloatArray:
    """Return the quantiles of a standard normal at the ranks of numbers, (n,); NaN where they are missing."""
    return np.asarray(special.ndtri(stats.rankdata(x, nan_policy="omit") / (np.count_nonzero(~np.isnan(x)) + 1)))
