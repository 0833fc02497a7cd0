"""New rows, rows under conditions, one column given others, gaps filled, and the report."""

from __future__ import annotations

import tempfile
import threading
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from backwalk.formatting import as_json
from backwalk.model import column_numbers, gather_rows, read_given
from backwalk.streams import Stream
from backwalk.table import Table, as_table, from_values, match_columns, write_rows
from backwalk.web.models import ModelEntry, choose_sampler_for
from backwalk.web.requests import ConditionalRequest, ImputeRequest, RowsRequest
from backwalk.web.security import Refusal
from backwalk.web.tables import as_rows

_MOST_AS_JSON = 5000
_QUANTILES = (0.05, 0.25, 0.5, 0.75, 0.95)
_N_BINS = 40
_N_DRAWS = 400
_N_UNSEEN = 2000  # rows that are drawn for a report where the density is known
_ONE_REPORT = threading.Lock()  # matplotlib's settings are those of a process


def draw_rows(entry: ModelEntry, request: RowsRequest) -> dict[str, Any]:
    """Return new rows as JSON values by column, at most 5,000 of them."""
    if request.n > _MOST_AS_JSON:
        raise Refusal(400, f"n should be at most {_MOST_AS_JSON:,} here, but got {request.n:,}: download more.", "n")
    values = _draw_values(entry, request)
    table = from_values(values, entry.model.schema.as_arrow())
    return {
        "columns": list(table.column_names),
        "rows": [[_as_json(value) for value in row.values()] for row in table.to_pylist()],
    }


def write_file(entry: ModelEntry, request: RowsRequest, suffix: str, folder: Path) -> bytes:
    """Return new rows as the bytes of a table file, as `backwalk sample` writes it."""
    values = _draw_values(entry, request)
    with tempfile.TemporaryDirectory(dir=folder) as scratch:
        path = Path(scratch, f"rows.{suffix}")
        write_rows(path, iter([values]), entry.model.schema, n_rows=len(values))
        return path.read_bytes()


def compute_conditional(entry: ModelEntry, request: ConditionalRequest) -> dict[str, Any]:
    """Return the distribution of a column given values of others.

    In a column whose missing values are generated, that of a number is given that there is a value, and `missing` is
    the probability that there is none.
    """
    distribution = entry.estimator.conditional(
        _one_row(entry, request.given),
        request.column,
        given=list(request.given),
        n_draws=_N_DRAWS,
        random_state=request.seed,
    )
    if distribution.weights is not None:
        levels = from_values(distribution.points[:, None], distribution.schema.as_arrow()).column(0).to_pylist()
        return {"levels": [_as_json(level) for level in levels], "probabilities": distribution.weights[0].tolist()}
    draws = distribution.points[0][~np.isnan(distribution.points[0])]
    density, edges = np.histogram(draws, bins=_N_BINS, density=True) if len(draws) else (np.empty(0), np.empty(1))
    quantiles = distribution.quantile_values(np.array(_QUANTILES))[0].tolist()
    record = {
        "missing": distribution.missing[0],
        "mean": distribution.mean_value[0],
        "quantiles": dict(zip(map(str, _QUANTILES), quantiles, strict=True)),
        "density": np.stack([0.5 * (edges[:-1] + edges[1:]), density], axis=1),
    }
    return as_json(record)  # type: ignore[no-any-return]


def impute_row(entry: ModelEntry, request: ImputeRequest) -> dict[str, Any]:
    """Return draws of a row whose gaps are filled."""
    given = {name: value for name, value in request.row.items() if value is not None}
    schema, draws = entry.model.schema, []
    for filled in entry.estimator.impute(_one_row(entry, given), n_draws=request.n_draws, random_state=request.seed):
        values = match_columns(as_table(filled), schema).values
        row = from_values(values, schema.as_arrow()).to_pylist()[0]
        draws.append({name: _as_json(value) for name, value in row.items()})
    return {"draws": draws}


def write_report(entry: ModelEntry, folder: Path) -> bytes:
    """Return the report as one HTML page. It is made once for each model.

    It scores new draws where the density is known, and otherwise the rows of the fit, which the page says.
    `entry.report_progress` says meanwhile how far it is.
    """
    from backwalk import report
    from backwalk.assess import assess

    if entry.data is None:
        raise Refusal(409, "A report needs rows: the model was opened without its data. `backwalk report` takes them.")
    with _ONE_REPORT:
        if entry.report is None:
            training, density = entry.data.table, entry.density
            unseen = training
            if density is not None:
                unseen = as_rows(density, density.sample_rows(0, _N_UNSEEN, stream=Stream(entry.seed).child("unseen")))
            stream = Stream(entry.seed).child("report")
            fidelity = assess(
                entry.model,
                unseen,
                training=training,
                density=density,
                stream=stream.child("assess"),
                watch=lambda share, stage: setattr(entry, "report_progress", (share, stage)),
            )
            with tempfile.TemporaryDirectory(dir=folder) as scratch:
                path = Path(scratch, "report.html")
                report.write_report(path, fidelity, entry.model, stream=stream.child("pictures"))
                entry.report = path.read_bytes()
        return entry.report


def _name_columns(entry: ModelEntry, given: Mapping[str, Any]) -> Mapping[Any, Any]:
    """Return values by the names of their columns, or by their numbers where columns have no names."""
    if entry.model.schema.columns is not None:
        return given
    return {column_numbers(entry.model.schema, [name])[0]: value for name, value in given.items()}


def _draw_values(entry: ModelEntry, request: RowsRequest) -> NDArray[np.float64]:
    pieces = entry.estimator.sample_pieces(
        request.n,
        given=_name_columns(entry, request.given) or None,
        sampler=choose_sampler_for(entry.model, request),
        random_state=request.seed,
    )
    return gather_rows(pieces, request.n, entry.model.codec.n_columns)


def _one_row(entry: ModelEntry, given: Mapping[str, Any]) -> Table:
    """Return one row with given values, and missing values in all other columns."""
    if not given:
        return Table(np.full((1, entry.model.codec.n_columns), np.nan), entry.model.schema)
    return Table(read_given(entry.model, _name_columns(entry, given), 1).values, entry.model.schema)


def _as_json(value: Any) -> Any:
    return as_json(value) if value is None or isinstance(value, (bool, int, float, str)) else str(value)
