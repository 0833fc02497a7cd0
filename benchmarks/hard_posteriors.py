"""Posteriors that are sharp, curved or of several modes: draws against exact ones, beside sbi's NPE."""

from __future__ import annotations

from pathlib import Path

from benchmarks import inference
from benchmarks.draws import Results
from benchmarks.hard_simulators import HARD_TASKS
from benchmarks.inference import Sizes
from benchmarks.record import Store

__all__ = ["SIZES", "TITLE", "run", "told"]

TITLE = "Hard posteriors"
_METHODS = ("Diffusion", "sbi NPE")
SIZES = {
    "quick": Sizes(((300, 1.0),), 1, 1, 300, 20, ("angle",), ("Diffusion",)),
    "short": Sizes(((10_000, 120.0),), 1, 3, 2_000, 200, ("scales", "angle", "poisson"), _METHODS),
    "full": Sizes(((10_000, 120.0),), 3, 3, 2_000, 1_000, tuple(HARD_TASKS), _METHODS),
}


def run(store: Store, sizes: Sizes) -> None:
    """Fit and judge all, one draw of the simulations after the other."""
    inference.run(store, sizes)


def told(results: Results, curves: Path) -> str:
    """Return a table for each task."""
    return inference.told(results, curves)
