"""Warnings before training: rows that no density describes well, and a chain that does not end in noise."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from backwalk.errors import DegenerateRowsWarning, DoubtfulCellsWarning, PriorMismatchWarning, RepeatedValueWarning
from backwalk.fit.defaults import FEWEST_ROWS
from backwalk.fit.plan import Plan
from backwalk.formatting import listed
from backwalk.model import mismatch_warning
from backwalk.table import Codec, Column, Table, find_doubts, repeated_values

_MOST_COUNTED = 10**6  # rows in the search for identical ones
_LEAST_PART = 0.1  # of a column in a direction without spread, for it to be named
_ROUNDING = 1e-6  # spread of scaled columns below which one is the others' sum but for rounding
_TELLING = 0.9  # of the distinct rows, which a column's distinct values have to reach to tell them apart


def find_warnings(plan: Plan, z: NDArray[Any]) -> Iterator[tuple[type[Warning], str]]:
    """Yield the category and the text of each warning about a planned fit to encoded rows z, (n, k)."""
    codec, table = plan.codec, plan.chosen.table
    level = float(plan.schedule.noise_level[1])
    mismatch = mismatch_warning(plan.prior_mismatch, plan.schedule)
    if mismatch:
        yield PriorMismatchWarning, mismatch
    for doubt in find_doubts(table):
        yield DoubtfulCellsWarning, doubt
    repeated = repeated_values(codec, table.values, level)
    if repeated:
        columns = [f"{table.schema.label(j)} ({value:g} in {share:.0%})" for j, (value, share) in repeated.items()]
        yield (
            RepeatedValueWarning,
            f"one number in many rows: {listed(columns)}. A density cannot represent such a point mass: new rows will "
            "scatter around the number. Give the rows as a table with names of columns, or a file, and leave out the "
            "column's kind: such a number then has a probability of its own.",
        )
    n, k = z.shape
    if n < FEWEST_ROWS or n <= k:
        yield (
            DegenerateRowsWarning,
            f"{n} rows of {k} columns that vary are too few to learn a density from: give at least {FEWEST_ROWS}, and "
            "more than there are columns.",
        )
        return
    flat = flat_directions(plan.covariance, level)
    if flat is not None:
        coordinates = range(k) if plan.patterns is None else codec.drawn_numbers.tolist()
        names = [_label(codec, table, j) for j in dict.fromkeys(codec.column_of(coordinates[i]) for i in flat)]
        which = f": {listed(names)}" if names else ""
        exact = _is_flat(plan.covariance, _ROUNDING)
        yield (
            DegenerateRowsWarning,
            f"columns that {'' if exact else 'almost '}determine each other{which}. In some direction the rows vary by "
            f"less than the chain's least noise ({level:.2g}), so that the model does not resolve it: "
            + (
                "drop a column that the others determine, or a rule that follows from others."
                if exact
                else "give a schedule with less noise at its first step."
            ),
        )
    distinct = distinct_rows(codec, table)
    if distinct is not None:
        yield (
            DegenerateRowsWarning,
            f"many identical rows: only {distinct:,} of {n:,} rows differ, and held-out rows are copies of training "
            "rows. Give each row once.",
        )


def _label(codec: Codec, table: Table, cell: int) -> str:
    """Return the name of a column, or the rule of the difference of an order, or of a copy."""
    if codec.rules is None or cell < codec.n_columns:
        return table.schema.label(cell)
    if cell >= codec.rules.first_copy:
        return f"the rule {codec.rules.stated(table.schema.names)[cell - codec.rules.n_cells]}"
    low, high = (table.schema.names[j] for j in codec.rules.orders[cell - codec.n_columns])
    return f"the difference of the rule {low} <= {high}"


def flat_directions(covariance: Tensor, level: float) -> list[int] | None:
    """Return the coordinates that contribute to directions with less spread than the chain's least noise level.

    Returns None if there is no such direction.
    """
    if not _is_flat(covariance, level):
        return None
    variances, directions = torch.linalg.eigh(covariance)
    part = directions[:, variances <= level**2].square().sum(dim=1).sqrt()
    return [int(i) for i in (part > _LEAST_PART).nonzero().flatten()]


def distinct_rows(codec: Codec, table: Table) -> int | None:
    """Return the number of distinct rows if most rows are copies of others, else None.

    Labels, levels on a grid and dequantised numbers repeat without being copies: rows that agree in one such column
    differ in the others. Among copies, each continuous column determines the row. So rows count as copies if two
    columns do; copies of rows with a single continuous column are not found. For more than a million rows, or ten
    million numbers, the number is extrapolated from the first of them.
    """
    rows = table.values[: min(_MOST_COUNTED, 10 * _MOST_COUNTED // table.values.shape[1])]
    values = list[int]()
    for j in codec.varying:
        if _is_continuous(codec.columns[j]):
            values.append(len(np.unique(rows[:, j])))
            if 2 * values[-1] >= len(rows):
                return None
    if len(values) < 2:
        return None
    n_distinct = len(np.unique(rows, axis=0))
    copied = 2 * n_distinct < len(rows) and sorted(values)[-2] >= _TELLING * n_distinct
    return n_distinct * len(table.values) // len(rows) if copied else None


def _is_continuous(column: Column) -> bool:
    """Return whether values of a column differ unless they are copies: numbers, or levels at uneven distances."""
    steps, number = np.diff(np.sort(column.levels)), column.number_column
    is_dequantised = number is not None and number.dequantisation is not None
    return not is_dequantised and not (len(steps) and np.allclose(steps, steps[0]))


def _is_flat(covariance: Tensor, level: float) -> bool:
    """Return whether the rows have less spread than `level` in some direction."""
    noise = level**2 * torch.eye(len(covariance), dtype=covariance.dtype)
    return bool(torch.linalg.cholesky_ex(covariance - noise).info)
