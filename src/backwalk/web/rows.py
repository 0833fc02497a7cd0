"""New rows, rows under conditions, one column given others, gaps filled, and the report."""

from __future__ import annotations

import tempfile
import threading
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa

from backwalk.formatting import as_json
from backwalk.model import column_numbers, gather_rows
from backwalk.streams import Stream
from backwalk.table import Table, from_values, write_rows
from backwalk.web.models import ModelEntry, sampler_for
from backwalk.web.requests import ConditionalRequest, ImputeRequest, Refusal, RowsRequest
from backwalk.web.tables import as_rows

_MOST_AS_JSON = 5000
_QUANTILES = (0.05, 0.25, 0.5, 0.75, 0.95)
_BINS = 40
_DRAWS = 400
_N_UNSEEN = 2000  # rows that are drawn for a report where the density is known
_ONE_REPORT = threading.Lock()  # matplotlib's settings are those of a process


def rows(entry: ModelEntry, request: RowsRequest) -> dict[str, Any]:
    """Return new rows as JSON values by column, at most 5,000 of them."""
    if request.n > _MOST_AS_JSON:
        raise Refusal(400, f"n should be at most {_MOST_AS_JSON:,} here, but got {request.n:,}: download more.", "n")
    values = _values(entry, request)
    table = from_values(values, entry.model.schema.as_arrow())
    return {
        "columns": list(table.column_names),
        "rows": [[_cell(value) for value in row.values()] for row in table.to_pylist()],
        "set_aside": list(entry.model.schema.set_aside),
    }


def rows_file(entry: ModelEntry, request: RowsRequest, suffix: str, folder: Path) -> bytes:
    """Return new rows as the bytes of a table file, as `backwalk sample` writes it."""
    values = _values(entry, request)
    with tempfile.TemporaryDirectory(dir=folder) as own:
        path = Path(own, f"rows.{suffix}")
        write_rows(path, iter([values]), entry.model.schema, n_rows=len(values))
        return path.read_bytes()


def conditional(entry: ModelEntry, request: ConditionalRequest) -> dict[str, Any]:
    """Return the distribution of a column given values of others.

    In a column whose missing values are generated, that of a number is given that there is a value, and `missing` is
    the probability that there is none.
    """
    row = _one_row(entry, {**request.given})
    found = entry.estimator.conditional(
        row, request.column, given=list(request.given), n_draws=_DRAWS, random_state=request.seed
    )
    name = request.column
    if found.weights is not None:
        levels = from_values(found.points[:, None], found.schema.as_arrow()).column(0).to_pylist()
        return {
            "column": name,
            "levels": [_cell(level) for level in levels],
            "probabilities": found.weights[0].tolist(),
        }
    draws = found.points[0][~np.isnan(found.points[0])]
    density, edges = np.histogram(draws, bins=_BINS, density=True) if len(draws) else (np.empty(0), np.empty(1))
    middles = 0.5 * (edges[:-1] + edges[1:])
    record = {
        "column": name,
        "missing": found.missing[0],
        "mean": found.mean_value[0],
        "quantiles": dict(
            zip(map(str, _QUANTILES), found.quantile_values(np.array(_QUANTILES))[0].tolist(), strict=True)
        ),
        "density": np.stack([middles, density], axis=1),
        "n_draws": _DRAWS,
    }
    return as_json(record)  # type: ignore[no-any-return]


def impute(entry: ModelEntry, request: ImputeRequest) -> dict[str, Any]:
    """Return draws of a row whose gaps are filled."""
    given = {name: value for name, value in request.row.items() if value is not None}
    row = _one_row(entry, given)
    tables = entry.estimator.impute(row, n_draws=request.n_draws, random_state=request.seed)
    schema = entry.model.schema
    draws = []
    for table in tables:
        own = table if isinstance(table, pa.Table) else _as_arrow(entry, table)
        draws.append({name: _cell(value) for name, value in own.to_pylist()[0].items()})
    return {"columns": list(schema.names), "draws": draws, "filled": [n for n in schema.names if n not in given]}


def report(entry: ModelEntry, folder: Path) -> bytes:
    """Return the report as one HTML page. It is made once for each model.

    It scores new draws where the density is known, and otherwise the rows of the fit, which the page says.
    """
    if entry.data is None:
        raise Refusal(409, "A report needs rows: the model was opened without its data. `backwalk report` takes them.")
    with _ONE_REPORT:
        if entry.report is None:
            training, density = entry.data.table, entry.density
            unseen = training
            if density is not None:
                unseen = as_rows(density, density.sample_rows(0, _N_UNSEEN, stream=Stream(entry.seed).child("unseen")))
            with tempfile.TemporaryDirectory(dir=folder) as own:
                path = Path(own, "report.html")
                entry.estimator.report(path, unseen, training=training, density=density, random_state=entry.seed)
                entry.report = path.read_bytes()
        return entry.report


def given_of(given: Mapping[str, Any]) -> dict[str, Any] | None:
    """Return conditions as `sample` takes them: a value, {"range": [low, high]} or {"any_of": [values]}."""
    found = dict[str, Any]()
    for name, condition in given.items():
        parts = (
            [part for own in condition.values() if isinstance(own, list) for part in own]
            if isinstance(condition, Mapping)
            else []
        )
        if any(isinstance(part, (list, dict)) for part in parts):
            raise Refusal(400, "Values of a condition should be texts, numbers or truth values.", f"given.{name}")
        if not isinstance(condition, Mapping):
            if isinstance(condition, list):
                raise Refusal(400, "A condition should be a value, a range or any_of, but got a list.", f"given.{name}")
            found[name] = condition
        elif set(condition) == {"range"} and isinstance(condition["range"], list) and len(condition["range"]) == 2:
            found[name] = tuple(condition["range"])
        elif set(condition) == {"any_of"} and isinstance(condition["any_of"], list):
            found[name] = frozenset(condition["any_of"])
        else:
            raise Refusal(400, "A condition should be a value, a range or any_of.", f"given.{name}")
    return found or None


def _values(entry: ModelEntry, request: RowsRequest) -> Any:
    given = given_of(request.given)
    named = None if given is None else {_name(entry, name): value for name, value in given.items()}
    pieces = entry.estimator.sample_pieces(
        request.n, given=named, sampler=sampler_for(entry.model, request), random_state=request.seed
    )
    return gather_rows(pieces, request.n, entry.model.codec.n_columns)


def _name(entry: ModelEntry, name: str) -> str | int:
    """Return a column's name, or its number where columns have none."""
    return name if entry.model.schema.columns is not None else column_numbers(entry.model.schema, [name])[0]


def _one_row(entry: ModelEntry, given: Mapping[str, Any]) -> Table:
    """Return one row with given values, and missing values in all other columns."""
    from backwalk.model import read_given

    named = {_name(entry, name): value for name, value in given.items()}
    values = read_given(entry.model, named, 1).values if named else np.full((1, entry.model.codec.n_columns), np.nan)
    return Table(values, entry.model.schema)


def _as_arrow(entry: ModelEntry, table: Any) -> pa.Table:
    from backwalk.table import as_table, match_columns

    return from_values(match_columns(as_table(table), entry.model.schema).values, entry.model.schema.as_arrow())


def _cell(value: Any) -> Any:
    return as_json(value) if value is None or isinstance(value, (bool, int, float, str)) else str(value)
