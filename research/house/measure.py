"""Measure this checkout beside another, in turns: processor seconds, nats, C2ST and errors of imputation at equal steps.

    python research/house/measure.py OTHER [--seeds 3] [--only fit draw score table impute report csv parquet import]

Each figure is computed in a fresh process for each checkout, A B A B. Printed are medians and the median ratio of pairs.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import subprocess
import sys
import tempfile
from pathlib import Path

HERE = Path(__file__).resolve().parents[2]

COMMON = """
import json, time, resource, sys, tempfile, warnings
from pathlib import Path
import numpy as np, pandas as pd
warnings.simplefilter("ignore")
seed = int(sys.argv[1])
def cpu():
    return sum(resource.getrusage(who).ru_utime + resource.getrusage(who).ru_stime
               for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN))
def mixed(n, seed):
    rng = np.random.default_rng(seed)
    kind = rng.integers(0, 3, n)
    x = rng.normal(size=(n, 3)) + kind[:, None]
    spend = np.where(rng.random(n) < 0.3, 0.0, np.exp(1.0 + x[:, 0]))
    return pd.DataFrame({"kind": np.array(["a", "b", "c"])[kind], "x": x[:, 0], "y": x[:, 1] * x[:, 0], "z": x[:, 2].round(1),
                         "count": rng.poisson(np.exp(0.5 * x[:, 2])), "spend": spend, "flag": x[:, 1] > kind})
"""

PARTS = {
    "fit": """
from backwalk import Diffusion
from backwalk.datasets import two_moons
X, unseen = two_moons().sample(10_000, random_state=seed), two_moons().sample(2_000, random_state=100 + seed)
began = cpu(); model = Diffusion(random_state=seed, verbose=False).fit(X); fit = cpu() - began
began = cpu(); nats = float(model.score_samples(unseen).mean()); score = cpu() - began
rows = model.sample(2_000, random_state=seed)
from sklearn.ensemble import HistGradientBoostingClassifier
from sklearn.model_selection import cross_val_score
c2st = cross_val_score(HistGradientBoostingClassifier(random_state=0), np.vstack([rows, unseen]), np.repeat([0, 1], 2_000), cv=3).mean()
print(json.dumps({"cpu_fit": fit, "cpu_score_2000": score, "nats": nats, "c2st": float(c2st), "steps": model.history_.n_steps}))
""",
    "ddpm": """
from backwalk import Diffusion
from backwalk.datasets import two_moons
X = two_moons().sample(10_000, random_state=seed)
began = cpu(); model = Diffusion.ddpm(n_epochs=60, random_state=seed, verbose=False).fit(X)
print(json.dumps({"cpu_ddpm_60_epochs": cpu() - began, "loss": float(np.mean(model.history_.loss[-10:]))}))
""",
    "time": """
from backwalk import Diffusion
from backwalk.datasets import two_moons
X, unseen = two_moons().sample(10_000, random_state=seed), two_moons().sample(2_000, random_state=100 + seed)
model = Diffusion(max_time=7.0, random_state=seed, verbose=False).fit(X)
frame, test = mixed(3_000, seed), mixed(1_000, 100 + seed)
table = Diffusion(max_time=15.0, random_state=seed, verbose=False).fit(frame)
print(json.dumps({"nats_in_7_s": float(model.score_samples(unseen).mean()), "steps": model.history_.n_steps,
                  "nats_of_a_table_in_15_s": float(table.score_samples(test).mean()), "steps_of_a_table": table.history_.n_steps}))
""",
    "draw": """
from backwalk import Diffusion
from backwalk.datasets import two_moons
X = two_moons().sample(10_000, random_state=seed)
model = Diffusion(random_state=seed, max_steps=100, verbose=False).fit(X)
began = cpu(); model.sample(300_000, random_state=1); draw = cpu() - began
began = cpu(); model.score_samples(X); score = cpu() - began
began = cpu(); model.bound(X[:2_000], random_state=0); bound = cpu() - began
print(json.dumps({"cpu_draw_300000": draw, "cpu_score_10000": score, "cpu_bound_2000": bound}))
""",
    "table": """
