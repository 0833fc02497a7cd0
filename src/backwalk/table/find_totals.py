"""Find totals: linear relations with small whole or decimal factors that hold in all rows of a table.

Columns that obey k relations have k directions without variance: the null space of their correlation matrix. Vectors of
this space that have few columns are candidates: eliminating columns in a random order gives some, and many orders give
the shortest. Their coefficients are rounded to simple fractions, which all rows have to confirm.

A relation is no accident: if one of its members were shuffled, all rows would have the right value with the probability
prod_v n_v! / n!, where n_v rows have the value v. For each member this has to be below the false-alarm rate, divided by
the number of sets of as many columns and of fractions.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from fractions import Fraction

import numpy as np
import numpy.typing as npt
import scipy.linalg
from scipy.sparse.csgraph import connected_components

from backwalk.streams import Stream
from backwalk.table.check_rules import log_chance, precision_of, printed_step, residuals, slack_of_total
from backwalk.table.frame import Table
from backwalk.table.rules import Total
from backwalk.table.schema import FloatArray

_MOST_PARTS = 5
_ROWS_LOOKED_AT = 2_000  # for candidates, which all rows have to confirm
_ORDERS = 100  # in which columns are eliminated
_NULL = 1e-6  # of a standard deviation, in the null space
_ZERO = 1e-5  # of the largest coefficient
_DENOMINATORS = (1, 10, 100, 1_000)
_LARGEST_NUMERATOR = 100_000
_CLOSE = 1e-5  # of a coefficient, to a fraction; all rows have to confirm it


def find_totals(table: Table, members: Sequence[int], log_rate: float) -> list[Total]:
    """Return independent totals among some columns of numbers, of which a table without any has one with exp(log_rate).

    The total of a relation is the column that is a sum of the others with factors above 0, if there is one.
    """
    spread, found = np.nanstd(table.values[:, members], axis=0), list[Total]()
    basis = np.zeros((0, len(members)))
    for rows, columns in _complete_parts(table.values, members):
        x = table.values[rows][:, columns]
        scale = x.std(axis=0)
        for coefficients in _sparse_relations((x - x.mean(axis=0)) / scale):
            vector = np.zeros(table.values.shape[1])
            vector[columns] = coefficients / scale
            own = vector[members] * spread
            wider = np.vstack([basis, own / np.abs(own).max()])
            if np.linalg.matrix_rank(wider, tol=_ZERO) == len(wider):
                total = _confirmed(table, vector, len(members), log_rate)
                if total is not None:
                    basis, found = wider, [*found, total]
    return found


def _complete_parts(values: FloatArray, members: Sequence[int]) -> Iterator[tuple[npt.NDArray[np.intp], list[int]]]:
    """Yield rows and the columns that are observed in these, which vary there: parts of a table without gaps.

    Columns with gaps are put with those that are observed in the same rows, and with others while enough rows are left.
    """
    missing = np.isnan(values[:, list(members)])
    seen = set[tuple[int, ...]]()
    for gaps in np.unique(missing, axis=1).T if missing.any() else missing.T[:1]:
        is_left, taken = ~gaps, list[int]()
        for i in np.argsort(missing[is_left].sum(axis=0), kind="stable"):
            fewer = is_left & ~missing[:, i]
            if fewer.sum() == is_left.sum() or fewer.sum() >= 50 + 5 * len(taken):
                is_left, taken = fewer, [*taken, members[i]]
        rows = np.flatnonzero(is_left)
        if len(rows) > _ROWS_LOOKED_AT:
            rows = rows[Stream(0).child("totals").permutation(len(rows))[:_ROWS_LOOKED_AT]]
        columns = [j for j in sorted(taken) if len(rows) and np.ptp(values[rows, j]) > 0.0]
        if tuple(columns) not in seen and len(rows) >= len(columns) + 10 and len(columns) > 1:
            seen.add(tuple(columns))
            yield rows, columns


def _sparse_relations(z: FloatArray) -> list[FloatArray]:
    """Return coefficients, (d,) each, of relations of few columns in standardised rows, (n, d); the shortest first."""
    _, sizes, directions = np.linalg.svd(np.linalg.qr(z, mode="r"))
    null = directions[len(directions) - int((sizes <= _NULL * math.sqrt(len(z))).sum()) :]
    generator, found = Stream(0).child("orders of totals").generator(), dict[tuple[int, ...], FloatArray]()
    if not len(null):
        return []
    _, of_column = connected_components(np.abs(null.T @ null) > _ZERO)
    for component in np.unique(of_column):
        at = np.flatnonzero(of_column == component)
        _, own_sizes, own = np.linalg.svd(null[:, at], full_matrices=False)
        own = own[own_sizes > 0.5]
        for _ in range(_ORDERS if len(own) > 1 else len(own)):
            weights = np.exp(3.0 * generator.normal(size=len(at)))
            *_, order = scipy.linalg.qr(own * weights, pivoting=True, mode="economic")
            reduced = np.linalg.solve(own[:, order[: len(own)]], own)
            reduced[np.abs(reduced) < _ZERO * np.abs(reduced).max(axis=1, keepdims=True)] = 0.0
            for vector in reduced:
                members = tuple(at[np.flatnonzero(vector)].tolist())
                if 2 <= len(members) <= _MOST_PARTS + 1 and members not in found:
                    found[members] = np.zeros(z.shape[1])
                    found[members][at] = vector
    return [found[members] for members in sorted(found, key=lambda members: (len(members), members))]


def _confirmed(table: Table, coefficients: FloatArray, n_columns: int, log_rate: float) -> Total | None:
    """Return the total of coefficients, (d,), that sum to a constant, or None unless it holds in all rows."""
    at = np.flatnonzero(coefficients).tolist()
    x = table.values[:, at]
    x = x[~np.isnan(x).any(axis=1)]
    n_trials = math.log(math.comb(n_columns, len(at))) + len(at) * math.log(_LARGEST_NUMERATOR * _DENOMINATORS[-1])
    if max(map(log_chance, x.T)) > log_rate - n_trials:
        return None
    dtypes = [table.schema.dtypes[j] for j in at]
    steps = [printed_step(column, dtype) for column, dtype in zip(x.T, dtypes, strict=True)]
    stated = []
    for i in range(len(at)):
        order = [i, *(k for k in range(len(at)) if k != i)]
        ratios = [_as_fraction(-coefficients[at[k]] / coefficients[at[i]]) for k in order[1:]]
        factors = [ratio for ratio in ratios if ratio is not None]
        if len(factors) < len(ratios):
            continue
        names = [table.schema.names[at[k]] for k in order]
        rule = Total(names[0], names[1:], tuple(map(float, factors)))
        rest, own_steps = residuals(rule, x[:, order]), [steps[k] for k in order]
        constant = _constant(rest, slack_of_total(rule, x[:, order], own_steps, max(map(precision_of, dtypes))))
        if constant is None:
            continue
        rule = Total(names[0], names[1:], rule.factors, float(constant))
        slack = slack_of_total(rule, x[:, order], own_steps, max(map(precision_of, dtypes)))
        if (np.abs(residuals(rule, x[:, order])) <= slack).all():
            n_negative = sum(factor < 0 for factor in factors)
            digits = math.prod(each.denominator for each in (*factors, constant))
            sizes = math.prod(abs(each.numerator) for each in factors)
            stated.append(((n_negative, digits, sizes, -i), rule))
    return min(stated, key=lambda each: each[0])[1] if stated else None


def _as_fraction(x: float) -> Fraction | None:
    """Return a simple fraction very close to x, if there is one."""
    for most in _DENOMINATORS:
        fraction = Fraction(x).limit_denominator(most)
        if fraction and abs(fraction - x) <= _CLOSE * abs(x) and abs(fraction.numerator) <= _LARGEST_NUMERATOR:
            return fraction
    return None


def _constant(rest: FloatArray, slack: FloatArray) -> Fraction | None:
    """Return the simple number that all residuals, (n,), are, up to the slack of their rows."""
    middle = float(np.median(rest))
    for most in _DENOMINATORS:
        constant = Fraction(middle).limit_denominator(most)
        if (np.abs(rest - float(constant)) <= slack).all():
            return constant
    return None
