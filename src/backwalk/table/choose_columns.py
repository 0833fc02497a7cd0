"""Choose the encoding of each column of a table: its kind and parameters, from its rows."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Literal

import numpy as np

from backwalk.errors import InvalidInput
from backwalk.formatting import listed
from backwalk.table.atoms_column import AtomsColumn
from backwalk.table.choose_numbers import (
    Bounds,
    NumberPlan,
    bounds_on_grid,
    check_within,
    choose_number,
    rows_looked_at,
)
from backwalk.table.choose_splines import choose_splines
from backwalk.table.column_options import Levels, Number, Option, column_options
from backwalk.table.columns import Column, ConstantColumn
from backwalk.table.frame import Table
from backwalk.table.level_column import Coding, LevelsColumn
from backwalk.table.number_column import NumberColumn
from backwalk.table.schema import FloatArray, Schema, shown
from backwalk.table.whole import NumberFacts, WholeTable, facts_of_rows

_MOST_ONE_HOT = 64  # levels
_LEAST_GAP = 0.016  # standard deviations between levels coded by their values: the finest structure that a model shows
_LEAST_SHARE, _FEWEST_REPEATS = 0.05, 25  # of rows that equal an atom: more than both
_SPIKE = 5.0  # times as frequent as the values on either side
_FEWEST_OTHERS = 20  # distinct values that are no atoms, of a number with atoms
Missing = Literal["absent", "generate"]


def choose_columns(
    table: Table,
    *,
    scale: bool,
    asinh: bool,
    levels: bool,
    columns: Mapping[str, Option] | None,
    missing: Missing,
    weights: FloatArray | None,
    whole: WholeTable | None,
) -> tuple[Column, ...]:
    """Return a column for each of a table's: see `Codec.fit`."""
    if missing not in ("absent", "generate"):
        raise InvalidInput(f'missing should be "absent" or "generate", but got {missing!r}.')
    options = column_options(columns, table.schema)
    x, weights = _weighed(table.values, weights)
    if len(x) == 1:
        raise InvalidInput("At least 2 rows are needed to scale columns, but got 1 sample: give more rows.")
    whole = whole or facts_of_rows(x, table.schema.dtypes, weights)
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
        if _has_levels(table, j, whole, option, levels=levels) or is_constant:
            wish = option if isinstance(option, Levels) else Levels()
            chosen[j] = choose_levels(whole, table.schema, j, wish, generate=generate)
            continue
        may_have_atoms = levels and option is None and _is_table(table)
        atoms[j] = find_atoms(some[~np.isnan(some[:, j]), j]) if may_have_atoms else np.empty(0)
        if generate:
            atoms[j] = np.append(atoms[j], np.nan)
    chosen |= _choose_numbers(table, x, weights, whole, atoms, options, scale=scale, asinh=asinh)
    return tuple(chosen[j] for j in range(x.shape[1]))


def _choose_numbers(
    table: Table,
    x: FloatArray,
    weights: FloatArray | None,
    whole: WholeTable,
    atoms: Mapping[int, FloatArray],
    options: Mapping[int, Option],
    *,
    scale: bool,
    asinh: bool,
) -> dict[int, Column]:
    """Return the columns of the numbers of rows x, (n, d), by their place in the table: those that have `atoms`."""
    places = list(atoms)
    gridded = [j for j in places if _is_table(table) or options.get(j) == "integer"]
    facts = whole.numbers({j: of_column[~np.isnan(of_column)] for j, of_column in atoms.items()}, gridded)
    plans = [_plan(table, j, whole, facts[j], options.get(j)) for j in places]
    numbers = np.ascontiguousarray(x[:, places].T)
    for row, j in zip(numbers, places, strict=True):
        if len(atoms[j]):
            row[np.isin(row, atoms[j])] = np.nan
    columns = [
        choose_number(row, plan, scale=scale, asinh=asinh, weights=weights)
        for row, plan in zip(numbers, plans, strict=True)
    ]
    if scale and asinh and places:
        asked = {at: option.map for at, j in enumerate(places) if isinstance(option := options.get(j), Number)}
        columns = choose_splines(
            columns,
            rows_looked_at(numbers.T, "maps"),
            {at: wish for at, wish in asked.items() if wish is not None},
            [at for at, j in enumerate(places) if not len(atoms[j])],
            is_table=_is_table(table),
        )
    return {j: _with_atoms(column, j, whole, atoms[j]) for j, column in zip(places, columns, strict=True)}


def _with_atoms(column: NumberColumn, j: int, whole: WholeTable, atoms: FloatArray) -> Column:
    if not len(atoms):
        return column
    shares = whole.shares_of_atoms(j, atoms)
    return AtomsColumn(column, tuple(atoms.tolist()), tuple(shares.tolist()))


