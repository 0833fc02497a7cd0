"""All kinds of columns, and columns from their records."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import fields
from typing import Any

from backwalk.errors import InvalidInput
from backwalk.table.bounded_columns import BoundedColumn
from backwalk.table.columns import Column, ConstantColumn, HeavyTailedColumn, NumberColumn
from backwalk.table.level_columns import AtomsColumn, LevelsColumn
from backwalk.table.quantile_columns import QuantileColumn
from backwalk.table.rounded_columns import IntegerColumn

KINDS: dict[str, type[Column]] = {
    kind.kind: kind
    for kind in (
        ConstantColumn,
        NumberColumn,
        HeavyTailedColumn,
        BoundedColumn,
        QuantileColumn,
        IntegerColumn,
        LevelsColumn,
        AtomsColumn,
    )
}


def column_from_dict(record: Any) -> Column:
    """Return the column that `Column.to_dict` wrote. Raises InvalidInput for any other record."""
    kind = record.get("kind") if isinstance(record, Mapping) else None
    made = KINDS.get(kind) if isinstance(kind, str) else None
    names = {field.name for field in fields(made)} if made is not None else set()  # type: ignore[arg-type]
    if made is None or set(record) != {"kind", *names}:
        raise InvalidInput(f"A column should be one of {', '.join(KINDS)} with its own fields, but got another record.")
    return made(**{name: _value(name, record[name]) for name in names})


def _value(name: str, value: Any) -> Any:
    if name == "number":
        return column_from_dict(value)
    # JSON has no NaN: None stands for it.
    return tuple(math.nan if item is None else item for item in value) if isinstance(value, list) else value
