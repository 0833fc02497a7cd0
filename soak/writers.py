"""Several processes that save to one path while others load it: whoever reads meets one whole version."""

from __future__ import annotations

import os
import time
from collections.abc import Iterator
from dataclasses import replace
from functools import partial
from pathlib import Path

import numpy as np

from backwalk.cli.stops import Stopped, signals_raised
from backwalk.model_file import load, save
from backwalk.signals import STOPPING
from soak.campaign import outcome_of
from soak.children import SECONDS_A_CASE, forked, left
from soak.material import fitted

_PROCESSES = 8
_READERS = 2
_SAVED = "saved"


def one_file(n: int, seed: int, folder: Path) -> Iterator[str]:
    """Yield an outcome for each of n saves by eight processes, of four models in turn, and for each reader.

    A writer says of each of its saves what it met when it loaded the model at once: its own, or a later one, whole.
    """
    name, path = "m", folder / "m"
    save(_version(0), path)
    readers = [forked(partial(_read, path, folder / f"{name}.stop"), folder / f"{name}.r{i}") for i in range(_READERS)]
    each = -(-n // _PROCESSES)
    logs = [folder / f"{name}.w{i}" for i in range(_PROCESSES)]
    writers = [forked(partial(_write, path, seed + i, each), logs[i]) for i in range(_PROCESSES)]
    statuses = [left(pid, 300.0) for pid in writers]
    (folder / f"{name}.stop").write_text("")
    seen = [left(pid, 30.0) for pid in readers]
    for log, status in zip(logs, statuses, strict=True):
        saves = log.read_text().splitlines()
        yield from ("" if saved == _SAVED else saved for saved in saves[:each])
        if status != 0 or len(saves) != each:
            yield f"writer left with {status} after {len(saves)} of {each} saves: {log.read_text()[-300:]}"
    for i, status in enumerate(seen):
        yield "" if status == 0 else f"reader left with {status}: {(folder / f'{name}.r{i}').read_text()[-300:]}"
    names = [each.name for each in folder.glob(f".{name}.*")]
    yield "" if not names else f"litter: {names}"


def killed(n: int, seed: int, folder: Path) -> Iterator[str]:
    """Yield outcomes of writers killed at random: the model stays whole."""
    rng, path = np.random.default_rng(seed), folder / "m"
    save(_version(0), path)
    for i in range(n):
        pid = forked(partial(_write, path, seed + i, 1000), folder / "log")
        left_after = float(rng.uniform(0.0, 0.05))
        left(pid, left_after)
        try:
            assert _which(path) >= 0
            if i % 10 == 9:
                save(_version(i % 4), path, overwrite=True)
                assert _which(path) == i % 4
        except Exception as error:
            yield f"{type(error).__name__}: {error}"
        else:
            yield ""


def stopped(n: int, seed: int, folder: Path) -> Iterator[str]:
    """Yield outcomes of writers that a signal stops at random: the model stays whole, and no part of a file is left."""
    rng, path = np.random.default_rng(seed), folder / "m"
    save(_version(0), path)
    for i in range(n):
        number, wait = STOPPING[i % len(STOPPING)], float(rng.uniform(0.0, 0.03))
        yield outcome_of(partial(_stopped, path, seed + i, number, wait, folder / f"{i}.log"))


def _stopped(path: Path, seed: int, number: int, wait: float, log: Path) -> None:
    pid = forked(partial(_write_until_stopped, path, seed), log)
    deadline = time.monotonic() + SECONDS_A_CASE
    while not (log.exists() and log.stat().st_size) and time.monotonic() < deadline:
        time.sleep(0.001)
    time.sleep(wait)
    os.kill(pid, number)
    status = left(pid)
    assert status == 128 + number, f"left with {status}: {log.read_text()[-300:]}"
    assert _which(path) >= 0
    assert not list(path.parent.glob(".*.part")), "litter"


def _write_until_stopped(path: Path, seed: int) -> None:
    with signals_raised():
        try:
            _write(path, seed, 1000)
        except Stopped as stop:
            raise SystemExit(128 + stop.number) from None


def _version(k: int) -> object:
    model = fitted().model_
    return replace(model, denoising_error=(1.0 + k) * model.denoising_error, decoder_variance=0.125 * (1.0 + k))


def _which(path: Path) -> int:
    """Load, and return which of the four versions it is: all of one, or it is a mixture."""
    model = load(path)
    k = round(model.decoder_variance / 0.125) - 1
    expected = (1.0 + k) * fitted().model_.denoising_error
    assert model.denoising_error.numpy().tobytes() == expected.numpy().tobytes(), "a mixture"
    return k


def _write(path: Path, seed: int, n: int) -> None:
    for k in np.random.default_rng(seed).integers(4, size=n):
        save(_version(int(k)), path, overwrite=True)
        print(outcome_of(partial(_which, path)) or _SAVED, flush=True)


def _read(path: Path, stop: Path) -> None:
    while not stop.exists():
        _which(path)