from backwalk import Diffusion
frame, unseen = mixed(3_000, seed), mixed(1_000, 100 + seed)
began = cpu(); model = Diffusion(random_state=seed, max_steps=1_200, verbose=False).fit(frame); fit = cpu() - began
began = cpu(); nats = float(model.score_samples(unseen).mean()); score = cpu() - began
began = cpu(); rows = model.sample(20_000, random_state=1); draw = cpu() - began
gaps = unseen.copy(); hidden = np.random.default_rng(7).random(len(gaps)) < 0.3
truth = gaps.loc[hidden, "y"].to_numpy(); gaps.loc[hidden, "y"] = np.nan
began = cpu(); filled = model.impute(gaps, statistic="mean", random_state=0); impute = cpu() - began
log_loss = -np.mean(np.log(np.take_along_axis(np.asarray(model.conditional(unseen, "kind").probabilities), np.searchsorted(["a", "b", "c"], unseen["kind"])[:, None], 1)))
print(json.dumps({"cpu_table_fit": fit, "cpu_table_score_1000": score, "cpu_table_draw_20000": draw, "cpu_impute_1000": impute,
                  "table_nats": nats, "mae": float(np.abs(filled.loc[hidden, "y"].to_numpy() - truth).mean()), "log_loss": float(log_loss)}))
""",
    "report": """
from backwalk import Diffusion
from backwalk.datasets import two_moons
X, unseen = two_moons().sample(5_000, random_state=seed), two_moons().sample(1_000, random_state=100 + seed)
model = Diffusion(random_state=seed, max_steps=200, verbose=False).fit(X)
with tempfile.TemporaryDirectory() as folder:
    began = cpu(); model.report(Path(folder) / "r.html", unseen, training=X); seconds = cpu() - began
print(json.dumps({"cpu_report": seconds}))
""",
    "csv": """
from backwalk.table import read_table
rng = np.random.default_rng(seed)
with tempfile.TemporaryDirectory() as folder:
    path = Path(folder) / "rows.csv"
    frame = pd.DataFrame({f"x{j}": rng.normal(size=200_000) for j in range(10)})
    frame["count"] = rng.poisson(4, 200_000); frame["city"] = rng.choice(["Bern", "Basel", "Zug"], 200_000)
    frame.to_csv(path, index=False)
    began = cpu(); read_table(path); seconds = cpu() - began
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
print(json.dumps({"cpu_read_csv_200000": seconds, "peak_MiB": peak}))
""",
    "parquet": """
from backwalk import Diffusion
rng = np.random.default_rng(seed)
with tempfile.TemporaryDirectory() as folder:
    for i in range(4):
        frame = pd.DataFrame({f"x{j}": rng.normal(size=1_000_000) for j in range(4)})
        frame["city"] = rng.choice(["Bern", "Basel", "Zug"], 1_000_000)
        frame.to_parquet(Path(folder) / f"{i}.parquet", index=False)
    del frame
    began = cpu()
    Diffusion(max_steps=20, random_state=0, verbose=False).fit(folder, memory="256MiB")
    print(json.dumps({"cpu_fit_of_4_million_rows": cpu() - began}))
""",
    "import": """
import subprocess
def run(*command):
    began = cpu(); subprocess.run([sys.executable, *command], check=True, capture_output=True); return cpu() - began
print(json.dumps({"cpu_import": run("-c", "import backwalk"), "cpu_import_Diffusion": run("-c", "from backwalk import Diffusion"),
                  "cpu_help": run("-m", "backwalk", "--help")}))
""",
}


def measured(checkout: Path, part: str, seed: int) -> dict[str, float]:
    """Return the figures of a part, computed by a checkout in a fresh process."""
    environment = {**os.environ, "PYTHONPATH": str(checkout / "src")}
    with tempfile.NamedTemporaryFile("w", suffix=".py") as script:
        script.write(COMMON + PARTS[part])
        script.flush()
        command = [sys.executable, script.name, str(seed)]
        done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
    if done.returncode:
        print(checkout, part, done.stderr[-2000:], file=sys.stderr)
        return {}
    figures: dict[str, float] = json.loads(done.stdout.splitlines()[-1])
    return figures


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("other", type=Path)
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--only", nargs="*", choices=list(PARTS), default=list(PARTS))
    options = parser.parse_args()
    for part in options.only:
        pairs = [(measured(options.other, part, seed), measured(HERE, part, seed)) for seed in range(options.seeds)]
        for name in pairs[0][0]:
            old, new = ([pair[i][name] for pair in pairs if name in pair[0] and name in pair[1]] for i in (0, 1))
            if not old:
                print(f"{part}/{name}: not measured", flush=True)
                continue
            differences = [b - a for a, b in zip(old, new, strict=True)]
            error = statistics.stdev(differences) / len(differences) ** 0.5 if len(differences) > 1 else float("nan")
            ratio = statistics.median(b / a for a, b in zip(old, new, strict=True)) if all(old) else float("nan")
            print(
                f"{part}/{name}: {statistics.median(old):.4g} -> {statistics.median(new):.4g}, ratio {ratio:.3f}, "
                f"difference {statistics.mean(differences):+.4g} ± {error:.2g}",
                flush=True,
            )


if __name__ == "__main__":
    main()
