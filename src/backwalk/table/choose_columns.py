"""Fit a codec to a table: choose the kind of each column and its parameters from the rows."""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Mapping, Sequence
from dataclasses import replace
from functools import partial
from typing import Literal

import numpy as np
import numpy.typing as npt

from backwalk.errors import InvalidInput
from backwalk.table.atoms_column import AtomsColumn
from backwalk.table.choose_atoms import find_atoms
from backwalk.table.choose_bounds import end_at_bounds, straight_where_told
from backwalk.table.choose_kinds import Kinds, choose_kinds, choose_levels
from backwalk.table.choose_numbers import NumberPlan, choose_number, plan_number, rows_looked_at
from backwalk.table.choose_rules import choose_rules
from backwalk.table.choose_splines import choose_splines
from backwalk.table.codec import Codec
from backwalk.table.codec_rules import rules_broken, stated_rules
from backwalk.table.column_options import Levels, Number, Option, column_options
from backwalk.table.columns import Column, ConstantColumn
from backwalk.table.find_rules import find_rules
from backwalk.table.frame import Table
from backwalk.table.number_column import NumberColumn
from backwalk.table.relation import Relation
from backwalk.table.rules import Computed, Copy, Determines, Order, Rule, Total
from backwalk.table.schema import FloatArray, Schema, shown

Missing = Literal["absent", "generate"]


def fit_codec(
    table: Table,
    *,
    scale: bool = True,
    columns: Mapping[str, Option] | None = None,
    missing: Missing = "absent",
    weights: npt.ArrayLike | None = None,
    whole: Relation | None = None,
    rules: Sequence[Rule] | Literal["auto"] = (),
    are_found: bool = False,
    given: Collection[int] = (),
) -> Codec:
    """Return the codec that gives each number of a table's rows mean 0 and variance 1.

    Numbers with heavy tails are transformed by asinh first (`choose_asinh`). With `scale=False` numbers are neither
    scaled nor transformed. Constant columns are never encoded. Missing values do not count.

    The columns of a DataFrame, of any dtype, may be rounded, and new values lie within the range of the fitted
    ones. Numbers that all lie on a grid, such as integers, are dequantised, unless the grid is too fine for a
    model; their variance includes that of the places in the cells. Texts have levels, and so have numbers of a
    DataFrame whose values repeat many times (`choose_kinds.py`); numbers that equal some values in many rows have
    atoms. Numbers are mapped to a normal through their quantiles where held-out rows gain by it.

    `columns` has the kinds of some columns: "number", "integer", "levels", "constant", `Levels` or `Number`.
    `missing` is "absent" for missing values that are not generated; with "generate", a column with gaps has the
    level "missing". `weights`, (n,), are those of the rows in moments and frequencies. Where the rows of
    `table` are some of a larger one, `whole` are all of them. `rules` hold between columns, in all rows;
    "auto" are those that are found in a table (`find_rules`). Others `are_found` if they are some of these.

    Columns that are always `given`, by number, are no levels where they hold numbers, and have no atoms: their values
    are known, and new ones may lie anywhere. They are not dequantised either.
    Raises InvalidInput for a single row, a column without values, if no column varies, for a spread too small for
    float64, and for a rule that rows break.

    >>> from backwalk.table.choose_columns import fit_codec
    >>> from backwalk.table import as_table
    >>> table = as_table([[1.0, 7.0], [3.0, 7.0]])
    >>> codec = fit_codec(table)
    >>> codec.encode(table.values)
    array([[-1.],
           [ 1.]])
    >>> codec.decode([[0.0]])
    array([[2., 7.]])
    """
    if missing not in ("absent", "generate"):
        raise InvalidInput(f'missing should be "absent" or "generate", but got {missing!r}.')
    options = column_options(columns, table.schema)
    generated = np.flatnonzero(np.isnan(table.values).any(axis=0)).tolist() if missing == "generate" else []
    x, weights_of_x = _weighed(table.values, weights)
    facts = whole or Relation.of_rows(x, table.schema, weights_of_x)
    are_found, kinds = are_found or rules == "auto", choose_kinds(table, x, facts, options, given, weights_of_x)
    if rules == "auto":
        of_rules = facts if weights is None else whole
        rules = _find_rules(table, of_rules, options, given, kinds) if scale and _is_table(table) else ()
    fit_columns = partial(_fit_columns, scale=scale, options=options, missing=missing, weights=weights)
    while True:
        determined = {rule.of for rule in rules if isinstance(rule, Determines)}
        own = kinds.with_levels(j for j, name in enumerate(table.schema.names) if name in determined)
        chosen = choose_rules(
            rules,
            table,
            levels=own.levels,
            on_grids=own.grids,
            generated=generated,
            are_found=are_found,
        )
        if chosen is None:
            return Codec(fit_columns(table, whole=facts, given=given, kinds=own))
        of_numbers = {name for j, name in enumerate(table.schema.names) if j in chosen.numbers}
        without = [rule for rule in rules if not isinstance(rule, Determines) or of_numbers.isdisjoint(rule.columns)]
        if are_found and len(without) < len(rules):  # columns that are numbers by a rule determine no others
            rules = without
            continue
        _refuse_other_kinds(table.schema, chosen.numbers, options)
        cells = chosen.with_differences(table)
        fitted = fit_columns(
            cells,
            whole=chosen.rows_with_differences(facts, cells.schema),
            numbers=chosen.numbers,
            computed=np.flatnonzero(~chosen.system.drawn).tolist(),
            given={*given, *chosen.differences_between(given)},
            kinds=replace(own, levels={*own.levels, *chosen.copies}),
        )
        d, blocks = table.schema.n_columns, Codec(fitted).blocks
        system = chosen.with_combinations(table, {block.column: block for block in blocks})
        codec = Codec(fitted[:d], fitted[d:], system)
        broken = _broken_elsewhere(codec, table.schema, whole)
        if not broken:
            return codec
        if not are_found:
            rule, n = next(iter(broken.items()))
            raise InvalidInput(
                f"The rule {rule} should hold in all rows, but {n:,} that do not fit into memory break it: mend these "
                "rows, or leave the rule out."
            )
        rules = [rule for rule in rules if str(rule) not in broken]


