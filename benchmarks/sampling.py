"""Sampling: rows per second of the notebook's sampler and ours with the C2ST of the rows, and ten million to a file.

The samplers alternate, A B C A B C, in one process. In its turn a sampler is called repeatedly for half a second, so
that occasional pauses, such as garbage collection, are part of every rate. The C2ST minus that of real rows beside each
rate shows what quality the speed costs.
"""

from __future__ import annotations

import math
import statistics
import tempfile
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from backwalk import Diffusion
from backwalk.datasets import two_moons
from backwalk.sampling import TILE_ROWS
from backwalk.streams import Stream
from benchmarks import turns
from benchmarks.draws import ERRORS_BY_DRAWS, Results
from benchmarks.fresh import in_fresh_process
from benchmarks.judge import STATISTICS
from benchmarks.methods import Clock, Rows, timed
from benchmarks.notebook import N_EPOCHS, N_STEPS, Notebook
from benchmarks.record import Figures, Store
from benchmarks.tables import count, mean_of, mib, shown, table

AS_WRITTEN = "as written"

TITLE = "Sampling"


@dataclass(frozen=True)
class Sizes:
    """How long the models train, seconds per turn and turns, what is judged, and rows written to files.

    Ours are fitted, and their students taught, on `n_fits` draws of the data; the notebook is trained on the first.
    The notebook draws `n_rows` per call, as its autograd graph takes 3 GB for 10,000; ours draw `n_rows_of_ours`.
    """

    n_epochs: int
    max_steps: int | None
    evaluations: tuple[int, ...]
    n_rows: int
    n_rows_of_ours: int
    seconds: float
    n_turns: int
    n_fits: int
    n_pairs: int
    n_to_file: tuple[int, ...]


SIZES = {
    "quick": Sizes(1, 2, (5,), 200, 400, 0.01, 2, 1, 2, (2_000,)),
    "short": Sizes(300, None, (10, 20, 100), 10_000, 100_000, 0.5, 3, 1, 3, (100_000, 1_000_000)),
    "full": Sizes(
        N_EPOCHS, None, (5, 7, 10, 20, 50, 100), 10_000, 100_000, 0.5, 7, 3, 5, (100_000, 1_000_000, 10_000_000)
    ),
}


def run(store: Store, sizes: Sizes) -> None:
    """Measure the rates in one go, then each file in a fresh process."""
    key = {
        "what": "rates",
        "n_epochs": sizes.n_epochs,
        "evaluations": list(sizes.evaluations),
        "n": sizes.n_rows,
        "n_of_ours": sizes.n_rows_of_ours,
    }
    store.once(key, partial(rates, sizes))
    for n in sizes.n_to_file:
        store.once({"what": "file", "n": n}, partial(to_file, n, sizes.max_steps))


def rates(sizes: Sizes) -> Figures:
    """Return, for each sampler, the seconds of its first call and per n_rows in each turn, and its C2ST by pair."""
    density = two_moons()
    draws = [density.sample(10_000, random_state=seed) for seed in range(sizes.n_fits)]
    notebook = Notebook(draws[0], seed=0)
    notebook.train(sizes.n_epochs)
    fits = [Diffusion(max_steps=sizes.max_steps, random_state=0, verbose=False).fit(X) for X in draws]
    distilling = [timed(partial(ours.distil, max_steps=sizes.max_steps, random_state=0))[1] for ours in fits]
    samplers = _samplers(notebook, fits[0], sizes)
    first = {name: timed(partial(sampler, sizes.n_rows, 0))[1] for name, sampler in samplers.items()}
    seconds: dict[str, list[float]] = {name: [] for name in samplers}
    for turn in range(sizes.n_turns):
        for name in in_turn(list(samplers), turn):
            n = sizes.n_rows_of_ours if name.startswith("Diffusion") else sizes.n_rows
            taken = seconds_a_call(partial(samplers[name], n, turn), sizes.seconds)
            seconds[name].append(taken * sizes.n_rows / n)
    c2st: dict[str, list[list[float]]] = {}
    for seed, ours in enumerate(fits):
        for name, parts in _c2st_minus_real(_samplers(notebook if seed == 0 else None, ours, sizes), seed, sizes):
            c2st.setdefault(name, []).append(parts)
    return {"first_seconds": first, "seconds": seconds, "c2st_minus_real": c2st, "distilling_seconds": distilling}


