"""Choose the encoding of each column of a table: its kind and parameters, from its rows."""

from __future__ import annotations

import math
from collections.abc import Mapping
from functools import partial

import numpy as np

from backwalk.errors import InvalidInput
from backwalk.streams import Stream
from backwalk.table.columns import (
    LEAST_SCALE,
    Column,
    ConstantColumn,
    Dequantisation,
    HeavyTailedColumn,
    IntegerColumn,
    NumberColumn,
)
from backwalk.table.frame import Table
from backwalk.table.maps import COSINE_VARIANCE, UNIFORM_VARIANCE, BoolArray, asinh_log_slope, asinh_transform
from backwalk.table.schema import FloatArray

_IQR_OF_A_NORMAL = 1.3489795
# A column has heavy tails if its standard deviation is more than this factor times that of a normal column with the
# same quartiles. The factor is 1.2 for an exponential column, 1.5 for Student's t with 3 degrees of freedom and 2 for a
# log-normal one of sigma 1 (`docs/defaults.md`).
_HEAVY = 1.75
_COSINE = 0.75  # standard deviations: integers with wider cells are dequantised by the cosine
_ROWS_LOOKED_AT = 10_000
_DENSE = 2.0**53  # from here on all numbers in float64 are integers


def fitted_columns(
    table: Table, *, scale: bool, asinh: bool, integers: Mapping[int, Dequantisation] | None = None
) -> tuple[Column, ...]:
    """Return a column for each of a table's: see `Codec.fit`.

    `integers` says which columns hold integers, and their density; without it both follow from the rows.
    """
    x = table.values
    if len(x) == 1:
        raise InvalidInput("At least 2 rows are needed to scale columns, but got 1 sample: give more rows.")
    d = x.shape[1]
    varies = x.min(axis=0) != x.max(axis=0)
    is_integer = np.array([_holds_integers(table, j) if integers is None else j in integers for j in range(d)])
    asinh_centre, asinh_scale = np.zeros(d), np.full(d, np.inf)
    centre, spread = _moments(x, is_integer * UNIFORM_VARIANCE)
    if integers is None:
        is_cosine = is_integer & (spread * _COSINE <= 1.0)
    else:
        is_cosine = np.array([integers.get(j) == "cosine" for j in range(d)])
    if is_cosine.any():  # a second pass over all rows, which most tables do not need
        centre, spread = _moments(x, is_integer * np.where(is_cosine, COSINE_VARIANCE, UNIFORM_VARIANCE))
    if not scale:
        centre, spread = np.zeros(d), np.ones(d)
    elif asinh:
        asinh_centre, asinh_scale = fitted_tails(x, spread, is_integer)
        asinh_scale[is_cosine] = np.inf  # few integers have no tails
        heavy = np.flatnonzero(np.isfinite(asinh_scale))
        if len(heavy):
            parameters = asinh_centre[heavy], asinh_scale[heavy]
            slope = is_integer[heavy] * np.exp(asinh_log_slope(x[:, heavy], *parameters))
            of_cells = np.square(slope).mean(axis=0) * UNIFORM_VARIANCE
            centre[heavy], spread[heavy] = _moments(asinh_transform(x[:, heavy], *parameters), of_cells)
    for j in map(int, np.flatnonzero(varies & (spread < LEAST_SCALE))):
        raise InvalidInput(
            f"A column's standard deviation should be at least {LEAST_SCALE:.1e}, but {table.schema.label(j)} "
            f"has {spread[j]:.1e}: give it in smaller units."
        )

    def column(j: int) -> Column:
        if not varies[j]:
            return ConstantColumn(float(x[0, j]))
        number: NumberColumn | HeavyTailedColumn = NumberColumn(float(centre[j]), float(spread[j]))
        if np.isfinite(asinh_scale[j]):
            number = HeavyTailedColumn(float(asinh_centre[j]), float(asinh_scale[j]), number.centre, number.scale)
        if not is_integer[j]:
            return number
        least, largest = float(x[:, j].min()), float(x[:, j].max())
        return IntegerColumn(number, least, largest, "cosine" if is_cosine[j] else "uniform")

    return tuple(map(column, range(d)))


