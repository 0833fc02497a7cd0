"""The rules of a table, found or declared: equations, differences of orders, dependencies of levels, and copies.

What a total, a function or a difference computes is a number with a density, and so are the ends of a difference. Parts
of totals keep their levels, as long as one column beside the total is a number. Orders between columns of levels say
which of these go together; with more than 16 levels they have differences where these have less entropy. Rules between
numbers with missing values that are generated are left out, as a value that follows from others cannot be missing.
Columns of copies are in no other rule.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np
from scipy import stats

from backwalk.errors import InvalidInput
from backwalk.formatting import listed
from backwalk.table.columns import Block
from backwalk.table.frame import Table
from backwalk.table.relation import Relation
from backwalk.table.rule_system import Dependency, RuleSystem
from backwalk.table.rules import Computed, Copy, Determines, Order, Rule, Total
from backwalk.table.schema import FloatArray, Schema, shown
from backwalk.table.tolerances import bind, printed_step


@dataclass(frozen=True, eq=False)
class RulesOfTable:
    """The rules between the columns of a table.

    `system` has those between numbers. `dependencies` are those of levels, whose combinations follow once the columns
    have their levels. `decimals`, (D,), are those of the numbers, by which differences are rounded; None where there
    are more.
    """

    system: RuleSystem
    dependencies: tuple[Determines, ...]
    decimals: tuple[int | None, ...]

    @property
    def numbers(self) -> frozenset[int]:
        """The cells between which there are rules of numbers, and which are no levels."""
        of_orders = {j for pair in self.system.orders for j in pair}
        between_levels = self.system.orders_of_levels
        return frozenset({*self.system.preference, *(of_orders - between_levels)} - set(self.system.levels))

    def differences_between(self, columns: Collection[int]) -> list[int]:
        """Return the cells of the differences of orders between some columns, by number."""
        of_differences = self.system.orders[: self.system.n_differences]
        return [self.system.n_columns + i for i, pair in enumerate(of_differences) if set(pair) <= set(columns)]

    @property
    def copies(self) -> range:
        """The cells of copies."""
        return range(self.system.first_copy, self.system.n_cells)

    def cells(self, values: FloatArray) -> FloatArray:
        """Return the cells of rows, (n, D), without the rounding of differences."""

        def rounded(j: int, x: FloatArray) -> FloatArray:
            decimals = self.decimals[j]
            return x if decimals is None else np.round(x, decimals)

        return self.system.cells(values, rounded)

    def with_differences(self, table: Table) -> Table:
        """Return a table with the differences of its orders, and whether rows are copies, as further columns."""
        schema, names = table.schema, list(table.schema.names)
        pairs = [(high, "-", low) for low, high in self.system.orders[: self.system.n_differences]]
        pairs += [(target, "=", source) for source, target in self.system.copies]
        for one, sign, other in pairs:
            name = f"{schema.names[one]} {sign} {schema.names[other]}"
            while name in names:
                name += "'"
            names.append(name)
        n = len(pairs)
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

    def rows_with_differences(self, rows: Relation, schema: Schema) -> Relation:
        """Return all rows with the further columns of `with_differences`, which a schema has."""
        cells = list[str]()
        for i, (low, high) in enumerate(self.system.orders[: self.system.n_differences]):
            cell, decimals = f"({rows.cells[high]} - {rows.cells[low]})", self.decimals[self.system.n_columns + i]
            cells.append(cell if decimals is None else f"round({cell}, {decimals})")
        cells += [f"({rows.cells[target]} = {rows.cells[source]})::DOUBLE" for source, target in self.system.copies]
        return rows.with_columns(schema, cells)

    def with_combinations(self, table: Table, blocks: Mapping[int, Block]) -> RuleSystem:
        """Return the system with the combinations of levels, whose columns have `blocks` of levels."""
        return replace(self.system, dependencies=tuple(_dependency(each, table, blocks) for each in self.dependencies))


def choose_rules(
    rules: Sequence[Rule],
    table: Table,
    *,
    levels: Collection[int] = (),
    on_grids: Collection[int] = (),
    generated: Sequence[int] = (),
    are_found: bool = False,
) -> RulesOfTable | None:
    """Return rules as those of a table's columns, or None where there are none.

    `levels` are the numbers of the columns that have levels without rules. What an equation computes is a number, and
    its parts keep their levels (`_with_levels`). Those `on_grids` lose them to orders whose differences have less
    entropy. Rules of numbers whose missing values are `generated` are left out. Of rules that `are_found`, equations by
    which no column needs to be drawn less are left out, as draws would meet them by chance.

    Raises InvalidInput for columns that the table does not have or that hold texts, and for a declared rule that one of
    its rows breaks.
    """
    places = {name: j for j, name in enumerate(table.schema.names)}
    system, dependencies = RuleSystem(table.schema.n_columns, are_found=are_found), list[Determines]()
    at_of = dict[Rule, list[int]]()
    for rule in dict.fromkeys(rules):
        at_of[rule] = [_place(name, rule, places) for name in rule.columns]
        if len(set(at_of[rule])) < len(at_of[rule]):
            raise InvalidInput(f"A rule should be between different columns, but got {rule}: name each once.")
    orders, copies = dict[tuple[int, int], Order](), dict[tuple[int, int], Copy]()
    with_levels, numbers = set[int](), set[int]()  # of equations
    results = {at[0] for rule, at in at_of.items() if isinstance(rule, (Total, Computed))}
    for rule, at in at_of.items():
        if isinstance(rule, Determines):
            dependencies.append(rule)
            continue
        _refuse_texts(rule, at, table)
        if set(at) & set(generated):
            continue
        if isinstance(rule, Order):
            orders[at[0], at[1]] = rule
            continue
        if isinstance(rule, Copy):
            copies[at[1], at[0]] = rule
            continue
        equation = bind(rule, at, table.values, table.schema.dtypes)
        if not are_found:
            _refuse_broken(rule, equation.breaks(table.values), table)
        with_rule = replace(system, relations=(*system.relations, equation))
        if not are_found or with_rule.drawn.sum() < system.drawn.sum():
            system = with_rule
            keep = _with_levels(at, set(levels), results, set(on_grids), table.values)
            with_levels |= keep
            numbers |= set(at) - keep
    system = replace(system, levels=tuple(sorted(with_levels - numbers)))
    in_equations = {j for each in system.relations for j in each.columns} - set(system.levels)
    with_difference, others = list[tuple[int, int]](), list[tuple[int, int]]()
    of_levels = _orders_of_levels(orders, set(levels) - in_equations, set(on_grids), table.values)
    for (low, high), rule in orders.items():
        if not are_found:
            _refuse_broken(rule, table.values[:, low] > table.values[:, high], table)
        more = (*with_difference, (low, high))
        n_drawn = replace(system, orders=more, n_differences=len(more)).drawn.sum()
        if (low, high) in of_levels or n_drawn > system.drawn.sum():
            others.append((low, high))
        else:
            with_difference.append((low, high))
    system = replace(system, orders=(*with_difference, *others), n_differences=len(with_difference))
    in_others = {j for columns in system.columns_of for j in columns}
    in_others |= {places[name] for each in dependencies for name in each.columns}
    system = replace(system, copies=_in_order(copies, in_others, table))
    if not (system.n_rules or dependencies):
        return None
    in_rules = [j if j in system.preference else None for j in places.values()]
    decimals = [None if j is None else _decimals(table.values[:, j], table.schema.dtypes[j]) for j in in_rules]
    for low, high in with_difference:
        both = decimals[low], decimals[high]
        decimals.append(None if None in both else max(each for each in both if each is not None))
    return RulesOfTable(system, tuple(dependencies), tuple(decimals))


def _in_order(copies: Mapping[tuple[int, int], Copy], in_others: set[int], table: Table) -> tuple[tuple[int, int], ...]:
    """Return the pairs, source and target, of copies, each after that in which its source is the target.

    Raises InvalidInput for columns that are `in_others`, other rules, for copies in all rows or in none, for two of one
    column, and for circles.
    """
    left, in_order = list(copies), list[tuple[int, int]]()
    for pair, rule in copies.items():
        source, target = table.values[~np.isnan(table.values[:, pair]).any(axis=1)][:, pair].T
        n_equal = int((source == target).sum())
        if in_others.intersection(pair):
            name = table.schema.names[min(in_others.intersection(pair))]
            raise InvalidInput(
                f"The copy {rule} should be of columns in no other rule, but {shown(name)} is in one: leave out one."
            )
        if not 0 < n_equal < len(source):
            remedy = "declare a total" if n_equal else "leave it out"
            raise InvalidInput(
                f"The copy {rule} should hold in a part of the rows, but holds in {n_equal:,} of {len(source):,}: "
                f"{remedy}."
            )
    while left:
        targets = [target for _, target in left]
        ready = [pair for pair in left if pair[0] not in targets and targets.count(pair[1]) == 1]
        if not ready:
            raise InvalidInput(
                "Each column should be a copy of one other, without circles, but got "
                f"{listed(str(copies[pair]) for pair in left)}: leave out one."
            )
        in_order += ready
        left = [pair for pair in left if pair not in ready]
    return tuple(in_order)


def _with_levels(
    at: Sequence[int], levels: set[int], results: set[int], on_grids: set[int], values: FloatArray
) -> set[int]:
    """Return the columns of an equation that keep their levels: the parts that have some and are no `results`.

    Where all parts have levels and some are `on_grids`, the one of these with the most values becomes a number, so that
    it and the total, or a function's argument and result, start from what they tell of each other and of others. Parts
    of more values than their total, as in a difference, are numbers too, but for columns of two values.
    """
    n_values = {j: len(np.unique(values[~np.isnan(values[:, j]), j])) for j in at if j in levels or j == at[0]}
    keep = set(at[1:]) & levels - results
    if any(n_values[j] > n_values[at[0]] for j in keep):
        return {j for j in at if j in levels and n_values[j] == 2}
    if len(at) - 1 == len(keep) and keep & on_grids:
        keep.remove(max(keep & on_grids, key=n_values.__getitem__))
    return keep


def _orders_of_levels(
    orders: Collection[tuple[int, int]], levels: set[int], on_grids: set[int], values: FloatArray
) -> set[tuple[int, int]]:
    """Return the orders whose columns, of those with `levels`, keep them: none shares a column with one of numbers.

    Levels `on_grids` are kept where they have less entropy than what is drawn with differences: the network starts from
    the distribution of each cell by itself, and has to learn the rest.
    """
    system = RuleSystem(values.shape[1], orders=tuple(orders), n_differences=len(orders))
    kept = set[int]()

    def entropy(cell: int) -> float:
        """Return the entropy of a column, or of the difference of an order, by its frequencies: nats."""
        low, high = (None, cell) if cell < system.n_columns else system.orders[cell - system.n_columns]
        x = values[:, high] if low is None else values[:, high] - values[:, low]
        x = x[~np.isnan(x)]
        # Single numbers from the least one are without the errors of differences.
        _, n = np.unique((x - x.min(initial=np.inf)).astype(np.float32), return_counts=True)
        return float(stats.entropy(n))

    for of_part, _ in system.parts:
        columns = {j for j in of_part if j < system.n_columns}
        if not columns <= levels:
            continue
        of_differences = (entropy(j) for j in of_part if system.drawn[j])
        if not columns & on_grids or sum(of_differences) >= sum(map(entropy, columns)):
            kept |= columns
    return {pair for pair in orders if pair[0] in kept}


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
                "declare which columns of levels determine others by one -> other."
            )
    if len({table.schema.with_clocks(()).units[j] for j in at}) > 1:
        raise InvalidInput(f"The rule {rule} should be between columns of one unit: convert dates and times to one.")


def _refuse_broken(rule: Rule, broken: np.ndarray, table: Table) -> None:
    if broken.any():
        row = int(broken.argmax())
        values = (f"{name} = {table.values[row, table.schema.names.index(name)]:.9g}" for name in rule.columns)
        raise InvalidInput(
            f"The rule {rule} should hold in all rows, but {int(broken.sum()):,} of {len(broken):,} break it, first "
            f"row {row} (rows count from 0) with {listed(values)}: mend these rows, or leave the rule out."
        )


def _decimals(x: FloatArray, dtype: str) -> int | None:
    """Return the decimals that numbers, (n,), have; None if there are many."""
    step = printed_step(x[~np.isnan(x)], dtype)
    return round(-np.log10(step)) if step else None


def _dependency(rule: Determines, table: Table, blocks: Mapping[int, Block]) -> Dependency:
    """Return the dependency of columns of levels, with the combinations that rows have."""
    names, schema = list(table.schema.names), table.schema
    at = [names.index(name) for name in rule.columns]
    for j in at:
        if j not in blocks or blocks[j].number is not None:
            raise InvalidInput(
                f"The rule {rule} should be between columns of levels, but {schema.label(j)} has none: give it levels "
                f'by columns={{{shown(names[j])}: "levels"}}, or leave the rule out.'
            )
    observed = np.flatnonzero(~np.isnan(table.values[:, at]).any(axis=1))
    levels = np.stack([blocks[j].places(table.values[observed, j]) for j in at], axis=1)
    combinations, first = np.unique(levels, axis=0, return_index=True)
    by, n = np.unique(combinations[:, 1:], axis=0, return_counts=True)
    if (n > 1).any():
        is_two = (combinations[:, 1:] == by[n.argmax()]).all(axis=1)
        one, other = observed[np.sort(first[is_two])[:2]]
        raise InvalidInput(
            f"The rule {rule} should hold in all rows, but {int((n > 1).sum()):,} combinations of "
            f"{listed(map(shown, rule.by))} have several levels of {schema.label(at[0])}, first in the rows {one} and "
            f"{other} (rows count from 0): mend these rows, or leave the rule out."
        )
    n_levels = tuple(blocks[j].n_levels for j in at)
    return Dependency(tuple(at), n_levels, tuple(map(tuple, combinations.tolist())))
