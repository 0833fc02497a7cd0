"""Columns and their parts as records: plain JSON values, exactly.

A dataclass becomes an object of its fields, with its class's name as `kind`. NaN, which is not JSON, becomes None in
tuples.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import fields, is_dataclass
from typing import Any

from backwalk.errors import InvalidInput
from backwalk.table.atoms_column import AtomsColumn
from backwalk.table.columns import Column, ConstantColumn
from backwalk.table.grids import Grid
from backwalk.table.level_column import LevelsColumn
from backwalk.table.maps import Asinh, Boundary, Spline
from backwalk.table.number_column import NumberColumn

_COLUMNS: dict[str, type] = {each.__name__: each for each in (ConstantColumn, NumberColumn, AtomsColumn, LevelsColumn)}
_KINDS = _COLUMNS | {each.__name__: each for each in (Asinh, Boundary, Spline, Grid)}


def to_record(value: Any) -> Any:
    """Return a column, or the value of a field, as JSON values."""
    if is_dataclass(value):
        return {
            "kind": type(value).__name__,
            **{field.name: to_record(getattr(value, field.name)) for field in fields(value)},
        }
    return [None if math.isnan(number) else number for number in value] if isinstance(value, tuple) else value


def column_from_record(record: Any) -> Column:
    """Return the column whose record is given. Raises InvalidInput for any other record."""
    column = _from_record(record)
    if not isinstance(column, Column):
        raise InvalidInput(f"A column should be one of {', '.join(_COLUMNS)}, but got another record.")
    return column


def _from_record(value: Any) -> Any:
    if isinstance(value, list):
        return tuple(math.nan if item is None else item for item in value)
    if not isinstance(value, Mapping):
        return value
    kind = value.get("kind")
    made = _KINDS.get(kind) if isinstance(kind, str) else None
    if made is None or set(value) != {"kind", *(field.name for field in fields(made))}:
        raise InvalidInput(
            f"A record in a codec should be one of {', '.join(_KINDS)} with its own fields, but got another."
        )
    return made(**{name: _from_record(item) for name, item in value.items() if name != "kind"})
