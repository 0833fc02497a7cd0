"""Compare this checkout with another: `python -m benchmarks.compare OTHER [--pairs 6] [--density two_moons]`.

For each seed, one child process per checkout makes a default fit of the same rows, samples, scores, and fits
`Diffusion.ddpm()` for 40 epochs (`compare_child.py`). The two children run one after the other and alternate in order
(A B, B A, ...), so that a change in the machine's load affects both. This checkout judges both models on the same
unseen rows. The exit status is 1 if this checkout is significantly worse in quality, or more than 5 % slower.
"""

from __future__ import annotations

import argparse
import json
import math
import os
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from backwalk.streams import Stream
from benchmarks.densities import CASES, cases
from benchmarks.judge import STATISTICS, JudgeSizes, Reference, block_means, draw_reference
from benchmarks.methods import Rows
from benchmarks.tables import Mean, difference, mean_of, shown, table

HERE = Path(__file__).parent
MOST_SLOWER = 0.05  # of the ratio of seconds
JUDGED = JudgeSizes(n_unseen=2048, n_unseen_beyond_plane=1024, n_pairs=1, n_rows=4096)
PLAN = {
    "max_steps": None,  # the default fit
    "n_sampled": 40_960,  # 20 tiles: an even number, so that two threads end together
    "n_scored": 512,
    "n_epochs": 40,
    "repeats": 3,  # of sampling and scoring
}
QUALITY = ("gap, nats", "C2ST, boosted trees", "C2ST, neighbours")


def in_child(checkout: Path, training: Rows, reference: Reference, seed: int) -> dict[str, Any]:
    """Run one child with the `backwalk` of a checkout and return its figures. Raises RuntimeError if it fails."""
    with tempfile.TemporaryDirectory() as name:
        folder, source = Path(name), (checkout / "src").resolve()
        np.save(folder / "training.npy", training)
        np.save(folder / "unseen.npy", reference.unseen)
        plan = {**PLAN, "seed": seed, "n_judged": len(reference.sets[0])}
        (folder / "plan.json").write_text(json.dumps(plan))
        # -P keeps the script's folder off sys.path: it holds modules with common names, such as `tables`.
        done = subprocess.run(
            [sys.executable, "-P", str(HERE / "compare_child.py"), str(folder)],
            env={**os.environ, "PYTHONPATH": str(source)},
            capture_output=True,
            text=True,
            check=False,
        )
        if done.returncode != 0:
            raise RuntimeError(f"the child of {checkout} failed:\n{done.stderr}")
        figures: dict[str, Any] = json.loads((folder / "figures.json").read_text())
        if Path(figures.pop("of")).parent != source:
            raise RuntimeError(f"the child should import backwalk from {source}, but did not.")
        samples, scores = np.load(folder / "samples.npy"), np.load(folder / "scores.npy")
    return {**figures, **_quality(samples, scores, reference, seed)}


def _quality(samples: Rows, scores: Rows, reference: Reference, seed: int) -> dict[str, list[float]]:
    real, made = ((rows - reference.centre) / reference.scale for rows in (reference.sets[0], samples))
    stream = Stream(seed).child("benchmark compare")
    c2st = (STATISTICS[name](real, made, stream) for name in ("c2st_boosting", "c2st_neighbours"))
    return dict(zip(QUALITY, (block_means(reference.log_p - scores), *([value] for value in c2st)), strict=True))


def ratio_of_medians(ours: Sequence[float], theirs: Sequence[float], *, n_draws: int = 2000) -> tuple[float, float]:
    """Return the ratio of two medians and its standard error, by a bootstrap of the pairs.

    >>> ratio_of_medians([2.0, 2.0, 2.0], [1.0, 1.0, 1.0])
    (2.0, 0.0)
    """
    pairs = np.array([ours, theirs])
    n = pairs.shape[1]
    again = pairs[:, np.random.default_rng(0).integers(n, size=(n_draws, n))]  # (2, n_draws, n)
    ratios = np.divide(*np.median(again, axis=2))
    medians = np.median(pairs, axis=1)
    return float(medians[0] / medians[1]), float(ratios.std()) * math.sqrt(n / max(n - 1, 1))


def verdict_of_speed(ratio: float, error: float) -> str:
    """Classify a ratio of seconds, this checkout's over the other's."""
    if ratio > 1.0 + MOST_SLOWER and ratio - 1.0 > 2.0 * error:
        return "SLOWER"
    if ratio < 1.0 - MOST_SLOWER and 1.0 - ratio > 2.0 * error:
        return "faster"
    return "as fast" if ratio + 2.0 * error <= 1.0 + MOST_SLOWER else "undecided: more pairs"


def verdict_of_quality(worse: Mean) -> str:
    """Classify a difference of a figure where less is better, this checkout's minus the other's."""
    if worse.is_shown_positive():
        return "WORSE"
    better = Mean(-worse.value, worse.standard_error, worse.freedom)
    return "better" if better.is_shown_positive() else "no difference shown"


def told(ours: Sequence[dict[str, Any]], theirs: Sequence[dict[str, Any]]) -> str:
    """Return two tables in Markdown: speed (medians and their ratios) and quality (means and their differences)."""
    speed, quality = [], []
    for name in (name for name in ours[0] if name not in QUALITY):
        a, b = ([figures[name] for figures in side] for side in (ours, theirs))
        ratio, error = ratio_of_medians(a, b)
        seconds = (f"{np.median(side):.3g}" for side in (a, b))
        speed.append((name, *seconds, f"{ratio:.3f} ± {error:.3f}", verdict_of_speed(ratio, error)))
    for name in QUALITY:
        a, b = ([figures[name] for figures in side] for side in (ours, theirs))
        worse = difference(a, b)
        quality.append((name, shown(mean_of(a)), shown(mean_of(b)), shown(worse), verdict_of_quality(worse)))
    return "\n".join(
        (
            table(("medians", "this", "other", "ratio", "verdict"), speed),
            table(("means", "this", "other", "this minus other", "verdict"), quality),
        )
    )


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command line, and return its exit status."""
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.compare", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("other", type=Path, help="another checkout, with a src/backwalk")
    parser.add_argument("--pairs", type=int, default=6, help="seeds, each a draw of the rows and two fits (default: 6)")
    parser.add_argument("--density", default="two_moons", choices=[case.name for case in CASES])
    parser.add_argument("--rows", type=int, default=10_000, help="rows to fit (default: 10,000)")
    given = parser.parse_args(arguments)
    if not (given.other / "src" / "backwalk").is_dir():
        parser.error(f"OTHER should be a checkout with a src/backwalk, but got {given.other}.")
    (case,) = cases([given.density])
    checkouts = (HERE.parent, given.other)
    sides: tuple[list[dict[str, Any]], ...] = ([], [])
    for seed in range(given.pairs):
        training = case.training_rows(given.rows, seed)
        reference = draw_reference(case.make(), training, JUDGED, seed=seed)
        for side in (0, 1) if seed % 2 == 0 else (1, 0):
            sides[side].append(in_child(checkouts[side], training, reference, seed))
        print(f"pair {seed + 1} of {given.pairs}", file=sys.stderr, flush=True)
    text = told(*sides)
    print(f"{case.name}, {given.rows:,} rows, {given.pairs} pairs; this: {HERE.parent}, other: {given.other}\n\n{text}")
    return int("| SLOWER |" in text or "| WORSE |" in text)


if __name__ == "__main__":
    sys.exit(main())
