"""The page of one model as a single file that needs no server: the client's modules, and the answers that it asks for.

An import map gives each module as a `data:` URL. A Content Security Policy allows scripts from `data:` URLs and the
page's own inline scripts and style, by their hashes; nothing comes from elsewhere.
"""

from __future__ import annotations

import base64
import hashlib
import html
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Literal

import numpy as np

from backwalk.errors import InvalidInput
from backwalk.files import atomic_write
from backwalk.formatting import as_json
from backwalk.web import code, fields, pictures, shipped
from backwalk.web.models import ModelEntry
from backwalk.web.opened import given_model, shipped_data, shipped_model
from backwalk.web.plane import Packed
from backwalk.web.requests import (
    BoundRequest,
    ChainRequest,
    DensityRequest,
    DrawRequest,
    FieldRequest,
    ParticleRequest,
    ScheduleRequest,
)
from backwalk.web.shipped import STATIC

N_POINTS, N_PARTICLES, N_LEVELS = 1500, 12, 8
_PAPER: Mapping[str, Any] = {"sampler": "ancestral", "n_evaluations": 50}  # whose step the tour explains
_FIELDS: tuple[Literal["score", "x_0_hat"], ...] = ("score", "x_0_hat")
_STYLE = '<link rel="stylesheet" href="static/style.css">'
_SCRIPT = '<script type="module" src="static/main.js"></script>'
_TITLE = "<title>backwalk: watch noise become data</title>"


def write_page(
    path: str | Path, *, model: str | None = None, network: str | None = None, overwrite: bool = False
) -> None:
    """Write the page of a model, by default the shipped one, to an .html file.

    Raises InvalidInput for a name that does not end in .html, and for a model that has no chain.
    """
    if Path(path).suffix.lower() not in (".html", ".htm"):
        raise InvalidInput(f"The page's name should end in .html, but got {str(path)!r}.")
    if Path(path).exists() and not overwrite:
        raise InvalidInput(f"{path} exists already: name another file, or overwrite it with --force.")
    page = page_of(shipped_model(shipped.START, shipped_data()) if model is None else given_model(model, network))
    try:
        with atomic_write(path, overwrite=overwrite) as file:
            file.write(page.encode())
    except OSError as error:
        raise InvalidInput(f"{path} cannot be written: {error.strerror}.") from error


def page_of(entry: ModelEntry) -> str:
    """Return the page of a model."""
    page, style = ((STATIC / name).read_text(encoding="utf-8") for name in ("index.html", "style.css"))
    # A relative name has no meaning in a module that comes from a data: URL, so the import map has names without "./".
    modules = {
        file.name: file.read_text(encoding="utf-8").replace('from "./', 'from "') for file in STATIC.glob("*.js")
    }
    import_map = json.dumps({"imports": {name: _data_url(text) for name, text in sorted(modules.items())}})
    start = 'import "main.js";'
    answers = json.dumps(as_json(answers_of(entry)), allow_nan=False).replace("<", "\\u003c")
    policy = "; ".join(
        [
            "default-src 'none'",
            f"script-src {_hash(import_map)} {_hash(start)} data:",
            f"style-src {_hash(style)}",
            "img-src data: blob:",
            "base-uri 'none'",
            "form-action 'none'",
        ]
    )
    head = f'<meta http-equiv="Content-Security-Policy" content="{policy}">\n<title>{html.escape(entry.title)}</title>'
    scripts = [
        f'<script type="application/json" id="answers">{answers}</script>',
        f'<script type="importmap">{import_map}</script>',
        f'<script type="module">{start}</script>',
    ]
    page = page.replace(_TITLE, head).replace(_STYLE, f"<style>{style}</style>")
    return page.replace(_SCRIPT, "\n".join(scripts))


def answers_of(entry: ModelEntry) -> dict[str, Any]:
    """Return the answers that the client asks for, by its names."""
    model = entry.model
    if not len(model.codec.numbers):
        raise InvalidInput("The page shows a chain of numbers, but all columns of the model have levels.")
    catalogue, times = shipped.catalogue(), model.sampler.times(model.schedule)
    particles = [pictures.compute_particle(entry, ParticleRequest(row=row, **_PAPER)) for row in range(N_PARTICLES)]
    levels = sorted({times[round(i)] for i in np.linspace(0, len(times) - 1, min(N_LEVELS, len(times)))})
    is_plane = len(model.codec.varying) == 2 and not model.codec.blocks
    return {
        "catalogue": {**catalogue, "start": {**catalogue["start"], "model": entry.name}},
        "model": entry.record(),
        "chain": _base64(pictures.compute_chain(entry, ChainRequest(n=N_POINTS, **_PAPER))),
        "particles": {str(particle["row"]): particle for particle in particles},
        "fields": [
            {"t": t, "what": what, "packed": _base64(fields.compute_field(entry, FieldRequest(t=t, what=what)))}
            for t in levels
            for what in _FIELDS
        ],
        "density": _base64(fields.compute_density(entry, DensityRequest())) if is_plane else None,
        "bound": fields.compute_bound(entry, BoundRequest()),
        "schedule": fields.draw_schedule(entry, ScheduleRequest()),
        "code": code.of_model(entry, DrawRequest(**_PAPER)),
    }


def _base64(packed: Packed) -> str:
    return base64.b64encode(packed.to_bytes()).decode()


def _data_url(module: str) -> str:
    return f"data:text/javascript;base64,{base64.b64encode(module.encode()).decode()}"


def _hash(text: str) -> str:
    return f"'sha256-{base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()}'"
