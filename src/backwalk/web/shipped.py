"""The models of two moons that ship with the page, and stored answers for its first picture.

The library takes several seconds to import, so the page gets its first picture from files, without it: the catalogue,
the card of the first model, and its chain. `ship.py` makes the files; tests compare them with the library's answers.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import cache
from importlib.resources import files
from pathlib import Path
from typing import Any

FOLDER, STATIC = (Path(str(files("backwalk.web"))) / name for name in ("shipped_files", "static"))
START, NOTEBOOK, GIVEN = "start", "notebook", "given"  # ids of models; START and GIVEN also of tables
DENSITY, N_ROWS, SEED = "two_moons", 10_000, 0
FIRST_CHAIN: Mapping[str, Any] = {"n": 2000, "seed": 0}
"""The request whose answer is stored."""


@dataclass(frozen=True)
class Shipped:
    """A shipped model: its title, its file, and its settings as a fit of the page has them."""

    title: str
    file: str
    settings: Mapping[str, Any] = field(default_factory=dict)


MODELS: Mapping[str, Shipped] = {
    START: Shipped(
        "Two moons, default settings",
        "two_moons.safetensors",
        {"denoiser": {"kind": "residual", "width": 48, "depth": 3, "members": 2}, "max_steps": 4000},
    ),
    NOTEBOOK: Shipped(
        "Two moons, the course notebook's settings", "notebook.safetensors", {"preset": "ddpm", "epochs": 2000}
    ),
}


@cache
def stored(name: str) -> bytes:
    """Return a stored answer: catalogue.json, model.json or chain.bin."""
    return (FOLDER / name).read_bytes()


def title_of(model: object) -> str:
    """Return the title of a model that the page was opened with: a file's path, or an estimator."""
    return Path(model).name if isinstance(model, str) else "Your model"


def catalogue(*, has_model: bool = False, has_data: bool = False, own_solvers: Sequence[str] = ()) -> dict[str, Any]:
    """Return the catalogue with what the page opens with (a given or shipped model and table) and a user's solvers."""
    start = {
        "model": GIVEN if has_model else START,
        "data": GIVEN if has_data else None if has_model else START,
        "notebook": NOTEBOOK,
        "chain": FIRST_CHAIN,
        "opened": "model" if has_model else "data" if has_data else None,
    }
    stored_choices = json.loads(stored("catalogue.json"))
    own = [{"name": name, "label": name, "description": "your own"} for name in own_solvers]
    return {**stored_choices, "samplers": stored_choices["samplers"] + own, "start": start}
