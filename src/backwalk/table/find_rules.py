"""Find the rules that hold in all rows of a table, and that chance does not explain.

A table without any rule has a found one with a probability of about 1e-6, if its columns are independent.
"""

from __future__ import annotations

import math
from collections.abc import Collection, Mapping, Sequence

import numpy as np

from backwalk.streams import Stream
from backwalk.table.check_rules import breaks_function, log_chance, precision_of, printed_step, still_hold
from backwalk.table.find_combinations import find_combinations
from backwalk.table.find_totals import find_totals
from backwalk.table.frame import Table
from backwalk.table.maps import BoolArray
from backwalk.table.rules import Computed, Order, Rule, Total
from backwalk.table.schema import FloatArray

_LOG_RATE = math.log(1e-6)
_ROWS_LOOKED_AT = 300  # for candidates, which all rows have to confirm
_LEAST_SHARE, _LEAST_SHARE_OF_COUNTS = 0.05, 0.01  # of random pairs that break an order
_SMALLEST = 0.1  # of the gaps of an order, which are extrapolated
_SHARE_BEYOND, _FEWEST_BEYOND = 0.05, 5.0  # of the smallest gaps, and in rows, where there is an end
_NONE_BEYOND = 0.05  # rows
_FEWEST_VALUES = 5  # of a function's argument; fewer lie on a line
_FUNCTIONS = ("round", "log", "log10", "log1p", "square", "reciprocal", "exp", "sqrt")  # the more usual ones first


def find_rules(table: Table, *, levels: Collection[int]) -> tuple[Rule, ...]:
    """Return the rules that hold in all rows of a table, and that chance does not explain.

    `levels` are the numbers of the columns that have levels: labels, truth values and numbers of few values. Rows where
    a column of a rule is missing do not count.

    >>> from backwalk.table.find_rules import find_rules
    >>> import numpy as np
    >>> import pandas as pd
    >>> from backwalk.table import as_table
    >>> casual, registered = np.random.default_rng(0).poisson([[30.0], [150.0]], size=(2, 500))
    >>> rentals = pd.DataFrame({"casual": casual, "registered": registered, "bikers": casual + registered})
    >>> for rule in find_rules(as_table(rentals), levels=()):
    ...     print(rule)
    bikers = casual + registered
    """
    with np.errstate(all="ignore"):
        return _find_rules(table, levels)


def _find_rules(table: Table, levels: Collection[int]) -> tuple[Rule, ...]:
    schema, values = table.schema, table.values
    varies = [j for j in range(schema.n_columns) if np.fmin.reduce(values[:, j]) < np.fmax.reduce(values[:, j])]
    some = values
    if len(values) > _ROWS_LOOKED_AT:
        some = values[Stream(0).child("rules").permutation(len(values))[:_ROWS_LOOKED_AT]]
    totals = find_totals(table, [j for j in varies if schema.labels[j] is None], _LOG_RATE)
    have_levels = {schema.names[j] for j in levels}
    totals = [rule for rule in totals if len(rule.parts) > 1 or not have_levels.issuperset(rule.columns)]
    same = [rule for rule in totals if len(rule.parts) == 1]
    steps = {j: printed_step(values[~np.isnan(values[:, j]), j], schema.dtypes[j]) for j in varies if j not in levels}
    computed = _find_computed(table, some, steps, same)
    # an order of these is one of the columns that they are computed from
    others = set(schema.names) - {rule.total for rule in same} - {rule.column for rule in computed}
    orders = _find_orders(table, some, {j: step for j, step in steps.items() if schema.names[j] in others}, totals)
    return (*totals, *computed, *orders, *find_combinations(table, [j for j in varies if j in levels], _LOG_RATE))


def _find_computed(table: Table, some: FloatArray, steps: Mapping[int, float], same: Sequence[Total]) -> list[Computed]:
    """Return which numbers are functions of others, at most one of each column.

    Of two directions that of the more usual function is taken, from the column of fewer digits.
    """
    names, dtypes, x = table.schema.names, table.schema.dtypes, table.values
    least_evidence = math.log(len(_FUNCTIONS) * max(len(steps), 1) ** 2) - _LOG_RATE
    of_step = np.array(list(steps.values()))
    precision = np.array([precision_of(some[~np.isnan(some[:, j]), j], steps[j], dtypes[j]) for j in steps])
    candidates = list[tuple[bool, int, int, int]]()
    for rank, function in enumerate(_FUNCTIONS):
        for at, of in enumerate(steps):
            if len(np.unique(some[:, of])) < _FEWEST_VALUES or (function == "round" and steps[of] == 1.0):
                continue
            widest = np.maximum(precision, precision[at])
            breaks = breaks_function(function, some[:, of], some[:, list(steps)], of_step, widest).any(axis=0)
            for j in np.array(list(steps))[~breaks].tolist():
                if j != of and not (function == "round" and steps[j] != 1.0):
                    candidates.append((steps[of] < steps[j], rank, of, j))
    groups = {j: j for j in steps}

    def join(i: int, j: int) -> bool:
        """Join the groups of two columns; return whether they were apart."""
        one, other = groups.get(i, i), groups.get(j, j)
        groups.update({k: one for k, group in groups.items() if group == other})
        return one != other

    for total in same:
        join(*(names.index(name) for name in total.columns))
    rules = list[Computed]()
    for _, rank, of, j in sorted(candidates):
        rule = Computed(names[j], f"{_FUNCTIONS[rank]}({names[of]})")
        if rule.of != names[of]:  # a formula cannot name it
            continue
        observed = x[~np.isnan(x[:, [of, j]]).any(axis=1), j]
        if groups[of] != groups[j] and -log_chance(observed) > least_evidence and still_hold([rule], table):
            join(of, j)
            rules.append(rule)
    return rules


