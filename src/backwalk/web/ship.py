"""Make the files that ship with the page: `python -m backwalk.web.ship [answers]`.

Without `answers` the models are fitted again as well, which takes minutes.
"""

from __future__ import annotations

import inspect
import json
import sys
from collections.abc import Callable
from typing import Any

from backwalk.datasets import DENSITIES, MIXED_DENSITIES, Density, MixedDensity
from backwalk.sampling import SOLVERS
from backwalk.streams import Stream
from backwalk.web import pictures, shipped
from backwalk.web.answers import shipped_data, shipped_model
from backwalk.web.models import make_estimator
from backwalk.web.requests import MOST_ROWS_IN_TABLE, ChainRequest, SettingsRequest
from backwalk.web.security import UPLOAD_BYTES

_N_IN_THUMBNAIL = 200


def make_catalogue() -> dict[str, Any]:
    """Return what the page offers to choose from: densities, schedules, networks, samplers, and limits."""
    return {
        "densities": [_density(name, make) for name, make in {**DENSITIES, **MIXED_DENSITIES}.items()],
        "schedules": [
            _choice("log_snr", "even in log-SNR", "even in the log-SNR, to noise alone"),
            _choice("linear", "linear beta", "beta from 0.001 to 0.02, linear in t (Ho et al. 2020)"),
            _choice("cosine", "cosine", "alpha_bar is a squared cosine (Nichol & Dhariwal 2021)"),
        ],
        "networks": [
            {
                **_choice("residual", "residual", "residual blocks on x_t and the log-SNR"),
                "denoiser": {"kind": "residual", "width": 64, "depth": 3, "members": 1},
            },
            {
                **_choice("textbook", "textbook", "tanh layers on x_t and t/N, which predict eps"),
                "denoiser": {"kind": "textbook", "width": 100, "depth": 4, "members": 1},
            },
        ],
        "samplers": [
            _choice(name, name, _first_line(solver)) for name, solver in SOLVERS.items() if not solver.needs_student
        ],
        "reverse_variances": [
            _choice("optimal", "optimal", "fitted to held-out rows: the least bound"),
            _choice("beta", "\u03c3\u00b2 = \u03b2", "right for data that are standard normal"),
            _choice("beta_tilde", "\u03c3\u00b2 = \u03b2\u0303", "right for data that are a single point"),
        ],
        "limits": {"rows": MOST_ROWS_IN_TABLE, "upload_bytes": UPLOAD_BYTES},
    }


def _choice(name: str, label: str, description: str) -> dict[str, Any]:
    return {"name": name, "label": label, "description": description}


def _density(name: str, make: Callable[[], Density]) -> dict[str, Any]:
    """Return a choice with a thumbnail: two columns of a few draws, scaled to 0..1."""
    density = make()
    numbers = density.numbers if isinstance(density, MixedDensity) else range(density.d)
    columns = [*numbers, *range(density.d)][:2]
    points = density.sample_rows(0, _N_IN_THUMBNAIL, stream=Stream(0))[:, columns]
    low, high = points.min(axis=0), points.max(axis=0)
    choice = _choice(name, name.replace("_", " "), _first_line(make).removeprefix("Return "))
    return {**choice, "thumbnail": ((points - low) / (high - low)).round(3).tolist()}


def _first_line(described: object) -> str:
    return (inspect.getdoc(described) or "").split("\n", 1)[0]


def write_models() -> None:
    """Fit and write the models."""
    rows = DENSITIES[shipped.DENSITY]().sample_rows(0, shipped.N_ROWS, stream=Stream(shipped.SEED))
    for model in shipped.MODELS.values():
        settings = SettingsRequest(**model.settings)
        estimator = make_estimator(settings, {}, shipped.SEED, device="cpu").set_params(verbose=True)
        estimator.fit(rows).save(shipped.FOLDER / model.file, overwrite=True)


def write_answers() -> None:
    """Write the catalogue, and the card and the chain of the first model."""
    entry = shipped_model(shipped.START, shipped_data())
    chain = pictures.compute_chain(entry, ChainRequest(**shipped.FIRST_CHAIN))
    (shipped.FOLDER / "catalogue.json").write_text(json.dumps(make_catalogue()), encoding="utf-8")
    (shipped.FOLDER / "model.json").write_text(json.dumps(entry.record()), encoding="utf-8")
    (shipped.FOLDER / "chain.bin").write_bytes(chain.to_bytes())


if __name__ == "__main__":
    if sys.argv[1:] != ["answers"]:
        write_models()
    write_answers()
