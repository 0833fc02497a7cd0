"""Numbers that repeat in many rows, and numbers that are tied.

A tied number has values that repeat because they were set by somebody and not measured.

An experiment's design, a catalogue's prices or the key of another table give a number few values anywhere on its scale,
of which each belongs to rows of its own. Such a number says far more about its row than a measured one: rows with 3.10
may have nothing in common with rows with 3.11. Networks learn this only if they are shown fine differences
(`denoiser/numbers_start.py`), which would make them overfit a measured number.

Measured numbers repeat as well where they are rounded, or where many of them are: to tenths, to thousands, to inches
given in centimetres. Their frequent values then lie side by side on a grid, and those of a design do not.
"""

from __future__ import annotations

import math

import numpy as np

from backwalk.streams import Stream
from backwalk.table.choose_numbers import ROWS_LOOKED_AT, rows_looked_at
from backwalk.table.codec import Codec
from backwalk.table.schema import FloatArray

_ROWS_PER_REPEAT = 3  # a number counts as repeated from one row in three on
_FEWEST_REPEATS = 10  # rows; fewer may be equal by chance

_ROWS_PER_VALUE = 2.0  # at least, on average
_MOST_BY_ROUNDING = 5.0  # times as many equal pairs as rounding explains
_SMALL_GAP = 0.1  # quantile of the gaps, not the least: after a logarithm rounded numbers are denser at one end
_FEWEST_VALUES = 5  # frequent ones, whose gaps can be compared
_LARGEST_SHARE_OF_A_GAP = 0.25  # of the gaps of a design that are equal
_SLACK = 1e-3  # of a gap, by which equal ones may differ, as products of decimals are rounded


def repeated_values(codec: Codec, values: FloatArray, blur: float) -> dict[int, tuple[float, float]]:
    """Return the columns in which a third of the rows or more hold the same number, with it and its share of rows.

    Numbers whose cell is wider than the model's blur, `blur` encoded units to either side, are left out, because
    rounding restores them, and so are columns with levels. `values` is (n, d), of which at most 10,000 random rows are
    used; missing values do not count.
    """
    some, repeated = rows_looked_at(values, "repeated"), {}
    for j, column in enumerate(codec.columns):
        if column.chain is None or column.atom_shares:
            continue
        observed = some[~np.isnan(some[:, j]), j]
        numbers, counts = np.unique(observed, return_counts=True)
        if not len(counts) or counts.max() < max(len(observed) / _ROWS_PER_REPEAT, _FEWEST_REPEATS):
            continue
        most = int(counts.argmax())
        blurred = column.chain.deviation_in_user_units(np.array(blur), column.chain.encode(numbers[most]))
        if 0.5 * column.cell_width <= blurred:
            repeated[j] = float(numbers[most]), float(counts[most] / len(observed))
    return repeated


def tied_numbers(codec: Codec, values: FloatArray) -> tuple[int, ...]:
    """Return the coordinates of the numbers that are tied in rows, (n, d) in the user's units: see `is_tied`.

    Repeated rows count once, and at most 10,000 random rows are looked at: among more values than these show, waves
    could not tell one from the next. Missing values and atoms do not count.
    """
    some, tied = codec.cells(distinct_rows(_some_rows(values, "ties"))), []
    for coordinate in codec.numbers.tolist():
        j = codec.column_of(coordinate)
        x = some[~np.isnan(some[:, j]), j]
        if is_tied(x[~np.isin(x, list(codec.all_columns[j].atom_shares))]):
            tied.append(coordinate)
    return tuple(tied)


def _some_rows(x: FloatArray, purpose: str) -> FloatArray:
    """Return the rows of x, (n, d), or 10,000 different ones of them at random."""
    if len(x) <= ROWS_LOOKED_AT:
        return x
    return np.asarray(x[Stream(0).child(purpose).generator().choice(len(x), ROWS_LOOKED_AT, replace=False)])


def is_tied(x: FloatArray) -> bool:
    """Return whether the numbers x, (n,), repeat, but not by rounding: see the module's docstring.

    - Each value occurs twice on average.
    - Pairs of equal values are 5 times as frequent as in a smooth density whose numbers are rounded to cells of a small
      gap. There the share of equal pairs is about that of the pairs at a distance in (0, h], over the number of other
      cells within h, the median distance of a number to the sqrt(n)-th above it.
    - Of the gaps between neighbours among the most frequent values, which make up half of the numbers, less than a
      quarter are equal. Where some numbers are rounded more coarsely than others, they are.

    >>> import numpy as np
    >>> from backwalk.table.ties import is_tied
    >>> generator = np.random.default_rng(0)
    >>> measured = generator.normal(size=1000).round(1)
    >>> design = generator.choice(generator.normal(size=100).round(3), size=1000)
    >>> is_tied(measured), is_tied(design)
    (False, True)
    """
    values, counts = np.unique(x, return_counts=True)
    if len(values) < _FEWEST_VALUES or len(x) < _ROWS_PER_VALUE * len(values):
        return False
    cell = float(np.quantile(np.diff(values), _SMALL_GAP))
    equal = float((counts * (counts - 1.0)).sum())
    if equal <= _MOST_BY_ROUNDING * _pairs_by_rounding(np.repeat(values, counts), cell, equal):
        return False
    order = np.argsort(-counts, kind="stable")
    n_frequent = 1 + int(np.searchsorted(np.cumsum(counts[order]), 0.5 * len(x)))
    gaps = np.sort(np.diff(np.sort(values[order[:n_frequent]])))
    alike = np.searchsorted(gaps, gaps * (1.0 + _SLACK), side="right") - np.arange(len(gaps))
    return n_frequent >= _FEWEST_VALUES and bool(alike.max() < _LARGEST_SHARE_OF_A_GAP * len(gaps))


def _pairs_by_rounding(ordered: FloatArray, cell: float, equal: float) -> float:
    """Return how many ordered pairs of increasing numbers, (n,), would be equal by rounding to cells; `equal` are."""
    n = len(ordered)
    k = min(max(_FEWEST_VALUES, math.isqrt(n)), n - 1)
    h = max(float(np.median(ordered[k:] - ordered[:-k])), cell) + _SLACK * cell
    above = np.searchsorted(ordered, ordered + h, side="right") - np.arange(1, n + 1)
    near = 2.0 * float(above.sum()) - equal  # both orders of each pair
    return near / (2.0 * math.floor(h / cell))


def distinct_rows(rows: FloatArray) -> FloatArray:
    """Return the rows, (n, d), without repetition, in any order: what was drawn or copied twice was not set twice."""
    whole = np.ascontiguousarray(rows).view(np.dtype((np.void, rows.shape[1] * rows.itemsize)))
    return np.asarray(rows[np.unique(whole[:, 0], return_index=True)[1]])
