"""Compare this checkout with another: processor seconds, nats, C2ST and errors of imputation at equal steps.

    python -m benchmarks.compare OTHER [--seeds 3] [--only two_moons table files ...]

Each part runs in a fresh process of the other checkout, then of this one, seed by seed. Printed are medians, the median
ratio of the pairs, this checkout's over the other's, and the mean difference with its standard error.
"""

from __future__ import annotations

import argparse
import json
import os
import resource
import statistics
import subprocess
import sys
import tempfile
import warnings
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

HERE = Path(__file__).resolve().parents[1]
Figures = dict[str, float]


def processor_seconds(work: Callable[[], Any]) -> tuple[Any, float]:
    """Return the result of a call, and the seconds that it took of all processors."""
    began = _cpu()
    result = work()
    return result, _cpu() - began


def _cpu() -> float:
    used = [resource.getrusage(who) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)]
    return sum(each.ru_utime + each.ru_stime for each in used)


def mixed_rows(n: int, seed: int) -> pd.DataFrame:
    """Return rows of labels, numbers on a line and on a grid, counts, and amounts of which many are 0."""
    rng = np.random.default_rng(seed)
    kind = rng.integers(0, 3, n)
    x = rng.normal(size=(n, 3)) + kind[:, None]
    columns = {
        "kind": np.array(["a", "b", "c"])[kind],
        "x": x[:, 0],
        "y": x[:, 1] * x[:, 0],
        "z": x[:, 2].round(1),
        "count": rng.poisson(np.exp(0.5 * x[:, 2])),
        "spend": np.where(rng.random(n) < 0.3, 0.0, np.exp(1.0 + x[:, 0])),
        "flag": x[:, 1] > kind,
    }
    return pd.DataFrame(columns)


def of_two_moons(seed: int) -> Figures:
    """Fit 10,000 rows by default, and judge 2,000 unseen ones."""
    from sklearn.ensemble import HistGradientBoostingClassifier
    from sklearn.model_selection import cross_val_score

    from backwalk import Diffusion
    from backwalk.datasets import two_moons

    X, unseen = (two_moons().sample(n, random_state=s) for n, s in ((10_000, seed), (2_000, 100 + seed)))
    model, fit = processor_seconds(lambda: Diffusion(random_state=seed, verbose=False).fit(X))
    nats = float(model.score_samples(unseen).mean())
    both = np.vstack([model.sample(2_000, random_state=seed), unseen])
    trees = HistGradientBoostingClassifier(random_state=0)
    c2st = cross_val_score(trees, both, np.repeat([0, 1], 2_000), cv=3).mean()
    return {"fit, s": fit, "nats": nats, "C2ST": float(c2st), "steps": model.history_.n_steps}


def of_ddpm(seed: int) -> Figures:
    """Train 60 epochs as the paper does."""
    from backwalk import Diffusion
    from backwalk.datasets import two_moons

    X, model = (
        two_moons().sample(10_000, random_state=seed),
        Diffusion.ddpm(n_epochs=60, random_state=seed, verbose=False),
    )
    _, fit = processor_seconds(lambda: model.fit(X))
    return {"fit, s": fit, "loss": float(np.mean(model.history_.loss[-10:]))}


def of_limited_time(seed: int) -> Figures:
    """Fit two moons in 7 s and a table in 15 s."""
    from backwalk import Diffusion
    from backwalk.datasets import two_moons

    X, unseen = (two_moons().sample(n, random_state=s) for n, s in ((10_000, seed), (2_000, 100 + seed)))
    model = Diffusion(max_time=7.0, random_state=seed, verbose=False).fit(X)
    table = Diffusion(max_time=15.0, random_state=seed, verbose=False).fit(mixed_rows(3_000, seed))
    return {
        "nats": float(model.score_samples(unseen).mean()),
        "steps": model.history_.n_steps,
        "nats of a table": float(table.score_samples(mixed_rows(1_000, 100 + seed)).mean()),
        "steps of a table": table.history_.n_steps,
    }


