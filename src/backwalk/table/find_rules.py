"""Find the rules that hold in all rows of a table, and the copies in a part of them, which chance does not explain.

A table without any rule has a found one with a probability of about 1e-6, over all candidates.
"""

from __future__ import annotations

import math
from collections.abc import Collection, Mapping, Sequence

import numpy as np

from backwalk.streams import Stream
from backwalk.table.find_copies import find_copies
from backwalk.table.find_dependencies import find_dependencies
from backwalk.table.find_totals import find_totals, log_chance
from backwalk.table.frame import Table
from backwalk.table.functions import FUNCTIONS
from backwalk.table.maps import BoolArray
from backwalk.table.rules import Computed, Order, Rule, Total
from backwalk.table.schema import FloatArray
from backwalk.table.tolerances import bind, printed_step

_LOG_RATE = math.log(1e-6)
_NEARLY = 0.01  # the most rows that break a rule that nearly holds
_ROWS_LOOKED_AT = 300  # for candidates, which all rows have to confirm
_LEAST_SHARE = 0.01  # of random pairs that break an order
_SHARE_OF_BINS = 0.25  # of the rows in the first of three bins of differences
_ERRORS = 2.0  # standard errors, by which the expected rows beyond an end may be too many
_SMALLEST, _SHARE_BEYOND = 0.1, 0.015  # of the differences; and of the smallest, what an end at 0 leaves beyond
_NONE_BEYOND = 0.05  # rows
_FEWEST_VALUES = 5  # of a function's argument; fewer lie on a line
_FEWEST_LEVELS = 3  # of a column in an order; orders of two levels are no sizes
_NEAR = 1e-6  # standard deviations, for candidates
_FUNCTIONS = ("round", "log", "log10", "log1p", "square", "reciprocal", "exp", "sqrt")  # the more usual ones first


