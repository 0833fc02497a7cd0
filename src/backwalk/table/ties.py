"""Numbers that are tied: their values repeat, because they were set by somebody and not measured.

An experiment's design, a catalogue's prices or the key of another table give a number few values anywhere on its scale,
of which each belongs to rows of its own. Such a number says far more about its row than a measured one: rows with 3.10
may have nothing in common with rows with 3.11. Networks learn this only if they are shown fine differences
(`denoiser/waves.py`), which would make them overfit a measured number.
"""

from __future__ import annotations

import math

import numpy as np

from backwalk.table.schema import FloatArray

_ROWS_PER_VALUE = 2.0  # at least, on average
_MOST_BY_ROUNDING = 20.0  # times as many equal pairs as rounding explains: figures of mixed precision have up to 10
_SLACK = 1e-6  # of a cell, by which multiples of it may be off
_FEWEST_NEAR = 5  # values beside each by which its surroundings are judged


def is_tied(x: FloatArray, cell: float) -> bool:
    """Return whether the numbers x, (n,), repeat without being rounded: see the module's docstring.

    Each value should occur twice on average, and pairs of equal values should be 20 times as frequent as in a smooth
    density whose numbers are rounded to cells of width `cell` (0 if they are not rounded). There the share of equal
    pairs is about that of the pairs at a distance in (0, h], over the number of other cells within h. h is the median
    distance of a number to the sqrt(n)-th above it, and at least a cell.

    >>> generator = np.random.default_rng(0)
    >>> measured = generator.normal(size=1000).round(1)
    >>> design = generator.choice(generator.normal(size=100).round(3), size=1000)
    >>> is_tied(measured, 0.1), is_tied(design, 0.001)
    (False, True)
    """
    n = len(x)
    _, counts = np.unique(x, return_counts=True)
    if not n or n < _ROWS_PER_VALUE * len(counts):
        return False
    ordered = np.sort(x)
    k = min(max(_FEWEST_NEAR, math.isqrt(n)), n - 1)
    h = max(float(np.median(ordered[k:] - ordered[:-k])), cell) + _SLACK * cell
    equal = float((counts * (counts - 1.0)).sum())
    above = np.searchsorted(ordered, ordered + h, side="right") - np.arange(1, n + 1)
    near = 2.0 * float(above.sum()) - equal  # both orders of each pair
    by_rounding = near / (2.0 * math.floor(h / cell)) if cell else 0.0
    return equal > _MOST_BY_ROUNDING * by_rounding
