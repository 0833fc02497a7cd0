"""A large table: 20 numbers, 9 columns of 2 to 50 levels and one of 20,000, in 10^4 to 10^6 rows."""

from __future__ import annotations

import time
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
import pandas as pd

from backwalk import Diffusion
from backwalk.cli.describe import describe
from backwalk.streams import Stream
from benchmarks.draws import Results
from benchmarks.fresh import forget_peak, held_bytes, in_fresh_process, peak_bytes
from benchmarks.record import Store
from benchmarks.tables import mib, table

TITLE = "A large table"
N_NUMBERS, N_LEVELS, MANY = 20, (2, 3, 4, 5, 8, 12, 20, 35, 50), 20_000


@dataclass(frozen=True)
class Sizes:
    """The numbers of rows, the seconds of a fit, and the rows to draw."""

    rows: tuple[int, ...]
    budget: float
    n_drawn: int


SIZES = {
    "quick": Sizes((300,), 1.0, 10),
    "short": Sizes((10_000, 100_000), 30.0, 2_000),
    "full": Sizes((10_000, 100_000, 1_000_000), 60.0, 10_000),
}


def large_table(n: int, *, many: int = MANY, seed: int = 0) -> pd.DataFrame:
    """Return n rows whose columns, but the one of many levels, depend on three hidden numbers."""
    stream = Stream(seed).child("benchmark large table")
    rng = stream.generator()
    hidden = rng.normal(size=(n, 3))
    columns: dict[str, Any] = {f"x{j}": hidden @ rng.normal(size=3) + rng.normal(size=n) for j in range(N_NUMBERS)}
    for j, n_levels in enumerate(N_LEVELS):
        level = (hidden @ rng.normal(size=(3, n_levels)) + rng.gumbel(size=(n, n_levels))).argmax(axis=1)
        columns[f"c{j}"] = pd.Categorical.from_codes(level, [f"level {i}" for i in range(n_levels)])
    frequencies = np.arange(1.0, many + 1.0) ** -0.7
    item = rng.choice(many, size=n, p=frequencies / frequencies.sum())
    columns["item"] = pd.Categorical.from_codes(item, [f"item {i}" for i in range(many)]).remove_unused_categories()
    return pd.DataFrame(columns)


def run(store: Store, sizes: Sizes) -> None:
    """Fit each number of rows in a process of its own."""
    for n in sizes.rows:
        job = partial(
            in_fresh_process, "benchmarks.large_table:measured", n=n, budget=sizes.budget, n_drawn=sizes.n_drawn
        )
        store.once({"rows": n, "budget": sizes.budget}, job)


def measured(*, n: int, budget: float, n_drawn: int) -> dict[str, Any]:
    """Return seconds, processor seconds and peaks of memory of a fit, of its file and `info`, and of draws."""
    frame = large_table(n)
    forget_peak()
    held, began, busy = held_bytes(), time.perf_counter(), time.process_time()
    model = Diffusion(max_time=budget, random_state=0, verbose=False).fit(frame)
    figures = {
        "fit_seconds": time.perf_counter() - began,
        "fit_busy": time.process_time() - busy,
        "outside_training": time.perf_counter() - began - model.history_.seconds,
        "steps": model.history_.n_steps,
        "fit_bytes": peak_bytes(),
        "table_bytes": held,
    }
    with TemporaryDirectory() as name:
        rows, saved = str(Path(name) / "large.parquet"), str(Path(name) / "large.backwalk")
        frame.to_parquet(rows)
        forget_peak()
        began = time.perf_counter()
        describe(rows)
        figures |= {"info_seconds": time.perf_counter() - began, "info_bytes": peak_bytes()}
        began = time.perf_counter()
        model.save(saved)
        describe(saved)
        figures["file_seconds"] = time.perf_counter() - began
    forget_peak()
    began = time.perf_counter()
    model.sample(n_drawn, random_state=0)
    return figures | {"drawing_seconds": time.perf_counter() - began, "drawing_bytes": peak_bytes(), "n_drawn": n_drawn}


def told(results: Results, curves: Path) -> str:  # noqa: ARG001 - every part is told where curves go
    """Return the table of all sizes."""
    head = (
        "rows", "budget, s", "fit, s", "busy, s", "outside training, s", "steps", "peak, MiB", "of it the table, MiB",
        "`info`, s", "peak of `info`, MiB", "model's file, s", "rows drawn", "drawing, s", "its peak, MiB",
    )  # fmt: skip
    lines = [
        (
            f"{r['key']['rows']:,}", f"{r['key']['budget']:g}", f"{r['fit_seconds']:.1f}", f"{r['fit_busy']:.1f}",
            f"{r['outside_training']:.1f}", f"{r['steps']:,}", mib(r["fit_bytes"]), mib(r["table_bytes"]),
            f"{r['info_seconds']:.1f}", mib(r["info_bytes"]), f"{r['file_seconds']:.1f}",
            f"{r['n_drawn']:,}", f"{r['drawing_seconds']:.1f}", mib(r["drawing_bytes"]),
        )
        for r in results
    ]  # fmt: skip
    words = (
        f"{N_NUMBERS} numbers, {len(N_LEVELS)} columns of {N_LEVELS[0]} to {N_LEVELS[-1]} levels and one of {MANY:,}."
    )
    return f"{words}\n\n{table(head, lines)}"