def _samplers(notebook: Notebook | None, ours: Diffusion, sizes: Sizes) -> dict[str, Callable[[int, int], Rows]]:
    """Return each sampler, a function (n, seed) -> rows, by its name."""
    loops: dict[str, Callable[[int, int], Rows]] = {}
    if notebook is not None:
        loops[f"notebook, {N_STEPS} steps, {AS_WRITTEN}"] = partial(_notebooks, notebook, autograd=True)
        loops[f"notebook, {N_STEPS} steps, no_grad"] = partial(_notebooks, notebook)
    return {
        **loops,
        **{f"Diffusion, {k} evaluations": partial(_ours, ours, n_evaluations=k) for k in sizes.evaluations},
        "Diffusion, distilled to 1 evaluation": partial(_ours, ours, sampler="distilled"),
    }


def _c2st_minus_real(
    samplers: dict[str, Callable[[int, int], Rows]], seed: int, sizes: Sizes
) -> Iterator[tuple[str, list[float]]]:
    """Yield the C2ST of each sampler less that of real rows, pair by pair. Real rows are other ones for each seed."""
    density, n = two_moons(), sizes.n_pairs * sizes.n_rows
    real, other = (np.split(density.sample(n, random_state=1000 + 2 * seed + k), sizes.n_pairs) for k in (0, 1))

    def told(rows: list[Rows]) -> list[float]:
        statistic, stream = STATISTICS["c2st_boosting"], Stream(seed).child("benchmark sampling")
        return [statistic(x, y, stream.child(k)) for k, (x, y) in enumerate(zip(real, rows, strict=True))]

    null = told(other)
    for name, sampler in samplers.items():
        if not name.endswith(AS_WRITTEN):  # whose rows are those of no_grad
            yield name, np.subtract(told(np.split(sampler(n, seed), sizes.n_pairs)), null).tolist()


def seconds_a_call(call: Callable[[], object], seconds: float) -> float:
    """Return the mean seconds of a call that is repeated for so long."""
    clock, calls = Clock(seconds), 0
    while calls == 0 or clock.left() > 0.0:
        call()
        calls += 1
    return (seconds - clock.left()) / calls


def in_turn(names: Sequence[str], turn: int) -> list[str]:
    """Return the names in an order of this turn's own: what comes after the notebook finds the caches cold."""
    return [names[k] for k in Stream(0).child("benchmark turn", turn).permutation(len(names))]


def to_file(n: int, max_steps: int | None) -> Figures:
    """Return the seconds and the memory of `backwalk sample -n N -o x.parquet`, beside those of loading the model."""
    with tempfile.TemporaryDirectory() as folder:
        model, rows = Path(folder) / "model.backwalk", Path(folder) / "rows.parquet"
        X = two_moons().sample(10_000, random_state=0)
        Diffusion(max_steps=max_steps, random_state=0, verbose=False).fit(X).save(model)
        loaded = in_fresh_process("benchmarks.sampling:load", model=str(model))
        sampled = in_fresh_process("benchmarks.sampling:sample", model=str(model), n=n, output=str(rows))
        return {
            "seconds": sampled["seconds"],
            "rows_a_second": n / sampled["seconds"],
            "peak_bytes": sampled["peak_bytes"],
            "loaded_peak_bytes": loaded["peak_bytes"],
            "above_loaded_bytes": sampled["peak_bytes"] - loaded["peak_bytes"],
            "file_bytes": rows.stat().st_size,
        }


