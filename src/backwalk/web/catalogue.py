"""What the page offers to choose from: densities, schedules, networks, samplers, and limits."""

from __future__ import annotations

import inspect
from collections.abc import Callable
from typing import Any

from backwalk import __version__
from backwalk.datasets import DENSITIES, MIXED_DENSITIES, Density, MixedDensity
from backwalk.sampling import SOLVERS, Sampler
from backwalk.streams import Stream
from backwalk.web import requests, security, workspaces

_IN_THUMBNAIL = 200


def catalogue() -> dict[str, Any]:
    """Return the answer of /api/catalogue, but for the entry `start`."""
    return {
        "version": __version__,
        "densities": [_density(name, make) for name, make in {**DENSITIES, **MIXED_DENSITIES}.items()],
        "schedules": [
            _choice("log_snr", "even in log-SNR", "even in the log-SNR, to noise alone", is_default=True),
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
        "presets": [
            _choice("default", "default", "choices that follow from the data", is_default=True),
            _choice("ddpm", "notebook", "the course notebook: 100 steps, beta from 0.001 to 0.02, sigma^2 = beta"),
        ],
        "samplers": [
            {
                **_choice(name, name, _first_line(solver), is_default=name == Sampler().solver),
                "n_evaluations": solver.default_evaluations,
                "options": ["eta"] if solver.takes_eta else [],
            }
            for name, solver in SOLVERS.items()
            if not solver.needs_student
        ],
        "reverse_variances": [
            _choice("optimal", "optimal", "fitted to held-out rows: the least bound", is_default=True),
            _choice("beta", "\u03c3\u00b2 = \u03b2", "right for data that are standard normal"),
            _choice("beta_tilde", "\u03c3\u00b2 = \u03b2\u0303", "right for data that are a single point"),
        ],
        "limits": {
            "rows": requests.MOST_ROWS_IN_TABLE,
            "points": requests.MOST_POINTS,
            "drawn": requests.MOST_DRAWN,
            "upload_bytes": security.UPLOAD_BYTES,
            "body_bytes": security.JSON_BYTES,
            "kept": workspaces.MOST_KEPT,
        },
    }


def _choice(name: str, label: str, description: str, *, is_default: bool = False) -> dict[str, Any]:
    return {"name": name, "label": label, "description": description, "is_default": is_default}


def _density(name: str, make: Callable[[], Density]) -> dict[str, Any]:
    density = make()
    names = density.names if isinstance(density, MixedDensity) else [f"x{j}" for j in range(1, density.d + 1)]
    return {
        **_choice(name, name.replace("_", " "), _first_line(make).removeprefix("Return ")),
        "n_columns": density.d,
        "has_entropy": True,
        "is_table": isinstance(density, MixedDensity),
        "columns": list(names),
        "thumbnail": _thumbnail(density),
    }


def _thumbnail(density: Density) -> list[list[float]]:
    """Return two columns of a few draws, scaled to 0..1."""
    numbers = density.numbers if isinstance(density, MixedDensity) else range(density.d)
    columns = [*numbers, *range(density.d)][:2]
    points = density.sample_rows(0, _IN_THUMBNAIL, stream=Stream(0))[:, columns]
    low, high = points.min(axis=0), points.max(axis=0)
    found: list[list[float]] = ((points - low) / (high - low)).round(3).tolist()
    return found


def _first_line(what: Any) -> str:
    return (inspect.getdoc(what) or "").split("\n", 1)[0]
