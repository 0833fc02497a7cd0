"""What the routes do once they have a workspace: each function makes one answer, with the library loaded.

An answer is JSON values, `Packed` arrays, or a `File`.
"""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from backwalk.web import code, pictures, planes, reports, rows, scores
from backwalk.web.jobs import Fit
from backwalk.web.models import ModelEntry
from backwalk.web.packing import Packed
from backwalk.web.refusals import Refusal
from backwalk.web.requests import (
    BoundRequest,
    ChainRequest,
    CodeRequest,
    ColumnsRequest,
    ConditionalRequest,
    DataRequest,
    DensityRequest,
    FieldRequest,
    FitRequest,
    GoOnRequest,
    ImputeRequest,
    ParticleRequest,
    Request,
    RowsRequest,
    SettingsRequest,
    checked,
)
from backwalk.web.sessions import Sessions, Workspace
from backwalk.web.tables import DataEntry, drawn, uploaded, with_columns

Answer = dict[str, Any] | Packed


@dataclass(frozen=True)
class File:
    """A file to download or to show."""

    content: bytes
    media_type: str
    name: str | None = None


OF_MODEL: Mapping[str, tuple[type[Request], Callable[[ModelEntry, Any], Answer]]] = {
    "chain": (ChainRequest, pictures.chain),
    "particle": (ParticleRequest, pictures.particle),
    "field": (FieldRequest, planes.field),
    "density": (DensityRequest, planes.density),
    "bound": (BoundRequest, scores.bound_terms),
    "rows": (RowsRequest, rows.rows),
    "conditional": (ConditionalRequest, rows.conditional),
    "impute": (ImputeRequest, rows.impute),
}
"""The routes POST /api/models/{model}/NAME."""


@dataclass
class Operations:
    """The operations of one server, and what it was opened with, which all workspaces share."""

    sessions: Sessions
    shared_models: Mapping[str, ModelEntry]
    shared_data: Mapping[str, DataEntry]

    def of_model(self, workspace: Workspace, model: str, name: str, body: Any) -> Answer:
        """Answer a question about a model."""
        kind, function = OF_MODEL[name]
        return function(self.model(workspace, model), checked(kind, body))

    def model(self, workspace: Workspace, name: str) -> ModelEntry:
        """Return a model of the workspace, or one that all share."""
        return self.shared_models[name] if name in self.shared_models else workspace.models.get(name)

    def data(self, workspace: Workspace, name: str) -> DataEntry:
        """Return a table of the workspace, or one that all share."""
        return self.shared_data[name] if name in self.shared_data else workspace.data.get(name)

    def make_data(self, workspace: Workspace, body: Any) -> Answer:
        """Draw a table."""
        return self._kept(workspace, drawn(workspace.data.new_id(), checked(DataRequest, body)))

    def upload(self, workspace: Workspace, file_name: str, content: bytes) -> Answer:
        """Read an uploaded table."""
        return self._kept(workspace, uploaded(workspace.data.new_id(), file_name, content, workspace.folder))

    def choose_columns(self, workspace: Workspace, data: str, body: Any) -> Answer:
        """Keep some columns of a table, and set the kinds of some."""
        entry = self.data(workspace, data)
        return self._kept(workspace, with_columns(workspace.data.new_id(), entry, checked(ColumnsRequest, body)))

    def describe_data(self, workspace: Workspace, data: str) -> Answer:
        """Describe a table again."""
        return self.data(workspace, data).record()

    def begin_fit(self, workspace: Workspace, body: Any) -> Answer:
        """Start a fit."""
        request = checked(FitRequest, body)
        return self._begun(workspace, self.data(workspace, request.data), request.settings, request.seed)

    def go_on(self, workspace: Workspace, name: str, body: Any) -> Answer:
        """Go on with a stopped fit from its checkpoint, or train an ended one's network further."""
        request, before = checked(GoOnRequest, body), workspace.fits.get(name)
        if before.is_running:
            raise Refusal(409, "The fit is still running: stop it first.")
        if before.fitted is None:
            raise Refusal(409, "The fit left no model to go on from: start another one.")
        settings = before.settings
        if request.max_steps is not None and not before.can_resume:
            settings = settings.model_copy(update={"max_steps": request.max_steps, "max_time": None})
        return self._begun(workspace, before.data, settings, before.seed, before)

    def describe_model(self, workspace: Workspace, model: str) -> Answer:
        """Describe a model."""
        return self.model(workspace, model).record()

    def rows_file(self, workspace: Workspace, model: str, suffix: str, body: Any) -> File:
        """Return new rows as a file."""
        if suffix not in ("csv", "parquet"):
            raise Refusal(400, f"format should be csv or parquet, but got {suffix[:20]!r}.", "format")
        entry = self.model(workspace, model)
        content = rows.rows_file(entry, checked(RowsRequest, body), suffix, workspace.folder)
        media_type = "text/csv; charset=utf-8" if suffix == "csv" else "application/vnd.apache.parquet"
        return File(content, media_type, f"rows.{suffix}")

    def model_file(self, workspace: Workspace, model: str) -> File:
        """Return a model as one file."""
        with tempfile.TemporaryDirectory(dir=workspace.folder) as folder:
            path = Path(folder, "model.safetensors")
            self.model(workspace, model).estimator.save(path)
            return File(path.read_bytes(), "application/octet-stream", "model.safetensors")

    def report(self, workspace: Workspace, model: str) -> File:
        """Return the report of a model as a page."""
        return File(reports.report(self.model(workspace, model), workspace.folder), "text/html; charset=utf-8")

    def code(self, workspace: Workspace, body: Any) -> Answer:
        """Return Python and a command line that draw the same rows."""
        request = checked(CodeRequest, body)
        if request.model is not None:
            return code.of_model(self.model(workspace, request.model), request.draw)
        if request.data is None:
            raise Refusal(400, "Either model or data should be given.", "model")
        return code.of_fit(self.data(workspace, request.data), request.settings, request.seed, request.draw)

    def _kept(self, workspace: Workspace, entry: DataEntry) -> Answer:
        record = entry.record()  # refuses tables that cannot be fitted
        self.sessions.keep_data(workspace, entry)
        return record

    def _begun(
        self, workspace: Workspace, data: DataEntry, settings: SettingsRequest, seed: int, before: Fit | None = None
    ) -> Answer:
        def keep(fit: Fit) -> ModelEntry:
            assert fit.fitted is not None
            entry = ModelEntry(
                workspace.models.new_id(),
                fit.fitted,
                fit.data,
                fit.settings,
                fit.seed,
                can_be_repeated=fit.can_be_repeated,
            )
            workspace.models.put(entry.name, entry)
            return entry

        name = workspace.fits.new_id()
        fit = Fit(name, data, settings, seed, workspace.folder, keep, before)
        self.sessions.begin(workspace, name, fit)
        return {"fit": name}