def load(model: str) -> dict[str, Any]:
    """Load a model and do no more."""
    import backwalk.cli  # noqa: F401 - what the command line loads

    Diffusion.load(model)
    return {}


def sample(model: str, n: int, output: str) -> dict[str, Any]:
    """Run `backwalk sample`, and return its seconds."""
    from backwalk.cli import cli

    arguments = ["sample", model, "-n", str(n), "-o", output]
    _, seconds = timed(lambda: cli.main(arguments, prog_name="backwalk", standalone_mode=False))
    return {"seconds": seconds}


def _ours(model: Diffusion, n: int, seed: int, **sampler: Any) -> Rows:
    return np.asarray(model.sample(n, random_state=seed, **sampler))


def _notebooks(model: Notebook, n: int, seed: int, *, autograd: bool = False) -> Rows:
    model.generator.manual_seed(seed)
    return model.sample(n, autograd=autograd)


def _calls(n: int, n_of_ours: int) -> str:
    """Return how many rows a call draws, in words, and what that does to the rates of ours."""
    tiles = math.ceil(n / TILE_ROWS)
    if n_of_ours == n:
        return (
            f"Rows in calls of {n:,}. Ours are drawn in tiles of {TILE_ROWS:,} rows, shared between the threads: "
            f"{tiles} tiles take two threads as long as {2 * math.ceil(tiles / 2)}, so that these rates are below "
            "those of calls of 100,000 rows in Growth."
        )
    return f"The notebook draws {n:,} rows per call, ours {n_of_ours:,}, as in Growth."


def told(results: Results, curves: Path) -> str:  # noqa: ARG001
    """Return the rates with their worth, and the files."""
    texts = []
    for result in (result for result in results if result["key"]["what"] == "rates"):
        n, seconds, c2st = result["key"]["n"], result["seconds"], result["c2st_minus_real"]
        first = next(iter(seconds))
        rows = [
            (
                name,
                count(n / statistics.median(times)),
                f"{count(n / max(times))} to {count(n / min(times))}",
                f"{turns.median_ratio(seconds[first], times):.1f}",
                *((shown(mean_of(c2st[name])), str(len(c2st[name]))) if name in c2st else ("as no_grad", "")),
            )
            for name, times in seconds.items()
        ]
        head = ("two moons", "rows per second", "in the turns", "times the first line", "C2ST minus real", "fits")
        texts.append(
            f"{_calls(n, result['key'].get('n_of_ours', n))} The median of {len(seconds[first])} turns, with the least "
            "and the most. The ratio is the median of the turns' ratios, not the ratio of the medians.\n"
        )
        texts.append(table(head, rows))
        student = statistics.median(result["distilling_seconds"])
        texts.append(
            f"A student took {student:.0f} s more than the fit, its pairs included. Of the C2ST {ERRORS_BY_DRAWS}\n"
        )
        besides = {name: result["first_seconds"][name] - statistics.median(times) for name, times in seconds.items()}
        slower = [f"{more:.2f} s ({name})" for name, more in besides.items() if more >= 0.05]
        texts.append(
            "Rates are those of a program that goes on sampling. Its first call took longer, as steps are then "
            f"fitted to the model, or memory is set up: by {', '.join(slower)}.\n"
            if slower
            else "First calls took less than 0.05 s more.\n"
        )
    files = sorted(
        (result for result in results if result["key"]["what"] == "file"), key=lambda result: result["key"]["n"]
    )
    if files:
        texts.append("`backwalk sample -n N -o x.parquet`: seconds after the imports, memory of the whole process.\n")
        written = [
            (
                f"{result['key']['n']:,}",
                f"{result['seconds']:.1f}",
                count(result["rows_a_second"]),
                mib(result["peak_bytes"]),
                mib(result["above_loaded_bytes"]),
                mib(result["file_bytes"]),
            )
            for result in files
        ]
        head = ("rows", "seconds", "rows per second", "peak, MiB", "above the loaded model, MiB", "file, MiB")
        texts.append(table(head, written))
    return "\n".join(texts)
