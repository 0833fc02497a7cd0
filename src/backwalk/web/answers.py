"""The answers that need the library, each from one call.

An answer is JSON, a file, or arrays packed by `plane.py`. `body` are the JSON values of a request.
"""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from starlette.responses import JSONResponse, Response

from backwalk.estimator import Diffusion
from backwalk.web import code, export, fields, pictures, quality, requests, rows, shipped, tables
from backwalk.web.fits import Fit
from backwalk.web.models import ModelEntry
from backwalk.web.opened import given_model, shipped_data, shipped_model
from backwalk.web.plane import Packed
from backwalk.web.requests import check_body
from backwalk.web.security import Refusal
from backwalk.web.tables import DataEntry
from backwalk.web.workspaces import Workspace, Workspaces

_REPORT_POLICY = "sandbox allow-scripts allow-downloads; frame-ancestors 'none'"  # its own policy stands in the page
_MEDIA_TYPES = {"csv": "text/csv; charset=utf-8", "parquet": "application/vnd.apache.parquet"}
_OF_MODEL: Mapping[str, tuple[type[requests.Body], Callable[[ModelEntry, Any], dict[str, Any] | Packed]]] = {
    "chain": (requests.ChainRequest, pictures.compute_chain),
    "particle": (requests.ParticleRequest, pictures.compute_particle),
    "field": (requests.FieldRequest, fields.compute_field),
    "density": (requests.DensityRequest, fields.compute_density),
    "bound": (requests.BoundRequest, fields.compute_bound),
    "log-p": (requests.BoundRequest, fields.compute_log_p),
    "schedule": (requests.ScheduleRequest, fields.draw_schedule),
    "quality": (requests.QualityRequest, quality.compute_quality),
    "rows": (requests.RowsRequest, rows.draw_rows),
    "conditional": (requests.ConditionalRequest, rows.compute_conditional),
    "impute": (requests.ImputeRequest, rows.impute_row),
}


class Answers:
    """The answers of one server. `model` and `data` are what it was opened with, which all tabs share."""

    def __init__(
        self,
        workspaces: Workspaces,
        *,
        model: str | Diffusion | None = None,
        data: str | None = None,
        network: str | None = None,
    ) -> None:
        self._workspaces = workspaces
        moons = shipped_data()
        self._models = {name: shipped_model(name, moons) for name in shipped.MODELS}
        self._data = {moons.name: moons}
        if model is not None:
            self._models[shipped.GIVEN] = given_model(model, network)
        if data is not None:
            self._data[shipped.GIVEN] = tables.read(shipped.GIVEN, data)

    def make_data(self, tab: Workspace, body: Any) -> Response:
        """Draw a table."""
        return _keep_data(tab, tables.draw(tab.data.new_id(), check_body(requests.DataRequest, body)))

    def upload(self, tab: Workspace, content: bytes, file_name: str) -> Response:
        """Read an uploaded table."""
        return _keep_data(tab, tables.read_upload(tab.data.new_id(), file_name, content, tab.folder))

    def choose_columns(self, tab: Workspace, body: Any, data: str) -> Response:
        """Keep some columns of a table, and set the kinds of some."""
        request = check_body(requests.ColumnsRequest, body)
        return _keep_data(tab, tables.keep_columns(tab.data.new_id(), self._find_data(tab, data), request))

    def describe_data(self, tab: Workspace, data: str) -> Response:
        """Describe a table again."""
        return JSONResponse(self._find_data(tab, data).record())

    def begin_fit(self, tab: Workspace, body: Any) -> Response:
        """Start a fit."""
        request = check_body(requests.FitRequest, body)
        data = self._find_data(tab, request.data)
        name = self._workspaces.begin_fit(tab, lambda name: Fit(name, tab, data, request.settings, request.seed))
        return JSONResponse({"fit": name})

    def go_on(self, tab: Workspace, body: Any, fit: str) -> Response:
        """Train the network of an ended fit further."""
        request, before = check_body(requests.GoOnRequest, body), tab.fits.get(fit)
        name = self._workspaces.begin_fit(tab, lambda name: before.go_on(name, request.max_steps))
        return JSONResponse({"fit": name})

    def write_code(self, tab: Workspace, body: Any) -> Response:
        """Return Python and a command line that draw the same rows."""
        request = check_body(requests.CodeRequest, body)
        return JSONResponse(code.of_model(self._find_model(tab, request.model), request.draw))

    def describe_model(self, tab: Workspace, model: str) -> Response:
        """Describe a model."""
        return JSONResponse(self._find_model(tab, model).record())

    def report(self, tab: Workspace, model: str) -> Response:
        """Return the report of a model as a page."""
        content = rows.write_report(self._find_model(tab, model), tab.folder)
        return Response(content, media_type="text/html", headers={"content-security-policy": _REPORT_POLICY})

    def report_progress(self, tab: Workspace, model: str) -> Response:
        """Return how far the report of a model is."""
        share, stage = self._find_model(tab, model).report_progress
        return JSONResponse({"share": share, "stage": stage})

    def model_file(self, tab: Workspace, model: str) -> Response:
        """Return a model as one file."""
        with tempfile.TemporaryDirectory(dir=tab.folder) as folder:
            path = Path(folder, "model.safetensors")
            self._find_model(tab, model).estimator.save(path)
            return _download(path.read_bytes(), "application/octet-stream", path.name)

    def page_file(self, tab: Workspace, model: str) -> Response:
        """Return the page of a model as one file."""
        page = export.page_of(self._find_model(tab, model))
        return _download(page.encode(), "text/html; charset=utf-8", "backwalk.html")

    def of_model(self, tab: Workspace, body: Any, model: str, name: str) -> Response:
        """Answer a question about a model: one of `_OF_MODEL`."""
        if name not in _OF_MODEL:
            raise Refusal(404, f"Models have no {name[:40]!r}.")
        kind, compute = _OF_MODEL[name]
        answer = compute(self._find_model(tab, model), check_body(kind, body))
        if isinstance(answer, Packed):
            return Response(answer.to_bytes(), media_type="application/octet-stream")
        return JSONResponse(answer)

    def rows_file(self, tab: Workspace, body: Any, model: str, suffix: str) -> Response:
        """Return new rows as a file."""
        if suffix not in _MEDIA_TYPES:
            raise Refusal(400, f"The file should be rows.csv or rows.parquet, but got rows.{suffix[:20]}.")
        request = check_body(requests.RowsRequest, body)
        content = rows.write_file(self._find_model(tab, model), request, suffix, tab.folder)
        return _download(content, _MEDIA_TYPES[suffix], f"rows.{suffix}")

    def _find_model(self, tab: Workspace, name: str) -> ModelEntry:
        return self._models[name] if name in self._models else tab.models.get(name)

    def _find_data(self, tab: Workspace, name: str) -> DataEntry:
        return self._data[name] if name in self._data else tab.data.get(name)


def _keep_data(tab: Workspace, entry: DataEntry) -> Response:
    record = entry.record()  # raises for tables that cannot be fitted
    tab.keep_data(entry)
    return JSONResponse(record)


def _download(content: bytes, media_type: str, name: str) -> Response:
    return Response(content, media_type=media_type, headers={"content-disposition": f'attachment; filename="{name}"'})
