"""The page of one model as a single file that needs no server: the client's modules, and the answers that it asks for.

The modules become one script: each is a function that returns its exports, in the order of their imports. A Content
Security Policy allows this script and the style alone, by their hashes.
"""

from __future__ import annotations

import base64
import hashlib
import html
import json
import re
from collections.abc import Mapping
from graphlib import CycleError, TopologicalSorter
from pathlib import Path
from typing import Any, Literal

import numpy as np

from backwalk.errors import InvalidInput
from backwalk.files import atomic_write
from backwalk.formatting import as_json
from backwalk.model import visited_times
from backwalk.web import code, pictures, planes, scores, start
from backwalk.web.app import STATIC
from backwalk.web.models import ModelEntry
from backwalk.web.opening import opened
from backwalk.web.packing import Packed
from backwalk.web.requests import (
    BoundRequest,
    ChainRequest,
    DensityRequest,
    DrawRequest,
    FieldRequest,
    ParticleRequest,
)
from backwalk.web.sessions import Sessions

N_POINTS, N_PARTICLES, N_LEVELS = 1500, 12, 8
_FIELDS: tuple[Literal["score", "x_0_hat"], ...] = ("score", "x_0_hat")
_STYLE = '<link rel="stylesheet" href="static/style.css">'
_SCRIPT = '<script type="module" src="static/main.js"></script>'
_IMPORT = re.compile(r'^import\s*\{([^}]*)\}\s*from\s*"\./([\w.-]+)";[ \t]*$', re.MULTILINE)
_EXPORT = re.compile(r"^export (?=(?:async function\*?|function\*?|const|class) (\w+))", re.MULTILINE)
_OTHER = re.compile(r"^(?:import|export)\b.*$", re.MULTILINE)


def write_page(path: str | Path, *, model: str | None = None, overwrite: bool = False) -> None:
    """Write the page of a model, by default the shipped one, to an .html file.

    Raises InvalidInput for a name that does not end in .html, and for a model that has no chain.
    """
    if Path(path).suffix.lower() not in (".html", ".htm"):
        raise InvalidInput(f"The page's name should end in .html, but got {str(path)!r}.")
    if Path(path).exists() and not overwrite:
        raise InvalidInput(f"{path} exists already: name another file, or overwrite it with --force.")
    sessions = Sessions()
    try:
        operations = opened(sessions, model=model, data=None)
        page = page_of(operations.shared_models[start.NAME if model is None else start.GIVEN])
    finally:
        sessions.stop()
    try:
        with atomic_write(path, overwrite=overwrite) as file:
            file.write(page.encode())
    except OSError as error:
        raise InvalidInput(f"{path} cannot be written: {error.strerror}.") from error


def page_of(entry: ModelEntry, *, static: Path = STATIC) -> str:
    """Return the page of a model."""
    text = (static / "index.html").read_text(encoding="utf-8")
    style = (static / "style.css").read_text(encoding="utf-8")
    script = bundled({file.name: file.read_text(encoding="utf-8") for file in static.glob("*.js")})
    for tag in (_STYLE, _SCRIPT, "<title>"):
        if text.count(tag) != 1:
            raise InvalidInput(f"index.html should have one {tag}, but has {text.count(tag)}.")
    answers = json.dumps(as_json(answers_of(entry)), allow_nan=False).replace("<", "\\u003c")
    policy = "; ".join(
        [
            "default-src 'none'",
            f"script-src {_hash(script)}",
            f"style-src {_hash(style)}",
            "img-src data: blob:",
            "base-uri 'none'",
            "form-action 'none'",
        ]
    )
    meta = f'<meta http-equiv="Content-Security-Policy" content="{policy}">\n'
    data = f'<script type="application/json" id="answers">{answers}</script>\n'
    text = text.replace(_STYLE, f"<style>{style}</style>").replace(
        _SCRIPT, f'{data}<script type="module">{script}</script>'
    )
    return re.sub("<title>.*?</title>", lambda _: f"{meta}<title>{html.escape(entry.title)}</title>", text, count=1)


def answers_of(entry: ModelEntry) -> dict[str, Any]:
    """Return the answers that the client asks for, by its names."""
    model = entry.model
    if not len(model.codec.numbers):
        raise InvalidInput("The page shows a chain of numbers, but all columns of the model have levels.")
    times = visited_times(model, model.sampler)
    chosen = [times[round(i)] for i in np.linspace(0, len(times) - 1, min(N_LEVELS, len(times)))]
    rows = range(N_PARTICLES)
    is_plane = len(model.codec.varying) == 2 and not model.codec.blocks
    return {
        "catalogue": {**start.catalogue(), "start": {**start.opening(None), "model": entry.name}},
        "model": entry.record(),
        "chain": _packed(pictures.chain(entry, ChainRequest(n=N_POINTS))),
        "particles": {str(row): pictures.particle(entry, ParticleRequest(row=row)) for row in rows},
        "fields": [
            {"t": t, "what": what, "packed": _packed(planes.field(entry, FieldRequest(t=t, what=what)))}
            for t in sorted(set(chosen))
            for what in _FIELDS
        ],
        "density": _packed(planes.density(entry, DensityRequest())) if is_plane else None,
        "bound": scores.bound_terms(entry, BoundRequest()),
        "code": code.of_model(entry, DrawRequest()),
    }


def bundled(modules: Mapping[str, str], first: str = "main.js") -> str:
    """Return ES modules as one script, in the order of their imports, up to `first`.

    Imports are of the form `import { a, b } from "./x.js";`, and exports `export function`, `const` or `class`. Raises
    InvalidInput for others, for missing modules and for circles.
    """
    graph, todo = dict[str, list[str]](), [first]
    while todo:
        name = todo.pop()
        if name in graph:
            continue
        if name not in modules:
            raise InvalidInput(f"There is no module {name!r}, which another one imports.")
        graph[name] = [other for _, other in _IMPORT.findall(modules[name])]
        todo += graph[name]
    try:
        order = list(TopologicalSorter(graph).static_order())
    except CycleError as error:
        raise InvalidInput(f"Modules should not import each other in a circle, but {error.args[1]} do.") from error
    parts = [f"modules[{name!r}] = (() => {{\n{_as_function(name, modules[name])}\n}})();" for name in order]
    script = "\n".join(["const modules = {};", *parts])
    if "</script" in script.lower():
        raise InvalidInput("A module should not contain the text </script>.")
    return script


def _as_function(name: str, text: str) -> str:
    exported = _EXPORT.findall(text)
    text = _IMPORT.sub(lambda found: f"const {{{_renamed(found[1])}}} = modules[{found[2]!r}];", text)
    text = _EXPORT.sub("", text)
    other = _OTHER.search(text)
    if other is not None:
        raise InvalidInput(f"{name} has an import or export of another form: {other.group()[:80]!r}.")
    return f'"use strict";\n{text}\nreturn {{ {", ".join(exported)} }};'


def _renamed(names: str) -> str:
    return re.sub(r"(\w+)\s+as\s+(\w+)", r"\1: \2", names)


def _packed(packed: Packed) -> str:
    return base64.b64encode(packed.to_bytes()).decode()


def _hash(text: str) -> str:
    return f"'sha256-{base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()}'"
