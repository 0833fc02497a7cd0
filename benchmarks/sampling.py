"""Sampling: rows per second of the notebook's sampler and of ours, with what they are worth; and ten million to a file.

The samplers take turns, A B C A B C, in one process. Beside each rate stands the C2ST of its rows minus that of real
rows, so that speed is not bought with quality unseen.
"""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from backwalk import Diffusion
from backwalk.datasets import two_moons
from backwalk.streams import Stream
from benchmarks.fresh import in_fresh_process
from benchmarks.judge import STATISTICS
from benchmarks.methods import Rows, timed
from benchmarks.notebook import N_EPOCHS, N_STEPS, Notebook
from benchmarks.record import Figures, Store


@dataclass(frozen=True)
class Sizes:
    """How long the models train, rows per turn and turns, the pairs of the C2ST, and the rows written to files."""

    n_epochs: int
    max_steps: int | None
    evaluations: tuple[int, ...]
    n_rows: int
    n_turns: int
    n_pairs: int
    n_to_file: tuple[int, ...]


SIZES = {
    "quick": Sizes(1, 2, (5,), 200, 2, 2, (2_000,)),
    "short": Sizes(300, None, (10, 20, 100), 10_000, 3, 3, (100_000, 1_000_000)),
    "full": Sizes(N_EPOCHS, None, (5, 7, 10, 20, 50, 100), 10_000, 7, 5, (100_000, 1_000_000, 10_000_000)),
}


def run(store: Store, sizes: Sizes) -> None:
    """Measure the rates in one go, then each file in a fresh process."""
    key = {"what": "rates", "n_epochs": sizes.n_epochs, "evaluations": list(sizes.evaluations), "n": sizes.n_rows}
    store.once(key, partial(rates, sizes))
    for n in sizes.n_to_file:
        store.once({"what": "file", "n": n}, partial(to_file, n, sizes.max_steps))


def rates(sizes: Sizes) -> Figures:
    """Return, for each sampler, the seconds of its first call and of its turns, and its C2ST pair by pair."""
    density = two_moons()
    X = density.sample(10_000, random_state=0)
    notebook = Notebook(X, seed=0)
    notebook.train(sizes.n_epochs)
    ours = Diffusion(max_steps=sizes.max_steps, random_state=0, verbose=False).fit(X)
    _, distilling = timed(lambda: ours.distil(max_steps=sizes.max_steps, random_state=0))
    samplers: dict[str, Callable[[int, int], Rows]] = {
        f"notebook, {N_STEPS} steps, as written": lambda n, seed: _reseeded(notebook, seed).sample(n, autograd=True),
        f"notebook, {N_STEPS} steps, no_grad": lambda n, seed: _reseeded(notebook, seed).sample(n),
        **{f"Diffusion, {k} evaluations": partial(_ours, ours, n_evaluations=k) for k in sizes.evaluations},
        "Diffusion, distilled to 1 evaluation": partial(_ours, ours, sampler="distilled"),
    }
    seconds: dict[str, list[float]] = {name: [] for name in samplers}
    first = {name: timed(lambda: sampler(sizes.n_rows, 0))[1] for name, sampler in samplers.items()}  # noqa: B023
    names = list(samplers)
    for turn in range(sizes.n_turns):
        for name in in_turn(names, turn):
            seconds[name].append(timed(lambda: samplers[name](sizes.n_rows, turn))[1])  # noqa: B023 - called at once
    n_sets = sizes.n_pairs * sizes.n_rows
    real, other = (np.split(density.sample(n_sets, random_state=seed), sizes.n_pairs) for seed in (1, 2))

    def told(rows: list[Rows]) -> list[float]:
        statistic, stream = STATISTICS["c2st_boosting"], Stream(0).child("benchmark sampling")
        return [statistic(x, y, stream.child(k)) for k, (x, y) in enumerate(zip(real, rows, strict=True))]

    null = told(other)
    c2st = {
        name: list(np.subtract(told(np.split(sampler(n_sets, 3), sizes.n_pairs)), null))
        for name, sampler in samplers.items()
        if not name.endswith("as written")  # whose rows are those of no_grad
    }
    return {"first_seconds": first, "seconds": seconds, "c2st_minus_real": c2st, "distilling_seconds": distilling}


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


def _reseeded(model: Notebook, seed: int) -> Notebook:
    model.generator.manual_seed(seed)
    return model
