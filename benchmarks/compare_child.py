"""The child process of `compare`: time one fit of the `backwalk` on the path, `python compare_child.py FOLDER SEED`.

It reads `training.npy` and `unseen.npy` from the folder and writes `samples.npy`, `scores.npy` and `figures.json`
there. It uses only what all versions have in common: `Diffusion`, `fit`, `sample`, `score_samples` and `ddpm`.
"""

from __future__ import annotations

import json
import statistics
import sys
import time
import warnings
from collections.abc import Callable
from pathlib import Path

import numpy as np

import backwalk
from backwalk import Diffusion

N_SCORED_FOR_TIME = 512
N_SAMPLED_FOR_TIME = 40_960  # 20 tiles: an even number, so that two threads end together
N_EPOCHS = 40
REPEATS = 3


def main(folder: Path, seed: int) -> None:
    """Fit, sample, score and time them."""
    training, unseen = (np.load(folder / f"{name}.npy") for name in ("training", "unseen"))
    warnings.simplefilter("ignore")
    Diffusion(max_steps=3, random_state=0, verbose=False).fit(training[:500])  # one-time set-up
    model = Diffusion(random_state=seed, verbose=False)
    fit_s, fit_cpu = _timed(lambda: model.fit(training))
    n_rows = len(unseen)
    np.save(folder / "samples.npy", np.asarray(model.sample(n_rows, random_state=seed + 1)))
    np.save(folder / "scores.npy", np.asarray(model.score_samples(unseen)))
    sampling = [_timed(lambda k=k: model.sample(N_SAMPLED_FOR_TIME, random_state=k)) for k in range(REPEATS)]
    scoring = [_timed(lambda: model.score_samples(unseen[:N_SCORED_FOR_TIME])) for _ in range(REPEATS)]
    ddpm = Diffusion.ddpm(n_epochs=N_EPOCHS, random_state=seed, verbose=False)
    ddpm_s, ddpm_cpu = _timed(lambda: ddpm.fit(training))
    figures = {"of": str(Path(backwalk.__file__).parent), "fit, s": fit_s, "fit, CPU s": fit_cpu}
    for name, runs in (("sampling", sampling), ("scoring", scoring)):
        figures[f"{name}, s"], figures[f"{name}, CPU s"] = (statistics.median(kind) for kind in zip(*runs, strict=True))
    figures |= {"ddpm() fit, s": ddpm_s, "ddpm() fit, CPU s": ddpm_cpu}
    (folder / "figures.json").write_text(json.dumps(figures))


def _timed(call: Callable[[], object]) -> tuple[float, float]:
    """Return the seconds of a call, and those of all threads' processors."""
    began, cpu = time.perf_counter(), time.process_time()
    call()
    return time.perf_counter() - began, time.process_time() - cpu


if __name__ == "__main__":
    main(Path(sys.argv[1]), int(sys.argv[2]))
