"""Facts of the columns of a table file, as JSON values, also of those that no model can be fitted to."""

from __future__ import annotations

from typing import Any

import numpy as np

from backwalk.table.files import faults_of, files_of
from backwalk.table.relation import Relation
from backwalk.table.selection import Selection
from backwalk.table.sources import open_source, relation_of
from backwalk.table.values import from_values
from backwalk.text_options import StrPath

_UNFIT = {"cannot_be_fitted": "it holds neither numbers, texts, dates nor times"}


def facts_of_columns(path: StrPath) -> tuple[int, list[dict[str, Any]]]:
    """Return a table file's number of rows, and facts of each column as plain JSON values.

    Nested and binary columns of a Parquet file are not read, and come last. Infinite numbers count as missing. Raises
    TableFileError.
    """
    with files_of(path) as files:
        source = open_source(files, Selection(), limited=True, skip_unfit=True)
    with faults_of(source.files[0].label):
        notes = dict(source.questions)
        rows = relation_of(source, Selection(), notes=notes)
        known = [
            {"name": name, "dtype": "null" if str(of_type) == "null" else rows.schema.dtypes[j], **_facts(rows, j)}
            | ({"but": notes[name]} if name in notes else {})
            for j, (name, of_type) in enumerate(zip(source.names, source.types, strict=True))
        ]
        others = [{"name": name, "dtype": dtype, **_UNFIT} for name, dtype in source.left_out.items()]
        return source.n_rows, [*known, *others]


def _facts(rows: Relation, j: int) -> dict[str, Any]:
    """Return the missing values of a column, and its levels, its first and last time, or the moments of its numbers."""
    column = rows.facts[j]
    facts: dict[str, Any] = {"missing": int(rows.n_missing[j])} if rows.n_missing[j] else {}
    if rows.schema.labels[j] is not None:
        if not column.n_observed:
            return {**facts, "levels": 0}
        assert column.values is not None
        most = int(column.counts.argmax())
        (label,) = _texts(rows, j, column.values[most])
        return {
            **facts,
            "levels": len(column.values),
            "most_frequent": label,
            "rows_of_most_frequent": int(column.counts[most]),
        }
    if not column.n_observed:
        return facts
    if rows.schema.units[j] is not None:
        first, last = _texts(rows, j, column.least, column.largest)
        return {**facts, "first": first, "last": last}
    scale = max(abs(column.least), abs(column.largest), 1e-300)  # squares of the largest numbers are infinite
    cell = f"({rows.cells[j]} / '{scale!r}'::DOUBLE)"
    ((mean, sd),) = rows.query(f"avg({cell}), stddev_pop({cell})")
    return {**facts, "mean": mean * scale, "sd": sd * scale, "least": column.least, "largest": column.largest}


def _texts(rows: Relation, j: int, *values: float) -> list[str]:
    """Return some values of a column of labels or times as texts."""
    column = from_values(np.array(values)[:, None], rows.schema.taken([j])).column(0)
    return list(map(str, column.to_pylist()))
