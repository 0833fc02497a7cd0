"""Compare old code with new on a fixed set of tables, posteriors, densities and gaps: what a change gained or cost.

    python -m benchmarks.compare BASE                    # one seed at equal steps: half an hour on two quiet cores
    python -m benchmarks.compare BASE --size full        # three seeds, at equal steps and in equal time
    python -m benchmarks.compare BASE --entries adult,magic --budgets "300 steps,20 s"

BASE is a commit. Old and new code run in turn, each fit in a fresh process. Results lie in out/compare, by the contents
of src, and are not measured again: a comparison that was stopped continues, and the old figures stay for the next one.
The tables are out/compare/compare.md and compare.csv.
"""

from __future__ import annotations

import argparse
import io
import json
import math
import os
import subprocess
import sys
import tarfile
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from benchmarks.data import ROOT

PROGRAM = "benchmarks.job"
SIZES: dict[str, tuple[int, tuple[str, ...]]] = {"short": (1, ("300 steps",)), "full": (3, ("300 steps", "30 s"))}
"""For each size its number of seeds and its budgets."""
MEANS = ("C2ST to training rows", "C2ST to unseen rows", "nats", "MAE", "C2ST of posteriors", "gap")
"""Figures whose mean over entries ends the table."""

Result = dict[str, Any]


@dataclass(frozen=True)
class Code:
    """A version of the library: a folder with `src`, and the folder of its results."""

    root: Path
    results: Path

    def result(self, entry: str, seed: int, budget: str, *, measured: bool = True) -> Result:
        """Return what the job found, measured now if it is not stored; {} where it is neither."""
        from benchmarks.job import PROTOCOL

        stored = self.results / f"{entry}-{budget}-{seed}.json".replace(" ", "_")
        if stored.exists():
            result: Result = json.loads(stored.read_text())
            if result["protocol"] == PROTOCOL:
                return result
        if not measured:
            return {}
        done = subprocess.run(
            [sys.executable, "-P", "-m", PROGRAM, entry, "--seed", str(seed), "--budget", budget],
            env={**os.environ, "PYTHONPATH": os.pathsep.join([str(self.root / "src"), str(ROOT)])},
            capture_output=True,
            text=True,
            check=False,
        )
        if done.returncode:
            result = {"failed": (done.stderr.strip() or "no words").splitlines()[-1]}
        else:
            result = json.loads(done.stdout.splitlines()[-1])
        result = {"protocol": PROTOCOL, **result}
        stored.parent.mkdir(parents=True, exist_ok=True)
        stored.write_text(json.dumps(result))
        return result


def git(*words: str) -> str:
    """Return what git prints."""
    return subprocess.run(["git", *words], cwd=ROOT, capture_output=True, text=True, check=True).stdout.strip()


def old_code(base: str, folder: Path) -> Code:
    """Take the package out of a commit."""
    tree = git("rev-parse", f"{base}:src")
    code = folder / "code" / tree[:12]
    if not code.exists():
        archive = subprocess.run(["git", "archive", base, "src"], cwd=ROOT, capture_output=True, check=True).stdout
        with tarfile.open(fileobj=io.BytesIO(archive)) as packed:
            packed.extractall(code, filter="data")
    return Code(code, folder / tree[:12])


def new_code(folder: Path) -> Code:
    """Return the code of this checkout, with what is not committed."""
    if git("status", "--porcelain", "src"):
        changed = git("stash", "create")  # a commit of what is tracked; nothing is stashed
        return Code(ROOT, folder / git("rev-parse", f"{changed or 'HEAD'}:src")[:12])
    return Code(ROOT, folder / git("rev-parse", "HEAD:src")[:12])


def difference(pairs: Sequence[tuple[Any, Any]]) -> tuple[float, float, float, float]:
    """Return the means of old and new, and the mean difference with its standard error, over pairs of one figure.

    A figure is a number, or a list with a number of each row. The error is over the pairs; of one pair it is over its
    rows, and NaN for a number. Rows that are infinite in one of them are left out.

    >>> difference([(1.0, 2.0), (2.0, 4.0)])
    (1.5, 3.0, 1.5, 0.5)
    >>> difference([([1.0, 2.0], [2.0, 4.0])])
    (1.5, 3.0, 1.5, 0.5)
    """
    old_and_new = [finite_rows(*pair) for pair in pairs]
    means = np.array([[old.mean(), new.mean()] for old, new in old_and_new])
    of_pairs = means[:, 1] - means[:, 0]
    changes = of_pairs if len(pairs) > 1 else old_and_new[0][1] - old_and_new[0][0]
    error = float(changes.std(ddof=1)) / math.sqrt(len(changes)) if len(changes) > 1 else math.nan
    return float(means[:, 0].mean()), float(means[:, 1].mean()), float(of_pairs.mean()), error


def finite_rows(old: Any, new: Any) -> tuple[np.ndarray, np.ndarray]:
    """Return two figures as arrays of the rows that are finite in both."""
    a, b = np.atleast_1d(np.asarray(old, float)), np.atleast_1d(np.asarray(new, float))
    both = np.isfinite(a) & np.isfinite(b)
    return a[both], b[both]


