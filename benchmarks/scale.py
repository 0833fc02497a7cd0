"""Capacity: what each part of the work costs on one core, what an engine adds, and what follows for many cores.

Rates are rows per second of processor time on one thread, so that other programs change them little. `capacity` is
arithmetic on them; its assumptions are in its docstring.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from tempfile import TemporaryDirectory

import pyarrow.parquet
import torch

from backwalk import Diffusion
from backwalk.datasets import curved_chain
from backwalk.pieces import PART_ROWS, file_sha256, sample_parts, values_checksum
from backwalk.sampling import TILE_ROWS
from backwalk.table import as_table, from_values, read_table
from benchmarks.draws import Results
from benchmarks.fresh import in_fresh_process
from benchmarks.record import Figures, Store
from benchmarks.tables import count, table

TITLE = "Capacity"
N_COLUMNS, SEED = 8, 0
BILLION, CORES = 10**9, (10, 100, 1_000)
BYTES_PER_SECOND = 10**9  # which all hosts together write to the folder that they share: assumed, not measured
PARTS = "parts of the work"


@dataclass(frozen=True)
class Sizes:
    """Steps of the fit; rows of which each part of the work is measured; rows of outputs, of small and of usual parts.

    `n_small` parts of one tile measure the cost of a part. `workers` are those of the engines that make `n_rows` rows.
    """

    max_steps: int
    n_measured: int
    n_scored: int
    n_small: int
    n_rows: int
    part_rows: int
    workers: tuple[int, ...]


SIZES = {
    "quick": Sizes(5, 4_096, 20, 3, 4 * TILE_ROWS, TILE_ROWS, (1,)),
    "short": Sizes(200, 100_000, 1_000, 50, 2**19, 2**16, (1, 2)),
    "full": Sizes(1_000, 1_000_000, 10_000, 200, 10**7, 2**19, (1, 2, 3)),
}


@dataclass(frozen=True)
class Costs:
    """Seconds of a row on one core, of a part besides its rows, and of the start; and the bytes of a row."""

    row: float
    part: float
    start: float
    bytes: float


@dataclass(frozen=True)
class Capacity:
    """The parts of an output, its seconds, the share of the cores' time that makes rows, and what limits it."""

    parts: int
    seconds: float
    share: float
    limit: str


def capacity(rows: int, cores: int, part_rows: int, costs: Costs, bandwidth: float = BYTES_PER_SECOND) -> Capacity:
    """Return what an output of `rows` rows needs on equal cores.

    After the start, in which all hosts begin side by side, every core makes one part after the other: ceil(parts /
    cores) rounds of part_rows * row + part seconds. All cores together write no faster than the bandwidth allows, and
    the slower of both counts. Nothing is lost, and the hosts' memory is not shared too closely for a core to keep its
    rate.

    >>> capacity(10_000, 4, 1_000, Costs(row=0.001, part=0.1, start=2.0, bytes=100.0))
    Capacity(parts=10, seconds=5.3, share=0.4716981132075472, limit='cores')
    """
    parts = math.ceil(rows / part_rows)
    by_cores = math.ceil(parts / cores) * (min(part_rows, rows) * costs.row + costs.part)
    by_bytes = rows * costs.bytes / bandwidth
    seconds = costs.start + max(by_cores, by_bytes)
    return Capacity(
        parts, seconds, rows * costs.row / (cores * seconds), "cores" if by_cores >= by_bytes else "writing"
    )


