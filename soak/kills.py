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
from soak.material import appeared, bits, estimator, fitted, note_first_step, notebook, rows

_MODELS: list[Callable[[], Diffusion]] = [
    estimator,
    notebook,
    partial(estimator, random_state=5, validation_fraction=0.0, max_steps=60),
    partial(estimator, scale=False, max_steps=25, random_state=2),
]
_MOST_KILLS = 3  # of one fit


def fits(n: int, seed: int, folder: Path) -> Iterator[str]:
    """Yield an outcome for each kill of a fit with checkpoints: it goes on, is killed again, and at last compared.

    Three of four blows come after the first checkpoint, which has to be there then, and to be gone on with.
    """
    rng, kills, trial = np.random.default_rng(seed), 0, 0
    while kills < n:
        place = folder / str(trial)
        place.mkdir()
        which = trial % len(_MODELS)
        trial += 1
        wanted = min(int(rng.integers(1, _MOST_KILLS + 1)), n - kills)
        struck, outcomes = 0, []
        while struck < wanted:
            begun = (kills + struck) % 4 != 3
            pid = forked(partial(_fit, which, place, "m"), place / "log")
            if begun:
                appeared(place / "c", pid)
            time.sleep(rng.uniform(0.0, 1.1 * _seconds(which)))
            done, status = os.waitpid(pid, os.WNOHANG)
            if done:
                assert status == 0, f"a fit ended by itself with {os.waitstatus_to_exitcode(status)}"
                for name in ("m", "c"):  # it was done before the blow: begin anew
                    (place / name).unlink(missing_ok=True)
                continue
            os.kill(pid, signal.SIGKILL)
            os.waitpid(pid, 0)
            struck += 1
            outcomes.append(outcome_of(partial(_whole, place, "m", begun)))
        kills += struck
        outcomes[-1] = outcomes[-1] or outcome_of(partial(_goes_on, which, place, "m"))
        yield from outcomes


def samples(n: int, seed: int, folder: Path) -> Iterator[str]:
    """Yield outcomes of kills while rows are drawn and written over a file: the old rows or the new ones, whole.

    Every fourth child is let go on to its end, where the new rows have to be there.
    """
    rng = np.random.default_rng(seed)
    fitted().save(folder / "model")
    for i in range(n):
        path = folder / f"rows{('.csv', '.parquet', '.npy')[i % 3]}"
        old = fitted().sample(50, random_state=0, n_evaluations=2)
        write_table(path, as_table(old), overwrite=True)
        pid = forked(partial(_sample, path), folder / "log")
        status = left(pid, 60.0 if i % 4 == 3 else float(rng.uniform(0.0, 0.1)))  # None: killed
        yield outcome_of(partial(_old_or_new, path, old, status))
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
        checkpoint = folder / f"m{i}.checkpoint"
        with subprocess.Popen(again, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL) as process:
            while not checkpoint.exists() and process.poll() is None:
                time.sleep(0.001)
            time.sleep(rng.uniform(0.0, 0.5 * took))
            process.kill()
        yield outcome_of(partial(_command_goes_on, again, output, checkpoint, process.returncode, whole))


def _fit(which: int, place: Path, name: str) -> None:
    note_first_step(place / "first step")
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


def _whole(place: Path, name: str, begun: bool) -> None:
    """Check that whatever a killed fit left under its own names can be read, and that one that had begun left it."""
    assert (place / "c").exists() or not begun, "no checkpoint"
    if (place / "c").exists():
        assert checkpoint_step(place / "c") >= 1
    if (place / name).is_file():
        load(place / name)


def _goes_on(which: int, place: Path, name: str) -> None:
    step = checkpoint_step(place / "c") if (place / "c").exists() else 0
    status = left(forked(partial(_fit, which, place, name), place / "log"), 60.0)
    assert status == 0, f"left with {status}: {(place / 'log').read_text()[-300:]}"
    model, sample = _uninterrupted(which)
    if (place / "first step").exists():
        assert int((place / "first step").read_text()) == step, "it went on from another step than its checkpoint's"
    else:
        assert step == model[-2]["n_steps"], "it took no step, and was not done"
    _equal(load(place / name), model)
    assert Diffusion.load(place / name, device="cpu").sample(100, random_state=1).tobytes() == sample


def _command_goes_on(command: list[str], output: Path, checkpoint: Path, status: int, whole: Any) -> None:
    if status == 0:
        assert not checkpoint.exists()
    else:
        assert status == -signal.SIGKILL, f"left with {status}"
        assert output.exists() or checkpoint_step(checkpoint) >= 1
        if checkpoint.exists():
            again = subprocess.run(command, check=False, capture_output=True, text=True)
            assert again.returncode == 0, again.stderr[-300:]
    _equal(load(output), whole)


def _equal(found: Any, expected: Any) -> None:
    assert bits(found) == expected, "the model is another than the uninterrupted one"


def _sample(path: Path) -> None:
    from backwalk.cli import main

    main(
        [
            "sample",
            str(path.with_name("model")),
            "-n",
            "3000",
            "--evaluations",
            "2",
            "--seed",
            "1",
            "-o",
            str(path),
            "--force",
        ]
    )


def _old_or_new(path: Path, old: np.ndarray, status: int | None) -> None:
    values = read_table(path).values
    assert status in (None, 0), f"left with {status}: {path.with_name('log').read_text()[-300:]}"
    assert status is None or len(values) != len(old), "it was done, and the old rows are still there"
    if len(values) == len(old):
        np.testing.assert_array_equal(values, old)
    else:
        np.testing.assert_array_equal(values, _new())


@cache
def _new() -> np.ndarray:
    sample: np.ndarray = fitted().sample(3000, random_state=1, n_evaluations=2)
    return sample
