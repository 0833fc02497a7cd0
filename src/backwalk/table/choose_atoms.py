"""Which values of a number are atoms: those that many rows share, and that stand out among their neighbours."""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import NDArray
from scipy import stats

from backwalk.table.grids import find_grid
from backwalk.table.schema import FloatArray

_LEAST_SHARE, _FEWEST_ROWS = 0.002, 10  # of rows that equal an atom: both at least
_SPIKE = 2.0  # times as frequent as its neighbours make likely
_FALSE_ALARMS = 1e-6  # a column
_NEIGHBOURS = 5  # distinct values on either side
FEWEST_OTHERS = 4  # distinct values of the number beside its atoms


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
    is_atom = _are_frequent(counts)
    if grid is not None:
        place = np.rint(grid.places(values))
        before, after = _rates(place, counts), [rates[::-1] for rates in _rates(-place[::-1], counts[::-1])]
        expected = np.maximum(np.maximum(before[1], after[1]), np.sqrt(before[0] * after[0]))
        is_atom &= stats.poisson.logsf(counts - 1, expected) < math.log(_FALSE_ALARMS / len(values))
        is_atom &= counts >= _SPIKE * expected
    return np.asarray(values[is_atom])


def _are_frequent(rows: FloatArray | NDArray[np.int64]) -> NDArray[np.bool_]:
    is_frequent = np.asarray(rows >= max(_LEAST_SHARE * rows.sum(), _FEWEST_ROWS))
    is_frequent[rows.argsort(kind="stable")[:FEWEST_OTHERS]] = False
    return is_frequent


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
