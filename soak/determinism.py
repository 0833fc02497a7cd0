"""The same numbers, bit for bit, in whatever pieces, on however many threads and in whatever process."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from functools import cache, partial
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import torch

from backwalk import Diffusion, Residual, Sampler
from backwalk.model import sample_rows
from backwalk.streams import Stream
from soak.campaign import outcome_of
from soak.children import forked, left
from soak.material import notebook, rows

_N = 4500
_SAMPLERS = [
    Sampler("ancestral"),
    Sampler("ddim", 5),
    Sampler("dpm++2m", 5),
    Sampler("multistep-sde", 6),
    Sampler("multistep", 4),
]


def samples(n: int, seed: int, folder: Path) -> Iterator[str]:
    """Yield outcomes of a sample drawn in other pieces, and of its head."""
    rng = np.random.default_rng(seed)
    for i in range(n):
        which, sampler = i % 3, _SAMPLERS[i // 3 % len(_SAMPLERS)]
        piece = int(rng.choice([1, 7, 1000, 1024, 4096, _N]))
        start = int(rng.integers(0, _N - 20))
        stop = int(min(_N, start + (20 if piece < 8 else rng.integers(1, _N))))
        yield outcome_of(partial(_same_rows, which, sampler, start, stop, piece, 1 + i % 2, folder))


def scores(n: int, seed: int, folder: Path) -> Iterator[str]:
    """Yield outcomes of log-densities asked for in batches of 1, 7, 4,096 and all rows, on one thread and on two."""
    del seed
    for i in range(n):
        yield outcome_of(partial(_same_scores, i % 3, (1, 7, 4096, _N)[i // 3 % 4], 1 + i // 12 % 2, folder))


def processes(n: int, seed: int, folder: Path) -> Iterator[str]:
    """Yield outcomes of fits, samples and scores in another process, on another number of threads."""
    for i in range(n):
        yield outcome_of(partial(_same_elsewhere, seed + i, 1 + i % 2, folder))


@cache
def _model(which: int) -> Diffusion:
    if which == 0:
        return notebook().fit(rows())
    d = (2, 12)[which - 1]
    X = np.random.default_rng(1).normal(size=(400, d)) @ np.random.default_rng(2).normal(size=(d, d))
    sizes = (Residual(8, 1, 2), Residual(40, 2))[which - 1]
    return Diffusion(n_steps=15, max_steps=20, denoiser=sizes, random_state=0, verbose=False).fit(X)


@cache
def _rows(which: int, sampler: Sampler) -> Any:
    return sample_rows(_model(which).model_, 0, _N, stream=Stream(3), sampler=sampler)


@cache
def _scores(which: int) -> Any:
    return _model(which).score_samples(_rows(which, _SAMPLERS[1]))


def _on_threads(threads: int, ask: Callable[[], Any], place: Path) -> Any:
    """Return an array that a child computes on so many threads. This process must not start any, as it forks."""

    def work() -> None:
        torch.set_num_threads(threads)
        np.save(place / "child.npy", ask())

    status = left(forked(work, place / "log"), 60.0)
    assert status == 0, f"left with {status}: {(place / 'log').read_text()[-300:]}"
    return np.load(place / "child.npy")


def _same_rows(which: int, sampler: Sampler, start: int, stop: int, piece: int, threads: int, place: Path) -> None:
    model = _model(which).model_

    def ask() -> Any:
        cuts = [*range(start, stop, piece), stop]
        pieces = [sample_rows(model, a, b, stream=Stream(3), sampler=sampler) for a, b in pairwise(cuts)]
        return np.concatenate(pieces)

    expected = _rows(which, sampler)[start:stop]
    assert _on_threads(threads, ask, place).tobytes() == expected.tobytes()


def _same_scores(which: int, batch: int, threads: int, place: Path) -> None:
    model, X = _model(which), _rows(which, _SAMPLERS[1])
    stop = 5 * batch if batch < 8 else len(X)

    def ask() -> Any:
        return np.concatenate([model.score_samples(X[a : a + batch]) for a in range(0, stop, batch)])

    expected = _scores(which)[:stop]
    assert _on_threads(threads, ask, place).tobytes() == expected.tobytes()


def _same_elsewhere(seed: int, threads: int, place: Path) -> None:
    def ask() -> Any:
        model = Diffusion(n_steps=10, max_steps=10, denoiser=Residual(16, 1, 2), random_state=seed, verbose=False)
        X = model.fit(np.tile(rows(), (4, 1))).sample(1500, random_state=seed)
        return np.column_stack([X, model.score_samples(X)])

    assert _on_threads(threads, ask, place).tobytes() == ask().tobytes()
