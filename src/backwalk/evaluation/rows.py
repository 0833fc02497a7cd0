"""Checks of the points that all statistics take: finite numbers, one point per row, the same columns in both sets.

This package works on NumPy float64 arrays of shape (n, d). Distances mix the columns, so the caller scales them first
(for example by the standard deviations of the training rows); the figures then have that unit.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from backwalk.errors import InvalidInput
from backwalk.streams import Stream

Rows = NDArray[np.float64]


def as_rows(
    x: ArrayLike, name: str = "x", *, d: int | None = None, at_least: int = 1, allow_gaps: bool = False
) -> Rows:
    """Return x as float64 rows (n, d), or raise InvalidInput that calls it `name`.

    Only with `allow_gaps` may cells be NaN, for missing.
    """
    rows = np.asarray(x)
    if rows.dtype.kind not in "fiub":
        raise InvalidInput(f"{name} should hold real numbers, but has dtype {rows.dtype}: encode its columns first.")
    rows = rows.astype(np.float64, copy=False)
    if rows.ndim != 2 or rows.shape[1] == 0:
        raise InvalidInput(
            f"{name} should have shape (n, d) with d >= 1, but has {rows.shape}: put one point in a row."
        )
    if d is not None and rows.shape[1] != d:
        raise InvalidInput(f"{name} should have {d} columns, but has {rows.shape[1]}: give points of the same space.")
    if len(rows) < at_least:
        raise InvalidInput(f"{name} should have at least {at_least} rows, but has {len(rows)}: give more points.")
    refused = np.isinf(rows) if allow_gaps else ~np.isfinite(rows)
    if refused.any():
        row, column = np.argwhere(refused)[0]
        raise InvalidInput(
            f"{name} should be finite, but holds {rows[row, column]} in row {row}, column {column}: drop that row."
        )
    return rows


def as_two_sets(x: ArrayLike, y: ArrayLike, *, at_least: int = 1, allow_gaps: bool = False) -> tuple[Rows, Rows]:
    """Return x (n, d) and y (m, d) as float64 rows of the same space."""
    x_rows = as_rows(x, "x", at_least=at_least, allow_gaps=allow_gaps)
    return x_rows, as_rows(y, "y", d=x_rows.shape[1], at_least=at_least, allow_gaps=allow_gaps)


def random_rows(rows: NDArray[Any], n: int, *, stream: Stream) -> NDArray[Any]:
    """Return n of the rows at random, without replacement: (n, d); all, in a random order, if there are no more."""
    return np.asarray(rows[stream.permutation(len(rows))[:n]])