def _refuse_other_kinds(schema: Schema, numbers: Collection[int], options: Mapping[int, Option]) -> None:
    """Raise InvalidInput where a user asks for another kind of a column that rules compute with."""
    for j in sorted(set(numbers) & set(options)):
        if options[j] != "integer" and not isinstance(options[j], Number):
            raise InvalidInput(
                f"{schema.label(j)} should be a number, as rules compute with it, but its kind is "
                f"{shown(options[j])}: leave the kind or the rules out."
            )


def _broken_elsewhere(codec: Codec, schema: Schema, whole: Relation | None) -> dict[str, int]:
    """Return the rules that some of all rows of a larger table break, with their number, by the rules' texts."""
    broken = Counter[str]()
    if codec.rules is None or whole is None:
        return broken
    at = sorted({j for columns in codec.rules.columns_of for j in columns if j < codec.n_columns})
    stated = stated_rules(codec, schema.names)
    for _, rows in whole.taken(at).blocks():
        values = np.full((len(rows), codec.n_columns), np.nan)
        values[:, at] = rows
        for rule, is_broken in rules_broken(codec, values, schema.names).items():
            if rule in stated:
                broken[rule] += int(is_broken.sum())
    return broken


def _find_rules(
    table: Table,
    whole: Relation | None,
    options: Mapping[int, Option],
    given: Collection[int],
    kinds: Kinds,
) -> tuple[Rule, ...]:
    """Return the rules that hold in a table, of those that go with the kinds of its columns.

    What is computed is a number: no column to which the user gives levels, and none of two values. Rules between
    columns that are all `given` are left out, as others may be given than the fit saw.
    """
    whole = whole or Relation.of_rows(table.values, table.schema)
    names, levels = table.schema.names, sorted(kinds.categories)
    of_two = {names[j] for j in levels if whole.has_two_values(j)}
    of_user = {names[j] for j in levels if isinstance(options.get(j), Levels)}
    of_given = {names[j] for j in given}
    found = find_rules(table, levels=levels, repeated={*kinds.atoms, *kinds.grids})
    rules = [rule for rule in found if not of_given.issuperset(rule.columns)]
    of_numbers = [
        rule
        for rule in rules
        if isinstance(rule, (Total, Computed))
        and rule.columns[0] not in of_user | of_two
        and not (isinstance(rule, Computed) and rule.columns[1] in of_two)
    ]
    orders = [rule for rule in rules if isinstance(rule, Order) and not of_user.intersection(rule.columns)]
    return (*of_numbers, *orders, *(rule for rule in rules if isinstance(rule, (Determines, Copy))))


