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
from collections.abc import Iterator, Mapping, Sequence
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

_MOST_PARTS, _MOST_WITH_FACTORS = 12, 5
_ROWS_LOOKED_AT = 2_000  # for candidates, which all rows have to confirm
_ROWS_WITH_GAPS = 20_000  # to find such rows in
_ORDERS = 100  # in which columns are eliminated
_LEAST_NULL, _LARGEST_NULL = 1e-10, 1e-5  # standard deviations, in the null space
_ZERO = 10.0  # times as large is no coefficient
_DENOMINATORS = (1, 10, 100, 1_000)
_LARGEST_NUMERATOR = 100_000
_MANY_DIGITS = 10**9  # of all factors together, which are not simple any more
_CLOSE = 1e-5  # of a coefficient, to a fraction; all rows have to confirm it


def find_totals(table: Table, members: Sequence[int], log_rate: float) -> list[Total]:
    """Return independent totals among some columns of numbers, of which a table without any has one with exp(log_rate).

    The total of a relation is the column that is a sum of the others with factors above 0, if there is one.
    """
    values, dtypes, found = table.values, table.schema.dtypes, list[Total]()
    steps = {j: printed_step(values[~np.isnan(values[:, j]), j], dtypes[j]) for j in members}
    basis = list[FloatArray]()  # orthonormal, of the relations so far
    size = np.nanmax(np.abs(values), axis=0, initial=0.0)
    for rows, columns in _complete_parts(values, members):
        precision = [precision_of(values[rows, j], steps[j], dtypes[j]) for j in columns]
        x = values[rows][:, columns] / size[columns]
        spread = x.std(axis=0)
        null = float(np.clip(3.0 * (precision / spread).max(), _LEAST_NULL, _LARGEST_NULL))
        for coefficients in _sparse_relations((x - x.mean(axis=0)) / spread, null):
            vector = np.zeros(len(size))
            vector[columns] = coefficients / spread
            vector /= np.linalg.norm(vector)
            rest = vector - sum((vector @ each) * each for each in basis)
            if np.linalg.norm(rest) > _ZERO * null:
                vector[columns] /= size[columns]
                total = _confirmed(table, vector, steps, log_rate)
                if total is not None:
                    found.append(total)
                    basis.append(rest / np.linalg.norm(rest))
    return found


def _complete_parts(values: FloatArray, members: Sequence[int]) -> Iterator[tuple[npt.NDArray[np.intp], list[int]]]:
    """Yield rows and the columns that are observed in these, which vary there: parts of a table without gaps.

    Columns with gaps are put with those that are observed in the same rows, and with others while enough rows are left.
    """
    order = Stream(0).child("totals").permutation(len(values))[:_ROWS_WITH_GAPS]
    missing, seen = np.isnan(values[order][:, members]), set[tuple[int, ...]]()
    for gaps in {gaps.tobytes(): gaps for gaps in missing.T}.values():
        is_left, taken = ~gaps, list[int]()
        for i in np.argsort(missing[is_left].sum(axis=0), kind="stable"):
            fewer = is_left & ~missing[:, i]
            if fewer.sum() == is_left.sum() or fewer.sum() >= 50 + 5 * len(taken):
                is_left, taken = fewer, [*taken, members[i]]
        rows = order[is_left][:_ROWS_LOOKED_AT]
        columns = [j for j in sorted(taken) if len(rows) and np.ptp(values[rows, j]) > 0.0]
        if tuple(columns) not in seen and len(rows) >= len(columns) + 10 and len(columns) > 1:
            seen.add(tuple(columns))
            yield rows, columns


