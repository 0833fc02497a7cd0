"""Warnings before training: rows that no density describes well, and a chain that does not end in noise."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from backwalk.errors import DegenerateRowsWarning, PriorMismatchWarning, RepeatedValueWarning
from backwalk.fitting.plan import Plan
from backwalk.formatting import listed
from backwalk.model import mismatch_warning
from backwalk.table import Codec, Table

FEWEST_ROWS = 20  # with fewer, none are held out
_MOST_COUNTED = 10**6  # rows in the search for identical ones
_MOST_NAMED = 1000  # columns of a covariance whose eigenvectors are computed
_LEAST_PART = 0.1  # of a coordinate in the directions without spread, for its column to be named


def warnings_of(plan: Plan, codec: Codec, table: Table, z: NDArray[np.float64]) -> Iterator[tuple[type[Warning], str]]:
    """Yield the category and the text of each warning about a planned fit to the rows of a table, encoded as z."""
    level = float(plan.schedule.noise_level[1])
    mismatch = mismatch_warning(plan.prior_mismatch, plan.schedule)
    if mismatch:
        yield PriorMismatchWarning, mismatch
    repeated = codec.repeated_values(table.values, level)
    if repeated:
        columns = [f"{table.schema.label(j)} ({value:g} in {share:.0%})" for j, (value, share) in repeated.items()]
        yield (
            RepeatedValueWarning,
            f"one number in many rows: {listed(columns)}. A density cannot represent such a point mass: new rows will "
            "scatter around the number. Fit a separate model to the rows with other numbers; or, if the column holds "
            "small counts, give it as integers of a DataFrame or a file.",
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
        names = [table.schema.label(j) for j in dict.fromkeys(_column_of(codec, i) for i in flat)]
        which = f": {listed(names)}" if names else ""
        yield (
            DegenerateRowsWarning,
            f"columns that determine each other{which}. The rows do not vary in some direction, so that their density "
            "is infinite: drop a column that the others determine.",
        )
    distinct = distinct_rows(codec, table)
    if distinct is not None and 2 * distinct < n:
        yield (
            DegenerateRowsWarning,
            f"many identical rows: only {distinct:,} of {n:,} rows differ, and held-out rows are copies of training "
            "rows. Give each row once; or, if the columns hold integers, give them as a DataFrame or a file.",
        )


def flat_directions(covariance: Tensor, level: float) -> list[int] | None:
    """Return the coordinates that contribute to directions with less spread than the chain's least noise level.

    Returns None if there is no such direction, and an empty list for more than 1,000 coordinates.
    """
    k = len(covariance)
    if not int(torch.linalg.cholesky_ex(covariance - level**2 * torch.eye(k, dtype=covariance.dtype)).info):
        return None
    if k > _MOST_NAMED:
        return []
    variances, directions = torch.linalg.eigh(covariance)
    part = directions[:, variances <= level**2].square().sum(dim=1).sqrt()
    return [int(i) for i in (part > _LEAST_PART).nonzero().flatten()]


def distinct_rows(codec: Codec, table: Table) -> int | None:
    """Return the number of distinct rows, or None if all columns are dequantised integers, whose rows repeat anyway.

    For more than a million rows the number is extrapolated from the first million.
    """
    continuous = [j for j in codec.varying if codec.columns[j].n_uniforms == 0]
    if not continuous:
        return None
    rows = table.values[:_MOST_COUNTED]
    found = len(np.unique(rows[:, continuous[0]]))
    if 2 * found < len(rows):  # otherwise this column alone shows that most rows differ
        found = len(np.unique(rows, axis=0))
    return found * len(table.values) // len(rows)


def _column_of(codec: Codec, coordinate: int) -> int:
    return next(j for j, place in enumerate(codec.slices) if place.start <= coordinate < place.stop)