def _find_orders(table: Table, some: FloatArray, steps: Mapping[int, float], totals: Sequence[Total]) -> list[Order]:
    """Return the orders between numbers of one unit and as many decimals that do not follow from other rules."""
    names, x = table.schema.names, table.values
    kinds = {j: (table.schema.units[j], table.schema.per_day(j) is None, step) for j, step in steps.items()}
    pairs = [(i, j) for i in kinds for j in kinds if i != j and kinds[i] == kinds[j]]
    follows = _follow_from_totals(table, totals)
    holds = np.zeros((len(names), len(names)), dtype=bool)
    for i, j in pairs:
        if not ((some[:, i] > some[:, j]).any() or (x[:, i] > x[:, j]).any()):
            has_both = ~np.isnan(x[:, [i, j]]).any(axis=1)
            low, high = x[has_both, i], x[has_both, j]
            holds[i, j] = follows[i, j] or _is_order(low, high, steps[i], _LOG_RATE - math.log(len(pairs)))
    strict = holds & ~holds.T
    direct = strict & ~(strict @ strict)
    return [Order(names[i], names[j]) for i, j in pairs if direct[i, j] and not follows[i, j]]


def _is_order(low: FloatArray, high: FloatArray, step: float, log_chance: float) -> bool:
    """Return whether no row of numbers, (n,) each, breaks the order low <= high because there is a rule.

    Of independent columns, the k-th largest low number meets one of the high numbers that are as large and not yet
    taken: the product of their shares is the probability that no row breaks the order. Dependent columns may hold it
    because no row comes to its end. How many rows should be beyond that end is extrapolated from the smallest gaps, by
    an exponential distribution. If they are several, there is an end. If there is hardly one in many times as many
    rows, a rule between counts does no harm.

    Rows in which both numbers are their least tell nothing: many may be 0 together without an order.
    """
    if not len(low):
        return False
    tells = (low > low.min()) | (high > high.min())
    low, high = low[tells], high[tells]
    n = len(low)
    if not n:
        return False
    ordered = np.sort(high)
    share = 1.0 - np.searchsorted(np.sort(low), high, side="right").mean() / n
    taken = np.arange(n)
    n_larger = n - np.searchsorted(ordered, np.sort(low)[::-1])
    if share < _LEAST_SHARE_OF_COUNTS or np.log((n_larger - taken) / (n - taken)).sum() > log_chance:
        return False
    gaps = np.sort((high - low)[low > ordered[0]])  # of rows that could break it
    k = int(_SMALLEST * len(gaps))
    if not k:
        return False
    mean = float((gaps[k] - gaps[:k]).mean())
    n_beyond = k * math.exp(-gaps[k] / mean) if mean else float(k if not gaps[k] else 0.0)
    if share >= _LEAST_SHARE and n_beyond >= max(_SHARE_BEYOND * k, _FEWEST_BEYOND):
        return True
    return step == 1.0 and bool(low.min() >= 0.0) and n_beyond < _NONE_BEYOND


def _follow_from_totals(table: Table, totals: Sequence[Total]) -> BoolArray:
    """Return which orders, (d, d), totals imply by the ranges of their parts."""
    names = table.schema.names
    follows = np.zeros((len(names), len(names)), dtype=bool)
    for rule in totals:
        assert rule.factors is not None
        total, *parts = (names.index(name) for name in rule.columns)
        ends = np.stack([np.fmin.reduce(table.values[:, parts]), np.fmax.reduce(table.values[:, parts])])
        for i, part in enumerate(parts):
            others = np.array(rule.factors) - np.eye(len(parts))[i]
            follows[part, total] |= np.minimum(*(ends * others)).sum() + rule.constant >= 0.0
            follows[total, part] |= np.maximum(*(ends * others)).sum() + rule.constant <= 0.0
    return follows
