"""SIGINT, SIGTERM or SIGHUP at random moments of `backwalk fit`: a checkpoint, the right status, soon; two: at once."""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Iterator
from contextlib import suppress
from functools import cache, partial
from pathlib import Path
from typing import Any

import numpy as np

from backwalk.model_file import load
from backwalk.signals import STOPPING
from backwalk.table import as_table, write_table
from backwalk.training.checkpoint import checkpoint_step
from soak.campaign import outcome_of
from soak.children import forked, left
from soak.material import appeared, bits, listing, note_first_step, rows

_SECONDS = 5.0
_SECONDS_AT_ONCE = 1.0
_STEPS = 150


def once(n: int, seed: int, folder: Path) -> Iterator[str]:
    """Yield outcomes of one signal each: status, seconds, litter; every fit is then gone on with and compared.

    Three of four signals come when training has begun, so that there has to be a checkpoint.
    """
    rng = np.random.default_rng(seed)
    for i in range(n):
        number, begun = STOPPING[i // 4 % len(STOPPING)], i % 4 != 3
        wait = rng.uniform(0.0, 0.5 if begun else 1.1) * _seconds()
        yield outcome_of(partial(_stopped, _place(folder, i), number, wait, begun))


def twice(n: int, seed: int, folder: Path) -> Iterator[str]:
    """Yield outcomes of two signals on each other's heels."""
    rng = np.random.default_rng(seed)
    for i in range(n):
        first, second = (signal.SIGINT, signal.SIGTERM)[i % 2], (signal.SIGINT, signal.SIGTERM)[i // 2 % 2]
        wait, between = rng.uniform(0.0, _seconds()), rng.uniform(0.0, 0.01)
        yield outcome_of(partial(_stopped_twice, _place(folder, i), first, second, wait, between))


def _fit(place: Path, *options: str) -> None:
    from backwalk.cli import main

    note_first_step(place / "first step")
    (place / "began").write_text("")
    main(["fit", str(place / "rows.csv"), "-o", str(place / "m"), "--max-steps", str(_STEPS), *options])


def _place(folder: Path, i: int) -> Path:
    place = folder / str(i)
    place.mkdir()
    write_table(place / "rows.csv", as_table(rows()))
    return place


def _begun(place: Path) -> int:
    """Start a fit in a child, and return when it has come so far as to take signals for its own."""
    pid = forked(partial(_fit, place), place / "log")
    while not (place / "began").exists():
        time.sleep(0.001)
    time.sleep(0.02)
    return pid


def _stopped(place: Path, number: int, wait: float, begun: bool) -> None:
    pid = _begun(place)
    if begun:
        appeared(place / "first step", pid)
    time.sleep(wait)
    os.kill(pid, number)  # who is done waits to be waited for, and does not mind
    status = left(pid, _SECONDS)
    log = (place / "log").read_text()
    assert status in (0, 128 + number), f"left with {status}: {log[-300:]}"
    told = [line for line in log.splitlines() if not line.startswith((" ", "columns of"))]  # the kinds come first
    assert len(told) <= 2, log
    assert not [name for name in listing(place) if name.endswith(".part")], listing(place)
    if status and begun and not (place / "m").exists():
        assert (place / "m.checkpoint").exists(), f"no checkpoint: {log}"
        assert f"keeps step {checkpoint_step(place / 'm.checkpoint')}" in log, log
    _goes_on(place, status)


def _goes_on(place: Path, status: int | None) -> None:
    """Check that what a stopped fit left leads on, from its checkpoint's step, to the uninterrupted model."""
    checkpoint = place / "m.checkpoint"
    step = checkpoint_step(checkpoint) if checkpoint.exists() else 0
    assert status or not checkpoint.exists()
    if status and (checkpoint.exists() or not (place / "m").exists()):
        again = left(forked(partial(_fit, place, "--resume"), place / "log"), 60.0)
        assert again == 0, f"left with {again}: {(place / 'log').read_text()[-300:]}"
        if (place / "first step").exists():
            assert int((place / "first step").read_text()) == step, "it went on from another step than its checkpoint's"
        else:
            assert step == _STEPS, "it took no step, and was not done"
    assert bits(load(place / "m")) == _uninterrupted(), "the model is another than the uninterrupted one"
    assert not checkpoint.exists()
    assert not [name for name in listing(place) if name.endswith(".part")], listing(place)


def _stopped_twice(place: Path, first: int, second: int, wait: float, between: float) -> None:
    pid = _begun(place)
    time.sleep(wait)
    os.kill(pid, first)
    time.sleep(between)
    with suppress(ProcessLookupError):
        os.kill(pid, second)
    status = left(pid, _SECONDS_AT_ONCE)
    # In its last moment the system's own handlers are back: a shell tells 128 + the signal for that too.
    assert status in (0, 128 + first, 128 + second, -second), (
        f"left with {status}: {(place / 'log').read_text()[-300:]}"
    )
    _goes_on(place, status)


@cache
def _seconds() -> float:
    began = time.monotonic()
    _uninterrupted()
    return time.monotonic() - began


@cache
def _uninterrupted() -> Any:
    import tempfile

    with tempfile.TemporaryDirectory() as name:
        place = _place(Path(name), 0)
        assert left(forked(partial(_fit, place), place / "log"), 60.0) == 0
        return bits(load(place / "m"))
