"""The edges of the cells of numbers on a grid whose shares jump, as those of preferred numbers do.

Of diamonds of .29 carat there are few, of .30 many, and then ever fewer: a network of smooth functions smears such an
edge over the numbers on either side. A map to a normal that has knots at the edges of cells, and a slope that jumps
there, has the shares of the numbers exactly.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from scipy import stats

from backwalk.table.grids import Grid
from backwalk.table.schema import FloatArray

_FALSE_ALARMS = 1e-6  # a column
_LEAST_RATIO = 1.25  # of the rows of two neighbours at a jump
_FEWEST_ROWS, _MOST_CELLS = 50, 300


def edges_of_cells(x: FloatArray, grid: Grid, left_out: tuple[float, ...] = ()) -> FloatArray:
    """Return the edges of the cells of numbers x, (n,), if their shares jump, increasing: (E,), none without a jump.

    The square root of a Poisson count has a variance of 1/4. The rows of two neighbours differ by a jump if their roots
    do so more than by chance once in 10^6 / L columns of L distinct numbers, and if one is at least 1.25 times the
    other. Cells of fewer than 50 rows, or n / 300, are joined, but not across a jump. `left_out` are numbers that the
    column never equals: those on either side are neighbours. Missing values do not count.

    >>> import numpy as np
    >>> from backwalk.table import Grid
    >>> from backwalk.table.jumps import edges_of_cells
    >>> edges_of_cells(np.repeat([1.0, 2.0, 3.0, 4.0, 5.0], [200, 90, 8, 95, 85]), Grid())
    array([1.5, 2.5, 3.5, 4.5])
    """
    k, counts = np.unique(np.rint(grid.places(x[~np.isnan(x)])), return_counts=True)
    missing = np.rint(grid.places(np.array(left_out)))
    pairs = np.stack([[*_next(k, -1.0, missing), *k], [*k, *_next(k, 1.0, missing)]])
    below, above = np.unique(pairs[:, (pairs[0] >= k[0]) & (pairs[1] <= k[-1])], axis=1)
    rows_below, rows_above = _rows(k, counts, below), _rows(k, counts, above)
    difference = np.abs(np.sqrt(rows_below + 0.375) - np.sqrt(rows_above + 0.375))
    is_jump = difference > stats.norm.isf(0.5 * _FALSE_ALARMS / len(k)) * 0.5**0.5
    is_jump &= np.maximum(rows_below, rows_above) >= _LEAST_RATIO * np.minimum(rows_below, rows_above)
    if not is_jump.any():
        return np.empty(0)
    fewest, rows = max(_FEWEST_ROWS, counts.sum() / _MOST_CELLS), 0.0
    is_edge = is_jump | (rows_above >= fewest)
    for i, of_cell in enumerate(rows_below.tolist()):
        rows += of_cell
        is_edge[i] |= rows >= fewest
        rows = 0.0 if is_edge[i] else rows
    return grid.values(0.5 * (below + above)[is_edge])


def _next(k: FloatArray, step: float, missing: FloatArray) -> FloatArray:
    """Return the next numbers of a grid in one direction that are not missing."""
    k = k + step
    while (is_missing := np.isin(k, missing)).any():
        k = np.where(is_missing, k + step, k)
    return k


def _rows(k: FloatArray, counts: NDArray[np.int64], at: FloatArray) -> FloatArray:
    """Return the rows of the numbers `at`, those of the distinct k being `counts`."""
    place = np.minimum(np.searchsorted(k, at), len(k) - 1)
    return np.where(k[place] == at, counts[place], 0).astype(np.float64)
