"""The encoding of a number: its scale, its tails, and the dequantisation of rounded ones."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import partial
from typing import Literal

import numpy as np

from backwalk.errors import InvalidInput
from backwalk.streams import Stream
from backwalk.table.column_options import Number, Option
from backwalk.table.grids import Grid
from backwalk.table.maps import LEAST_SCALE, Asinh
from backwalk.table.number_column import NumberColumn
from backwalk.table.relation import NumberFacts
from backwalk.table.schema import FloatArray

_WIDE, _SHARPNESS = 0.75, 0.9  # standard deviations, from which on cells are dequantised by c, and this
# Rounded numbers with narrower cells, in encoded units, are not dequantised: a density whose finest structure has a
# standard deviation of 0.016 varies by 3 % along a grid of twice that step.
_FINE = 0.032
_TAIL, _BLUR = 0.5, 0.05  # the length of a tail at least, in steps and in encoded units
_IQR_OF_A_NORMAL = 1.3489795
# A column has heavy tails if its standard deviation is more than this factor times that of a normal column with the
# same quartiles. The factor is 1.2 for an exponential column, 1.5 for Student's t with 3 degrees of freedom and 2 for a
# log-normal one of sigma 1.
_HEAVY = 1.75
ROWS_LOOKED_AT = 10_000  # at most, at random
_PERIODS = (365.2425, 7.0, 1.0)  # days
_TWICE = 1.99  # periods that a range spans: two years may have 730 days
Bounds = tuple[float | None, float | None]


@dataclass(frozen=True)
class NumberPlan:
    """What is known of a column of numbers beforehand: its name in messages, its range, its grid, its bounds.

    `bounds` are those of new values, and `stated` those that a user states, at which the map ends. After `periods` the
    other columns may repeat.
    `dequantisation` is "chosen" where it follows from the rows. `left_out` are the atoms beside the number. A number
    that is `always_given` may have any value.
    """

    label: str
    ends: tuple[float, float]
    grid: Grid | None = None
    bounds: Bounds = (None, None)
    stated: Bounds = (None, None)
    dequantisation: float | Literal["chosen"] | None = "chosen"
    periods: tuple[float, ...] = ()
    left_out: tuple[float, ...] = ()
    always_given: bool = False


def plan_number(
    label: str, facts: NumberFacts, option: Option | None, *, is_table: bool, per_day: float | None = None
) -> NumberPlan:
    """Return the plan of a column of numbers, from facts of those that are no gaps and no atoms.

    New values lie within the bounds that a user states or, of a table and of integers, within the range of the fitted
    ones. `per_day` is what a day has of the unit of dates, whose periods are the year, the week and the day: those that
    fit into the range twice and are longer than the grid's step. Raises InvalidInput if a value lies beyond a bound.
    """
    ends, grid = (facts.least, facts.largest), facts.grid
    stated = option.bounds if isinstance(option, Number) else None
    bounds: Bounds = (None, None)
    if stated is not None:
        low, high = bounds = stated
        is_below = low is not None and ends[0] < low
        if is_below or (high is not None and ends[1] > high):
            raise InvalidInput(
                f"Values of {label} should lie within its bounds, {low} and {high}, but there is "
                f"{ends[0] if is_below else ends[1]}: give wider bounds."
            )
    elif grid is not None or is_table:
        bounds = ends
    if grid is not None:
        bounds = _outermost(grid, bounds[0], np.ceil), _outermost(grid, bounds[1], np.floor)
    stated = stated or (None, None)
    has_map = stated != (None, None) or (isinstance(option, Number) and bool(option.map))
    periods = () if per_day is None or has_map else _periods_within(facts, per_day)
    return NumberPlan(label, ends, grid, bounds, stated, periods=periods)


def _periods_within(facts: NumberFacts, per_day: float) -> tuple[float, ...]:
    cell = 0.0 if facts.grid is None else facts.grid.cell
    longest = (facts.largest - facts.least + cell) / _TWICE
    return tuple(days * per_day for days in _PERIODS if cell < days * per_day <= longest)


def _outermost(grid: Grid, bound: float | None, towards: np.ufunc) -> float | None:
    """Return the outermost number of a grid within a bound."""
    return None if bound is None else float(grid.values(towards(grid.places(np.array(bound)).round(6))))


def choose_number(
    x: FloatArray, plan: NumberPlan, *, scale: bool = True, asinh: bool = True, weights: FloatArray | None = None
) -> NumberColumn:
    """Return the encoding of numbers x, (n,), with gaps: see `fit_codec`."""
    cell = 0.0 if plan.grid is None else plan.grid.cell
    c = plan.dequantisation if isinstance(plan.dequantisation, float) else 0.0
    centre, spread = moments(x, cell**2 * _variance_in_cell(c), weights)
    if plan.dequantisation == "chosen" and cell and spread * _WIDE <= cell:
        c = _SHARPNESS
        centre, spread = moments(x, cell**2 * _variance_in_cell(c), weights)
    _check_spread(spread, plan)
    if not scale:
        centre, spread = 0.0, 1.0
    steepest, tails = 1.0 / spread, None
    if scale and asinh and not c and not plan.periods:  # few integers have no tails
        tails = choose_asinh(x, spread, cell, plan.ends, weights)
    if tails is not None:
        slope = np.exp(tails.log_slope(x))
        of_cells = float(np.nanmean(np.square(slope * cell))) * _variance_in_cell(c)
        centre, spread = moments(tails.encode(x), of_cells, weights)
        _check_spread(spread, plan)
        steepest = float(np.nanmedian(slope)) / spread
    column = NumberColumn(
        centre,
        spread,
        *plan.bounds,
        asinh=tails,
        left_out=plan.left_out,
        periods=plan.periods,
        always_given=plan.always_given,
    )
    if plan.grid is None:
        return column
    is_fine = plan.dequantisation == "chosen" and scale and cell * steepest <= _FINE
    if is_fine or plan.dequantisation is None:
        return replace(column, grid=plan.grid)
    column = replace(column, grid=plan.grid, dequantisation=c)
    if c or plan.stated != (None, None):
        return column
    least, largest = column.value_range
    return replace(column, tails=(_tail(column, least), _tail(column, largest)))


def _variance_in_cell(c: float) -> float:
    """Return the variance of u in (-1/2, 1/2) whose density is 1 + c cos(2 pi u)."""
    return 1.0 / 12.0 - 0.5 * c / math.pi**2


def _tail(column: NumberColumn, end: float) -> float:
    """Return how far the cell at an end of a column's range reaches beyond it, in steps, 0 where there is no end.

    A network blurs an edge, so a tail is at least as long as what it resolves. Half a step joins the density within.
    """
    if math.isinf(end):
        return 0.0
    encoded_step = column.cell_width * math.exp(float(column.chain.log_slope(np.array(end))))
    return max(_TAIL, _BLUR / encoded_step)


def choose_asinh(
    x: FloatArray, spread: float, cell: float, ends: tuple[float, float], weights: FloatArray | None = None
) -> Asinh | None:
    """Return the asinh transform of numbers x, (n,), or None if their tails are not heavy.

    `spread` is their standard deviation, and `ends` are the least and the largest of all rows. Tails are heavy if the
    spread is more than 1.75 times that of a normal column with the same quartiles; columns whose quartiles are equal
    have none, as they hold one value with exceptions. Of a few transforms the one is chosen under which the rows have
    the highest likelihood as draws of a normal distribution: around the median, with 1/8 to 4 times the interquartile
    range as scale; or, for rows of one sign, around 0 with a scale far below all of them, which is their logarithm. The
    scale is at least `cell`, the step of rounded numbers and 0 for others. Quartiles and likelihoods are those of up to
    10,000 random rows; missing values do not count.

    >>> import numpy as np
    >>> from backwalk.table.choose_numbers import choose_asinh
    >>> x = np.array([-100.0, -1.0, 0.0, 1.0, 100.0])
    >>> choose_asinh(x, x.std(), 0.0, (-100.0, 100.0))
    Asinh(centre=0.0, scale=0.25)
    """
    some = numbers_looked_at(x, "tails", weights)
    low, median, high = np.quantile(some, [0.25, 0.5, 0.75], method="inverted_cdf").tolist()  # rows' own numbers
    width = high - low
    if not (width > 0.0 and spread / _HEAVY > width / _IQR_OF_A_NORMAL):
        return None
    least = max(cell, LEAST_SCALE)
    candidates = [Asinh(median, max(width * 2.0**k, least)) for k in range(-3, 3)]
    if ends[0] > -cell or ends[1] < cell:
        candidates.append(Asinh(0.0, max(_far_below(min(map(abs, ends))), least)))
    return max(candidates, key=partial(_log_likelihood, some))


def _far_below(x: float) -> float:
    """Return about a ten-millionth of a number: a power of two, which does not reveal the number.

    Numbers of the other sign are then 17 natural logarithms from the nearest row, where models have hardly any density.
    """
    return math.ldexp(0.5, math.frexp(x)[1] - 24)


def _log_likelihood(x: FloatArray, transform: Asinh) -> float:
    """Return the mean log-likelihood of rows (n,) whose asinh transform is normal, up to a constant: nats."""
    spread = float(transform.encode(x).std())
    return float(transform.log_slope(x).mean()) - math.log(spread) if spread > 0.0 else -math.inf


def _check_spread(spread: float, plan: NumberPlan) -> None:
    if spread < LEAST_SCALE:
        raise InvalidInput(
            f"A column's standard deviation should be at least {LEAST_SCALE:.1e}, but {plan.label} has {spread:.1e}: "
            "give it in smaller units."
        )


def rows_looked_at(x: FloatArray, purpose: str, weights: FloatArray | None = None) -> FloatArray:
    """Return the rows of x, (n, d), or 10,000 of them at random, each at most once.

    With `weights`, (n,), rows are drawn by these, as many as have equal weights with the same error of a mean (Kish
    1965): a heavy row counts once, or it would look like a value that many rows share.
    """
    n, generator = len(x), Stream(0).child(purpose).generator()
    if weights is not None:
        shares = weights / weights.sum()
        size = min(max(round(1.0 / float(np.square(shares).sum())), 1), ROWS_LOOKED_AT)
        return np.asarray(x[generator.choice(n, size, replace=False, p=shares)])
    return x if n <= ROWS_LOOKED_AT else np.asarray(x[generator.choice(n, ROWS_LOOKED_AT, replace=False)])


def columns_looked_at(columns: Sequence[int], most: int) -> list[int]:
    """Return the columns, or `most` of them at regular places among all."""
    return [columns[int(i)] for i in np.linspace(0, len(columns) - 1, min(len(columns), most))]


def numbers_looked_at(x: FloatArray, purpose: str, weights: FloatArray | None = None) -> FloatArray:
    """Return the numbers among x, (n,), that are not missing, or 10,000 of them: see `rows_looked_at`."""
    is_seen = ~np.isnan(x)
    return rows_looked_at(x[is_seen], purpose, None if weights is None else weights[is_seen])


def moments(x: FloatArray, of_cells: float, weights: FloatArray | None = None) -> tuple[float, float]:
    """Return the mean and the standard deviation of numbers x, (n,), with the variance `of_cells` added.

    `weights`, (n,), are those of rows. Missing values do not count. Numbers are first multiplied by a power of two,
    which is exact, so that squares do not overflow or underflow.
    """
    missing = np.isnan(x)
    if weights is None and not missing.any():
        exponent = int(np.frexp(np.abs(x).max())[1])
        unit = np.ldexp(x, -exponent)
        mean = unit.mean()
        variance = np.square(unit - mean).mean()
    else:
        filled = np.where(missing, 0.0, x)
        share = np.where(missing, 0.0, 1.0 if weights is None else weights)
        share /= share.sum()
        exponent = int(np.frexp(np.abs(filled).max())[1])
        unit = np.ldexp(filled, -exponent)
        mean = (share * unit).sum()
        variance = (share * np.square(unit - mean)).sum()
    variance += np.ldexp(of_cells, -2 * exponent)
    return float(np.ldexp(mean, exponent)), float(np.ldexp(np.sqrt(variance), exponent))
