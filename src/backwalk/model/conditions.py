"""Conditions in the user's terms: values, ranges and sets of columns.

`given` is a mapping from columns to conditions, or a table with one row of values for each row to draw. In a mapping

- one value, or a list of one value per row, gives the column;
- a pair `(low, high)` gives a range with both ends, of which None is open;
- a set gives the values that are allowed.

Values are labels, truth values, dates, times or numbers, as in the fitted table, or texts as in the cells of a text
file. A missing value leaves the column free. In tables and lists, values that the fit did not see follow the
policy of `unseen.py`; one value, a set and a range ask for rows, and have to name levels that there are.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Set
from typing import Any

import numpy as np
from numpy.typing import NDArray

from backwalk.errors import InvalidInput
from backwalk.formatting import listed
from backwalk.limits import Unseen
from backwalk.model.diffusion_model import DiffusionModel
from backwalk.model.given import Allowed, Given
from backwalk.model.possible import refuse_fractions, refuse_not_made
from backwalk.model.terms import column_numbers, read_cells, read_given_table, user_terms
from backwalk.model.unseen import check_unseen, count_beyond, warn_of_unseen
from backwalk.table import Schema
from backwalk.table.codec_rules import rules_broken
from backwalk.table.schema import shown


def read_given(model: DiffusionModel, given: Any, n: int, unseen: Unseen = "nearest") -> Given:
    """Return the condition of n rows to draw, or of one for all: see the module's docstring.

    Raises InvalidInput for columns that the model does not have, for values that it cannot make if `unseen` is "error"
    or they are conditions of their own, for a range of labels without an order, for a set of numbers on a continuous
    scale, for a number of rows that is neither 1 nor n, and for columns that may not be given.
    """
    is_mapping = isinstance(given, Mapping)
    allowed: tuple[Allowed, ...] = ()
    if is_mapping:
        values, allowed = _read_mapping(model, given, unseen)
    elif isinstance(given, (str, bytes)):
        raise InvalidInput(
            f"given should be a mapping from columns to values, or a table, but got the text {shown(given)}: give "
            f"{{column: {shown(given)}}}."
        )
    else:
        values = read_given_table(model.schema, given, unseen=unseen)
    if len(values) not in (1, n):
        remedy = ", or give what a column may be as a set, {a, b}, or a range, (low, high)" if is_mapping else ""
        raise InvalidInput(
            f"given should have one row, or one for each of {n:,} rows to draw, but has {len(values):,}: draw as many "
            f"rows{remedy}."
        )
    return _as_given(model, values, unseen, allowed)


def read_allowed(model: DiffusionModel, columns: Mapping[Any, Any]) -> Allowed:
    """Return the range or the set of a column as `read_given` does, of a mapping with one. Raises InvalidInput."""
    _, allowed = _read_mapping(model, columns, "error")
    if len(columns) != 1 or len(allowed) != 1:
        raise InvalidInput(
            f"columns should be a list, or a mapping from one column to its range (low, high) or set, but got "
            f"{shown(dict(columns))}: ask for one column at a time."
        )
    return allowed[0]


def _as_given(
    model: DiffusionModel, values: NDArray[np.float64], unseen: Unseen, allowed: tuple[Allowed, ...] = ()
) -> Given:
    """Return the condition of rows of given values, (m, d). Raises InvalidInput as `read_given` does."""
    refuse_fractions(model.schema, values, "given")
    are_declared = model.codec.rules is not None and not model.codec.rules.are_found
    broken = rules_broken(model.codec, values, model.schema.names) if are_declared else {}
    for rule, is_broken in broken.items():
        at = "" if len(values) == 1 else f" in row {is_broken.argmax()} (rows count from 0)"
        raise InvalidInput(f"given should obey the rules of the model, but breaks {rule}{at}: give other values.")
    every = range(model.codec.n_columns)
    cells = check_unseen(model, values, given=every, unseen=unseen, name="given") + count_beyond(model, values)
    warn_of_unseen(cells, "given")
    return Given.to_draw(model, values, allowed=allowed)


def _read_mapping(
    model: DiffusionModel, given: Mapping[Any, Any], unseen: Unseen
) -> tuple[NDArray[np.float64], tuple[Allowed, ...]]:
    """Return the values of a mapping, (m, d), and the ranges and sets."""
    schema, values_of, allowed = model.schema, dict[int, NDArray[np.float64]](), list[Allowed]()
    for j, condition in zip(column_numbers(schema, list(given)), given.values(), strict=True):
        if isinstance(condition, tuple):
            allowed.append(_read_range(model, j, condition))
        elif isinstance(condition, Set):
            allowed.append(_read_set(model, j, condition))
        else:
            is_list = hasattr(condition, "__len__") and not isinstance(condition, (str, bytes))
            cells = list(condition) if is_list else [condition]
            values_of[j] = read_cells(schema, j, cells, "given", unseen if len(cells) > 1 else "error")
            if len(cells) == 1 and schema.labels[j] is not None:
                refuse_not_made(model, _in_column(model, j, values_of[j]))
    lengths = {len(values) for values in values_of.values()} - {1}
    if len(lengths) > 1 or 0 in lengths:
        raise InvalidInput(
            f"Lists in given should have equal lengths, but have {listed(map(str, sorted(lengths)))}: give one value "
            "for each row, or what a column may be as a set, {a, b}, or a range, (low, high)."
        )
    values = np.full((max(lengths, default=1), schema.n_columns), np.nan)
    for j, column in values_of.items():
        values[:, j] = column
    return values, tuple(allowed)


def _in_column(model: DiffusionModel, j: int, values: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return rows, (n, d), with values in one column, (n,), and NaN elsewhere."""
    rows = np.full((len(values), model.codec.n_columns), np.nan)
    rows[:, j] = values
    return rows


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
    levels = list(column.levels)
    if column.has_ranks and (schema.labels[j] is not None or levels != sorted(levels)):
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
    try:
        values = read_cells(schema, j, list(members), "given") if members else np.empty(0)
    except InvalidInput:  # again one by one, as an error should name no row of a set
        values = np.array([read_cells(schema, j, [member], "given")[0] for member in members])
    block = model.codec.block_of(j)
    # All values may be atoms.
    has_levels = block is not None and (block.number is None or bool(np.isin(values, block.values).all()))
    if not (has_levels or column.cell_width or not column.width):
        raise InvalidInput(
            f"A set should be of labels or of whole numbers, but {schema.label(j)} is on a continuous scale: give a "
            "range (low, high)."
        )
    rows = _in_column(model, j, values)
    refuse_fractions(schema, rows, "given")
    refuse_not_made(model, rows)
    return Allowed(j, levels=_not_empty(schema, j, members, values[~np.isnan(values)].tolist()))


def _not_empty(schema: Schema, j: int, given: Any, values: list[float]) -> tuple[float, ...]:
    if not values:
        raise InvalidInput(f"{schema.label(j)} should be allowed some values, but got {shown(given)}: give others.")
    return tuple(sorted(map(float, values)))
