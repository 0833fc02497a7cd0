"""Too little memory: smaller pieces with the same bits, or a clear error, and never more than a file's size twice."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path

import numpy as np

from backwalk import BackwalkError, Diffusion, Residual, Training
from backwalk.model_file import load
from soak.campaign import outcome_of
from soak.children import at_most, forked, guarded, left
from soak.material import estimator, fitted, resident, rows


def too_much(n: int, seed: int, folder: Path) -> Iterator[str]:
    """Yield outcomes of requests that no memory is enough for: each ends soon in an error that says so."""
    del seed, folder
    cases = [partial(_refused, _TOO_MUCH[i % len(_TOO_MUCH)]) for i in range(n)]
    yield from guarded(cases, seconds=60.0)


def little(n: int, seed: int, folder: Path) -> Iterator[str]:
    """Yield outcomes of 200,000 rows under a limit of 256 MiB more than the process has: the same bits as without it.

    The activations of so many rows at once would be 205 MB in each layer of this network of width 256.
    """
    model = estimator(denoiser=Residual(256, 1), random_state=seed).fit(rows())
    for i in range(n):
        yield outcome_of(partial(_same_with_little, model, i, folder / f"{i}.npy"))


def loading(n: int, seed: int, folder: Path) -> Iterator[str]:
    """Yield outcomes of loading large models: what it takes at its peak is at most twice the file, and 32 MiB.

    So that a third copy would be found, no file is smaller than that.
    """
    plan = Training(batch_size=64, learning_rate=1e-3, max_steps=1)  # without Muon, which takes minutes at such widths
    for i in range(n):
        denoiser = Residual(1600 + 200 * i, 2)
        model = Diffusion(n_steps=5, training=plan, denoiser=denoiser, random_state=seed, verbose=False).fit(rows())
        path = folder / f"m{i}.safetensors"
        model.save(path)
        del model
        yield outcome_of(partial(_peak, path))


_TOO_MUCH: list[Callable[[], object]] = [
    lambda: fitted().sample(10**13),
    lambda: fitted().sample(2**62),
    lambda: estimator(n_steps=10**9).fit(rows()),
    lambda: estimator(denoiser=Residual(width=60_000)).fit(rows()),
    lambda: estimator(training=Training(batch_size=10**10, learning_rate=0.1, max_steps=1), max_steps=None).fit(rows()),
]


def _refused(ask: Callable[[], object]) -> None:
    try:
        ask()
    except BackwalkError as error:
        text = str(error).lower()
        assert any(word in text for word in ("memory", "should be")), text
    else:
        raise AssertionError("it was taken")


def _same_with_little(model: Diffusion, seed: int, path: Path) -> None:
    def made() -> np.ndarray:
        return model.sample(200_000, random_state=seed, n_evaluations=2)

    def work() -> None:
        at_most(256 * 2**20)
        np.save(path, made())

    status = left(forked(work, path.with_suffix(".log")), 60.0)
    assert status == 0, f"left with {status}: {path.with_suffix('.log').read_text()[-300:]}"
    np.testing.assert_array_equal(np.load(path), made())


def _peak(path: Path) -> None:
    """Load in a child, and compare its peak of resident memory with what it had before."""
    allowed = 2 * path.stat().st_size + 32 * 2**20

    def work() -> None:
        Path("/proc/self/clear_refs").write_text("5")
        before = resident("VmRSS")
        load(path)
        print(resident("VmHWM") - before)

    log = path.with_suffix(".log")
    assert left(forked(work, log), 60.0) == 0, log.read_text()[-300:]
    took = int(log.read_text())
    assert took <= allowed, f"{took / 2**20:.0f} MiB for a file of {path.stat().st_size / 2**20:.0f} MiB"
