"""The columns of a table or a model in words: kinds, levels, bounds and gaps."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from backwalk.formatting import NO_NAME, listed
from backwalk.table.codec import Codec
from backwalk.table.columns import Column
from backwalk.table.schema import CLOCK, Schema
from backwalk.table.values import from_values

_MOST_SHOWN = 30  # columns, one line each
_LEVELS_IN_FACTS = 6
_MOST_LISTED = 16  # levels that are numbers; of more the range is told


def facts_of_codec(schema: Schema, codec: Codec, gaps: Sequence[int] = ()) -> list[dict[str, Any]]:
    """Return the kind of each column and what new values may be, as JSON values.

    `gaps` are the numbers of missing values by column, if they are known.
    """
    found = list[dict[str, Any]]()
    for j, column in enumerate(codec.columns):
        facts: dict[str, Any] = {"name": schema.names[j], "dtype": schema.dtypes[j], "kind": kind_of(schema, j, column)}
        if j < len(gaps) and gaps[j]:
            facts["missing"] = int(gaps[j])
        if j in codec.missing_levels:
            facts["gaps"] = "generated"
        found.append({**facts, **_facts(schema, j, column), "encoded_as": column.description})
    return found


def lines_of(facts: Sequence[Mapping[str, Any]], set_aside: Mapping[str, str]) -> Iterator[str]:
    """Yield a line for each column, and for each that is set aside; of either 30, and then the number of the others."""
    shown = facts[:_MOST_SHOWN]
    name, kind = (max((len(each[key]) for each in shown), default=0) for key in ("name", "kind"))
    for each in shown:
        yield f"  {each['name']:<{name}}  {each['kind']:<{kind}}  {words_of(each)}"
    if len(facts) > len(shown):
        yield f"  and {len(facts) - len(shown):,} more columns"
    for own, reason in list(set_aside.items())[:_MOST_SHOWN]:
        yield f"  {own or NO_NAME} is set aside: it {reason}"
    if len(set_aside) > _MOST_SHOWN:
        yield f"  and {len(set_aside) - _MOST_SHOWN:,} more are set aside"


def words_of(facts: Mapping[str, Any]) -> str:
    """Return what the values of a column may be, in a few words.

    >>> from backwalk.table.column_facts import words_of
    >>> words_of({"kind": "rounded", "least": "0", "largest": "9", "step": "0.5", "missing": 3})
    '0 to 9 in steps of 0.5; 3 gaps'
    """
    words = ""
    if "levels" in facts:
        more = facts["n_levels"] - len(facts["levels"])
        words = ", ".join(facts["levels"]) + (f" and {more:,} more" if more else "")
        words += ", in this order" if facts.get("is_ordered") else ""
    if "value" in facts:
        words = facts["value"]
    if "least" in facts:
        words = f"{facts['least']} to {facts['largest']}" + (f" in steps of {facts['step']}" if "step" in facts else "")
    elif not words:
        words = "any number"
    if "often" in facts:
        words = f"{listed(facts['often'])}, otherwise {words}"
    if "missing" in facts:
        n = facts["missing"]
        words += f"; {n:,} gap{'s' * (n > 1)}" + (", which are generated" if facts.get("gaps") == "generated" else "")
    elif facts.get("gaps") == "generated":
        words += "; gaps are generated"
    return words


def kind_of(schema: Schema, j: int, column: Column) -> str:
    """Return the kind of a column as users know it."""
    return "clock" if schema.units[j] == CLOCK else column.kind_name


def _facts(schema: Schema, j: int, column: Column) -> dict[str, Any]:
    """Return what new values of a column may be."""
    facts = dict[str, Any]()
    is_number = column.has_ranks and schema.labels[j] is None and list(column.levels) == sorted(column.levels)
    if is_number and len(column.levels) > _MOST_LISTED:
        facts |= {"n_levels": len(column.levels), **_facts_of_places(schema, j, np.array(column.levels))}
    elif column.levels:
        shown = np.array(column.levels[:_LEVELS_IN_FACTS])
        facts |= {"n_levels": len(column.levels), "levels": _terms(schema, j, shown)}
        if column.has_ranks and schema.labels[j] is not None:
            facts["is_ordered"] = True
    elif not column.width:
        facts["value"] = _terms(schema, j, np.array(column.value_range[:1]))[0]
    else:
        facts |= _facts_of_number(schema, j, column)
    return facts


def _facts_of_places(schema: Schema, j: int, levels: NDArray[np.float64]) -> dict[str, Any]:
    """Return the range of levels that are numbers, and their step, if they have one other than 1."""
    least, largest = _terms(schema, j, levels[[0, -1]])
    steps = np.diff(levels)
    is_even = np.allclose(steps, steps[0], rtol=1e-6) and steps[0] != 1.0
    return {"least": least, "largest": largest, **({"step": f"{steps[0]:.6g}"} if is_even else {})}


def _facts_of_number(schema: Schema, j: int, column: Column) -> dict[str, Any]:
    facts = dict[str, Any]()
    often = {value: share for value, share in column.atom_shares.items() if not math.isnan(value)}
    if often:
        terms = _terms(schema, j, np.array(list(often)))
        facts["often"] = [f"{term} ({share:.0%})" for term, share in zip(terms, often.values(), strict=True)]
    ends = [None if end is None else _terms(schema, j, np.array([end]))[0] for end in (column.least, column.largest)]
    if ends != [None, None]:
        facts |= {"least": ends[0] or "any", "largest": ends[1] or "any"}
    if column.cell_width not in (0.0, 1.0) and schema.units[j] is None:
        facts["step"] = f"{column.cell_width:.6g}"
    return facts


def _terms(schema: Schema, j: int, values: NDArray[np.float64]) -> list[str]:
    """Return values of a column, (m,), as a text file has them."""
    own = schema.as_arrow().taken([j])
    cells = from_values(values[:, None], own).column(0).to_pylist()
    return [f"{cell:.6g}" if isinstance(cell, float) else str(cell) for cell in cells]