def _fit_columns(
    table: Table,
    *,
    scale: bool,
    options: Mapping[int, Option],
    missing: Missing,
    weights: npt.ArrayLike | None,
    whole: Relation,
    numbers: Collection[int] = (),
    computed: Collection[int] = (),
    given: Collection[int] = (),
    kinds: Kinds,
) -> tuple[Column, ...]:
    """Return the columns of a table, of which those of `numbers`, by number, are no levels.

    Rules compute those of `computed` from others.
    """
    x, weights = _weighed(table.values, weights)
    if len(x) == 1:
        raise InvalidInput("At least 2 rows are needed to scale columns, but got 1 sample: give more rows.")
    (least, largest), n_missing = whole.ends, whole.n_missing
    for j in map(int, np.flatnonzero(np.isnan(least))):
        raise InvalidInput(f"A column should have values, but {table.schema.label(j)} has none: leave it out.")
    some = rows_looked_at(x, "kinds", weights)
    chosen, atoms = dict[int, Column](), dict[int, FloatArray]()  # atoms of each column of numbers
    for j in range(x.shape[1]):
        option, has_gaps, is_constant = options.get(j), bool(n_missing[j]), least[j] == largest[j]
        generate = missing == "generate" and has_gaps
        if is_constant and not generate:
            chosen[j] = ConstantColumn(float(least[j]))
            continue
        if option == "constant":
            raise InvalidInput(
                f"A constant column should have one value, but {table.schema.label(j)} has {least[j]:g} and "
                f"{largest[j]:g}{' and gaps' if has_gaps else ''}: leave out its kind."
            )
        if (j in kinds.levels and j not in numbers) or is_constant:
            wish = option if isinstance(option, Levels) else Levels()
            grid, is_name = kinds.grids.get(j), j in kinds.names
            chosen[j] = choose_levels(whole, table.schema, j, wish, generate=generate, grid=grid, is_name=is_name)
            continue
        atoms[j] = np.empty(0)
        if option is None and _is_table(table) and j not in given:
            is_few = j in kinds.atoms and j not in numbers
            atoms[j] = kinds.atoms[j] if is_few else find_atoms(some[:, j], whole.schema.dtypes[j])
        if generate:
            atoms[j] = np.append(atoms[j], np.nan)
    chosen |= _choose_numbers(table, x, weights, whole, atoms, options, given, scale=scale, computed=computed)
    return tuple(chosen[j] for j in range(x.shape[1]))


