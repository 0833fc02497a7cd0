"""The encoding of a column of levels: its values, their frequencies and their codes."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np

from backwalk.errors import InvalidInput
from backwalk.formatting import listed
from backwalk.table.column_options import Levels
from backwalk.table.level_column import Coding, LevelsColumn
from backwalk.table.relation import Relation
from backwalk.table.schema import FloatArray, Schema, shown

_MOST_ONE_HOT = 64  # levels
_LEAST_GAP = 0.016  # standard deviations between levels coded by their values: the finest structure that a model shows


def choose_levels(whole: Relation, schema: Schema, j: int, option: Levels, *, generate: bool) -> LevelsColumn:
    """Return the levels of column j. With `generate`, a missing value is a level too."""
    labels = schema.labels[j]
    values, shares = whole.frequencies(j, missing=generate)
    is_number = labels is None and not schema.is_boolean(j)
    coding = _choose_coding(values, shares, is_number=is_number, is_ordered=schema.is_ordered(j))
    if option.order is not None:
        at = _places_in_order(values, option.order, labels, schema.label(j))
        values, shares, coding = values[at], shares[at], "rank"
    return LevelsColumn(tuple(values.tolist()), tuple(shares.tolist()), coding)


def _choose_coding(values: FloatArray, shares: FloatArray, *, is_number: bool, is_ordered: bool) -> Coding:
    if not (is_number or is_ordered) or len(values) == 2:
        return "one-hot" if len(values) <= _MOST_ONE_HOT else "random"
    if is_ordered or math.isnan(values[-1]):
        return "rank"
    unit = values / np.abs(values).max()
    spread = math.sqrt(np.square(unit - unit @ shares) @ shares)
    return "value" if np.diff(unit).min() > _LEAST_GAP * spread else "rank"


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
