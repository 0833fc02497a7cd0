"""Columns and values in the user's terms: names, labels, truth values, dates and numbers as in the fitted table.

Texts are read as the cells of a text file. Missing values are NaN.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from backwalk.errors import InvalidInput
from backwalk.formatting import listed
from backwalk.limits import Unseen
from backwalk.table import Schema, Table, as_table, from_values, label_words, match_columns
from backwalk.table.schema import CLOCK, shown


def column_numbers(schema: Schema, names: Sequence[str | int]) -> list[int]:
    """Return the numbers of columns that are given by name or number. Raises InvalidInput for others."""
    columns, labels = list[int](), list(schema.names)
    if isinstance(names, str) or not isinstance(names, Iterable):
        raise InvalidInput(f"Columns should be a list, but got {shown(names)}: give [{shown(names)}].")
    for name in names:
        if (isinstance(name, str) and name in labels) or str(name) in schema.integer_names:
            columns.append(labels.index(str(name)))
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


def user_terms(schema: Schema, column: int, value: float, digits: int = 12) -> str:
    """Return a value of a column as a user writes it, numbers with so many digits, and "missing" for NaN.

    >>> from backwalk.model.terms import user_terms
    >>> from backwalk.table import Schema
    >>> user_terms(Schema(("species",), ("string",), "pyarrow", labels=(("Adelie", "Gentoo"),)), 0, 1.0)
    "'Gentoo'"
    """
    if math.isnan(value):
        return "missing"
    labels = schema.labels[column]
    if labels is not None:
        return shown(labels[int(value)]) if 0 <= value < len(labels) else "a label that the fit did not see"
    if schema.is_boolean(column):
        return str(value >= 0.5)
    if schema.units[column] is not None:
        cells = from_values(np.array([[value]]), schema.as_arrow().taken([column])).column(0)
        return str(cells[0].as_py())
    return f"{value:.{digits}g}"


def read_cells(
    schema: Schema, column: int, cells: Sequence[Any], name: str, unseen: Unseen = "error"
) -> NDArray[np.float64]:
    """Return the values, (n,), of cells of a column in the user's terms; NaN for those that are missing.

    `unseen` is that of `match_columns`, also in `read_given_table`.
    """
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
    one = replace(schema.taken([column]), columns=(label,))
    return match_columns(table, one, name=name, unseen=unseen).values[:, 0]


def _parse_texts(schema: Schema, column: int, cells: Sequence[Any], name: str) -> Table:
    """Return texts as a table of one column of dates, times, truth values or numbers."""
    of_type = schema.types[column]
    is_number = schema.units[column] in (None, CLOCK) and not schema.is_boolean(column)
    of_type = pa.float64() if is_number else of_type
    try:
        texts = pa.array(cells, pa.string())
        if pa.types.is_duration(of_type):  # whole numbers of its unit in text files
            texts = texts.cast(pa.int64())
        return as_table(pa.table({schema.names[column]: texts.cast(of_type)}), name=name)
    except (pa.ArrowInvalid, pa.ArrowNotImplementedError) as error:
        raise InvalidInput(
            f"{name} should hold values of {schema.label(column)}, which has dtype {shown(schema.dtypes[column])}, but "
            f"got {listed(map(shown, cells))}: write them like {_example_of(of_type, schema.units[column])}."
        ) from error


def _example_of(of_type: pa.DataType, unit: str | None) -> str:
    """Return how a value of a type is written, however the fitted file wrote it."""
    if pa.types.is_duration(of_type):
        return f"60, a number of {of_type.unit}"
    if pa.types.is_boolean(of_type):
        return "true or false"
    if pa.types.is_time(of_type):
        return "08:30:00"
    if unit == CLOCK:
        return "830"
    if unit is not None:
        return "2021-12-31" if unit == "D" else "2021-12-31 08:30:00"
    return "1234.5"


def read_given_table(schema: Schema, given: Any, name: str = "given", unseen: Unseen = "error") -> NDArray[np.float64]:
    """Return the rows of a table, (n, d), with NaN in columns that it lacks; without names it has all columns."""
    table = as_table(given, name=name)
    if table.columns is None:
        return match_columns(table, schema, name=name, unseen=unseen).values
    names = [name for name in table.columns if name not in schema.set_aside]
    places = column_numbers(schema, names)
    values = np.full((len(table.values), schema.n_columns), np.nan)
    if places:
        some = replace(schema.taken(places), columns=tuple(names))
        values[:, places] = match_columns(table, some, name=name, unseen=unseen).values
    return values