def _choose_numbers(
    table: Table,
    x: FloatArray,
    weights: FloatArray | None,
    whole: Relation,
    atoms: Mapping[int, FloatArray],
    options: Mapping[int, Option],
    given: Collection[int],
    *,
    scale: bool,
    computed: Collection[int],
) -> dict[int, Column]:
    """Return the columns of the numbers of rows x, (n, d), by their place in the table: those that have `atoms`."""
    places = list(atoms)
    gridded = [j for j in places if _is_table(table) or options.get(j) == "integer"]
    facts = whole.numbers({j: of_column[~np.isnan(of_column)] for j, of_column in atoms.items()}, gridded)
    numbers = np.ascontiguousarray(x[:, places].T)
    columns = list[NumberColumn]()
    for j, of_column in zip(places, numbers, strict=True):
        of_column[np.isin(of_column, atoms[j])] = np.nan
        if options.get(j) == "integer" and ((grid := facts[j].grid) is None or grid.per != 1.0):
            raise InvalidInput(
                f"{table.schema.label(j)} should hold integers, but has {whole.a_fraction(j)}: choose another kind."
            )
        plan = plan_number(
            table.schema.label(j), facts[j], options.get(j), is_table=_is_table(table), per_day=table.schema.per_day(j)
        )
        plan = replace(plan, left_out=tuple(atoms[j][~np.isnan(atoms[j])].tolist()))
        if j in given:
            plan = replace(plan, dequantisation=None, always_given=True)
        column = choose_number(of_column, plan, scale=scale, weights=weights)
        columns.append(end_at_bounds(column, plan, of_column, weights) if scale else column)
    told = [at for at, j in enumerate(places) if j in given]
    if scale and told:
        columns = straight_where_told(columns, rows_looked_at(numbers.T, "bounds", weights), told)
    if scale and places:
        asked = {at: option.map for at, j in enumerate(places) if isinstance(option := options.get(j), Number)}
        columns = choose_splines(
            columns,
            rows_looked_at(numbers.T, "maps", weights),
            {at: wish for at, wish in asked.items() if wish is not None},
            is_table=_is_table(table),
            n_rows=len(x),
            computed=[at for at, j in enumerate(places) if j in computed],
        )
    return {j: _with_atoms(column, j, whole, atoms[j]) for j, column in zip(places, columns, strict=True)}


def _with_atoms(column: NumberColumn, j: int, whole: Relation, atoms: FloatArray) -> Column:
    if not len(atoms):
        return column
    shares = whole.shares_of_atoms(j, atoms)
    return AtomsColumn(column, tuple(atoms.tolist()), tuple(shares.tolist()), int(whole.facts[j].n_observed))


def refit_codec(codec: Codec, table: Table, *, asinh: bool = True) -> Codec:
    """Return a codec fitted to other rows of the same table, with densities over the same coordinates.

    Numbers are fitted again, with the same steps, dequantisation and bounds, and without maps through quantiles; with
    `asinh=False` also without an asinh transform. Columns with levels keep their encoding, and so does a column that is
    constant in one of the two tables.
    """

    cells = codec.cells(table.values)

    def refit(j: int, column: Column) -> Column:
        x = cells[:, j].copy()
        ends = float(np.fmin.reduce(x)), float(np.fmax.reduce(x))
        if not isinstance(column, NumberColumn) or ends[0] == ends[1]:
            return column
        bounds = column.least, column.largest
        label = table.schema.label(j) if j < codec.n_columns else "the difference of an order"
        plan = NumberPlan(label, ends, column.grid, bounds, dequantisation=column.dequantisation)
        return choose_number(x, plan, asinh=asinh)

    columns = tuple(refit(j, column) for j, column in enumerate(codec.all_columns))
    return Codec(columns[: codec.n_columns], columns[codec.n_columns :], codec.rules)


def _weighed(x: FloatArray, weights: npt.ArrayLike | None) -> tuple[FloatArray, FloatArray | None]:
    """Return the rows that have a weight, with their weights, if there are weights."""
    if weights is None:
        return x, None
    weights = np.asarray(weights, dtype=np.float64)
    if weights.shape != (len(x),):
        raise InvalidInput(f"weights should have one number for each of {len(x)} rows, but got {weights.shape}.")
    if not np.isfinite(weights).all() or (weights < 0.0).any() or not weights.any():
        raise InvalidInput("weights should be finite and 0 or more, some above 0: drop the rows with others.")
    return x[weights > 0.0], weights[weights > 0.0]


def _is_table(table: Table) -> bool:
    """Return whether columns may be rounded, bounded and have levels: arrays are on a continuous scale."""
    return table.schema.kind != "numpy"
