"""The child process of `compare`: time one fit of the `backwalk` on the path, `python compare_child.py FOLDER`.

It reads `plan.json`, `training.npy` and `unseen.npy` from the folder and writes `samples.npy`, `scores.npy` and
`figures.json` there. It uses only what all versions share: `Diffusion`, `fit`, `sample`, `score_samples` and `ddpm`.
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


def main(folder: Path) -> None:
    """Fit, sample, score and time them."""
    plan = json.loads((folder / "plan.json").read_text())
    training, unseen = (np.load(folder / f"{name}.npy") for name in ("training", "unseen"))
    seed, repeats = plan["seed"], range(plan["repeats"])
    warnings.simplefilter("ignore")
    Diffusion(max_steps=3, random_state=0, verbose=False).fit(training[:500])  # one-time set-up
    model = Diffusion(max_steps=plan["max_steps"], random_state=seed, verbose=False)
    fit_s, fit_cpu = _timed(lambda: model.fit(training))
    np.save(folder / "samples.npy", np.asarray(model.sample(plan["n_judged"], random_state=seed + 1)))
    np.save(folder / "scores.npy", np.asarray(model.score_samples(unseen)))
    sampling = [_timed(lambda k=k: model.sample(plan["n_sampled"], random_state=k)) for k in repeats]
    scoring = [_timed(lambda: model.score_samples(unseen[: plan["n_scored"]])) for _ in repeats]
    ddpm = Diffusion.ddpm(n_epochs=plan["n_epochs"], random_state=seed, verbose=False)
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
    main(Path(sys.argv[1]))
