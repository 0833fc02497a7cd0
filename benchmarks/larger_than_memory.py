"""A table larger than memory: rows of a known density in Parquet files, fitted in a budget of memory.

The files are written piece by piece. A fit to them is compared with fits in memory to fresh rows of the same density:
seconds, the peak of memory, and the nats by which unseen rows are less likely than under the truth.
"""

from __future__ import annotations

import shutil
import time
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet

from backwalk import Diffusion
from backwalk.datasets import curved_chain
from backwalk.files import atomic_write
from backwalk.streams import Stream
from backwalk.table import read_within
from benchmarks.draws import Results
from benchmarks.fresh import forget_peak, held_bytes, in_fresh_process, peak_bytes
from benchmarks.record import Store
from benchmarks.tables import count, difference, mean_of, mib, shown, table

TITLE = "Tables larger than memory"
D, ROWS_A_FILE, ROWS_A_PIECE = 8, 1_000_000, 100_000


@dataclass(frozen=True)
class Sizes:
    """Rows in files, bytes for their fits, rows of the fits in memory, training steps, seeds, rows that are judged."""

    n_rows: int
    memory: int
    in_memory: tuple[int, ...]
    max_steps: int | None
    n_seeds: int
    n_judged: int


SIZES = {
    "quick": Sizes(20_000, 2**20, (500,), 3, 1, 30),
    "short": Sizes(5_000_000, 2**27, (100_000, 1_000_000), None, 1, 1_000),
    "full": Sizes(100_000_000, 2**31, (30_000, 100_000, 300_000, 1_000_000, 3_000_000), None, 3, 4_000),
}


def run(store: Store, sizes: Sizes) -> None:
    """Write the files, unless their fits are known, and fit them and rows in memory, each in a fresh process."""
    here = "benchmarks.larger_than_memory"
    common = {"max_steps": sizes.max_steps, "n_judged": sizes.n_judged}
    keys = [
        {"fit": "files", "rows": sizes.n_rows, "memory": sizes.memory, "seed": seed} for seed in range(sizes.n_seeds)
    ]
    if any("failed" in (store.find(key) or {"failed": ""}) for key in keys):
        folder = store.path.parent / "larger_than_memory"  # kept until all is measured, for a run that is stopped
        write_files(folder, sizes.n_rows)
        for key in keys:
            given = {"folder": str(folder), "memory": sizes.memory, "seed": key["seed"], **common}
            store.once(key, partial(in_fresh_process, f"{here}:of_files", **given))
        shutil.rmtree(folder)
    for n in sizes.in_memory:
        for seed in range(sizes.n_seeds):
            job = partial(in_fresh_process, f"{here}:of_rows", n=n, seed=seed, **common)
            store.once({"fit": "rows", "rows": n, "memory": None, "seed": seed}, job)


def write_files(folder: Path, n_rows: int) -> None:
    """Write rows 0..n_rows-1 of a draw as float32, a million to a file, unless the file is there."""
    folder.mkdir(parents=True, exist_ok=True)
    for first in range(0, n_rows, ROWS_A_FILE):
        stop, path = min(first + ROWS_A_FILE, n_rows), folder / f"part-{first:012}.parquet"
        if path.exists():
            continue
        with (
            atomic_write(path) as file,
            pa.parquet.ParquetWriter(file, _frame(0, 1, 0).schema, use_dictionary=False) as writer,
        ):
            for start in range(first, stop, ROWS_A_PIECE):
                writer.write_table(_frame(start, min(start + ROWS_A_PIECE, stop), 0))


def _frame(start: int, stop: int, seed: int) -> pa.Table:
    rows = curved_chain(D).sample_rows(start, stop, stream=Stream(seed)).astype(np.float32)
    return pa.table({f"x{j}": np.ascontiguousarray(rows[:, j]) for j in range(D)})


