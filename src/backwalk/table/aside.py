"""Set aside columns that say nothing about other rows: identifiers, free text, and columns without values."""

from __future__ import annotations

import re
from collections.abc import Collection, Sequence
from dataclasses import replace

import numpy as np

from backwalk import limits
from backwalk.errors import InvalidInput
from backwalk.formatting import listed
from backwalk.table.frame import Table
from backwalk.table.relation import ColumnFacts, Relation
from backwalk.table.schema import FloatArray, shown

_FEWEST_ROWS = 50  # identifiers cannot be told from other columns by fewer
_ROWS_PER_TEXT = 2.0  # on average; texts in fewer say nothing about new rows
_UNNAMED = re.compile(r"Unnamed: \d+")
_DATE = re.compile(
    r"\s*(\d{1,4}[./-]\d{1,2}[./-]\d{1,4}|[A-Za-z]{3,9}\.? \d{1,2},? \d{4}|\d{1,2}\.? [A-Za-z]{3,9}\.? \d{4})"
    r"([ T,].*)?"
)
_LONGEST_STEP = 10  # on average, of numbers that increase from row to row as identifiers do
_WORD = re.compile(r"[A-Z]?[a-z]+|[A-Z]+(?![a-z])")
_IDENTIFIER = frozenset(
    ["id", "ids", "identifier", "idx", "index", "key", "no", "nr", "number", "row", "rowid", "rownames", "uid"]
)


def is_unnamed(name: str) -> bool:
    """Return whether a column has no name, or one that pandas gives to its index or to a column without one."""
    return not name or name.startswith("__index_level_") or _UNNAMED.fullmatch(name) is not None


def is_identifier(name: str) -> bool:
    """Return whether a name says that a column identifies rows, as `id`, `PassengerId`, `row_number` or `idx` do.

    >>> from backwalk.table.aside import is_identifier
    >>> [is_identifier(name) for name in ("PassengerId", "row_number", "year", "x")]
    [True, True, False, False]
    """
    return not _IDENTIFIER.isdisjoint(word.lower() for word in _WORD.findall(name))


def numbers_rows(rows: Relation, j: int, values: FloatArray) -> bool:
    """Return whether a column holds the numbers 0..n-1 or 1..n, of which `values`, (m,), are all or some.

    Whole numbers that increase do too, as some rows of a table may have been left out.
    """
    if rows.schema.labels[j] is not None or not (values == np.rint(values)).all():
        return False
    return _is_whole_range(rows.facts[j], values) or (rows.facts[j].least >= 0.0 and rows.increases(j))


def _is_whole_range(column: ColumnFacts, values: FloatArray) -> bool:
    n, first, last = column.n_observed, column.least, column.largest
    return last - first == n - 1 and first in (0.0, 1.0) and len(np.unique(values)) == len(values)


def set_aside(
    table: Table, *, kept: Collection[str] = (), whole: Relation | None = None
) -> tuple[Table, dict[str, str]]:
    """Return a table without the columns that a model should not learn, and for each of these the reason.

    Such are columns without any value, columns without a name that number the rows and, in more than 50 rows, columns
    of texts that are in fewer than two rows each on average, and columns whose names say that they are identifiers and
    that hold the integers 0..n-1 or 1..n in any order, or integers that increase from row to row by 10 or less on
    average: by its values alone an identifier is like the year of an annual series. The columns named by `kept` stay.
    The schema of the returned table has the others' names as `set_aside`.
    A table whose columns have no names is returned unchanged. Where the rows of `table` are some of a larger one,
    `whole` are all of them, which decide; columns with more texts than such a table keeps, or with one value in all
    rows of `table` alone, are set aside too. Raises InvalidInput if no column would be left.
    """
    if table.columns is None:
        return table, {}
    rows = whole or Relation.of_rows(table.values, table.schema)
    reasons = {
        name: reason
        for j, name in enumerate(table.columns)
        if name not in kept and (reason := _reason(table, j, rows)) is not None
    }
    left = [j for j, name in enumerate(table.columns) if name not in reasons]
    if not reasons:
        return table, {}
    if not left:
        raise InvalidInput(
            f"At least one column should hold data, but {listed(map(shown, reasons))} {next(iter(reasons.values()))}: "
            "name the columns to keep by columns= (--column on the command line)."
        )
    schema = replace(table.schema.taken(left), set_aside=(*table.schema.set_aside, *reasons))
    return Table(table.values[:, left], schema), reasons


def _reason(table: Table, j: int, rows: Relation) -> str | None:
    """Return why a column is set aside, or None if it stays, from the facts of all rows and the values of some."""
    column, schema, values = rows.facts[j], table.schema, table.values[table.observed[:, j], j]
    n = column.n_observed
    if j in rows.lost:
        return f"holds more than {limits.LEVELS_OF_A_PASS:,} different texts"
    if not n:
        return "holds no value"
    if len(table.values) < rows.n_rows and schema.labels[j] is None and column.least < column.largest:
        is_alike = not len(values) or bool((values == values[0]).all())
        if is_alike and not rows.has_few_values(j):
            return f"has one value, or none, in all but a few of {rows.n_rows:,} rows"
    if is_unnamed(schema.names[j]) and numbers_rows(rows, j, values):
        return "has no name and numbers the rows"
    if n <= _FEWEST_ROWS:
        return None
    if schema.labels[j] is not None:
        return _reason_of_texts(schema.labels[j] or (), n, 0 if column.values is None else len(column.values))
    is_integer = schema.is_integer(j) and not schema.is_boolean(j) and schema.units[j] is None
    return _reason_of_integers(rows, j, values) if is_integer and is_identifier(schema.names[j]) else None


def _reason_of_texts(labels: Sequence[str], n: int, n_distinct: int) -> str | None:
    if n >= _ROWS_PER_TEXT * n_distinct:
        return None
    if all(map(_DATE.fullmatch, labels)):
        return (
            f"holds dates as texts, such as {shown(labels[0])} (give their format, such as --dates '%d.%m.%y', or "
            "convert them by pandas.to_datetime)"
        )
    return f"holds {n_distinct:,} different texts in {n:,} rows, as identifiers and free text do"


def _reason_of_integers(rows: Relation, j: int, values: FloatArray) -> str | None:
    """Return why a column of integers identifies rows, of which `values`, (m,), are all or some."""
    column = rows.facts[j]
    n, first, last = column.n_observed, column.least, column.largest
    if _is_whole_range(column, values):
        return f"numbers the rows from {first:.0f} to {last:.0f}"
    if last - first <= _LONGEST_STEP * n and rows.increases(j):
        return f"increases from row to row, from {first:.0f} to {last:.0f}, as identifiers do"
    return None
