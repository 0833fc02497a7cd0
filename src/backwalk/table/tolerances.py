"""By how much the two sides of a rule may differ: the one tolerance, from the digits that the columns have.

Printed numbers times fractions have a least possible difference, so that their sums are exact. Other numbers are known
to a share of their size, and equations typed with eight digits to 1e-7 of their spread. A function that was printed
differs by half a step.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import replace
from fractions import Fraction

import numpy as np

from backwalk.table.dtypes import numpy_dtype
from backwalk.table.functions import FUNCTIONS
from backwalk.table.grids import find_grid
from backwalk.table.rule_system import EXACT, Equation
from backwalk.table.rules import Computed, Total
from backwalk.table.schema import FloatArray

_SINGLE = 2e-7  # of the size of numbers: errors of sums in float32
_TYPED = 1e-7  # of the spread: rules that were typed with eight digits
_PRINTED = 1e-13  # of the size of numbers: errors of numbers that are written with 15 digits
_LARGEST_SINGLE = 2.0**24  # whole numbers up to here are exact in float32
_DIGITS = range(6, 12)  # of numbers that were printed with fewer than a float has
_VALUES_LOOKED_AT = 1_000
_MOST_DENOMINATOR = 1_000
_LEAST_DIFFERENCE = 0.25  # of the least possible one, by which exact sums may differ
_HALF = 0.5 * (1.0 + 1e-7)  # a step, by which a printed function may differ


def bind(rule: Total | Computed, at: Sequence[int], values: FloatArray, dtypes: Sequence[str]) -> Equation:
    """Return the equation of a rule between columns, by their numbers, with its tolerance in rows, (n, d).

    >>> import numpy as np
    >>> from backwalk.table.rules import Total
    >>> from backwalk.table.tolerances import bind
    >>> cents = np.array([[0.3, 0.1, 0.2], [0.7, 0.3, 0.4]])
    >>> bind(Total("c", ["a", "b"]), [0, 1, 2], cents, ["float64"] * 3).breaks(cents)
    array([False, False])
    """
    x = values[:, list(at)]
    x = x[~np.isnan(x).any(axis=1)]
    of_columns = [dtypes[j] for j in at]
    steps = [printed_step(column, dtype) for column, dtype in zip(x.T, of_columns, strict=True)]
    precision = max(map(precision_of, x.T, steps, of_columns), default=0.0)
    if isinstance(rule, Computed):
        equation = Equation((at[0], at[1]), function=rule.function)
        slack = precision * _spread(x[:, 0])
        equation = replace(equation, absolute=max(slack, _HALF * steps[0]), relative=precision)
        if rule.function == "round" or not len(x):
            return replace(equation, is_invertible=False)
        with np.errstate(all="ignore"):
            error = np.abs(x[:, 0] - FUNCTIONS[rule.function].of(x[:, 1]))
        is_exact = bool((error <= max(precision, _TYPED) * np.abs(x[:, 0]).max()).all())
        return replace(equation, is_invertible=is_exact)
    assert rule.factors is not None
    equation = Equation(tuple(at), (1.0, *(-factor for factor in rule.factors)), rule.constant)
    fractions = [Fraction(factor).limit_denominator(_MOST_DENOMINATOR) for factor in rule.factors]
    least = min(steps, default=0.0) / math.lcm(*(each.denominator for each in fractions))
    if least:
        return replace(equation, absolute=_LEAST_DIFFERENCE * least)
    size = np.abs(x) @ np.abs(equation.factors) + abs(rule.constant)
    absolute = precision * float(size.mean()) + _TYPED * _spread(x[:, 0]) if len(x) else 0.0
    return replace(equation, absolute=absolute, relative=precision)


def precision_of(x: FloatArray, step: float, dtype: str) -> float:
    """Return how exactly observed numbers, (n,), are known, relative to their size; those with a step are exact."""
    some = x[x != 0.0][:_VALUES_LOOKED_AT]
    if step and np.abs(some).max(initial=0.0) < _LARGEST_SINGLE * step:
        return EXACT
    with np.errstate(over="ignore"):
        is_single = np.abs(some.astype(np.float32) - some) <= _PRINTED * np.abs(some)
    if numpy_dtype(dtype) in ("float16", "float32") or is_single.all():
        return _SINGLE
    if step:
        return EXACT
    for digits in _DIGITS:
        unit = 10.0 ** (np.floor(np.log10(np.abs(some))) + 1.0 - digits)
        if (np.abs(some - np.rint(some / unit) * unit) <= _PRINTED * np.abs(some)).all():
            return 10.0 ** (1 - digits)
    return EXACT


def printed_step(x: FloatArray, dtype: str) -> float:
    """Return the unit of the last decimal of observed numbers, (n,), at most 1; 0 for those of more than 6 decimals."""
    grid = find_grid(x, dtype)
    return 0.0 if grid is None else 1.0 / grid.per


def _spread(x: FloatArray) -> float:
    """Return the standard deviation of numbers, (n,), of any size."""
    size = float(np.abs(x).max(initial=0.0))
    return size * float(np.std(x / size)) if size else 0.0