def of_files(*, folder: str, memory: int, seed: int, max_steps: int | None, n_judged: int) -> dict[str, Any]:
    """Return seconds, peak and quality of a fit to files; and the seconds of reading alone, and of Arrow's reading."""
    began = time.perf_counter()
    for path in sorted(Path(folder).iterdir()):
        for _ in pa.parquet.ParquetFile(path, buffer_size=2**16).iter_batches(2**16, use_threads=False):
            pass
    by_arrow = time.perf_counter() - began
    began, busy = time.perf_counter(), time.process_time()
    n_chosen = len(read_within(folder, memory=memory).table.values)
    reading, reading_busy = time.perf_counter() - began, time.process_time() - busy
    forget_peak()
    held, began, busy = held_bytes(), time.perf_counter(), time.process_time()
    model = Diffusion(max_steps=max_steps, random_state=seed, verbose=False).fit(folder, memory=memory)
    return {
        "seconds": time.perf_counter() - began,
        "busy": time.process_time() - busy,
        "bytes": peak_bytes() - held,
        "reading": reading,
        "reading_busy": reading_busy,
        "by_arrow": by_arrow,
        "training": model.history_.seconds,
        "n_chosen": n_chosen,
        "file_bytes": sum(path.stat().st_size for path in Path(folder).iterdir()),
        **_quality(model, n_judged),
    }


def of_rows(*, n: int, seed: int, max_steps: int | None, n_judged: int) -> dict[str, Any]:
    """Return seconds, peak and quality of a fit in memory to n rows, other ones for every seed."""
    frame = pd.concat(
        [_frame(start, min(start + ROWS_A_FILE, n), 1 + seed).to_pandas() for start in range(0, n, ROWS_A_FILE)],
        ignore_index=True,
    )
    forget_peak()
    held, began, busy = held_bytes(), time.perf_counter(), time.process_time()
    model = Diffusion(max_steps=max_steps, random_state=seed, verbose=False).fit(frame)
    return {
        "seconds": time.perf_counter() - began,
        "busy": time.process_time() - busy,
        "bytes": peak_bytes() - held,
        "training": model.history_.seconds,
        **_quality(model, n_judged),
    }


def _quality(model: Diffusion, n: int) -> dict[str, Any]:
    """Return the gap in nats of n unseen rows, the same ones for each fit."""
    density = curved_chain(D)
    rows = density.sample_rows(0, n, stream=Stream(0).child("unseen")).astype(np.float32)
    unseen = pd.DataFrame(rows, columns=[f"x{j}" for j in range(D)])
    gap = density.log_prob(rows) - model.score_samples(unseen)
    return {"gap": [float(part.mean()) for part in np.array_split(gap, 10)]}


def told(results: Results, curves: Path) -> str:  # noqa: ARG001 - every part is told where curves go
    """Return the table of all fits, and what the fits to files take apart."""
    groups = dict[tuple[str, int], list[Any]]()
    for result in results:
        groups.setdefault((result["key"]["fit"], result["key"]["rows"]), []).append(result)
    of_files = [found for (kind, _), found in groups.items() if kind == "files"]
    best = of_files[0] if of_files else None
    lines = []
    for (kind, n), found in groups.items():
        gaps = [each["gap"] for each in found]
        both = min(len(found), len(best or ()))  # seeds
        others = [each["gap"] for each in (best or ())[:both]]
        against = "" if best is None or found is best else shown(difference(gaps[:both], others))
        lines.append(
            (
                f"{'files' if kind == 'files' else 'rows'} ({len(found)})", f"{n:,}",
                f"{found[0].get('n_chosen', n):,}", _median(found, "seconds"), _median(found, "training"),
                mib(max(each["bytes"] for each in found)), shown(mean_of(gaps)), against,
            )
        )  # fmt: skip
    head = (
        "fit to (seeds)", "rows", "of them held", "seconds", "of it training", "peak, MiB", "gap, nats",
        "gap less that of files",
    )  # fmt: skip
    words = [f"The curved chain in {D} columns of float32."]
    for found in of_files:
        one = found[0]
        n, size, memory = one["key"]["rows"], mib(one["file_bytes"]), mib(one["key"]["memory"])
        words.append(
            f"{n:,} rows in Parquet files of {size} MiB, in {memory} MiB: the pass over them takes "
            f"{_median(found, 'reading')} s ({_median(found, 'reading_busy')} s of CPU, "
            f"{count(n / one['reading'])} rows/s), Arrow's reading alone {_median(found, 'by_arrow')} s."
        )
    return " ".join(words) + f"\n\n{table(head, lines)}"


def _median(found: list[Any], name: str) -> str:
    return f"{np.median([each[name] for each in found]):.1f}"
