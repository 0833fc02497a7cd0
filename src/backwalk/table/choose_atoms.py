"""Which values of numbers are atoms: those that stand out among their neighbours, or that nearly all rows repeat.

Of a column such as the number of a household, or a price that few shops set, new rows repeat the values, though they
lie on no short grid: a density spreads them over places that no row has.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence

import numpy as np
from numpy.typing import NDArray
from scipy import special, stats

from backwalk.table.grids import Grid, find_grid
from backwalk.table.schema import FloatArray

_LEAST_SHARE, _FEWEST_ROWS = 0.002, 10  # of rows that equal an atom: both at least
_SPIKE = 2.0  # times as frequent as its neighbours make likely
_FALSE_ALARMS = 1e-6  # a column
_NEIGHBOURS = 5  # distinct values on either side
FEWEST_OTHERS = 4  # distinct values of the number beside its atoms
_COST_OF_UNSEEN = 10.0  # nats, of a row whose value is no atom among many: the number beside them has few rows
_MOST_COLUMNS = 100  # compared with one


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


def repeated(values: FloatArray, rows: FloatArray) -> FloatArray:
    """Return those of values, (L,), that are in two rows or more, but for the rarest four: the number has to vary."""
    is_repeated = rows > 1.0
    is_repeated[rows.argsort(kind="stable")[:FEWEST_OTHERS]] = False
    return values[is_repeated]


def find_exact(
    some: FloatArray,
    candidates: Mapping[int, tuple[FloatArray, FloatArray]],
    dtypes: Sequence[str],
    has_labels: NDArray[np.bool_],
) -> dict[int, FloatArray]:
    """Return the atoms of the columns whose values tell more of new rows than a density and the other columns do.

    `candidates` have the values of numbers, (L,), increasing, and the rows that each is in; those on no grid are left
    out. The values of a column are all atoms, if they are in two rows or more, where `gain_of_values` is more than what
    the others tell of it (`told_by_others`), which a density of numbers learns more closely, and ten nats for each
    row with a value of its own. `some`, (n, d), are random rows.
    """
    found, others = dict[int, FloatArray](), None
    for j, (values, rows) in candidates.items():
        grid = find_grid(values, dtypes[j])
        if grid is None or len(values) <= FEWEST_OTHERS:
            continue
        is_atom = np.isin(values, find_atoms(some[:, j], dtypes[j]))
        gain = gain_of_values(values, rows, grid, is_atom) - _COST_OF_UNSEEN * float((rows == 1.0).sum() / rows.sum())
        if gain <= 0.0:
            continue
        if others is None:
            others = {k: _scores(some[:, k]) for k in np.flatnonzero(~has_labels)[:_MOST_COLUMNS].tolist()}
        if gain > told_by_others(_scores(some[:, j]), [scores for k, scores in others.items() if k != j]):
            found[j] = repeated(values, rows)
    return found


def gain_of_values(values: FloatArray, rows: FloatArray, grid: Grid, is_atom: NDArray[np.bool_]) -> float:
    """Return by how much the values of a column tell more of a new row than a density through their neighbours: nats.

    A value in r of n rows has the probability (1 - u) (r - 1) / (n - 1) + u e / n in a new one, with the share u of
    rows whose value is in no other, and the e rows that a density makes likely: the mean rate of the five next values
    on either side. The density's is e / n. The gain is the mean over the rows of the logarithm of their ratio, leaving
    each row out. Values that are atoms already gain nothing. Smooth numbers lose about .2 by it.

    >>> import numpy as np
    >>> from backwalk.table.choose_atoms import gain_of_values
    >>> from backwalk.table.grids import Grid
    >>> none = np.zeros(9, dtype=bool)
    >>> round(gain_of_values(np.arange(9.0), np.full(9, 3.0), Grid(), none), 2)
    -0.37
    >>> round(gain_of_values(np.arange(9.0) * 100.0, np.full(9, 3.0), Grid(), none), 2)
    4.24
    """
    n_all, place, rows = rows.sum(), np.rint(grid.places(values[~is_atom])), rows[~is_atom]
    n, at = rows.sum(), np.arange(len(rows))
    if (rows == 1.0).sum() >= len(rows) - 1:  # none repeats, or one, whose neighbours tell nothing
        return 0.0
    unseen = (rows == 1.0).sum() / n
    so_far = np.concatenate([[0.0], rows.cumsum()])
    first, last = np.maximum(at - _NEIGHBOURS, 0), np.minimum(at + _NEIGHBOURS, len(rows) - 1)
    expected = (so_far[last + 1] - so_far[first] - rows) / (place[last] - place[first])
    ratio = (1.0 - unseen) * (rows - 1.0) / (n - 1.0) * n / expected + unseen
    return float((rows * np.log(ratio)).sum() / n_all)


def told_by_others(scores: FloatArray, others: Sequence[FloatArray]) -> float:
    """Return what the normal scores of other numbers tell of those of a number, (n,) each: nats, at least 0.

    It is -1/2 ln of the variance that a ridge regression on the others and their squares leaves of each row when it is
    left out of the fit, over the variance of all. Missing values, NaN, count as the others' means.

    >>> import numpy as np
    >>> from backwalk.table.choose_atoms import told_by_others
    >>> x, noise = np.random.default_rng(0).normal(size=(2, 1000))
    >>> round(told_by_others(x + 0.1 * noise, [x]), 1), round(told_by_others(noise, [x]), 1)
    (2.3, 0.0)
    """
    seen = ~np.isnan(scores)
    y = scores[seen] - scores[seen].mean()
    of_others = np.nan_to_num(np.array([power for x in others for power in (x[seen], x[seen] ** 2)]).T)
    if not of_others.size:
        return 0.0
    centred = of_others - of_others.mean(axis=0)
    features = centred / np.maximum(centred.std(axis=0), 1e-9)
    inverse = np.linalg.inv(features.T @ features + np.eye(features.shape[1]))
    leverage = ((features @ inverse) * features).sum(axis=1) + 1.0 / len(y)
    left = (y - features @ (inverse @ (features.T @ y))) / np.maximum(1.0 - leverage, 1e-9)
    return max(0.0, -0.5 * math.log(max(float(np.square(left).mean() / np.square(y).mean()), 1e-12)))


def _scores(x: FloatArray) -> FloatArray:
    """Return the normal scores of numbers, (n,), by their ranks; NaN where they are missing."""
    return np.asarray(special.ndtri(stats.rankdata(x, nan_policy="omit") / (np.count_nonzero(~np.isnan(x)) + 1)))
