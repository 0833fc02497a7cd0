"""How each column of a table is to be encoded: what its rows say of centre, scale, cell and tails."""

from __future__ import annotations

import math
from collections.abc import Mapping
from functools import partial

import numpy as np

from backwalk.errors import InvalidInput
from backwalk.streams import Stream
from backwalk.table.columns import (
    BELL_VARIANCE,
    EVEN_VARIANCE,
    LEAST_SCALE,
    Column,
    ConstantColumn,
    HeavyTailedColumn,
    ScaledColumn,
    bent,
    log_slope,
)
from backwalk.table.frame import Table
from backwalk.table.schema import FloatArray

_IQR_OF_A_NORMAL = 1.3489795
# A column has heavy tails where its standard deviation is more than so many times that of a normal column with the same
# quartiles. It is 1.2 times that for an exponential column and 1.5 times for Student's t with 3 degrees of freedom, on
# which bending changed nothing, and 2 times for a log-normal one of sigma 1, on which it took the gap of a fit from
# 0.027 to 0.015 nats.
_HEAVY = 1.75
_BELL = 0.75  # standard deviations: numbers whose cell is so wide are spread by a bell
_ROWS_LOOKED_AT = 10_000
_DENSE = 2.0**53  # from here on all numbers in float64 are whole


def fitted_columns(
    table: Table, *, scale: bool, bend: bool, whole: Mapping[int, bool] | None = None
) -> tuple[Column, ...]:
    """Return a column for each of a table's: see `Codec.fit`."""
    x = table.values
    if len(x) == 1:
        raise InvalidInput("At least 2 rows are needed to tell how columns vary, but got 1 sample: give more rows.")
    varies = x.min(axis=0) != x.max(axis=0)
    cell = np.array([float(_is_whole(table, j) if whole is None else j in whole) for j in range(x.shape[1])])
    middle, core = np.zeros(x.shape[1]), np.full(x.shape[1], np.inf)
    centre, spread = _moments(x, cell, EVEN_VARIANCE)
    wide = (cell > 0.0) & (cell >= _BELL * spread)
    bell = wide if whole is None else np.array([whole.get(j, False) for j in range(x.shape[1])])
    if bell.any():  # another look at all rows, which most tables do not need
        centre, spread = _moments(x, cell, np.where(bell, BELL_VARIANCE, EVEN_VARIANCE))
    if not scale:
        centre, spread = np.zeros(x.shape[1]), np.ones(x.shape[1])
    elif bend:
        middle, core = fitted_tails(x, spread, cell)
        core[bell] = np.inf  # few numbers have no tails
        heavy = np.flatnonzero(np.isfinite(core))
        if len(heavy):
            slope = np.exp(log_slope(x[:, heavy], middle[heavy], core[heavy]))
            cells = np.sqrt(np.square(cell[heavy] * slope).mean(axis=0))
            bends = bent(x[:, heavy], middle[heavy], core[heavy])
            centre[heavy], spread[heavy] = _moments(bends, cells, EVEN_VARIANCE)
    for j in map(int, np.flatnonzero(varies & (spread < LEAST_SCALE))):
        raise InvalidInput(
            f"A column's standard deviation should be at least {LEAST_SCALE:.1e}, but {table.schema.label(j)} "
            f"has {spread[j]:.1e}: give it in smaller units."
        )

    def column(j: int) -> Column:
        if not varies[j]:
            return ConstantColumn(float(x[0, j]))
        ends = (float(x[:, j].min()), float(x[:, j].max())) if cell[j] else (None, None)
        scaled = float(centre[j]), float(spread[j]), float(cell[j])
        if np.isinf(core[j]):
            return ScaledColumn(*scaled, bool(bell[j]), *ends)
        return HeavyTailedColumn(float(middle[j]), float(core[j]), *scaled, *ends)

    return tuple(map(column, range(x.shape[1])))


def _is_whole(table: Table, j: int) -> bool:
    """Return whether a column holds whole numbers: by its dtype, or, as pandas has no NaN in integers, by its rows.

    Arrays have one dtype for all, and are taken as numbers on a continuous scale.
    """
    if table.kind == "numpy":
        return False
    if table.schema.is_whole(j):
        return True
    column = table.values[:, j]
    return bool((np.abs(column) < _DENSE).all() and (column == np.rint(column)).all())


