"""The rules of a table, from what the user declares: equations of its columns, checked in all rows, and gaps of orders.

Numbers between which there are rules have a density, and are no levels, so that sums and differences of them are
numbers that the columns have. Rules between columns with missing values that are generated are left out, as a value
that follows from others cannot be missing.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np

from backwalk.errors import InvalidInput
from backwalk.formatting import listed
from backwalk.table.columns import Block
from backwalk.table.frame import Table
from backwalk.table.maps import BoolArray
from backwalk.table.rule_system import Equation, LevelPairs, RuleSystem
from backwalk.table.rules import Combinations, Computed, Order, Rule, Total
from backwalk.table.schema import FloatArray, shown
from backwalk.table.whole import RunningNumbers, WholeTable

_ROUNDING = 1e-7  # of the scale of a rule, by which its sides may differ
_MOST_DECIMALS = 9  # of a computed number, that were printed


@dataclass(frozen=True, eq=False)
class RulesOfTable:
    """The rules between the columns of a table.

    `system` has those between numbers. `combinations` are those between levels, whose pairs follow once the columns
    have their levels. `decimals`, (D,), are those of the numbers, by which gaps are rounded; None where there are more.
    """

    system: RuleSystem
    combinations: tuple[Combinations, ...]
    decimals: tuple[int | None, ...]

    @property
    def numbers(self) -> frozenset[int]:
        """The cells between which there are rules of numbers."""
        return frozenset(self.system.preference)

    def gaps_between(self, columns: Collection[int]) -> list[int]:
        """Return the cells of the gaps of orders between some columns, by number."""
        of_gaps = self.system.orders[: self.system.n_gaps]
        return [self.system.n_columns + i for i, pair in enumerate(of_gaps) if set(pair) <= set(columns)]

    def rounded(self, j: int, x: FloatArray) -> FloatArray:
        """Return values of a cell, (n,), without the rounding of differences."""
        decimals = self.decimals[j]
        return x if decimals is None else np.round(x, decimals)

    def cells(self, values: FloatArray) -> FloatArray:
        """Return the cells of rows, (n, D)."""
        return self.system.cells(values, self.rounded)

    def with_gaps(self, table: Table) -> Table:
        """Return a table with the gaps of its orders as further columns."""
        schema, names = table.schema, list(table.schema.names)
        for low, high in self.system.orders[: self.system.n_gaps]:
            name = f"{schema.names[high]} - {schema.names[low]}"
            while name in names:
                name += "'"
            names.append(name)
        n = self.system.n_gaps
        return Table(
            self.cells(table.values),
            replace(
                schema,
                columns=tuple(names),
                dtypes=(*schema.dtypes, *(["float64"] * n)),
                labels=(*schema.labels, *([None] * n)),
                units=(*schema.units, *([None] * n)),
                set_aside=(),
            ),
        )

    def with_pairs(self, table: Table, blocks: Mapping[int, Block]) -> RuleSystem:
        """Return the system with the combinations of levels, whose columns have `blocks` of levels."""
        pairs = (_level_pairs(each, table, blocks) for each in self.combinations)
        return replace(self.system, level_pairs=tuple(pair for pair in pairs if pair.pairs))


def choose_rules(
    rules: Sequence[Rule], table: Table, *, generated: Sequence[int] = (), are_found: bool = False
) -> RulesOfTable | None:
    """Return rules as those of a table's columns, or None where there are none.

    Those that `are_found` in these rows hold in them: their sides may differ by as much as they do there. The last
    totals are left out while draws by all would be too many (`RuleSystem.draws_too_many`).

    Rules between columns whose missing values are `generated`, by number, are left out. Raises InvalidInput for columns
    that the table does not have or that hold texts, and for a rule that one of its rows breaks.
    """
    places = {name: j for j, name in enumerate(table.schema.names)}
    relations, orders, combinations = list[Equation](), list[tuple[int, int]](), list[Combinations]()
    for rule in rules:
        at = [_place(name, rule, places) for name in rule.columns]
        if len(set(at)) < len(at):
            raise InvalidInput(f"A rule should be between different columns, but got {rule}: name each once.")
        if isinstance(rule, Combinations):
            combinations.append(rule)
            continue
        _refuse_texts(rule, at, table)
        if set(at) & set(generated):
            continue
        if isinstance(rule, Order):
            orders.append((at[0], at[1]))
        elif isinstance(rule, Computed):
            relations.append(_function(rule, at, table))
        else:
            relations.append(_sum(rule, at, table))
        if are_found:
            if not isinstance(rule, Order):
                most = float(_sizes(relations[-1], table).max(initial=0.0))
                relations[-1] = replace(relations[-1], slack=max(relations[-1].slack, 2.0 * most))
            continue
        _refuse_broken(rule, RuleSystem(table.schema.n_columns, tuple(relations), tuple(orders)), table)
    if not (relations or orders or combinations):
        return None
    in_forest, others = _forest(orders)
    system = RuleSystem(table.schema.n_columns, tuple(relations), (*in_forest, *others), len(in_forest))
    if system.draws_too_many:  # with gaps: without them orders are checked
        in_forest, system = [], replace(system, n_gaps=0)
    while are_found and system.draws_too_many:
        system = replace(system, relations=system.relations[:-1])
    decimals = [_decimals(table.values[:, j]) if j in system.preference else None for j in places.values()]
    for low, high in in_forest:
        both = decimals[low], decimals[high]
        decimals.append(None if None in both else max(each for each in both if each is not None))
    return RulesOfTable(system, tuple(combinations), tuple(decimals))


def with_gaps(whole: WholeTable, some: Table) -> WholeTable:
    """Return the facts of all rows with those of the gaps, which are those of `some` rows alone."""
    names = some.schema.names[len(whole.names) :]

    def facts(columns: Mapping[str, RunningNumbers]) -> None:
        for name, column in columns.items():
            column.add(np.ascontiguousarray(some.values[:, some.schema.names.index(name)]))

    def again(columns: Mapping[str, RunningNumbers]) -> None:
        facts({name: column for name, column in columns.items() if name in names})
        whole.again({name: column for name, column in columns.items() if name not in names})

    of_gaps = {name: RunningNumbers("float64") for name in names}
    facts(of_gaps)
    return replace(
        whole,
        names=some.schema.names,
        dtypes=some.schema.dtypes,
        columns=(*whole.columns, *of_gaps.values()),
        again=again,
    )


def _place(name: str, rule: Rule, places: Mapping[str, int]) -> int:
    if name not in places:
        raise InvalidInput(
            f"A rule should be between columns of the table, but {rule} names {shown(name)}: there are "
            f"{listed(map(shown, places))}."
        )
    return places[name]


def _refuse_texts(rule: Rule, at: Sequence[int], table: Table) -> None:
    for j in at:
        if table.schema.labels[j] is not None:
            raise InvalidInput(
                f"The rule {rule} should be between numbers, but {table.schema.label(j)} holds texts: leave it out, or "
                "declare which combinations of levels occur by one ~ other."
            )
    if len({table.schema.units[j] for j in at}) > 1:
        raise InvalidInput(f"The rule {rule} should be between columns of one unit: convert dates and times to one.")


def _function(rule: Computed, at: Sequence[int], table: Table) -> Equation:
    """Return the equation of a function, up to the digits to which its result was printed."""
    equation = Equation((at[0], at[1]), function=rule.function)
    exact = _ROUNDING * equation.scale(table.values)
    decimals = _decimals(table.values[:, at[0]])
    slack = max(exact, 0.5000001 * 10.0**-decimals if decimals is not None and rule.function != "round" else 0.0)
    is_exact = bool((_sizes(equation, table) <= exact).all())
    return replace(equation, slack=slack, is_invertible=is_exact and rule.function != "round")


def _sum(rule: Total, at: Sequence[int], table: Table) -> Equation:
    assert rule.factors is not None
    equation = Equation(tuple(at), (1.0, *(-factor for factor in rule.factors)), rule.constant)
    return replace(equation, slack=_ROUNDING * equation.scale(table.values))


def _sizes(equation: Equation, table: Table) -> FloatArray:
    residual = equation.residual(table.values)
    return np.abs(residual[~np.isnan(residual)])


def _refuse_broken(rule: Rule, system: RuleSystem, table: Table) -> None:
    place = len(system.relations) - 1 if not isinstance(rule, Order) else -1
    broken: BoolArray = system.is_broken(table.values)[:, place]
    if broken.any():
        row = int(broken.argmax())
        values = (f"{name} = {table.values[row, table.schema.names.index(name)]:.9g}" for name in rule.columns)
        raise InvalidInput(
            f"The rule {rule} should hold in all rows, but {int(broken.sum()):,} of {len(broken):,} break it, first "
            f"row {row} (rows count from 0) with {listed(values)}: mend these rows, or leave the rule out."
        )


def _forest(orders: Sequence[tuple[int, int]]) -> tuple[list[tuple[int, int]], list[tuple[int, int]]]:
    """Divide orders into those that close no circle, which have gaps, and the others."""
    group: dict[int, int] = {}
    in_forest, others = list[tuple[int, int]](), list[tuple[int, int]]()
    for low, high in dict.fromkeys(orders):
        one, other = group.setdefault(low, low), group.setdefault(high, high)
        (others if one == other else in_forest).append((low, high))
        group = {j: other if of == one else of for j, of in group.items()}
    return in_forest, others


def _decimals(x: FloatArray) -> int | None:
    """Return the fewest decimals that numbers, (n,), have; None if there are more than nine."""
    x = x[~np.isnan(x)]
    return next((k for k in range(_MOST_DECIMALS + 1) if (np.round(x, k) == x).all()), None)


def _level_pairs(rule: Combinations, table: Table, blocks: Mapping[int, Block]) -> LevelPairs:
    """Return the pairs of levels that do not occur, or those that alone do, whichever are fewer."""
    names, schema = list(table.schema.names), table.schema
    one, other = (names.index(name) for name in rule.columns)
    for j in (one, other):
        if j not in blocks or blocks[j].number is not None:
            raise InvalidInput(
                f"The rule {rule} should be between columns of levels, but {schema.label(j)} has none: give it levels "
                f'by columns={{{shown(names[j])}: "levels"}}, or leave the rule out.'
            )
    observed = table.values[~np.isnan(table.values[:, [one, other]]).any(axis=1)]
    places = (blocks[j].places(observed[:, j]) for j in (one, other))
    occurs = np.zeros((blocks[one].n_levels, blocks[other].n_levels), dtype=bool)
    occurs[tuple(places)] = True
    if rule.excluded is None:
        excluded = ~occurs
        # A level that occurs only where the other column is missing may have any of its levels.
        excluded[~occurs.any(axis=1)] = excluded[:, ~occurs.any(axis=0)] = False
        excluded[np.isnan(blocks[one].values)] = excluded[:, np.isnan(blocks[other].values)] = False
    else:
        excluded = np.zeros_like(occurs)
        for pair in rule.excluded:
            excluded[
                tuple(_level(j, level, rule, table, blocks[j]) for j, level in zip((one, other), pair, strict=True))
            ] = True
        if (excluded & occurs).any():
            raise InvalidInput(f"Pairs that {rule} excludes should not occur, but some rows have one: leave these out.")
    are_fewer = excluded.sum() <= excluded.size / 2
    marked = np.argwhere(excluded if are_fewer else ~excluded)
    return LevelPairs((one, other), tuple((int(i), int(j)) for i, j in marked), bool(are_fewer))


def _level(j: int, level: object, rule: Rule, table: Table, block: Block) -> int:
    """Return the place of a level, in the user's terms, among those of a column."""
    labels = table.schema.labels[j]
    value = level if labels is None else labels.index(str(level)) if str(level) in labels else None
    at = np.flatnonzero(block.values == float(value)) if isinstance(value, (int, float)) else np.empty(0, dtype=int)
    if not len(at):
        raise InvalidInput(f"{rule} should exclude levels, but {table.schema.label(j)} has no level {shown(level)}.")
    return int(at[0])