def find_rules(table: Table, *, levels: Collection[int], repeated: Collection[int] = ()) -> tuple[Rule, ...]:
    """Return the rules that hold in all rows of a table, and that chance does not explain.

    Copies follow, between columns that are in no other rule. `levels` are the numbers of the columns that have levels:
    labels, truth values and numbers of few values. Those of numbers whose values are `repeated` may follow from levels.
    Rows where a column of a rule is missing do not count.

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
        rules = [rule for rule, _ in _find(table, levels, 0.0, repeated)]
        in_rules = {name for rule in rules for name in rule.columns}
        free = [j for j, name in enumerate(table.schema.names) if name not in in_rules and _has_sizes(table, j)]
        return (*rules, *find_copies(table, free, _LOG_RATE))


def nearly_rules(table: Table, *, levels: Collection[int]) -> dict[Rule, int]:
    """Return rules that hold in all but a few rows of a table, at most one in a hundred, with the rows that break each.

    They are no rules: see `find_rules`.
    """
    with np.errstate(all="ignore"):
        return {rule: n_broken for rule, n_broken in _find(table, levels, _NEARLY) if n_broken}


def _find(
    table: Table, levels: Collection[int], exceptions: float, repeated: Collection[int] = ()
) -> list[tuple[Rule, int]]:
    """Return rules, each with the rows that break it, at most a share `exceptions` of all."""
    schema, values = table.schema, table.values
    ends = np.fmin.reduce(values), np.fmax.reduce(values)
    varies = [j for j in range(schema.n_columns) if ends[0][j] < ends[1][j]]
    numbers = [j for j in varies if schema.labels[j] is None]
    have_levels = {schema.names[j] for j in levels}
    units = schema.with_clocks(()).units  # minutes of clock times go with numbers
    of_unit = {unit: [j for j in numbers if units[j] == unit] for unit in dict.fromkeys(units)}
    totals = [
        (rule, n)
        for members in of_unit.values()
        for rule, n in find_totals(table, members, _LOG_RATE - math.log(len(of_unit)), exceptions)
        if len(rule.parts) > 1 or not have_levels.issuperset(rule.columns)
    ]
    same = [rule for rule, _ in totals if len(rule.parts) == 1]
    steps = {j: printed_step(values[~np.isnan(values[:, j]), j], schema.dtypes[j]) for j in numbers}
    computed = _find_computed(table, {j: step for j, step in steps.items() if j not in levels}, same, exceptions)
    equations: list[tuple[Rule, int]] = [*totals, *computed]
    in_equations = {name for rule, _ in equations for name in rule.columns}
    dependencies = find_dependencies(
        table,
        [j for j in varies if j in levels],
        _LOG_RATE,
        exceptions,
        numbers=[j for j in varies if j in repeated and schema.names[j] not in in_equations],
    )
    # an order of these is one of the columns that they are computed from
    left_out = {rule.total for rule in same} | {rule.column for rule, _ in computed}
    left_out |= {rule.of for rule, _ in dependencies}
    ordered = {
        j: step
        for j, step in steps.items()
        if schema.names[j] not in left_out and (j not in levels or _has_sizes(table, j))
    }
    orders = _find_orders(table, ordered, [rule for rule, _ in totals], exceptions)
    return [*totals, *computed, *orders, *dependencies]


def _has_sizes(table: Table, j: int) -> bool:
    """Return whether a column has three numbers or more, such as sizes to put in order."""
    x = table.values[:, j]
    return (
        table.schema.labels[j] is None
        and not table.schema.is_boolean(j)
        and len(np.unique(x[~np.isnan(x)])) >= _FEWEST_LEVELS
    )


def _find_computed(
    table: Table, steps: Mapping[int, float], same: Sequence[Total], exceptions: float
) -> list[tuple[Computed, int]]:
    """Return which numbers are functions of others, at most one of each column, with the rows that break it.

    Of two directions that of the more usual function is taken, from the column of fewer digits.
    """
    names, dtypes, x = table.schema.names, table.schema.dtypes, table.values
    some = x[Stream(0).child("rules").permutation(len(x))[:_ROWS_LOOKED_AT]]
    least_evidence = math.log(len(_FUNCTIONS) * max(len(steps), 1) ** 2) - _LOG_RATE
    columns, of_step = list(steps), np.array(list(steps.values()))
    size = np.fmax.reduce(np.abs(x[:, columns]), initial=0.0)
    spread = size * np.nanstd(x[:, columns] / size, axis=0)
    most = exceptions * len(some) + 3.0 * math.sqrt(exceptions * len(some))
    candidates = list[tuple[bool, int, int, int]]()
    for rank, function in enumerate(_FUNCTIONS):
        for of in columns:
            if len(np.unique(some[:, of])) < _FEWEST_VALUES or (function == "round" and steps[of] == 1.0):
                continue
            f_x = some[:, of] if function == "round" else FUNCTIONS[function].of(some[:, of])
            slack = of_step + _NEAR * (spread + np.abs(some[:, columns]))
            is_far = ~(np.abs(some[:, columns] - f_x[:, None]) <= slack)
            n_far = (is_far & ~np.isnan(some[:, columns]) & ~np.isnan(some[:, [of]])).sum(axis=0)
            is_candidate = (n_far <= most) & ((of_step == 1.0) | (function != "round"))
            for j in np.array(columns)[is_candidate].tolist():
                if j != of and table.schema.units[j] == table.schema.units[of]:
                    candidates.append((steps[of] < steps[j], rank, of, j))
    groups = {j: j for j in range(len(names))}

    def join(i: int, j: int) -> None:
        """Join the groups of two columns."""
        one, other = groups[i], groups[j]
        groups.update({k: one for k, group in groups.items() if group == other})

    for total in same:
        join(*(names.index(name) for name in total.columns))
    rules = list[tuple[Computed, int]]()
    for _, rank, of, j in sorted(candidates):
        rule = Computed(names[j], f"{_FUNCTIONS[rank]}({names[of]})")
        if rule.of != names[of] or groups[of] == groups[j]:  # a formula cannot name it, or it follows
            continue
        both = x[~np.isnan(x[:, [of, j]]).any(axis=1)]
        n_broken = int(bind(rule, (j, of), x, dtypes).breaks(both).sum())
        if n_broken <= exceptions * len(both) and -log_chance(both[:, j]) > least_evidence:
            join(of, j)
            rules.append((rule, n_broken))
    return rules


def _find_orders(
    table: Table, steps: Mapping[int, float], totals: Sequence[Total], exceptions: float
) -> list[tuple[Order, int]]:
    """Return the orders between numbers of one unit and as many decimals that do not follow from other rules."""
    names, x = table.schema.names, table.values
    kinds = {j: (table.schema.units[j], table.schema.per_day(j) is None, step) for j, step in steps.items()}
    pairs = [(i, j) for i in kinds for j in kinds if i != j and kinds[i] == kinds[j]]
    follows = _follow_from_totals(table, totals)
    n_broken = np.full((len(names), len(names)), -1)
    for i, j in pairs:
        both = x[:, [i, j]]
        low, high = both[~np.isnan(both).any(axis=1)].T
        n = int((low > high).sum())
        if n <= exceptions * len(low):
            at = low <= high
            if follows[i, j] or _is_order(low[at], high[at], steps[i], _LOG_RATE - math.log(len(pairs))):
                n_broken[i, j] = n
    holds = n_broken >= 0
    strict = holds & ~holds.T
    direct = strict & ~(strict @ strict)
    return [(Order(names[i], names[j]), int(n_broken[i, j])) for i, j in pairs if direct[i, j] and not follows[i, j]]


def _is_order(low: FloatArray, high: FloatArray, step: float, log_chance: float) -> bool:
    """Return whether no row of numbers, (n,) each, breaks the order low <= high because there is a rule.

    - If the columns were independent, the k-th largest low number would meet one of the high numbers that are as large
      and not yet taken: the product of their shares is the probability that no row breaks the order.
    - Dependent columns may hold it because no row comes to its end. How many rows should be beyond the end follows from
      three bins of equal width above it, by a normal distribution of the differences; that there is none has the
      probability exp(-rows). The smallest differences have to come close to 0.
    - Counts that hardly one row in many times as many would put out of order are in order for any purpose.

    Rows in which both numbers are their least tell nothing: many may be 0 together without an order.
    """
    if not len(low):
        return False
    tells = (low > low.min()) | (high > high.min())
    low, high = low[tells], high[tells]
    n = len(low)
    if not n:
        return False
    ordered, taken = np.sort(high), np.arange(n)
    share = 1.0 - np.searchsorted(np.sort(low), high, side="right").mean() / n
    n_larger = n - np.searchsorted(ordered, np.sort(low)[::-1])
    if share < _LEAST_SHARE or np.log((n_larger - taken) / (n - taken)).sum() > log_chance:
        return False
    differences = np.sort((high - low)[low > ordered[0]])  # of rows that could break it
    if len(differences) and not differences[int(_SHARE_OF_BINS * len(differences))]:
        differences = differences[differences > 0.0]  # many are equal, which says nothing about the others
    if not len(differences):
        return False
    is_close = _share_beyond(differences) >= _SHARE_BEYOND
    if low.min() >= 0.0 and (low > 0.0).any():  # also as a ratio: many small numbers are close
        is_close &= _share_beyond(np.sort(np.log(high / low)[low > 0.0])) >= _SHARE_BEYOND
    if is_close and -_rows_beyond(differences, step) < log_chance:
        return True
    n_beyond = _SMALLEST * len(differences) * _share_beyond(differences)
    return step == 1.0 and bool(low.min() >= 0.0) and n_beyond < _NONE_BEYOND


def _share_beyond(differences: FloatArray) -> float:
    """Return the share of the smallest differences, (n,) increasing, that an exponential tail would have below 0."""
    k = max(int(_SMALLEST * len(differences)), 1)
    smallest, end = differences[:k], differences[min(k, len(differences) - 1)]
    mean = float((end - smallest).mean())
    return math.exp(-end / mean) if mean else float(not end)


def _rows_beyond(differences: FloatArray, step: float) -> float:
    """Return how many differences, (n,) increasing, there should be at least in a bin below 0 if they were normal.

    The logarithms of the densities of a normal have a constant second difference: n_-1 = n_0^3 n_2 / n_1^3.
    """
    width = float(differences[int(_SHARE_OF_BINS * len(differences))])
    if step:
        width = step * max(round(width / step), 1)
    if not width:
        return 0.0
    n_0, n_1, n_2 = np.diff(np.searchsorted(differences, np.arange(4) * width * (1.0 - 1e-9))).tolist()
    if not (n_0 and n_1 and n_2):
        return 0.0
    error = math.sqrt(9.0 / n_0 + 9.0 / n_1 + 1.0 / n_2)
    return float(n_0 * (n_0 / n_1) ** 3 * (n_2 / n_0) * math.exp(-_ERRORS * error))


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
