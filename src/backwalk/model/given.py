"""Conditions on rows in the user's terms: values, ranges and sets of columns, as numbers.

`given` is a mapping from columns to conditions, or a table with one row of values for each row to draw. In a mapping

- one value, or a list of one value per row, gives the column;
- a pair `(low, high)` gives a range with both ends, of which None is open;
- a set gives the values that are allowed.

Values are labels, truth values, dates, times or numbers, as in the fitted table, or texts as in the cells of a text
file. A missing value leaves the column free.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence, Set
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from backwalk.errors import InvalidInput
from backwalk.formatting import listed
from backwalk.model.diffusion_model import DiffusionModel
from backwalk.model.rows import EncodedRows, encode_given
from backwalk.table import (
    Column,
    Schema,
    Table,
    as_table,
    from_values,
    label_words,
    match_columns,
)
from backwalk.table.schema import shown


@dataclass(frozen=True)
class Allowed:
    """The values that a column may have: those within a range, or those of a set, which are `levels`."""

    column: int
    low: float = -math.inf
    high: float = math.inf
    levels: tuple[float, ...] | None = None

    def holds(self, rows: NDArray[np.float64]) -> NDArray[np.bool_]:
        """Return which rows, (n, d), meet the condition."""
        values = rows[:, self.column]
        if self.levels is not None:
            return np.asarray(np.isin(values, self.levels))
        return np.asarray((values >= self.low) & (values <= self.high))


@dataclass(frozen=True, eq=False)
class Given:
    """Conditions on rows: given `values`, (m, d), NaN where a column is free, and values that are `allowed`.

    m is 1 for the same conditions in all rows. `known`, (m, d), says which cells are given, by default all without NaN;
    a missing value among them is given as such, where the model generates missing values.
    """

    values: NDArray[np.float64]
    allowed: tuple[Allowed, ...] = ()
    known: NDArray[np.bool_] | None = None

    def encode(self, model: DiffusionModel) -> EncodedRows | None:
        """Encode the given values; None if there are none. Raises InvalidInput: see `encode_given`."""
        is_free = np.isnan(self.values).all() if self.known is None else not self.known.any()
        return None if is_free else encode_given(model, self.values, self.known)

    def holds(self, rows: NDArray[np.float64]) -> NDArray[np.bool_]:
        """Return which rows, (n, d), have allowed values."""
        return np.asarray(np.all([allowed.holds(rows) for allowed in self.allowed], axis=0))


def read_given(model: DiffusionModel, given: Any, n: int) -> Given:
    """Return the conditions on n rows to draw: see the module's docstring.

    Raises InvalidInput for columns that the model does not have, for values that it cannot make, for a range of labels
    without an order, for a set of numbers on a continuous scale, and for a number of rows that is neither 1 nor n.
    """
    is_mapping = isinstance(given, Mapping)
    conditions = _read_mapping(model, given) if is_mapping else Given(read_given_table(model.schema, given))
    if len(conditions.values) not in (1, n):
        raise InvalidInput(
            f"given should have one row, or one for each of {n:,} rows to draw, but has {len(conditions.values):,}: "
            "draw as many rows."
        )
    refuse_not_made(model, conditions.values)
    return conditions


def column_numbers(schema: Schema, names: Sequence[str | int]) -> list[int]:
    """Return the numbers of columns that are given by name or number. Raises InvalidInput for others."""
    columns, labels = list[int](), list(schema.names)
    for name in names:
        if isinstance(name, str) and name in labels:
            columns.append(labels.index(name))
        elif isinstance(name, (int, np.integer)) and not isinstance(name, bool) and 0 <= name < len(labels):
            columns.append(int(name))
        else:
            rule = f"Columns should be among {listed(map(shown, labels))}, or numbers from 0, but got {shown(name)}"
            if name in schema.set_aside:
                raise InvalidInput(f"{rule}, which the fit set aside: fit again and name it in columns= to keep it.")
            remedy = label_words(name, labels) if isinstance(name, str) else "choose one of these"
            raise InvalidInput(f"{rule}: {remedy}.")
    if len(set(columns)) < len(columns):
        raise InvalidInput(f"Columns should differ, but got {listed(map(shown, names))}: name each once.")
    return columns


def user_terms(schema: Schema, column: int, value: float) -> str:
    """Return a value of a column as a user writes it, and "missing" for NaN.

    >>> user_terms(Schema(("species",), ("string",), "pyarrow", labels=(("Adelie", "Gentoo"),)), 0, 1.0)
    "'Gentoo'"
    """
    if math.isnan(value):
        return "missing"
    labels = schema.labels[column]
    if labels is not None and 0 <= value < len(labels):
        return shown(labels[int(value)])
    if schema.is_boolean(column):
        return str(value >= 0.5)
    if schema.units[column] is not None:
        cells = from_values(np.array([[value]]), schema.as_arrow().taken([column])).column(0)
        return str(cells[0].as_py())
    return f"{value:.6g}"


def read_cells(schema: Schema, column: int, cells: Sequence[Any], name: str) -> NDArray[np.float64]:
    """Return the values, (n,), of cells of a column in the user's terms; NaN for those that are missing."""
    label = schema.names[column]
    texts = [cell for cell in cells if isinstance(cell, str)]
    if schema.labels[column] is None and texts and len(texts) == sum(cell is not None for cell in cells):
        table = _parse_texts(schema, column, cells, name)
    elif cells and all(isinstance(cell, (np.datetime64, np.timedelta64)) for cell in cells):
        table = as_table(np.array(cells)[:, None], name=name)
    else:
        array = np.empty((len(cells), 1), dtype=object)
        array[:, 0] = cells
        table = as_table(array, name=name)
    table = Table(table.values, replace(table.schema, columns=(label,)))
    return match_columns(table, replace(schema.taken([column]), columns=(label,)), name=name).values[:, 0]


