"""Tables: draws from a density, rows around points drawn by hand, files; and their columns in words."""

from __future__ import annotations

import tempfile
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa

from backwalk.datasets import DENSITIES, MIXED_DENSITIES, Density, MixedDensity, around_points
from backwalk.datasets.mixed import Category
from backwalk.errors import InvalidInput
from backwalk.estimator import Diffusion
from backwalk.fit import ChosenColumns, check_settings
from backwalk.fit import choose_columns as choose_columns_of_fit
from backwalk.formatting import as_json, listed
from backwalk.streams import Stream
from backwalk.table import SUFFIXES, Selection, Table, as_table, read_part
from backwalk.table.column_facts import facts_of_codec, words_of
from backwalk.web.requests import ColumnsRequest, DataRequest
from backwalk.web.security import Refusal

_MOST_IN_PICTURE = 2000


@dataclass(frozen=True, eq=False)
class Source:
    """Where rows come from, as code needs it: a density's name, points drawn by hand, or a file's name."""

    n: int
    seed: int = 0
    density: str | None = None
    points: tuple[tuple[float, float], ...] | None = None
    file: str | None = None
    dropped: tuple[str, ...] = ()


@dataclass(frozen=True, eq=False)
class DataEntry:
    """A table, the density that it was drawn from, if it is known, and the kinds of columns that were asked for."""

    name: str
    table: Table
    source: Source
    density: Density | None = None
    kinds: Mapping[str, str] = field(default_factory=dict)

    def record(self) -> dict[str, Any]:
        """Return what the page says about the table, as JSON values."""
        chosen = self.choose_columns()
        first, *others = chosen.codec.plottable[:2]
        rows = chosen.table.values[:_MOST_IN_PICTURE, [first, *(others or [first])]]
        return {
            "data": self.name,
            "n": len(self.table.values),
            "columns": [
                {"name": facts["name"], "kind": facts["kind"], "description": words_of(facts)}
                for facts in facts_of_codec(chosen.table.schema, chosen.codec, chosen.gaps)
            ],
            "set_aside": [{"name": name, "reason": f"it {reason}"} for name, reason in chosen.set_aside.items()],
            "picture": {"rows": as_json(rows[~np.isnan(rows).any(axis=1)])},
        }

    @property
    def title(self) -> str:
        """The table in a few words."""
        if self.source.points is not None:
            return f"{self.source.n:,} rows around {len(self.source.points)} drawn points"
        name = self.source.density or self.source.file or "a table"
        return f"{self.source.n:,} rows of {name.replace('_', ' ') if self.source.density else name}"

    def choose_columns(self) -> ChosenColumns:
        """Return the columns that a default fit takes."""
        settings = check_settings({**Diffusion().get_params(deep=False), "columns": dict(self.kinds) or None})
        return choose_columns_of_fit(self.table, settings)


def draw(name: str, request: DataRequest) -> DataEntry:
    """Return rows of a built-in density, or rows around points."""
    if (request.density is None) == (request.points is None):
        raise Refusal(400, "Either density or points should be given.", "density")
    densities = {**DENSITIES, **MIXED_DENSITIES}
    if request.points is not None:
        points = tuple(request.points)
        density: Density = around_points(np.array(points))
        source = Source(request.n, request.seed, points=points)
    elif request.density in densities:
        density = densities[request.density]()
        source = Source(request.n, request.seed, density=request.density)
    else:
        names = ", ".join(densities)
        raise Refusal(400, f"density should be one of {names}, but got {request.density!r}.", "density")
    rows = density.sample_rows(0, request.n, stream=Stream(request.seed))
    return DataEntry(name, as_table(as_rows(density, rows)), source, density)


def as_rows(density: Density, rows: np.ndarray) -> Any:
    """Return draws, (n, d), as they are given to a fit: an array, or a table of labels and numbers."""
    if not isinstance(density, MixedDensity):
        return rows
    columns = {
        column.name: pa.array(np.array(column.labels)[rows[:, j].astype(int)])
        if isinstance(column, Category)
        else pa.array(rows[:, j])
        for j, column in enumerate(density.columns)
    }
    return pa.table(columns)


def read(name: str, source: str) -> DataEntry:
    """Return the table in a file, or draws from a built-in density; a file of the same name hides the density."""
    if source in DENSITIES and not Path(source).is_file():
        return draw(name, DataRequest(density=source))
    table = read_part(source, Selection()).table
    return DataEntry(name, table, Source(len(table.values), file=source))


def read_upload(name: str, file_name: str, content: bytes, folder: Path) -> DataEntry:
    """Return the table in an uploaded file, which is checked as files of the command line are."""
    shown_name = file_name.replace("\\", "/").rsplit("/", 1)[-1][-120:]  # some browsers send a path
    suffix = next((each for each in SUFFIXES if file_name.lower().endswith(each)), None)
    if suffix is None:
        raise Refusal(400, f"A table file should end in {', '.join(SUFFIXES)}, but got {file_name[-80:]!r}.", "name")
    with tempfile.NamedTemporaryFile(dir=folder, suffix=suffix) as file:
        file.write(content)
        file.flush()
        try:
            table = read_part(file.name, Selection()).table
        except ValueError as error:
            raise InvalidInput(str(error).replace(file.name, shown_name)) from error
    return DataEntry(name, table, Source(len(table.values), file=shown_name))


def keep_columns(name: str, entry: DataEntry, request: ColumnsRequest) -> DataEntry:
    """Return a table with some of its columns, and with the kinds that are asked for."""
    names = entry.table.schema.names
    kept = list(names) if request.keep is None else request.keep
    strange = [each for each in (*kept, *request.kinds) if each not in names]
    if strange:
        raise Refusal(400, f"The table has no column {strange[0][:80]!r}: choose among {listed(names)}.", "keep")
    if entry.table.schema.columns is None and len(kept) < len(names):
        raise Refusal(400, "Columns of an array have no names by which some could be kept.", "keep")
    places = [j for j, each in enumerate(names) if each in set(kept)]
    table = Table(entry.table.values[:, places], entry.table.schema.taken(places))
    dropped = (*entry.source.dropped, *(each for each in names if each not in set(kept)))
    source = replace(entry.source, dropped=dropped)
    made = DataEntry(name, table, source, entry.density if not dropped else None, dict(request.kinds))
    made.choose_columns()  # refuses kinds that the columns cannot have
    return made
