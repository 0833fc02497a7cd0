"""Set aside columns that say nothing about other rows: identifiers, free text, and columns without values."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import replace

import numpy as np
import numpy.typing as npt

from backwalk import limits
from backwalk.errors import InvalidInput
from backwalk.formatting import listed
from backwalk.table.frame import Table
from backwalk.table.schema import FloatArray, shown
from backwalk.table.whole import RunningLabels, RunningNumbers, WholeTable

_FEWEST_ROWS = 50  # identifiers cannot be told from other columns by fewer
_DISTINCT = 0.9  # share of rows with different texts from which a column identifies rows
_FREE_TEXT, _FREE_DISTINCT = 40, 0.5  # characters on average, and share of different texts
_LONGEST_STEP = 10  # on average, of numbers that increase from row to row as identifiers do


def set_aside(
    table: Table, *, kept: Collection[str] = (), whole: WholeTable | None = None
) -> tuple[Table, dict[str, str]]:
    """Return a table without the columns that a model should not learn, and for each of these the reason.

    Such are columns without any value and, in more than 50 rows, columns of integers 0..n-1 or 1..n in any order, of
    integers that increase from row to row by 10 or less on average, of texts that differ in more than 0.9 of the rows,
    and of texts that differ in more than half of the rows and have 40 or more characters on average. The columns named
    by `kept` stay. The schema of the returned table has the others' names as `set_aside`. A table whose columns have no
    names is returned unchanged. Where the rows of `table` are some of a larger one, `whole` has the facts of all rows,
    which decide; columns with more texts than such a table keeps, or with one value in all rows of `table` alone, are
    set aside too. Raises InvalidInput if no column would be left.
    """
    if table.columns is None:
        return table, {}
    reasons = {
        name: reason
        for j, name in enumerate(table.columns)
        if name not in kept
        and (reason := _reason(table, j) if whole is None else _reason_of_pass(table, j, whole)) is not None
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


def _reason(table: Table, j: int) -> str | None:
    """Return why a column is set aside, or None if it stays."""
    observed = table.observed[:, j]
    values = table.values[observed, j]
    if not len(values):
        return "holds no value"
    if len(values) <= _FEWEST_ROWS:
        return None
    labels = table.schema.labels[j]
    if labels is not None:
        return _reason_of_texts(labels, np.bincount(values.astype(np.intp), minlength=len(labels)))
    return _reason_of_numbers(values) if _may_number_rows(table, j) else None


def _reason_of_pass(table: Table, j: int, whole: WholeTable) -> str | None:
    """Return why a column is set aside, from facts of all rows and the values of some."""
    column = whole.columns[j]
    n = column.n_observed
    values = table.values[table.observed[:, j], j]
    if not n:
        return "holds no value"
    is_alike = not len(values) or bool((values == values[0]).all())
    varies = isinstance(column, RunningNumbers) and column.least < column.largest
    if is_alike and varies and not whole.has_few_values(j, values):
        return f"has one value, or none, in all but a few of {whole.n_rows:,} rows"
    if n <= _FEWEST_ROWS:
        return None
    if isinstance(column, RunningLabels):
        if column.is_lost:
            return f"holds more than {limits.LEVELS_OF_A_PASS:,} different texts in {n:,} rows"
        return _reason_of_texts(table.schema.labels[j] or (), column.counts)
    if _may_number_rows(table, j):
        return _words_of_numbers(n, column.least, column.largest, values, increases=column.increases)
    return None


def _reason_of_texts(labels: Sequence[str], rows: npt.NDArray[np.int64]) -> str | None:
    n, n_distinct = int(rows.sum()), int((rows > 0).sum())
    if n_distinct > _DISTINCT * n:
        return f"holds {n_distinct:,} different texts in {n:,} rows, as identifiers do"
    if n_distinct > _FREE_DISTINCT * n:
        lengths = np.fromiter(map(len, labels), dtype=np.int64, count=len(labels))
        if rows @ lengths / n >= _FREE_TEXT:
            return f"holds {n_distinct:,} different long texts in {n:,} rows, as free text does"
    return None


def _may_number_rows(table: Table, j: int) -> bool:
    schema = table.schema
    return schema.is_integer(j) and not schema.is_boolean(j) and schema.units[j] is None


def _reason_of_numbers(values: FloatArray) -> str | None:
    increases = bool((np.diff(values) > 0).all())
    return _words_of_numbers(len(values), values.min(), values.max(), values, increases=increases)


def _words_of_numbers(n: int, first: float, last: float, values: FloatArray, *, increases: bool) -> str | None:
    """Return why n integers in first..last identify rows, of which `values`, (m,), are all or some."""
    if last - first == n - 1 and first in (0.0, 1.0) and len(np.unique(values)) == len(values):
        return f"numbers the rows from {first:.0f} to {last:.0f}"
    if increases and last - first <= _LONGEST_STEP * n:
        return f"increases from row to row, from {first:.0f} to {last:.0f}, as identifiers do"
    return None