def refit_columns(table: Table, columns: Sequence[Column], *, asinh: bool) -> tuple[Column, ...]:
    """Return a column for each of a table's, like those of another codec: see `Codec.refitted`."""

    def refit(j: int, column: Column) -> Column:
        x = table.values[:, j].copy()
        ends = float(np.fmin.reduce(x)), float(np.fmax.reduce(x))
        if not isinstance(column, NumberColumn) or ends[0] == ends[1]:
            return column
        bounds = column.least, column.largest
        plan = NumberPlan(table.schema.label(j), ends, column.grid, bounds, dequantisation=column.dequantisation)
        return choose_number(x, plan, scale=True, asinh=asinh, weights=None)

    return tuple(refit(j, column) for j, column in enumerate(columns))


def _weighed(x: FloatArray, weights: FloatArray | None) -> tuple[FloatArray, FloatArray | None]:
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


def _has_levels(table: Table, j: int, whole: WholeTable, option: Option | None, *, levels: bool) -> bool:
    """Return whether a column has levels."""
    if table.schema.labels[j] is not None:
        if option is not None and not isinstance(option, Levels):
            kind = f'"{option}"' if isinstance(option, str) else "that of numbers"
            raise InvalidInput(
                f"{table.schema.label(j)} holds texts, and should have levels, but its kind is {kind}: leave it out, "
                "or give numbers."
            )
        return True
    if option is not None:
        return isinstance(option, Levels)
    return levels and _is_table(table) and whole.has_few_values(j)


def _plan(table: Table, j: int, whole: WholeTable, numbers: NumberFacts, option: Option | None) -> NumberPlan:
    """Return the plan of a column of numbers, from facts of those that are no gaps and no atoms."""
    label, grid, ends = table.schema.label(j), numbers.grid, (numbers.least, numbers.largest)
    if option == "integer" and (grid is None or grid.per != 1.0):
        raise InvalidInput(f"{label} should hold integers, but has {whole.a_fraction(j)}: choose another kind.")
    known = option.bounds if isinstance(option, Number) else None
    bounds: Bounds = (None, None)
    if known is not None:
        bounds = check_within(known, ends, label)
    elif grid is not None or _is_table(table):
        bounds = ends
    return NumberPlan(
        label, ends, grid, bounds if grid is None else bounds_on_grid(bounds, grid), known or (None, None)
    )


def find_atoms(some: FloatArray) -> FloatArray:
    """Return the values, increasing, that a number equals in more than 5 % of rows, and 25, and that stand out.

    Of fewer rows, a few may be equal by rounding. Each is at least 5 times as frequent as the nearest values on either
    side that are less frequent, of which there are at least 20 distinct ones in all. `some`, (n,), are random rows.

    >>> find_atoms(np.array([0.0] * 30 + [0.1 * i for i in range(1, 31)]))
    array([0.])
    """
    values, counts = np.unique(some, return_counts=True)
    often = counts > max(_LEAST_SHARE * len(some), _FEWEST_REPEATS)
    if not often.any() or (~often).sum() < _FEWEST_OTHERS:
        return np.empty(0)
    others, at = counts[~often], np.searchsorted(values[~often], values[often])
    beside = np.maximum(others[np.maximum(at - 1, 0)], others[np.minimum(at, len(others) - 1)])
    return np.asarray(values[often][counts[often] >= _SPIKE * beside])


def choose_levels(whole: WholeTable, schema: Schema, j: int, option: Levels, *, generate: bool) -> LevelsColumn:
    """Return the levels of column j. With `generate`, a missing value is a level too."""
    labels = schema.labels[j]
    values, shares = whole.frequencies(j, missing=generate)
    is_number = labels is None and not schema.is_boolean(j)
    coding = _choose_coding(values, shares, is_number=is_number, is_ordered=schema.is_ordered(j))
    if option.order is not None:
        at = _places_in_order(values, option.order, labels, schema.label(j))
        values, shares, coding = values[at], shares[at], "rank"
    return LevelsColumn(tuple(values.tolist()), tuple(shares.tolist()), coding)


def _choose_coding(values: FloatArray, shares: FloatArray, *, is_number: bool, is_ordered: bool) -> Coding:
    if not (is_number or is_ordered) or len(values) == 2:
        return "one-hot" if len(values) <= _MOST_ONE_HOT else "random"
    if is_ordered or math.isnan(values[-1]):
        return "rank"
    unit = values / np.abs(values).max()
    spread = math.sqrt(np.square(unit - unit @ shares) @ shares)
    return "value" if np.diff(unit).min() > _LEAST_GAP * spread else "rank"


def _places_in_order(
    values: FloatArray, order: Sequence[object], labels: tuple[str, ...] | None, label: str
) -> np.ndarray:
    """Return the numbers of the values, (L,), in the order that a user gives; a missing value is last."""
    names = list[object](values.tolist() if labels is None else [labels[int(v)] for v in values[~np.isnan(values)]])
    if math.isnan(values[-1]):
        names = [*names[: len(values) - 1], math.nan]
    places = {level: i for i, level in enumerate(order)}
    unknown = [level for level in names if level == level and level not in places]
    if unknown:
        raise InvalidInput(
            f"order of Levels should have every level of {label}, but lacks {listed(map(shown, unknown))}: add "
            f"{'it' if len(unknown) == 1 else 'them'}."
        )
    return np.argsort([places.get(level, len(order)) for level in names])
