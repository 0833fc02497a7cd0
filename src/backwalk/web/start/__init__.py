"""The shipped models of two moons, and their first answers, so that the page moves before the library has loaded.

`make.py` makes the files; tests compare them with the library's own answers.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cache
from importlib.resources import files
from pathlib import Path
from typing import Any

FOLDER = Path(str(files("backwalk.web"))) / "start"
NAME, NOTEBOOK, GIVEN = "start", "notebook", "given"  # of models; NAME and GIVEN also of tables
DENSITY, N_ROWS, SEED = "two_moons", 10_000, 0
CHAIN: Mapping[str, Any] = {"n": 2000, "seed": 0}
"""The request whose answer is stored."""


@dataclass(frozen=True)
class Shipped:
    """A shipped model: its title, its file, and its settings as a fit of the page has them."""

    title: str
    file: str
    settings: Mapping[str, Any] = field(default_factory=dict)


MODELS: Mapping[str, Shipped] = {
    NAME: Shipped(
        "Two moons, default settings",
        "two_moons.safetensors",
        {"denoiser": {"kind": "residual", "width": 48, "depth": 3, "members": 2}, "max_steps": 4000},
    ),
    NOTEBOOK: Shipped(
        "Two moons, the course notebook's settings", "notebook.safetensors", {"preset": "ddpm", "epochs": 2000}
    ),
}


@cache
def catalogue() -> dict[str, Any]:
    """Return the stored catalogue."""
    found: dict[str, Any] = json.loads((FOLDER / "catalogue.json").read_text(encoding="utf-8"))
    return found


def models() -> list[dict[str, str]]:
    """Return the shipped models as the list of models has them."""
    return [{"model": name, "title": own.title} for name, own in MODELS.items()]


def opening(opened: str | None) -> dict[str, Any]:
    """Return what the page opens with: a model, a table, and the request of its first chain."""
    model, data = (GIVEN, None) if opened == "model" else (NAME, GIVEN if opened == "data" else NAME)
    return {"model": model, "data": data, "notebook": NOTEBOOK, "chain": CHAIN, "opened": opened}


def stored(method: str, model: str, name: str, body: Any) -> bytes | None:
    """Return the stored answer about a shipped model; None where there is none."""
    if model not in MODELS:
        return None
    if (method, name, body) == ("GET", "model", None):
        return (FOLDER / f"{model}.json").read_bytes()
    if (method, model, name, body) == ("POST", NAME, "chain", CHAIN):
        return (FOLDER / "chain.bin").read_bytes()
    return None


def media_type(name: str) -> str:
    """Return the media type of a stored answer."""
    return "application/octet-stream" if name == "chain" else "application/json"
