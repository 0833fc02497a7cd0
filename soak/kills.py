"""SIGKILL at random moments: what is on the disk is whole, and a fit that goes on is the one that was never stopped."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from functools import cache, partial
from pathlib import Path
from typing import Any

import numpy as np

from backwalk import Diffusion
from backwalk.model_file import load
from backwalk.table import as_table, read_table, write_table
from backwalk.training.checkpoint import checkpoint_step
from soak.campaign import outcome_of
from soak.children import forked, left
from soak.material import bits, estimator, fitted, listing, notebook, rows

_MODELS: list[Callable[[], Diffusion]] = [
    estimator,
    notebook,
    partial(estimator, random_state=5, validation_fraction=0.0, max_steps=60),
    partial(estimator, scale=False, max_steps=25, random_state=2),
]
_MOST_KILLS = 3  # of one fit


def fits(n: int, seed: int, folder: Path) -> Iterator[str]:
    """Yield an outcome for each kill of a fit with checkpoints: it goes on, is killed again, and at last compared."""
    rng, kills, trial = np.random.default_rng(seed), 0, 0
    while kills < n:
        place = folder / str(trial)
        place.mkdir()
        which, suffix = trial % len(_MODELS), (".safetensors", "")[trial % 2]
        trial += 1
        wanted = min(int(rng.integers(1, _MOST_KILLS + 1)), n - kills)
        struck, outcomes = 0, []
        while struck < wanted:
            pid = forked(partial(_fit, which, place, f"m{suffix}"), place / "log")
            time.sleep(rng.uniform(0.0, 1.1 * _seconds(which)))
            if os.waitpid(pid, os.WNOHANG)[0]:
                for path in place.glob("m*"):  # it was done before the blow: begin anew
                    _remove(path)
                _remove(place / "c")
                continue
            os.kill(pid, signal.SIGKILL)
            os.waitpid(pid, 0)
            struck += 1
            outcomes.append(outcome_of(partial(_whole, place, f"m{suffix}")))
        kills += struck
        outcomes[-1] = outcomes[-1] or outcome_of(partial(_goes_on, which, place, f"m{suffix}"))
        yield from outcomes


def samples(n: int, seed: int, folder: Path) -> Iterator[str]:
    """Yield outcomes of kills while rows are drawn and written over a file: the old rows or the new ones, whole."""
    rng = np.random.default_rng(seed)
    for i in range(n):
        path = folder / f"rows{('.csv', '.parquet', '.npy')[i % 3]}"
        old = fitted().sample(50, random_state=0, n_evaluations=2)
        write_table(path, as_table(old), overwrite=True)
        pid = forked(partial(_sample, path), folder / "log")
        time.sleep(rng.uniform(0.0, 0.1))
        if os.waitpid(pid, os.WNOHANG) == (0, 0):
            os.kill(pid, signal.SIGKILL)
            os.waitpid(pid, 0)
        yield outcome_of(partial(_old_or_new, path, old))
        for part in folder.glob(".*.part"):
            part.unlink()


def commands(n: int, seed: int, folder: Path) -> Iterator[str]:
    """Yield outcomes of kills of real `backwalk fit` processes, gone on with by --resume."""
    rng = np.random.default_rng(seed)
    write_table(folder / "rows.csv", as_table(rows()))
    command = [sys.executable, "-m", "backwalk", "fit", str(folder / "rows.csv"), "--max-steps", "600", "-o"]
    began = time.monotonic()
    subprocess.run([*command, str(folder / "whole")], check=True, capture_output=True)
    took = time.monotonic() - began
    whole = bits(load(folder / "whole"))
    for i in range(n):
        output = folder / f"m{i}"
        again = [*command, str(output), "--resume", "--checkpoint-every", "0"]
        with subprocess.Popen(again, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL) as process:
            time.sleep(rng.uniform(0.3 * took, took))
            process.kill()
        if not output.exists():
            subprocess.run(again, check=False, capture_output=True)
        yield outcome_of(lambda output=output: _equal(load(output), whole))


def _fit(which: int, place: Path, name: str) -> None:
    model = _MODELS[which]()
    model.fit(rows(), checkpoint=place / "c", resume=True, checkpoint_every=0.0)
    model.save(place / name, overwrite=True)


@cache
def _uninterrupted(which: int) -> tuple[Any, Any]:
    model = _MODELS[which]().fit(rows())
    return bits(model.model_), model.sample(100, random_state=1).tobytes()


@cache
def _seconds(which: int) -> float:
    """Return how long a child takes for a whole fit."""
    import tempfile

    with tempfile.TemporaryDirectory() as name:
        began = time.monotonic()
        left(forked(partial(_fit, which, Path(name), "m"), Path(name) / "log"), 60.0)
        return time.monotonic() - began


def _whole(place: Path, name: str) -> None:
    """Check that whatever a killed fit left under its own names can be read."""
    if (place / "c").exists():
        assert checkpoint_step(place / "c") >= 1
    if (place / name).is_file() or (place / name / "model.json").exists():
        load(place / name)


def _goes_on(which: int, place: Path, name: str) -> None:
    status = left(forked(partial(_fit, which, place, name), place / "log"), 60.0)
    assert status == 0, f"left with {status}: {(place / 'log').read_text()[-300:]}"
    model, sample = _uninterrupted(which)
    _equal(load(place / name), model)
    assert Diffusion.load(place / name, device="cpu").sample(100, random_state=1).tobytes() == sample
    assert not [each for each in listing(place) if each.endswith(".part")], "litter"


def _equal(found: Any, expected: Any) -> None:
    assert bits(found) == expected, "the model is another than the uninterrupted one"


def _sample(path: Path) -> None:
    from backwalk.cli import main

    model = path.with_name("model")
    if not model.exists():
        fitted().save(model, overwrite=True)
    main(["sample", str(model), "-n", "3000", "--evaluations", "2", "--seed", "1", "-o", str(path), "--force"])


def _old_or_new(path: Path, old: np.ndarray) -> None:
    values = read_table(path).values
    if len(values) == len(old):
        np.testing.assert_array_equal(values, old)
    else:
        np.testing.assert_array_equal(values, _new())


@cache
def _new() -> np.ndarray:
    sample: np.ndarray = fitted().sample(3000, random_state=1, n_evaluations=2)
    return sample


def _remove(path: Path) -> None:
    if path.is_dir():
        for part in path.iterdir():
            part.unlink()
        path.rmdir()
    else:
        path.unlink(missing_ok=True)