def run(store: Store, sizes: Sizes) -> None:
    """Measure the parts of the work, then outputs by each engine, the small parts first."""
    settings = {"max_steps": sizes.max_steps, "n_measured": sizes.n_measured, "n_scored": sizes.n_scored}
    store.once({"what": PARTS, **settings}, partial(in_fresh_process, "benchmarks.scale:work", **settings))
    small, usual = (sizes.n_small * TILE_ROWS, TILE_ROWS), (sizes.n_rows, sizes.part_rows)
    engines = [("local", 1), *(("ray", n) for n in sizes.workers)]
    outputs = [(*engine, *small) for engine in engines[:2]] + [(*engine, *usual) for engine in engines]
    for engine, workers, n_rows, part_rows in outputs:
        key = {"engine": engine, "workers": workers, "n_rows": n_rows, "part_rows": part_rows}
        arguments = {**key, "max_steps": sizes.max_steps}
        store.once({"what": "an output", **key}, partial(in_fresh_process, "benchmarks.scale:output", **arguments))


def work(*, max_steps: int, n_measured: int, n_scored: int) -> Figures:
    """Return processor seconds per row of each part of the work on one thread, and the bytes of a row."""
    torch.set_num_threads(1)
    X = curved_chain(N_COLUMNS).sample(n_measured, random_state=SEED)
    before = time.process_time()
    model = fitted(max_steps)
    fit, settings = time.process_time() - before, model.model_.card["settings"]["training"]
    schema = model.model_.schema.as_arrow()
    rows = from_values(as_table(X).values, schema)
    with TemporaryDirectory() as place:
        path = Path(place) / "rows.parquet"

        def write() -> None:
            pyarrow.parquet.write_table(rows, path)
            values_checksum(rows)
            file_sha256(path)

        seconds = {"write": busy(write), "read": busy(partial(read_table, path))}
        size = path.stat().st_size
    seconds |= {
        "encode": busy(partial(model.model_.codec.encode, X)),
        "sample": busy(partial(model.sample, n_measured, random_state=SEED)),
    }
    scored = busy(partial(model.score_samples, X[:n_scored]))
    return {
        "seconds": {name: own / n_measured for name, own in seconds.items()} | {"score": scored / n_scored},
        "fit_seconds": fit,
        "rows_trained": max_steps * settings["batch_size"],
        "bytes": size / n_measured,
        "network": str(model.model_.architecture),
        "n_evaluations": model.model_.sampler.n_evaluations,
    }


def output(*, engine: str, workers: int, n_rows: int, part_rows: int, max_steps: int) -> Figures:
    """Return the seconds of an output by an engine, of its first part and of the others, and the values' checksum."""
    torch.set_num_threads(1)
    with TemporaryDirectory() as place:
        fitted(max_steps).save(f"{place}/model")
        done = list[float]()
        began = time.perf_counter()
        made = sample_parts(
            f"{place}/model",
            f"{place}/rows",
            n_rows,
            seed=SEED,
            part_rows=part_rows,
            workers=workers,
            engine=engine,
            watch=lambda *_: done.append(time.perf_counter() - began),
        )
        seconds = time.perf_counter() - began
    assert made.manifest is not None
    return {"seconds": seconds, "first": done[0], "last": done[-1], "parts": len(done), "values": made.manifest.values}


def fitted(max_steps: int) -> Diffusion:
    """Return a model of the default size for these rows, trained for a number of steps."""
    rows = curved_chain(N_COLUMNS).sample(100_000, random_state=SEED + 1)
    return Diffusion(max_steps=max_steps, random_state=SEED, verbose=False).fit(rows)


def busy(work: Callable[[], object]) -> float:
    """Return the processor seconds of a function."""
    before = time.process_time()
    work()
    return time.process_time() - before


def told(results: Results, curves: Path) -> str:  # noqa: ARG001 - every part is told where curves go
    """Return the tables of the work's parts, of the engines, and of the capacity that follows."""
    parts = [result for result in results if result["key"]["what"] == PARTS]
    outputs = [result for result in results if result["key"]["what"] != PARTS]
    told = [_parts_told(parts[-1])] if parts else []
    told += [_outputs_told(outputs)] if outputs else []
    small = {_engine(result): result for result in outputs if result["key"]["part_rows"] == TILE_ROWS}
    if parts and ("ray", 1) in small:
        told.append(_capacity_told(parts[-1], small["ray", 1]))
    return "\n\n".join(told)


