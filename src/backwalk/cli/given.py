"""Columns and conditions as texts: `species=Gentoo`, `age=30..40`, `species=Adelie|Gentoo`, `species,year`."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from backwalk.errors import InvalidInput
from backwalk.table import Schema, label_words
from backwalk.table.schema import shown

Condition = str | tuple[str | None, str | None] | frozenset[str]
"""A value, a range whose open ends are None, or a set of values."""


def conditions_from(texts: Sequence[str], schema: Schema) -> dict[str, Condition]:
    """Return the conditions that texts NAME=CONDITION set on columns of a schema.

    A condition is a value, a range `low..high`, of which one end may be empty, or a set `a|b`. A text that is a label
    of the column is that label, whatever signs it holds. Raises InvalidInput for a column that the schema does not
    have, or that has two conditions.

    >>> from backwalk.cli.given import conditions_from
    >>> from backwalk.table import Schema
    >>> schema = Schema(("species", "age"), ("string", "int64"), "pyarrow", labels=(("A|B", "Gentoo"), None))
    >>> conditions_from(["species=A|B", "age=30.."], schema)
    {'species': 'A|B', 'age': ('30', None)}
    """
    conditions = dict[str, Condition]()
    for text in texts:
        name, value = _name_and_value(text, schema)
        if name in conditions:
            raise InvalidInput(f"A column should have one condition, but got two for {shown(name)}: choose one.")
        conditions[name] = _condition(value, schema.labels[schema.names.index(name)] or ())
    return conditions


def columns_from(texts: Sequence[str], schema: Schema) -> list[str]:
    """Return the columns that texts name, each one name or several with commas between.

    >>> from backwalk.cli.given import columns_from
    >>> from backwalk.table import Schema
    >>> columns_from(["a,b", "c,d"], Schema(("a", "b", "c,d"), ("float64",) * 3, "pyarrow"))
    ['a', 'b', 'c,d']
    """
    parts = [part for text in texts for part in ([text] if text in schema.names else text.split(","))]
    for part in parts:
        _check_column(part, schema)
    return parts


def _name_and_value(text: str, schema: Schema) -> tuple[str, str]:
    """Return the name and the value of NAME=VALUE; both may hold further equals signs."""
    names = [name for name in schema.names if text.startswith(f"{name}=")]
    if names:
        name = max(names, key=len)
        return name, text[len(name) + 1 :]
    _check_column(text.partition("=")[0], schema)
    raise InvalidInput(f"A condition should be NAME=VALUE, but got {shown(text)}: add the value.")


def _check_column(name: str, schema: Schema) -> None:
    if name in schema.set_aside:
        raise InvalidInput(
            f"The fit set column {shown(name)} aside: choose another, or fit again with --column {name}=levels."
        )
    if name not in schema.names:
        raise InvalidInput(
            f"The model has no column {shown(name)}: {label_words(name, schema.names)}. Choose one of its columns."
        )


def _condition(value: str, labels: Sequence[str]) -> Any:
    if value in labels:
        return value
    if "|" in value:
        return frozenset(value.split("|"))
    return range_from(value) or value


def range_from(text: str) -> tuple[str | None, str | None] | None:
    """Return the ends of `low..high`, an empty one as None; None where the text is no range."""
    low, dots, high = text.partition("..")
    return (low or None, high or None) if dots else None
