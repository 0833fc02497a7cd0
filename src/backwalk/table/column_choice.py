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
from backwalk.table.grids import Grid, grid_of
from backwalk.table.level_choice import atoms_of, facts, fitted_levels, frequencies_of, has_few_values
from backwalk.table.level_columns import AtomsColumn, LevelsColumn
from backwalk.table.map_choice import mapped
from backwalk.table.number_choice import Bounds, NumberPlan, fitted_numbers
from backwalk.table.quantile_columns import QuantileColumn
from backwalk.table.rounded_columns import IntegerColumn
from backwalk.table.schema import FloatArray

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
) -> tuple[Column, ...]:
    """Return a column for each of a table's: see `Codec.fit`."""
    if missing not in ("absent", "generate"):
        raise InvalidInput(f'missing should be "absent" or "generate", but got {missing!r}.')
    options = column_options(columns, table.schema)
    x, weights = _weighed(table.values, weights)
    if len(x) == 1:
        raise InvalidInput("At least 2 rows are needed to scale columns, but got 1 sample: give more rows.")
    least, largest = observed_range(x)
    for j in map(int, np.flatnonzero(np.isnan(least))):
        raise InvalidInput(f"A column should have values, but {table.schema.label(j)} has none: leave it out.")
    some, chosen, plans, atoms = rows_looked_at(x, "kinds", weights), dict[int, Column](), {}, {}
    for j in range(x.shape[1]):
        is_missing = np.isnan(x[:, j])
        option, has_gaps = options.get(j), bool(is_missing.any())
        generate = missing == "generate" and has_gaps
        if least[j] == largest[j] and not generate:
            chosen[j] = ConstantColumn(float(least[j]))
            continue
        if option == "constant":
            raise InvalidInput(
                f"A constant column should have one value, but {table.schema.label(j)} has {least[j]:g} and "
                f"{largest[j]:g}{' and gaps' if has_gaps else ''}: leave out its kind."
            )
        observed = x[~is_missing, j] if has_gaps else x[:, j]
        looked_at = some[~np.isnan(some[:, j]), j]
        if _has_levels(table, j, observed, looked_at, option, levels=levels) or least[j] == largest[j]:
            wish = option if isinstance(option, Levels) else Levels()
            chosen[j] = fitted_levels(x[:, j], weights, table.schema, j, wish, generate=generate)
            continue
        found = atoms_of(looked_at) if levels and option is None and _is_table(table) else np.empty(0)
        if generate or len(found):
            atoms[j] = np.append(found, np.nan) if generate else found
        others = observed[~np.isin(observed, found)] if len(found) else observed
        plans[j] = _plan(table, j, others, option)
    places = list(plans)
    numbers = np.ascontiguousarray(x[:, places])  # a copy; the bits of sums depend on how the rows lie
    for at, j in enumerate(places):
        if j in atoms:
            numbers[np.isin(numbers[:, at], atoms[j]), at] = np.nan
    found_numbers = fitted_numbers(numbers, list(plans.values()), scale=scale, asinh=asinh, weights=weights)
    if scale:
        found_numbers = [
            within_bounds(number, numbers[:, at], _known_bounds(options.get(j)))
            for at, (j, number) in enumerate(zip(places, found_numbers, strict=True))
        ]
    if scale and asinh:
        found_numbers = _mapped(table, found_numbers, places, rows_looked_at(numbers, "maps"), options, atoms)
    for j, number in zip(places, found_numbers, strict=True):
        chosen[j] = _with_atoms(number, atoms[j], x[:, j], weights) if j in atoms else number
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
        label = table.schema.label(j)
        if least[j] == largest[j] or isinstance(column, (ConstantColumn, LevelsColumn, AtomsColumn)):
            continue
        places.append(j)
        if isinstance(column, IntegerColumn):
            bounds = column.least, column.largest
            plans.append(NumberPlan(label, column.grid, bounds, column.dequantisation))
        elif isinstance(column, (NumberColumn, HeavyTailedColumn, BoundedColumn, QuantileColumn)):
            plans.append(NumberPlan(label, None, (column.least, column.largest)))
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


def _has_levels(table: Table, j: int, x: FloatArray, some: FloatArray, option: Option | None, *, levels: bool) -> bool:
    """Return whether a column has levels. x, (n,), are its observed values, and `some` random ones of them."""
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
    return levels and _is_table(table) and has_few_values(some, x)


def _plan(table: Table, j: int, x: FloatArray, option: Option | None) -> NumberPlan:
    """Return the plan of a column of numbers, whose values are x, (n,), without gaps and atoms."""
    label, dtype = table.schema.label(j), table.schema.dtypes[j]
    grid = grid_of(x, dtype) if _is_table(table) or option == "integer" else None
    if option == "integer" and (grid is None or grid.per != 1.0):
        value = next((number for number in x if number != np.rint(number)), x[0])
        raise InvalidInput(f"{label} should hold integers, but has {value}: choose another kind.")
    bounds: Bounds = (None, None)
    if isinstance(option, Number) and option.bounds is not None:
        bounds = _checked(_known_bounds(option), x, label)
    elif grid is not None or _is_table(table):
        bounds = float(x.min()), float(x.max())
    return NumberPlan(label, grid, bounds if grid is None else _on_grid(bounds, grid))


def _known_bounds(option: Option | None) -> Bounds:
    """Return the bounds that a user states of a column."""
    return (None, None) if not isinstance(option, Number) or option.bounds is None else option.bounds


def _checked(bounds: Bounds, x: FloatArray, label: str) -> Bounds:
    low, high = bounds
    beyond = x[((x < low) if low is not None else False) | ((x > high) if high is not None else False)]
    if len(beyond):
        raise InvalidInput(
            f"Values of {label} should lie within its bounds, {low} and {high}, but there is {beyond[0]}: give wider "
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


def _with_atoms(number: Column, atoms: FloatArray, x: FloatArray, weights: FloatArray | None) -> AtomsColumn:
    is_atom = (x[:, None] == atoms) | (np.isnan(x)[:, None] & np.isnan(atoms))
    level = np.where(is_atom.any(axis=1), is_atom.argmax(axis=1), len(atoms))
    keep = ~np.isnan(x) | is_atom.any(axis=1)
    shares = frequencies_of(level[keep].astype(float), None if weights is None else weights[keep])[1]
    return AtomsColumn(number, tuple(atoms.tolist()), tuple(shares.tolist()))  # type: ignore[arg-type]  # of numbers
