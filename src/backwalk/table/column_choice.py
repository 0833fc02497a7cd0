"""Choose the encoding of each column of a table: its kind and parameters, from its rows."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Literal

import numpy as np

from backwalk.errors import InvalidInput
from backwalk.table.bound_choice import within_bounds
from backwalk.table.bounded_columns import BoundedColumn
from backwalk.table.column_options import Levels, Number, Option, column_options
from backwalk.table.column_statistics import observed_range, rows_looked_at
from backwalk.table.columns import Column, ConstantColumn, HeavyTailedColumn, NumberColumn
from backwalk.table.frame import Table
from backwalk.table.grids import Grid
from backwalk.table.level_choice import atoms_of, facts, fitted_levels
from backwalk.table.level_columns import AtomsColumn, LevelsColumn
from backwalk.table.map_choice import mapped
from backwalk.table.number_choice import Bounds, NumberPlan, fitted_numbers
from backwalk.table.quantile_columns import QuantileColumn
from backwalk.table.rounded_columns import IntegerColumn
from backwalk.table.schema import FloatArray
from backwalk.table.whole import NumberFacts, WholeTable, facts_of_rows

Missing = Literal["absent", "generate"]


def fitted_columns(
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
    some, chosen = rows_looked_at(x, "kinds", weights), dict[int, Column]()
    found, atoms = dict[int, FloatArray](), dict[int, FloatArray]()
    for j in range(x.shape[1]):
        option, has_gaps = options.get(j), bool(n_missing[j])
        generate = missing == "generate" and has_gaps
        if least[j] == largest[j] and not generate:
            chosen[j] = ConstantColumn(float(least[j]))
            continue
        if option == "constant":
            raise InvalidInput(
                f"A constant column should have one value, but {table.schema.label(j)} has {least[j]:g} and "
                f"{largest[j]:g}{' and gaps' if has_gaps else ''}: leave out its kind."
            )
        looked_at = some[~np.isnan(some[:, j]), j]
        if _has_levels(table, j, whole, looked_at, option, levels=levels) or least[j] == largest[j]:
            wish = option if isinstance(option, Levels) else Levels()
            chosen[j] = fitted_levels(whole, table.schema, j, wish, generate=generate)
            continue
        found[j] = atoms_of(looked_at) if levels and option is None and _is_table(table) else np.empty(0)
        if generate or len(found[j]):
            atoms[j] = np.append(found[j], np.nan) if generate else found[j]
    gridded = [j for j in found if _is_table(table) or options.get(j) == "integer"]
    known = whole.numbers(found, gridded)
    plans = {j: _plan(table, j, whole, numbers, options.get(j)) for j, numbers in known.items()}
    places = list(plans)
    numbers = np.ascontiguousarray(x[:, places])  # a copy; the bits of sums depend on how the rows lie
    for at, j in enumerate(places):
        if j in atoms:
            numbers[np.isin(numbers[:, at], atoms[j]), at] = np.nan
    found_numbers = fitted_numbers(numbers, list(plans.values()), scale=scale, asinh=asinh, weights=weights)
    if scale:
        found_numbers = [
            within_bounds(number, known[j], _known_bounds(options.get(j)))
            for j, number in zip(places, found_numbers, strict=True)
        ]
    if scale and asinh:
        found_numbers = _mapped(table, found_numbers, places, rows_looked_at(numbers, "maps"), options, atoms)
    for j, number in zip(places, found_numbers, strict=True):
        chosen[j] = _with_atoms(number, atoms[j], whole.shares_of_atoms(j, atoms[j])) if j in atoms else number
    return tuple(chosen[j] for j in range(x.shape[1]))


def _mapped(
    table: Table,
    columns: Sequence[Column],
    places: Sequence[int],
    x: FloatArray,
    options: Mapping[int, Option],
    atoms: Mapping[int, FloatArray],
) -> list[Column]:
    """Return the columns of numbers x, at `places` in the table, with maps where these help or are asked for."""
    asked = dict[int, bool]()
    for at, j in enumerate(places):
        option = options.get(j)
        if isinstance(option, Number) and option.map is not None:
            asked[at] = option.map
    among = [at for at, j in enumerate(places) if j not in atoms]
    return mapped(columns, x, asked, among, is_table=_is_table(table))


def refitted_columns(table: Table, columns: Sequence[Column], *, asinh: bool) -> tuple[Column, ...]:
    """Return a column for each of a table's, like those of another codec: see `Codec.refitted`."""
    least, largest = observed_range(table.values)
    places, plans = list[int](), list[NumberPlan]()
    for j, column in enumerate(columns):
        label, ends = table.schema.label(j), (float(least[j]), float(largest[j]))
        if least[j] == largest[j] or isinstance(column, (ConstantColumn, LevelsColumn, AtomsColumn)):
            continue
        places.append(j)
        if isinstance(column, IntegerColumn):
            bounds = column.least, column.largest
            plans.append(NumberPlan(label, ends, column.grid, bounds, column.dequantisation))
        elif isinstance(column, (NumberColumn, HeavyTailedColumn, BoundedColumn, QuantileColumn)):
            plans.append(NumberPlan(label, ends, None, (column.least, column.largest)))
    found = fitted_numbers(np.ascontiguousarray(table.values[:, places]), plans, scale=True, asinh=asinh, weights=None)
    of = dict(zip(places, found, strict=True))
    return tuple(of.get(j, column) for j, column in enumerate(columns))


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


