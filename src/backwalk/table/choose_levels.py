"""The encoding of a column of levels: its values, their frequencies and their codes."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np

from backwalk.errors import InvalidInput
from backwalk.formatting import listed
from backwalk.table.basis import smoothed_frequencies
from backwalk.table.column_options import Levels
from backwalk.table.grids import Grid
from backwalk.table.level_column import Coding, LevelsColumn
from backwalk.table.relation import Relation
from backwalk.table.schema import FloatArray, Schema, shown

_MOST_ONE_HOT = 64  # levels


def choose_levels(
    whole: Relation,
    schema: Schema,
    j: int,
    option: Levels,
    *,
    generate: bool,
    grid: Grid | None = None,
    is_name: bool = False,
) -> LevelsColumn:
    """Return the levels of column j. With `generate`, a missing value is a level too.

    With a `grid` all of its places from the least value to the largest are levels, and shares are smoothed. Numbers
    that are names have no order.
    """
    labels = schema.labels[j]
    values, shares = whole.frequencies(j, missing=generate)
    is_ordered = schema.is_ordered(j) or (labels is None and not schema.is_boolean(j) and not is_name)
    coding: Coding = "one-hot" if len(values) <= _MOST_ONE_HOT else "random"
    if option.order is not None:
        at = _places_in_order(values, option.order, labels, schema.label(j))
        values, shares, coding = values[at], shares[at], "ordered"
    elif is_ordered and len(values) > 2:
        coding = "ordered"
        if grid is not None:
            values, shares = _on_grid(values, shares * whole.facts[j].n_observed, grid)
    return LevelsColumn(tuple(values.tolist()), tuple(shares.tolist()), coding, int(whole.facts[j].n_observed))


def _on_grid(values: FloatArray, rows: FloatArray, grid: Grid) -> tuple[FloatArray, FloatArray]:
    """Return all values of a grid between the least and the largest, and smoothed shares; a missing value stays."""
    is_missing = np.isnan(values)
    places = np.rint(grid.places(values[~is_missing])).astype(np.intp)
    of_places = np.zeros(places[-1] - places[0] + 1)
    of_places[places - places[0]] = rows[~is_missing]
    every = grid.values(np.arange(places[0], places[-1] + 1.0))
    every[places - places[0]] = values[~is_missing]  # as they are, in float32 too
    shares = smoothed_frequencies(of_places) * (1.0 - rows[is_missing].sum() / rows.sum())
    return np.append(every, values[is_missing]), np.append(shares, rows[is_missing] / rows.sum())


def _places_in_order(
    values: FloatArray, order: Sequence[object], labels: tuple[str, ...] | None, label: str
) -> np.ndarray:
    """Return the numbers of the values, (L,), in the order that a user gives; a missing value is last."""
    names = list[object](values.tolist() if labels is None else [labels[int(v)] for v in values[~np.isnan(values)]])
    if math.isnan(values[-1]):
        names = [*names[: len(values) - 1], math.nan]
    places = {level: i for i, level in enumerate(order)}
    unknown = [level for level in names if level == level and level not in places]
    if unknown:
        raise InvalidInput(
            f"order of Levels should have every level of {label}, but lacks {listed(map(shown, unknown))}: add "
            f"{'it' if len(unknown) == 1 else 'them'}."
        )
    return np.argsort([places.get(level, len(order)) for level in names])