def _parse_texts(schema: Schema, column: int, cells: Sequence[Any], name: str) -> Table:
    """Return texts as a table of one column of dates, times, truth values or numbers."""
    of_type = schema.types[column]
    of_type = of_type if schema.units[column] is not None or schema.is_boolean(column) else pa.float64()
    try:
        texts = pa.array(cells, pa.string())
        if pa.types.is_duration(of_type):  # whole numbers of its unit in text files
            texts = texts.cast(pa.int64())
        return as_table(pa.table({schema.names[column]: texts.cast(of_type)}), name=name)
    except (pa.ArrowInvalid, pa.ArrowNotImplementedError) as error:
        raise InvalidInput(
            f"{name} should hold values of {schema.label(column)}, which has dtype {shown(schema.dtypes[column])}, but "
            f"got {listed(map(shown, cells))}: write them as in the fitted table."
        ) from error


def read_given_table(schema: Schema, given: Any, name: str = "given") -> NDArray[np.float64]:
    """Return the rows of a table, (n, d), with NaN in columns that it lacks; without names it has all columns."""
    table = as_table(given, name=name)
    if table.columns is None:
        return match_columns(table, schema, name=name).values
    names = [name for name in table.columns if name not in schema.set_aside]
    places = column_numbers(schema, names)
    values = np.full((len(table.values), schema.n_columns), np.nan)
    if places:
        values[:, places] = match_columns(table, replace(schema.taken(places), columns=tuple(names)), name=name).values
    return values


def _read_mapping(model: DiffusionModel, given: Mapping[Any, Any]) -> Given:
    schema, known, allowed = model.schema, dict[int, NDArray[np.float64]](), list[Allowed]()
    for j, condition in zip(column_numbers(schema, list(given)), given.values(), strict=True):
        if isinstance(condition, tuple):
            allowed.append(_read_range(model, j, condition))
        elif isinstance(condition, Set):
            allowed.append(_read_set(model, j, condition))
        else:
            is_list = hasattr(condition, "__len__") and not isinstance(condition, (str, bytes))
            known[j] = read_cells(schema, j, list(condition) if is_list else [condition], "given")
    lengths = {len(values) for values in known.values()} - {1}
    if len(lengths) > 1 or 0 in lengths:
        raise InvalidInput(
            f"Lists in given should have equal lengths, but have {listed(map(str, sorted(lengths)))}: give one value "
            "for each row."
        )
    values = np.full((max(lengths, default=1), schema.n_columns), np.nan)
    for j, column in known.items():
        values[:, j] = column
    return Given(values, tuple(allowed))