def _has_levels(
    table: Table, j: int, whole: WholeTable, some: FloatArray, option: Option | None, *, levels: bool
) -> bool:
    """Return whether a column has levels. `some`, (m,), are random ones of its observed values."""
    labels = facts(table.schema, j)[0]
    if labels is not None:
        if option is not None and not isinstance(option, Levels):
            kind = f'"{option}"' if isinstance(option, str) else "that of numbers"
            raise InvalidInput(
                f"{table.schema.label(j)} holds texts, and should have levels, but its kind is {kind}: leave it out, "
                "or give numbers."
            )
        return True
    if option is not None:
        return isinstance(option, Levels)
    return levels and _is_table(table) and whole.has_few_values(j, some)


def _plan(table: Table, j: int, whole: WholeTable, numbers: NumberFacts, option: Option | None) -> NumberPlan:
    """Return the plan of a column of numbers, from facts of those that are no gaps and no atoms."""
    label, grid = table.schema.label(j), numbers.grid
    if option == "integer" and (grid is None or grid.per != 1.0):
        raise InvalidInput(f"{label} should hold integers, but has {whole.a_fraction(j)}: choose another kind.")
    bounds: Bounds = (None, None)
    if isinstance(option, Number) and option.bounds is not None:
        bounds = _checked(_known_bounds(option), numbers, label)
    elif grid is not None or _is_table(table):
        bounds = numbers.least, numbers.largest
    return NumberPlan(label, (numbers.least, numbers.largest), grid, bounds if grid is None else _on_grid(bounds, grid))


def _known_bounds(option: Option | None) -> Bounds:
    """Return the bounds that a user states of a column."""
    return (None, None) if not isinstance(option, Number) or option.bounds is None else option.bounds


def _checked(bounds: Bounds, numbers: NumberFacts, label: str) -> Bounds:
    low, high = bounds
    is_below = low is not None and numbers.least < low
    if is_below or (high is not None and numbers.largest > high):
        beyond = numbers.least if is_below else numbers.largest
        raise InvalidInput(
            f"Values of {label} should lie within its bounds, {low} and {high}, but there is {beyond}: give wider "
            "bounds."
        )
    return bounds


def _on_grid(bounds: Bounds, grid: Grid) -> Bounds:
    """Return the outermost numbers of a grid within bounds."""
    low, high = (None if bound is None else grid.places(np.array([bound])) for bound in bounds)
    return (
        None if low is None else float(grid.values(np.ceil(low.round(6)))[0]),
        None if high is None else float(grid.values(np.floor(high.round(6)))[0]),
    )


def _with_atoms(number: Column, atoms: FloatArray, shares: FloatArray) -> AtomsColumn:
    return AtomsColumn(number, tuple(atoms.tolist()), tuple(shares.tolist()))  # type: ignore[arg-type]  # of numbers
