"""magic: 19,020 rows of ten numbers and a class, a fifth of them for testing, against published figures."""

from __future__ import annotations

from pathlib import Path

from benchmarks import real_tables
from benchmarks.draws import Results
from benchmarks.real_tables import SIZES, Sizes
from benchmarks.record import Store
from benchmarks.wheels import magic

__all__ = ["SIZES", "TITLE", "run", "told"]

TITLE = "A real table: magic"
PUBLISHED = {"TabSyn": ".760", "TabDiff": ".773", "TabPC": ".860"}


def run(store: Store, sizes: Sizes) -> None:
    """Judge real rows and every method on splits that are drawn with the seed."""
    real_tables.run(store, sizes, magic)


def told(results: Results, curves: Path) -> str:  # noqa: ARG001 - every part is told where curves go
    """Return the tables."""
    return real_tables.told(results, target="class", published=PUBLISHED, words=real_tables.WORDS)
