"""Find totals: linear relations with small whole or decimal factors that hold in all rows of a table.

Columns that obey k relations have k directions without variance: the null space of their correlation matrix. Vectors of
this space that have few columns are candidates: eliminating columns in a random order gives some, and many orders give
the shortest. Their coefficients are rounded to simple fractions, which all rows have to confirm.

A relation is no accident: if one of its members were shuffled, all rows would have the right value with the probability
prod_v n_v! / n!, where n_v rows have the value v. For each member this has to be below the false-alarm rate, divided by
the number of sets of as many columns, and times a probability of the coefficients: of p / q it is 1 / (2 p (p + 1) q
(q + 1)), which sums to 1, so that simple ones need few rows.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from fractions import Fraction

import numpy as np
import numpy.typing as npt
import scipy.linalg
from scipy.sparse.csgraph import connected_components
from scipy.special import gammaln

from backwalk.streams import Stream
from backwalk.table.frame import Table
from backwalk.table.rules import Total
from backwalk.table.schema import FloatArray
from backwalk.table.tolerances import bind, precision_of, printed_step

_MOST_PARTS, _MOST_WITH_FACTORS = 12, 5
_ROWS_LOOKED_AT = 2_000  # for candidates, which all rows have to confirm
_ROWS_WITH_GAPS = 20_000  # to find such rows in
_PARTS, _FEWEST_ROWS = 300, 12  # of a table with gaps; and rows of a part, beside one for each column
_MOST_TRIALS = 3  # of the same columns in several parts
_ORDERS = 100  # in which columns are eliminated
_LEAST_NULL, _LARGEST_NULL = 1e-10, 1e-5  # standard deviations, in the null space
_ZERO = 10.0  # times as large is no coefficient
_DENOMINATORS = (1, 10, 100, 1_000)
_LARGEST_NUMERATOR = 100_000
_MANY_DIGITS = 10**9  # of all factors together, which are not simple any more
_CLOSE = 1e-5  # of a coefficient, to a fraction; all rows have to confirm it
_LOG_FLOAT = -64.0 * math.log(2.0)  # of the bits of a float


def find_totals(
    table: Table, members: Sequence[int], log_rate: float, exceptions: float = 0.0
) -> list[tuple[Total, int]]:
    """Return independent totals among some columns of numbers, of which a table without any has one with exp(log_rate).

    Each comes with the number of rows that break it, at most a share `exceptions` of all. The total of a relation is
    the column that is a sum of the others with factors above 0, if there is one.
    """
    values, dtypes, found = table.values, table.schema.dtypes, list[tuple[Total, int]]()
    steps = {j: printed_step(values[~np.isnan(values[:, j]), j], dtypes[j]) for j in members}
    basis, n_tried = list[FloatArray](), Counter[tuple[int, ...]]()  # orthonormal, of the relations so far
    size = np.nanmax(np.abs(values), axis=0, initial=0.0)
    for rows, columns in _complete_parts(values, members, has_exceptions=exceptions > 0.0):
        precision = [precision_of(values[rows, j], steps[j], dtypes[j]) for j in columns]
        x = values[rows][:, columns] / size[columns]
        spread = x.std(axis=0)
        null = float(np.clip(3.0 * (precision / spread).max(), _LEAST_NULL, _LARGEST_NULL))
        for coefficients in _sparse_relations((x - x.mean(axis=0)) / spread, null):
            vector = np.zeros(len(size))
            vector[columns] = coefficients / spread
            vector /= np.linalg.norm(vector)
            rest = vector - sum((vector @ each) * each for each in basis)
            at = tuple(np.flatnonzero(vector).tolist())
            if np.linalg.norm(rest) > _ZERO * null and n_tried[at] < _MOST_TRIALS:
                n_tried[at] += 1
                vector[columns] /= size[columns]
                total = _confirmed(table, vector, steps, log_rate, exceptions)
                if total is not None:
                    found.append(total)
                    basis.append(rest / np.linalg.norm(rest))
    return found


def _complete_parts(
    values: FloatArray, members: Sequence[int], *, has_exceptions: bool
) -> Iterator[tuple[npt.NDArray[np.intp], list[int]]]:
    """Yield rows and columns that are observed in all of these, and vary there: parts of a table without gaps.

    With gaps, the columns are those that a row at random has observed, as long as enough rows have them, too. With
    exceptions the rows are few, so that some parts have none.
    """
    order = Stream(0).child("totals").permutation(len(values))[:_ROWS_WITH_GAPS]
    members_of = np.array(members, dtype=np.intp)
    is_seen = ~np.isnan(values[order][:, members])
    generator, seen = Stream(0).child("parts of totals").generator(), set[tuple[bytes, bytes]]()
    for row in range(min(_PARTS, len(order))) if has_exceptions or not is_seen.all() else range(1):
        is_left, taken = np.ones(len(order), dtype=bool), list[int]()
        for i in generator.permutation(np.flatnonzero(is_seen[row])):
            fewer = is_left & is_seen[:, i]
            if fewer.sum() >= _FEWEST_ROWS + len(taken) + 1:
                is_left, taken = fewer, [*taken, int(i)]
        rows = order[is_left]
        if has_exceptions:
            rows = generator.permutation(rows)[: _FEWEST_ROWS + 2 * len(taken)]
        rows = rows[:_ROWS_LOOKED_AT]
        columns = [int(j) for j in members_of[np.sort(np.array(taken, dtype=np.intp))] if np.ptp(values[rows, j]) > 0.0]
        key = np.array(columns).tobytes(), rows.tobytes()
        if key not in seen and len(columns) > 1:
            seen.add(key)
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


def _confirmed(
    table: Table, coefficients: FloatArray, steps: Mapping[int, float], log_rate: float, exceptions: float
) -> tuple[Total, int] | None:
    """Return the total of coefficients, (d,), that sum to a constant, and the rows that break it, if it holds.

    `steps` are the printed steps of the columns that may be members.
    """
    names, dtypes, members = table.schema.names, table.schema.dtypes, np.flatnonzero(coefficients).tolist()
    x = table.values[:, members]
    x, of_members = x[~np.isnan(x).any(axis=1)], [dtypes[j] for j in members]
    log_sets = math.log(math.comb(len(steps), len(members))) + math.log(len(members))
    evidence = max(map(log_chance, x.T))
    stated = []
    for i, total in enumerate(members):
        others = [j for j in members if j != total]
        ratios = [-coefficients[j] / coefficients[total] for j in others]
        at = [i, *(k for k in range(len(members)) if k != i)]
        for factors in _possible_factors(ratios):
            rule = Total(names[total], [names[j] for j in others], [float(factor) for factor in factors])
            for constant in _constants(x[:, i] - x[:, at[1:]] @ np.array(rule.factors)):
                rule = Total(rule.total, rule.parts, rule.factors, float(constant))
                n_broken = int(bind(rule, at, x, of_members).breaks(x).sum())
                log_weight = sum(map(_log_weight, (*factors, constant)))
                if n_broken > exceptions * len(x) or evidence > log_rate - log_sets + log_weight:
                    continue
                n_negative = sum(factor < 0 for factor in factors)
                digits = math.prod(each.denominator for each in (*factors, constant))
                sizes = math.prod(abs(factor.numerator) for factor in factors)
                rank = n_negative, min(digits, _MANY_DIGITS), steps[total] if digits > _MANY_DIGITS else sizes, -i
                stated.append((rank, (rule, n_broken)))
                break
            else:
                continue
            break
    return min(stated, key=lambda each: each[0])[1] if stated else None


def log_chance(x: FloatArray) -> float:
    """Return ln of the probability that shuffling x, (n,), leaves it as it is."""
    _, counts = np.unique(x, return_counts=True)
    return float(gammaln(counts + 1.0).sum() - gammaln(len(x) + 1.0))


def _log_weight(x: Fraction) -> float:
    """Return ln of a probability of fractions; one of many digits counts as any float."""
    p, q = max(abs(x.numerator), 1), x.denominator
    return max(-math.log(2.0 * p * (p + 1.0) * q * (q + 1.0)), _LOG_FLOAT)


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


def _constants(rest: FloatArray) -> list[Fraction]:
    """Return which number all residuals, (n,), may be: their median, rounded to a simple fraction, or as it is."""
    middle = Fraction(float(np.median(rest)))
    return list(dict.fromkeys((*(middle.limit_denominator(most) for most in _DENOMINATORS), middle)))
