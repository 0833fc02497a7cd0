"""What a server begins with: the shipped model, and the model or table that it was given."""

from __future__ import annotations

from pathlib import Path

from backwalk.estimator import Diffusion
from backwalk.table import Selection, read_part
from backwalk.tasks.data import is_built_in
from backwalk.tasks.models import load_model
from backwalk.web import start
from backwalk.web.models import ModelEntry
from backwalk.web.operations import Operations
from backwalk.web.requests import DataRequest, SettingsRequest
from backwalk.web.sessions import Sessions
from backwalk.web.tables import DataEntry, Source, drawn


def opened(sessions: Sessions, *, model: str | None, data: str | None) -> Operations:
    """Return the operations of a server that was given a model or a table, or neither."""
    moons = moons_data()
    models = {name: shipped(name, moons) for name in start.MODELS}
    tables = {moons.name: moons}
    if model is not None:
        models[start.GIVEN] = ModelEntry(start.GIVEN, load_model(Path(model)), title=Path(model).name, path=model)
    if data is not None:
        tables[start.GIVEN] = table_at(data)
    return Operations(sessions, models, tables)


def moons_data() -> DataEntry:
    """Return the rows that the shipped models were fitted to."""
    return drawn(start.NAME, DataRequest(density=start.DENSITY, n=start.N_ROWS, seed=start.SEED))


def shipped(name: str, data: DataEntry) -> ModelEntry:
    """Return a shipped model with its data."""
    own = start.MODELS[name]
    estimator = Diffusion.load(start.FOLDER / own.file, device="cpu")
    return ModelEntry(name, estimator, data, SettingsRequest(**own.settings), start.SEED, own.title)


def table_at(path: str) -> DataEntry:
    """Return the table in a file, or draws from a built-in density."""
    if is_built_in(path):
        return drawn(start.GIVEN, DataRequest(density=path))
    table = read_part(path, Selection()).table
    return DataEntry(start.GIVEN, table, Source(len(table.values), file=path))