def of_draws(seed: int) -> Figures:
    """Draw 300,000 rows, score 1 and 10,000, and bound 2,000."""
    from backwalk import Diffusion
    from backwalk.datasets import two_moons

    X = two_moons().sample(10_000, random_state=seed)
    model = Diffusion(random_state=seed, max_steps=100, verbose=False).fit(X)
    return {
        "draw 300,000, s": processor_seconds(lambda: model.sample(300_000, random_state=1))[1],
        "score 1, s": processor_seconds(lambda: model.score_samples(X[:1]))[1],
        "score 10,000, s": processor_seconds(lambda: model.score_samples(X))[1],
        "bound 2,000, s": processor_seconds(lambda: model.bound(X[:2_000], random_state=0))[1],
    }


def of_a_table(seed: int) -> Figures:
    """Fit 3,000 mixed rows in 1,200 steps; score, draw, impute, and predict labels."""
    from backwalk import Diffusion

    unseen, model = mixed_rows(1_000, 100 + seed), Diffusion(random_state=seed, max_steps=1_200, verbose=False)
    _, fit = processor_seconds(lambda: model.fit(mixed_rows(3_000, seed)))
    scores, score = processor_seconds(lambda: model.score_samples(unseen))
    _, draw = processor_seconds(lambda: model.sample(20_000, random_state=1))
    gaps, is_hidden = unseen.copy(), np.random.default_rng(7).random(len(unseen)) < 0.3
    gaps.loc[is_hidden, "y"] = np.nan
    filled, impute = processor_seconds(lambda: model.impute(gaps, statistic="mean", random_state=0))
    of_level = np.asarray(model.conditional(unseen, "kind").probabilities)
    p = of_level[np.arange(len(unseen)), np.searchsorted(["a", "b", "c"], unseen["kind"])]
    return {
        "fit, s": fit,
        "score 1,000, s": score,
        "draw 20,000, s": draw,
        "impute 1,000, s": impute,
        "nats": float(scores.mean()),
        "mean absolute error": float((filled.loc[is_hidden, "y"] - unseen.loc[is_hidden, "y"]).abs().mean()),
        "log loss": float(-np.log(p).mean()),
    }


def of_a_report(seed: int) -> Figures:
    """Write the report of a short fit."""
    from backwalk import Diffusion
    from backwalk.datasets import two_moons

    X, unseen = (two_moons().sample(n, random_state=s) for n, s in ((5_000, seed), (1_000, 100 + seed)))
    model = Diffusion(random_state=seed, max_steps=200, verbose=False).fit(X)
    with tempfile.TemporaryDirectory() as folder:
        _, report = processor_seconds(lambda: model.report(Path(folder, "r.html"), unseen, training=X))
    return {"report, s": report}


def of_files(seed: int) -> Figures:
    """Read 200,000 rows of text, split them, and fit four million rows of Parquet in a budget of memory."""
    from backwalk import Diffusion
    from backwalk.table import read_table

    rng = np.random.default_rng(seed)
    with tempfile.TemporaryDirectory() as folder:
        text, rows = Path(folder, "rows.csv"), Path(folder, "rows")
        rows.mkdir()
        frame = pd.DataFrame({f"x{j}": rng.normal(size=200_000) for j in range(10)})
        frame["count"], frame["city"] = rng.poisson(4, 200_000), rng.choice(["Bern", "Basel", "Zug"], 200_000)
        frame.to_csv(text, index=False)
        _, read = processor_seconds(lambda: read_table(text))
        parts = [f"{folder}/{name}.csv" for name in "ab"]
        _, split = processor_seconds(lambda: run("-m", "backwalk", "split", str(text), *parts))
        for i in range(4):
            part = pd.DataFrame({f"x{j}": rng.normal(size=1_000_000) for j in range(4)})
            part["city"] = rng.choice(["Bern", "Basel", "Zug"], 1_000_000)
            part.to_parquet(rows / f"{i}.parquet", index=False)
        del frame, part
        model = Diffusion(max_steps=20, random_state=0, verbose=False)
        _, fit = processor_seconds(lambda: model.fit(rows, memory="256MiB"))
    return {"read 200,000 rows of text, s": read, "split them, s": split, "fit 4,000,000 rows of Parquet, s": fit}


