"""adult: 32,561 rows of 15 columns, of which 14 have levels, against published figures and trees for each column."""

from __future__ import annotations

from pathlib import Path

from benchmarks import real_tables
from benchmarks.draws import Results
from benchmarks.real_tables import SIZES, Sizes
from benchmarks.record import Store
from benchmarks.wheels import adult

__all__ = ["SIZES", "TITLE", "run", "told"]

TITLE = "A real table: adult"
PUBLISHED = {"TabSyn": ".794", "TabDiff": ".841", "TabPC": ".855"}


def run(store: Store, sizes: Sizes) -> None:
    """Judge real rows and every method on the published split."""
    real_tables.run(store, sizes, lambda seed: adult())  # noqa: ARG005 - the split is the published one


def told(results: Results, curves: Path) -> str:  # noqa: ARG001 - every part is told where curves go
    """Return the tables."""
    return real_tables.told(results, target="income", published=PUBLISHED, words=real_tables.WORDS)
