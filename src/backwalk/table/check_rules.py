"""Whether rows obey rules between their columns, up to the digits that the columns have."""

from __future__ import annotations

import math
from collections.abc import Iterable
from fractions import Fraction
from typing import cast

import numpy as np
from scipy.special import gammaln

from backwalk.table.dtypes import numpy_dtype
from backwalk.table.frame import Table
from backwalk.table.functions import FUNCTIONS
from backwalk.table.grids import RunningGrid
from backwalk.table.maps import BoolArray
from backwalk.table.rules import Combinations, Order, Rule, Total
from backwalk.table.schema import FloatArray

_EXACT, _SINGLE = 1e-13, 2e-7  # of the size of numbers: errors of sums in float64 and in float32
_PRINTED = 1e-13  # of the size of numbers: errors of numbers that are written with 15 digits
_LARGEST_SINGLE = 2.0**24  # whole numbers up to here are exact in float32
_DIGITS = range(6, 12)  # of numbers that were printed with fewer than a float has
_VALUES_LOOKED_AT = 1_000
_LARGEST_STEP = 1e-3  # standard deviations: a function that holds up to coarser digits is no evidence
_MOST_DENOMINATOR = 1_000


def still_hold(rules: Iterable[Rule], table: Table) -> tuple[Rule, ...]:
    """Return those of the rules that hold in all rows of a table that has their columns.

    Rows where a column of a rule is missing do not count. Combinations of all pairs that occur hold where one of the
    columns determines the other.

    >>> from backwalk.table.check_rules import still_hold
    >>> import pandas as pd
    >>> from backwalk.table import as_table
    >>> from backwalk.table.rules import Order
    >>> table = as_table(pd.DataFrame({"low": [1.0, 2.0], "high": [1.0, 3.0]}))
    >>> still_hold([Order("low", "high"), Order("high", "low")], table)
    (Order(low='low', high='high'),)
    """
    return tuple(rule for rule in rules if not broken_rows(rule, table).any())


def broken_rows(rule: Rule, table: Table) -> BoolArray:
    """Return which rows of a table break a rule, (n,)."""
    at = [table.schema.names.index(name) for name in rule.columns]
    dtypes, x = [table.schema.dtypes[j] for j in at], table.values[:, at]
    if isinstance(rule, Order):
        return np.asarray(x[:, 0] > x[:, 1])
    if isinstance(rule, Combinations):
        return _breaks_combinations(rule, x, [table.schema.labels[j] for j in at])
    x_observed = x[~np.isnan(x).any(axis=1)]
    if not len(x_observed):
        return np.zeros(len(x), dtype=bool)
    steps = [printed_step(column, dtype) for column, dtype in zip(x_observed.T, dtypes, strict=True)]
    precision = max(map(precision_of, x_observed.T, steps, dtypes))
    with np.errstate(all="ignore"):
        if isinstance(rule, Total):
            return np.asarray(np.abs(residuals(rule, x)) > slack_of_total(rule, x, steps, precision))
        return breaks_function(rule.function, x[:, 1], x[:, 0], steps[0], precision)


def precision_of(x: FloatArray, step: float, dtype: str) -> float:
    """Return how exactly observed numbers, (n,), are known, relative to their size; those with a step are exact."""
    some = x[x != 0.0][:_VALUES_LOOKED_AT]
    if step and np.abs(some).max(initial=0.0) < _LARGEST_SINGLE * step:
        return _EXACT
    is_single = np.abs(some.astype(np.float32) - some) <= _PRINTED * np.abs(some)
    if numpy_dtype(dtype) in ("float16", "float32") or is_single.all():
        return _SINGLE
    if step:
        return _EXACT
    for digits in _DIGITS:
        unit = 10.0 ** (np.floor(np.log10(np.abs(some))) + 1.0 - digits)
        if (np.abs(some - np.rint(some / unit) * unit) <= _PRINTED * np.abs(some)).all():
            return 10.0 ** (1 - digits)
    return _EXACT


def printed_step(x: FloatArray, dtype: str) -> float:
    """Return the unit of the last decimal of observed numbers, (n,), at most 1; 0 for those of more than 6 decimals."""
    running = RunningGrid(dtype)
    running.add(x)
    grid = running.grid(len(x))
    return 0.0 if grid is None else 1.0 / grid.per


def log_chance(x: FloatArray) -> float:
    """Return ln of the probability that shuffling x, (n,), leaves it as it is."""
    _, counts = np.unique(x, return_counts=True)
    return float(gammaln(counts + 1.0).sum() - gammaln(len(x) + 1.0))


def residuals(rule: Total, x: FloatArray) -> FloatArray:
    """Return by how much the totals, the first column of x, (n, 1 + parts), exceed what the parts give: (n,)."""
    assert rule.factors is not None
    return np.asarray(x[:, 0] - x[:, 1:] @ np.array(rule.factors) - rule.constant)


def slack_of_total(rule: Total, x: FloatArray, steps: list[float], precision: float) -> FloatArray:
    """Return by how much a total may differ from its parts' sum in rows x, (n, 1 + parts), of printed steps: (n,).

    Printed numbers times fractions have a least possible difference, so that their totals are exact.
    """
    assert rule.factors is not None
    size = np.abs(x) @ np.abs([1.0, *rule.factors]) + abs(rule.constant)
    slack = precision * (size + np.nanmean(size))
    fractions = [Fraction(factor).limit_denominator(_MOST_DENOMINATOR) for factor in rule.factors]
    least = min(steps) / math.lcm(*(each.denominator for each in fractions))
    return np.minimum(slack, 0.25 * least) if least else slack


def breaks_function(
    function: str, x: FloatArray, y: FloatArray, step: FloatArray | float, precision: FloatArray | float
) -> BoolArray:
    """Return where y, printed in a step or in floats (0), is not the function of x; both are (n,), or y is (n, d)."""
    size = np.nanmax(np.abs(y), axis=0, initial=0.0)
    spread = size * np.nanstd(y / size, axis=0)
    slack = precision * (np.abs(y) + spread)
    has_digits = (step <= 2.0 * _LARGEST_STEP * spread) | (function == "round")
    slack = np.maximum(slack, np.where(has_digits, (0.5 + precision) * step, 0.0))
    if y.ndim > x.ndim:
        x = x[:, None]
    f_x = x if function == "round" else FUNCTIONS[function].of(x)
    return np.asarray(~(np.isnan(x) | np.isnan(y)) & ~(np.abs(y - f_x) <= slack))


def _breaks_combinations(rule: Combinations, x: FloatArray, labels: list[tuple[str, ...] | None]) -> BoolArray:
    pairs = x[:, 0] + 1j * x[:, 1]
    if rule.excluded is not None:
        excluded = [[_number(level, of) for level, of in zip(pair, labels, strict=True)] for pair in rule.excluded]
        one, other = np.array(excluded, dtype=np.float64).reshape(-1, 2).T
        return np.isin(pairs, one + 1j * other)
    observed = np.flatnonzero(~np.isnan(pairs))
    one_to_other, other_to_one = np.zeros((2, len(x)), dtype=bool)
    for of, to, breaks in ((x[:, 0], x[:, 1], one_to_other), (x[:, 1], x[:, 0], other_to_one)):
        _, first, level = np.unique(of[observed], return_index=True, return_inverse=True)
        breaks[observed] = to[observed] != to[observed[first]][level]
    return min(one_to_other, other_to_one, key=np.count_nonzero)


def _number(level: object, labels: tuple[str, ...] | None) -> float:
    """Return the number that a table has for a level of a column with labels or without."""
    return float(cast("float", level) if labels is None else labels.index(str(level)))