def with_impossible(result: Result) -> Result:
    """Add the share of unseen rows whose log-density is -inf."""
    if "nats" in result:
        return result | {"impossible rows": float(np.mean(np.isneginf(result["nats"])))}
    return result


def table(results: Iterable[tuple[str, str, Result, Result]]) -> pd.DataFrame:
    """Return a row for each budget, entry and figure: old, new, difference, its error; then the means over entries.

    `results` are (budget, entry, old, new), one for each seed. The error of a mean over entries is over these.
    """
    groups: dict[tuple[str, str], list[tuple[Result, Result]]] = {}
    for budget, entry, old, new in results:
        groups.setdefault((budget, entry), []).append((with_impossible(old), with_impossible(new)))
    rows: list[tuple[str, str, str, float, float, float, float, str]] = []
    for (budget, entry), pairs in groups.items():
        failed = [
            f"{side}: {result['failed']}"
            for pair in pairs
            for side, result in zip(("old", "new"), pair, strict=True)
            if "failed" in result
        ]
        if failed:
            rows.append((budget, entry, "failed", *(math.nan,) * 4, "; ".join(dict.fromkeys(failed))))
        done = [pair for pair in pairs if not any("failed" in result for result in pair)]
        for figure in done[0][0] if done else ():
            if figure != "protocol" and all(figure in result for pair in done for result in pair):
                values = difference([(old[figure], new[figure]) for old, new in done])
                rows.append((budget, entry, figure, *values, f"{len(done)}"))
    columns = ["budget", "entry", "figure", "old", "new", "difference", "error", "seeds"]
    frame = pd.DataFrame(rows, columns=columns)
    means = [mean_over_entries(frame, budget, figure) for budget in frame["budget"].unique() for figure in MEANS]
    return pd.concat([frame, *means], ignore_index=True)


def mean_over_entries(frame: pd.DataFrame, budget: str, figure: str) -> pd.DataFrame:
    """Return the row of a figure's mean over the entries that have it, if these are two or more."""
    of_figure = frame[(frame["budget"] == budget) & (frame["figure"] == figure)]
    if len(of_figure) < 2:
        return frame.iloc[:0]
    old, new, mean = (of_figure[name].mean() for name in ("old", "new", "difference"))
    error = of_figure["difference"].std(ddof=1) / math.sqrt(len(of_figure))
    row = (budget, f"mean of {len(of_figure)}", figure, old, new, mean, error, "")
    return pd.DataFrame([row], columns=list(frame.columns))


def markdown(frame: pd.DataFrame) -> str:
    """Return the table in Markdown."""
    lines = ["| budget | entry | figure | old | new | difference |", "|---|---|---|---:|---:|---:|"]
    for row in frame.itertuples():
        if row.figure == "failed":
            lines.append(f"| {row.budget} | {row.entry} | {row.seeds} | | | |")
        else:
            error = "" if math.isnan(row.error) else f" ± {row.error:.2g}"
            numbers = f"{row.old:.4g} | {row.new:.4g} | {row.difference:+.3g}{error}"
            lines.append(f"| {row.budget} | {row.entry} | {row.figure} | {numbers} |")
    return "\n".join(lines) + "\n"


def main() -> None:
    """Measure what is missing, old and new in turn, and write the tables after every pair."""
    from benchmarks.job import CLOSED, ENTRIES

    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("base", help="the commit of the old code")
    parser.add_argument("--size", choices=list(SIZES), default="short", help="one seed, or three and two budgets")
    parser.add_argument("--entries", help=f"some of: {', '.join(ENTRIES)}; separated by commas")
    parser.add_argument("--closed", action="store_true", help=f"the last look: {', '.join(CLOSED)}")
    parser.add_argument("--seeds", type=int, help="seeds 0, 1, ..")
    parser.add_argument("--budgets", help='budgets of a fit, such as "300 steps,20 s"')
    parser.add_argument("--results", type=Path, default=ROOT / "out" / "compare", help="folder of results and tables")
    parser.add_argument("--only-old", action="store_true", help="measure the old code alone, for later")
    given = parser.parse_args()
    n_seeds, budgets = SIZES[given.size]
    entries = given.entries.split(",") if given.entries else list(CLOSED if given.closed else ENTRIES)
    unknown = set(entries) - {*ENTRIES, *CLOSED}
    if unknown:
        parser.error(f"entries should be among {', '.join([*ENTRIES, *CLOSED])}, but got {', '.join(unknown)}.")
    old, new = old_code(given.base, given.results), new_code(given.results)
    results = []
    for seed in range(given.seeds or n_seeds):
        for budget in given.budgets.split(",") if given.budgets else budgets:
            for entry in entries:
                before = old.result(entry, seed, budget)
                after = new.result(entry, seed, budget, measured=not given.only_old)
                print(f"{entry}, {budget}, seed {seed}", before.get("failed", ""), after.get("failed", ""), flush=True)
                if after:
                    results.append((budget, entry, before, after))
                    frame = table(results)
                    (given.results / "compare.md").write_text(markdown(frame))
                    frame.to_csv(given.results / "compare.csv", index=False)
    if results:
        print(markdown(table(results)))


if __name__ == "__main__":
    main()