def of_imports(seed: int) -> Figures:  # noqa: ARG001 - every part takes a seed
    """Import the library, and print the help."""
    programs = {"backwalk": ("-c", "import backwalk"), "Diffusion": ("-c", "from backwalk import Diffusion")}
    programs["--help"] = ("-m", "backwalk", "--help")
    return {
        f"{name}, s": min(processor_seconds(lambda words=words: run(*words))[1] for _ in range(3))
        for name, words in programs.items()
    }


def run(*words: str) -> None:
    """Run this Python with some words."""
    subprocess.run([sys.executable, *words], check=True, capture_output=True)


PARTS: dict[str, Callable[[int], Figures]] = {
    "two_moons": of_two_moons,
    "ddpm": of_ddpm,
    "time": of_limited_time,
    "draws": of_draws,
    "table": of_a_table,
    "report": of_a_report,
    "files": of_files,
    "imports": of_imports,
}


def in_checkout(checkout: Path, part: str, seed: int) -> Figures:
    """Return the figures of a part, by the `backwalk` of a checkout in a fresh process; none where it failed."""
    # -P keeps this folder off sys.path: it holds modules with common names, such as `tables`.
    done = subprocess.run(
        [sys.executable, "-P", __file__, "--part", part, "--seeds", str(seed), str(checkout)],
        env={**os.environ, "PYTHONPATH": str(checkout / "src")},
        capture_output=True,
        text=True,
        check=False,
    )
    if done.returncode:
        print(checkout, part, done.stderr[-2000:], file=sys.stderr)
        return {}
    figures: Figures = json.loads(done.stdout.splitlines()[-1])
    return figures


def told(part: str, pairs: Sequence[tuple[Figures, Figures]]) -> str:
    """Return lines about the pairs of figures (other, this).

    >>> print(told("fit", [({"s": 2.0}, {"s": 1.0}), ({"s": 4.0}, {"s": 3.0})]))
    fit, s: 3 -> 2, ratio 0.625, difference -1 ± 0
    """
    lines = []
    for name in pairs[0][0]:
        old, new = ([pair[i][name] for pair in pairs if name in pair[0] and name in pair[1]] for i in (0, 1))
        if not old:
            lines.append(f"{part}, {name}: not measured")
            continue
        differences = [b - a for a, b in zip(old, new, strict=True)]
        error = statistics.stdev(differences) / len(differences) ** 0.5 if len(differences) > 1 else float("nan")
        ratio = statistics.median(b / a for a, b in zip(old, new, strict=True)) if all(old) else float("nan")
        lines.append(
            f"{part}, {name}: {statistics.median(old):.4g} -> {statistics.median(new):.4g}, ratio {ratio:.3g}, "
            f"difference {statistics.mean(differences):+.3g} ± {error:.2g}"
        )
    return "\n".join(lines)


def main() -> None:
    """Measure and print; with --part, measure one part here."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("other", type=Path)
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--only", nargs="*", choices=list(PARTS), default=list(PARTS))
    parser.add_argument("--part", help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.part:
        warnings.simplefilter("ignore")
        print(json.dumps(PARTS[options.part](options.seeds)))
        return
    for part in options.only:
        pairs = [
            tuple(in_checkout(tree, part, seed) for tree in (options.other, HERE)) for seed in range(options.seeds)
        ]
        print(told(part, pairs), flush=True)


if __name__ == "__main__":
    main()