def costs_of(parts: Figures, small: Figures) -> dict[str, Costs]:
    """Return the costs of drawing and of scoring by an engine, from an output in parts of one tile."""
    seconds = parts["seconds"]
    row = seconds["sample"] + seconds["write"]
    each = _seconds_of_a_part(small)
    part, start = max(each - TILE_ROWS * row, 0.0), max(small["first"] - each, 0.0)
    scoring = seconds["read"] + seconds["score"]  # which encodes
    return {
        "rows drawn": Costs(row, part, start, parts["bytes"]),
        "rows scored": Costs(scoring, part, start, 8.0),
    }


def _parts_told(parts: Figures) -> str:
    trained = parts["fit_seconds"] / parts["rows_trained"]
    seconds = {"read": 0.0, "encode": 0.0, "train": trained} | parts["seconds"]
    lines = [(name, count(1.0 / own), count(own * BILLION / 3600)) for name, own in seconds.items() if own > 0.0]
    words = (
        f"{N_COLUMNS} columns, {parts['network']}, {parts['n_evaluations']} evaluations a row, Parquet of "
        f"{parts['bytes']:.0f} bytes a row. Processor time on one thread. Training counts a row each time it is "
        "visited; writing includes both checksums."
    )
    return f"{words}\n\n{table(('part of the work', 'rows per second of a core', 'hours of a core for 10^9'), lines)}"


def _outputs_told(outputs: Results) -> str:
    alone = {
        (result["key"]["n_rows"], result["key"]["part_rows"]): result
        for result in outputs
        if _engine(result) == ("local", 1)
    }
    lines = []
    for result in outputs:
        key, own = result["key"], alone.get((result["key"]["n_rows"], result["key"]["part_rows"]))
        equal = "" if own is None else "the same" if own["values"] == result["values"] else "OTHER"
        lines.append(
            (
                key["engine"],
                str(key["workers"]),
                f"{key['n_rows']:,}",
                f"{result['parts']:,}",
                f"{result['seconds']:.1f}",
                f"{max(result['first'] - _seconds_of_a_part(result), 0.0):.1f}",
                f"{1e3 * _seconds_of_a_part(result):,.0f}",
                equal,
            )
        )
    head = ("engine", "workers", "rows", "parts", "s in all", "s before the first part begins", "ms a part", "values")
    words = "Seconds by the clock. A part is counted from the first to the last, so without the start and the end."
    return f"{words}\n\n{table(head, lines)}"


def _capacity_told(parts: Figures, small: Figures) -> str:
    lines = []
    for name, costs in costs_of(parts, small).items():
        for cores in CORES:
            for part_rows in (PART_ROWS, PART_ROWS // 8):
                found = capacity(BILLION, cores, part_rows, costs)
                lines.append(
                    (
                        name,
                        f"{cores:,}",
                        f"{part_rows:,}",
                        f"{found.parts:,}",
                        _duration(found.seconds),
                        f"{100 * found.share:.0f} %",
                        found.limit,
                    )
                )
    head = ("10^9", "cores", "rows of a part", "parts", "time", "of it making rows", "limited by")
    words = (
        "Computed, not measured: the rates above, Ray's start and its cost of a part, equal cores, no losses, and "
        f"{BYTES_PER_SECOND / 1e9:g} GB/s into the folder that all hosts share."
    )
    return f"{words}\n\n{table(head, lines)}"


def _engine(result: Figures) -> tuple[str, int]:
    return result["key"]["engine"], result["key"]["workers"]


def _seconds_of_a_part(result: Figures) -> float:
    others: int = max(result["parts"] - 1, 1)
    between: float = result["last"] - result["first"]
    return between / others


def _duration(seconds: float) -> str:
    if seconds < 120:
        return f"{seconds:.0f} s"
    return f"{seconds / 60:.0f} min" if seconds < 7200 else f"{seconds / 3600:.1f} h"