def _holds_integers(table: Table, j: int) -> bool:
    """Return whether a column holds integers: by its dtype, or by its rows, as pandas has no NaN in integers.

    Arrays have one dtype for all columns, and are taken as numbers on a continuous scale.
    """
    if table.schema.kind == "numpy":
        return False
    if table.schema.is_integer(j):
        return True
    column = table.values[:, j]
    return bool((np.abs(column) < _DENSE).all() and (column == np.rint(column)).all())


def fitted_tails(x: FloatArray, spread: FloatArray, is_integer: BoolArray) -> tuple[FloatArray, FloatArray]:
    """Return the centre and the scale of the asinh transform for each column of x, (n, d): (d,) each.

    The scale is infinite if the tails are not heavy. `spread`, (d,), has the columns' standard deviations. A column is
    heavy-tailed if its spread is more than 1.75 times that of a normal column with the same quartiles; columns whose
    quartiles are equal are not, as they hold one value with exceptions. Of a few transforms the one is chosen under
    which the rows have the highest likelihood as draws of a normal distribution: around the median, with 1/8 to 4 times
    the interquartile range as scale; or, for rows of one sign, around 0 with a scale far below all of them, which is
    their logarithm. The scale of integers is at least 1. Quartiles and likelihoods are those of up to 10,000 random
    rows.

    >>> x = np.array([[-100.0], [-1.0], [0.0], [1.0], [100.0]])
    >>> fitted_tails(x, x.std(axis=0), np.array([False]))
    (array([0.]), array([0.25]))
    """
    some = rows_looked_at(x, "tails")
    low, median, high = np.quantile(some, [0.25, 0.5, 0.75], axis=0, method="inverted_cdf")  # rows, without arithmetic
    with np.errstate(over="ignore"):
        width = high - low
    centre, scale = np.zeros(x.shape[1]), np.full(x.shape[1], np.inf)
    for j in map(int, np.flatnonzero((spread / _HEAVY > width / _IQR_OF_A_NORMAL) & (width > 0.0))):
        cell = float(is_integer[j])
        least = max(cell, LEAST_SCALE)
        candidates = [(float(median[j]), max(float(width[j]) * 2.0**k, least)) for k in range(-3, 3)]
        if x[:, j].min() > -cell or x[:, j].max() < cell:
            candidates.append((0.0, max(_far_below(float(np.abs(x[:, j]).min())), least)))
        centre[j], scale[j] = max(candidates, key=partial(_log_likelihood, some[:, j : j + 1]))
    return centre, scale


def rows_looked_at(x: FloatArray, purpose: str) -> FloatArray:
    """Return the rows of x, (n, d), or 10,000 of them at random."""
    if len(x) <= _ROWS_LOOKED_AT:
        return x
    return np.asarray(x[Stream(0).child(purpose).generator().integers(len(x), size=_ROWS_LOOKED_AT)])


def _far_below(x: float) -> float:
    """Return about a ten-millionth of a number: a power of two, which does not reveal the number.

    Numbers of the other sign are then 17 natural logarithms from the nearest row, where models have hardly any density.
    """
    return math.ldexp(0.5, math.frexp(x)[1] - 24)


def _log_likelihood(x: FloatArray, transform: tuple[float, float]) -> float:
    """Return the mean log-likelihood of rows (n, 1) whose asinh transform is normal, up to a constant: nats."""
    centre, scale = (np.array([number]) for number in transform)
    spread = float(asinh_transform(x, centre, scale).std())
    return float(asinh_log_slope(x, centre, scale).mean()) - math.log(spread) if spread > 0.0 else -math.inf


def _moments(x: FloatArray, of_cells: FloatArray) -> tuple[FloatArray, FloatArray]:
    """Return the mean and the standard deviation of each column, (d,) each, with the variance `of_cells`, (d,), added.

    Columns are first multiplied by a power of two, which is exact, so that squares do not overflow or underflow.
    """
    exponent = np.frexp(np.abs(x).max(axis=0))[1]
    unit = np.ldexp(x, -exponent)
    mean = unit.mean(axis=0)
    variance = np.square(unit - mean).mean(axis=0) + np.ldexp(of_cells, -2 * exponent)
    return np.ldexp(mean, exponent), np.ldexp(np.sqrt(variance), exponent)
