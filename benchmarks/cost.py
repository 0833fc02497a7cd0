"""What a fit, draws and scores cost, by the number of rows, in memory and in files larger than memory.

Seconds, and the peak of memory above what was held before, each in a fresh process. The rows are those of the curve in
five columns; `gap` is by how many nats unseen rows are less likely than under the truth.
"""

from __future__ import annotations

import shutil
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import numpy as np
import pandas as pd

from backwalk import Diffusion
from benchmarks.data import curve, log_p_curve
from benchmarks.fresh import forget_peak, held_bytes, in_fresh_process, peak_bytes
from benchmarks.record import Figures, Store, timed

ROWS_A_FILE = 1_000_000
COLUMNS = [f"x{j + 1}" for j in range(5)]


@dataclass(frozen=True)
class Sizes:
    """Numbers of rows in memory and in files, the memory of a fit to files, training steps, and rows that are drawn."""

    in_memory: tuple[int, ...]
    in_files: tuple[int, ...]
    memory: str = "1GiB"
    max_steps: int | None = None
    n_drawn: int = 100_000


SIZES = {
    "quick": Sizes((300,), (2_000,), "64MiB", 3, 1_000),
    "short": Sizes((10_000, 1_000_000), ()),
    "full": Sizes((1_000, 10_000, 100_000, 1_000_000, 10_000_000), (100_000_000,), "2GiB"),
}


def run(store: Store, sizes: Sizes) -> None:
    """Measure each number of rows in a process of its own."""
    common = {"max_steps": sizes.max_steps, "n_drawn": sizes.n_drawn}
    for n in sizes.in_memory:
        job = partial(in_fresh_process, "benchmarks.cost:of_rows", n=n, **common)
        store.once("cost", f"{n:,} rows", "in memory", "", 0, job)
    for n in sizes.in_files:
        folder = store.path.parent / f"curve-{n}"
        given = {"folder": str(folder), "n": n, "memory": sizes.memory, **common}
        job = partial(in_fresh_process, "benchmarks.cost:of_files", **given)
        store.once("cost", f"{n:,} rows", f"files in {sizes.memory}", "", 0, job)
        shutil.rmtree(folder, ignore_errors=True)


def frame(n: int, seed: int) -> pd.DataFrame:
    """Return n rows of the curve."""
    return pd.DataFrame(curve(n, np.random.default_rng(seed)).astype(np.float32), columns=COLUMNS)


def of_rows(*, n: int, max_steps: int | None, n_drawn: int) -> Figures:
    """Return what n rows in memory cost."""
    rows = pd.concat([frame(min(ROWS_A_FILE, n - i), i) for i in range(0, n, ROWS_A_FILE)], ignore_index=True)
    return measured(lambda model: model.fit(rows), max_steps, n_drawn)


def of_files(*, folder: str, n: int, memory: str, max_steps: int | None, n_drawn: int) -> Figures:
    """Return what n rows in Parquet files cost in a budget of memory."""
    Path(folder).mkdir(parents=True, exist_ok=True)
    for i in range(0, n, ROWS_A_FILE):
        frame(min(ROWS_A_FILE, n - i), i).to_parquet(Path(folder, f"{i:012}.parquet"), index=False)
    return measured(lambda model: model.fit(folder, memory=memory), max_steps, n_drawn)


def measured(fit: Callable[[Diffusion], object], max_steps: int | None, n_drawn: int) -> Figures:
    """Return seconds, peak and gap of a fit, and the rows a second of its draws and scores."""
    forget_peak()
    held, model = held_bytes(), Diffusion(max_steps=max_steps, random_state=0, verbose=False)
    _, seconds = timed(lambda: fit(model))
    peak = peak_bytes() - held
    model.sample(100, random_state=0)  # whatever is set up at the first call
    _, drawing = timed(lambda: model.sample(n_drawn, random_state=1))
    unseen = frame(4_000, 123_456_789)
    log_p, scoring = timed(lambda: np.asarray(model.score_samples(unseen)))
    return {
        "fit, s": seconds,
        "peak, MiB": peak / 2**20,
        "rows drawn a second": n_drawn / drawing,
        "rows scored a second": len(unseen) / scoring,
        "gap, nats": float(np.mean(log_p_curve(unseen.to_numpy(float)) - log_p)),
    }