def fitted_tails(x: FloatArray, spread: FloatArray, cell: FloatArray) -> tuple[FloatArray, FloatArray]:
    """Return `middle` and `core` for each column of x, (n, d): (d,), (d,), with an infinite core where none is heavy.

    `spread` and `cell`, (d,), are the columns' standard deviations and cells. A column is heavy-tailed where its spread
    is more than 1.75 times that of a normal one with its quartiles; columns whose quartiles are equal are not, as they
    are of one value with exceptions. The bend is, of a few, the likeliest if bent rows are normal, with mean and
    variance as they come: around the median, with 1/8 to 4 times the distance of the quartiles as core; or, for rows of
    one sign, around 0 with a core far below all of them, which is their logarithm. A core is a cell at least. Quartiles
    and likelihoods are those of up to 10,000 rows, picked at random.

    >>> x = np.array([[-100.0], [-1.0], [0.0], [1.0], [100.0]])
    >>> fitted_tails(x, x.std(axis=0), np.zeros(1))
    (array([0.]), array([0.25]))
    """
    some = rows_looked_at(x, "tails")
    low, median, high = np.quantile(some, [0.25, 0.5, 0.75], axis=0, method="inverted_cdf")  # rows, without arithmetic
    with np.errstate(over="ignore"):
        width = high - low
    middle, core = np.zeros(x.shape[1]), np.full(x.shape[1], np.inf)
    for j in map(int, np.flatnonzero((spread / _HEAVY > width / _IQR_OF_A_NORMAL) & (width > 0.0))):
        least = max(float(cell[j]), LEAST_SCALE)
        bends = [(float(median[j]), max(float(width[j]) * 2.0**k, least)) for k in range(-3, 3)]
        if x[:, j].min() > -cell[j] or x[:, j].max() < cell[j]:
            bends.append((0.0, max(_far_below(float(np.abs(x[:, j]).min())), least)))
        middle[j], core[j] = max(bends, key=partial(_log_likelihood, some[:, j : j + 1]))
    return middle, core


def rows_looked_at(x: FloatArray, purpose: str) -> FloatArray:
    """Return the rows of x, (n, d), or 10,000 of them: at random, as every other row may be of another kind."""
    if len(x) <= _ROWS_LOOKED_AT:
        return x
    return np.asarray(x[Stream(0).child(purpose).generator().integers(len(x), size=_ROWS_LOOKED_AT)])


def _far_below(x: float) -> float:
    """Return some ten-millionth of a number: a power of two, which does not give away the number.

    So the other side of 0 is 17 natural logarithms from the nearest row, and hardly any model comes there.
    """
    return math.ldexp(0.5, math.frexp(x)[1] - 24)


def _log_likelihood(x: FloatArray, bend: tuple[float, float]) -> float:
    """Return the mean log-likelihood of rows (n, 1) if they are normal once bent, but for a constant: nats."""
    middle, core = (np.array([number]) for number in bend)
    spread = float(bent(x, middle, core).std())
    return float(log_slope(x, middle, core).mean()) - math.log(spread) if spread > 0.0 else -math.inf


def _moments(x: FloatArray, cell: FloatArray, of_spread: FloatArray | float) -> tuple[FloatArray, FloatArray]:
    """Return the mean and the standard deviation of each column, spread over its cell: (d,), (d,).

    `of_spread` is the variance of the place in a cell of width 1. Columns are first multiplied by a power of two, which
    is exact, so that squares of 1e300 and of 1e-300 neither overflow nor vanish.
    """
    exponent = np.frexp(np.abs(x).max(axis=0))[1]
    unit = np.ldexp(x, -exponent)
    mean = unit.mean(axis=0)
    variance = np.square(unit - mean).mean(axis=0) + np.square(np.ldexp(cell, -exponent)) * of_spread
    return np.ldexp(mean, exponent), np.ldexp(np.sqrt(variance), exponent)