def _sparse_relations(z: FloatArray, least: float) -> list[FloatArray]:
    """Return coefficients, (d,) each, of relations of few columns in standardised rows, (n, d); the shortest first.

    Their standard deviation is at most `least`.
    """
    _, sizes, directions = np.linalg.svd(np.linalg.qr(z, mode="r"))
    null = directions[len(directions) - int((sizes <= least * math.sqrt(len(z))).sum()) :]
    generator, found = Stream(0).child("orders of totals").generator(), dict[tuple[int, ...], FloatArray]()
    if not len(null):
        return []
    _, of_column = connected_components(np.abs(null.T @ null) > _ZERO * least)
    for component in np.unique(of_column):
        at = np.flatnonzero(of_column == component)
        _, own_sizes, own = np.linalg.svd(null[:, at], full_matrices=False)
        own = own[own_sizes > 0.5]
        for _ in range(_ORDERS if len(own) > 1 else len(own)):
            weights = np.exp(3.0 * generator.normal(size=len(at)))
            *_, order = scipy.linalg.qr(own * weights, pivoting=True, mode="economic")
            reduced = np.linalg.solve(own[:, order[: len(own)]], own)
            reduced[np.abs(reduced) < _ZERO * least * np.abs(reduced).max(axis=1, keepdims=True)] = 0.0
            for vector in reduced:
                members = tuple(at[np.flatnonzero(vector)].tolist())
                if 2 <= len(members) <= _MOST_PARTS + 1 and members not in found:
                    found[members] = np.zeros(z.shape[1])
                    found[members][at] = vector
    return [found[members] for members in sorted(found, key=lambda members: (len(members), members))]


def _confirmed(table: Table, coefficients: FloatArray, steps: Mapping[int, float], log_rate: float) -> Total | None:
    """Return the total of coefficients, (d,), that sum to a constant, or None unless it holds in all rows.

    `steps` are the printed steps of the columns that may be members.
    """
    names, dtypes, members = table.schema.names, table.schema.dtypes, np.flatnonzero(coefficients).tolist()
    x = table.values[:, members]
    x = x[~np.isnan(x).any(axis=1)]
    n_trials = math.log(math.comb(len(steps), len(members)))
    n_trials += len(members) * math.log(_LARGEST_NUMERATOR * _DENOMINATORS[-1])
    if max(map(log_chance, x.T)) > log_rate - n_trials:
        return None
    precision = max(precision_of(column, steps[j], dtypes[j]) for column, j in zip(x.T, members, strict=True))
    stated = []
    for i, total in enumerate(members):
        others = [j for j in members if j != total]
        ratios = [-coefficients[j] / coefficients[total] for j in others]
        ordered, own_steps = np.column_stack([x[:, i], np.delete(x, i, axis=1)]), [steps[j] for j in (total, *others)]
        for factors in _possible_factors(ratios):
            rule = Total(names[total], [names[j] for j in others], [float(factor) for factor in factors])
            constant = _constant(residuals(rule, ordered), slack_of_total(rule, ordered, own_steps, precision))
            if constant is not None:
                n_negative = sum(factor < 0 for factor in factors)
                digits = math.prod(each.denominator for each in (*factors, constant))
                sizes = math.prod(abs(factor.numerator) for factor in factors)
                rank = n_negative, min(digits, _MANY_DIGITS), steps[total] if digits > _MANY_DIGITS else sizes, -i
                stated.append((rank, Total(rule.total, rule.parts, rule.factors, float(constant))))
                break
    return min(stated, key=lambda each: each[0])[1] if stated else None


def _possible_factors(ratios: Sequence[float]) -> Iterator[list[Fraction]]:
    """Yield the simple factors that are close to numbers; of a single one also itself, as of standardised columns."""
    factors = [factor for ratio in ratios if (factor := _as_fraction(ratio)) is not None]
    if len(factors) == len(ratios) and (len(ratios) <= _MOST_WITH_FACTORS or {abs(each) for each in factors} == {1}):
        yield factors
    if len(ratios) == 1 and 1.0 / _LARGEST_NUMERATOR < abs(ratios[0]) < _LARGEST_NUMERATOR:
        yield [Fraction(ratios[0])]


def _as_fraction(x: float) -> Fraction | None:
    """Return a simple fraction very close to x, if there is one."""
    for most in _DENOMINATORS if np.isfinite(x) else ():
        fraction = Fraction(x).limit_denominator(most)
        if fraction and abs(fraction - x) <= _CLOSE * abs(x) and abs(fraction.numerator) <= _LARGEST_NUMERATOR:
            return fraction
    return None


def _constant(rest: FloatArray, slack: FloatArray) -> Fraction | None:
    """Return the number that all residuals, (n,), are, up to the slack of their rows; a simple one if there is."""
    middle = Fraction(float(np.median(rest)))
    for constant in (*(middle.limit_denominator(most) for most in _DENOMINATORS), middle):
        if (np.abs(rest - float(constant)) <= slack).all():
            return constant
    return None
