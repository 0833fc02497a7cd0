"""Which values of a number are atoms: those that many rows share, and that stand out among their neighbours."""

from __future__ import annotations

import numpy as np

from backwalk.table.schema import FloatArray

_LEAST_SHARE, _FEWEST_REPEATS = 0.05, 25  # of rows that equal an atom: more than both
_SPIKE = 5.0  # times as frequent as the values on either side
_FEWEST_OTHERS = 20  # distinct values that are no atoms, of a number with atoms


def find_atoms(some: FloatArray) -> FloatArray:
    """Return the values, increasing, that a number equals in more than 5 % of rows, and 25, and that stand out.

    Of fewer rows, a few may be equal by rounding. Each is at least 5 times as frequent as the nearest values on either
    side that are less frequent, of which there are at least 20 distinct ones in all. `some`, (n,), are random rows;
    missing values do not count.

    >>> find_atoms(np.array([0.0] * 30 + [0.1 * i for i in range(1, 31)]))
    array([0.])
    """
    observed = some[~np.isnan(some)]
    values, counts = np.unique(observed, return_counts=True)
    often = counts > max(_LEAST_SHARE * len(observed), _FEWEST_REPEATS)
    if not often.any() or (~often).sum() < _FEWEST_OTHERS:
        return np.empty(0)
    others, at = counts[~often], np.searchsorted(values[~often], values[often])
    beside = np.maximum(others[np.maximum(at - 1, 0)], others[np.minimum(at, len(others) - 1)])
    return np.asarray(values[often][counts[often] >= _SPIKE * beside])