def _read_range(model: DiffusionModel, j: int, ends: tuple[Any, ...]) -> Allowed:
    schema, column = model.schema, model.codec.columns[j]
    if len(ends) != 2:
        raise InvalidInput(
            f"A range of {schema.label(j)} should be a pair (low, high), but got {shown(ends)}: give values of several "
            "rows as a list."
        )
    low, high = (_read_end(schema, j, end, open_end) for end, open_end in zip(ends, (-math.inf, math.inf), strict=True))
    if schema.labels[j] is not None and not (schema.is_ordered(j) or column.has_ranks):
        raise InvalidInput(
            f"A range should be of numbers, dates or ordered categories, but {schema.label(j)} has labels without an "
            "order: give a set of labels."
        )
    if column.has_ranks:
        levels = list(column.levels)
        places = levels  # in an order of the user's own, the levels' ranks
        if levels != sorted(levels):
            places = list(map(float, range(len(levels))))
            low, high = (_rank(model, j, levels, end) for end in (low, high))
        inside = [level for level, place in zip(levels, places, strict=True) if low <= place <= high]
        return Allowed(j, levels=_not_empty(schema, j, ends, inside))
    if not low <= high:
        raise InvalidInput(
            f"A range of {schema.label(j)} should have low <= high, but got {shown(ends)}: exchange them."
        )
    least, largest = column.value_range
    if low > largest or high < least:
        raise InvalidInput(
            f"A range of {schema.label(j)} should meet its fitted values, {user_terms(schema, j, least)} to "
            f"{user_terms(schema, j, largest)}, but got {shown(ends)}: give another."
        )
    return Allowed(j, low, high)


def _rank(model: DiffusionModel, j: int, levels: list[float], end: float) -> float:
    """Return the rank of a level, and an open end as it is."""
    if math.isinf(end):
        return end
    if end not in levels:
        names = listed(user_terms(model.schema, j, level) for level in levels)
        raise InvalidInput(
            f"A range of {model.schema.label(j)} should have ends among its levels, {names}, but got "
            f"{user_terms(model.schema, j, end)}: choose one of these."
        )
    return float(levels.index(end))


def _read_end(schema: Schema, j: int, end: Any, open_end: float) -> float:
    if end is None or (isinstance(end, float) and math.isinf(end)):
        return open_end if end is None else float(end)
    return float(read_cells(schema, j, [end], "given")[0])


def _read_set(model: DiffusionModel, j: int, members: Set[Any]) -> Allowed:
    schema, column = model.schema, model.codec.columns[j]
    values = read_cells(schema, j, list(members), "given") if members else np.empty(0)
    blocks = [block for block in model.codec.blocks if block.column == j]
    has_levels = any(block.number is None or np.isin(values, block.values).all() for block in blocks)  # or all atoms
    if not (has_levels or column.cell_width or not column.width):
        raise InvalidInput(
            f"A set should be of labels or of whole numbers, but {schema.label(j)} is on a continuous scale: give a "
            "range (low, high)."
        )
    rows = np.full((len(values), schema.n_columns), np.nan)
    rows[:, j] = values
    refuse_not_made(model, rows)
    return Allowed(j, levels=_not_empty(schema, j, members, values[~np.isnan(values)].tolist()))


def _not_empty(schema: Schema, j: int, given: Any, values: list[float]) -> tuple[float, ...]:
    if not values:
        raise InvalidInput(f"{schema.label(j)} should be allowed some values, but got {shown(given)}: give others.")
    return tuple(sorted(map(float, values)))


def refuse_fractions(schema: Schema, values: NDArray[np.float64], name: str) -> None:
    """Raise InvalidInput for rows, (n, d), with other than whole numbers in a column whose dtype holds only these."""
    for j in filter(schema.is_integer, range(schema.n_columns)):
        x = values[~np.isnan(values[:, j]), j]
        broken = x[x != np.rint(x)]
        if len(broken):
            raise InvalidInput(
                f"{name} should hold whole numbers in {schema.label(j)}, as in the fit, but got {broken[0]:.6g}: round "
                "it."
            )


def refuse_not_made(model: DiffusionModel, values: NDArray[np.float64], name: str = "given") -> None:
    """Raise InvalidInput for given values, (m, d), that the model cannot make; a number may lie between two levels."""
    schema, codec = model.schema, model.codec
    refuse_fractions(schema, values, name)
    held = codec.supports(values, schema.dtypes)
    for j in np.flatnonzero(~held.all(axis=0)).tolist():
        column, value = codec.columns[j], float(values[held[:, j].argmin(), j])
        if column.takes_nearest_level:
            continue
        raise InvalidInput(
            f"{name} should hold values that the model can make, but got {user_terms(schema, j, value)} in "
            f"{schema.label(j)}: {_possible(schema, column, j, value)}."
        )


def _possible(schema: Schema, column: Column, j: int, value: float) -> str:
    labels = schema.labels[j]
    if labels is None or not column.levels:
        return f"it is {column.description}"
    known = [labels[int(level)] for level in column.levels]
    if not 0 <= value < len(labels):
        return f"labels have the numbers 0..{len(labels) - 1} in the order of the levels"
    return f"no fitted row has it; {label_words(labels[int(value)], known)}"
