"""adult and magic: new rows by XGB-C2ST, and the log-density of unseen rows, beside published figures.

*real rows* are as many unseen rows in place of new ones, and *independent columns* are drawn one by one from the
training rows: the ceiling and the floor. Published figures were measured by their authors on GPUs, against training
rows: TabSyn .794 and .760 (adult, magic), TabDiff .841 and .773, TabPC .855 and .860.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial

import numpy as np
import pandas as pd

from backwalk import Diffusion
from benchmarks.data import TABLES, adult, split
from benchmarks.job import xgb_c2st
from benchmarks.record import Figures, Store, timed


@dataclass(frozen=True)
class Sizes:
    """Seconds of a fit, seeds, and the most training rows."""

    budget: float
    n_seeds: int
    most_rows: int = 100_000


SIZES = {"quick": Sizes(1.0, 1, 200), "short": Sizes(60.0, 1, 8_000), "full": Sizes(300.0, 3)}


def run(store: Store, sizes: Sizes) -> None:
    """Judge real rows, independent columns and ours."""
    for seed in range(sizes.n_seeds):
        for case in ("adult", "magic"):
            for method in ("real rows", "independent columns", "Diffusion"):
                budget = f"{sizes.budget:g} s" if method == "Diffusion" else ""
                store.once("tables", case, method, budget, seed, partial(figures_of, case, method, sizes, seed))


def rows_of(case: str, sizes: Sizes, seed: int) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Return training and test rows: adult's as published, of magic a fifth drawn with the seed for testing."""
    train, test = (adult(), adult("test")) if case == "adult" else split(TABLES[case](), 100_000, 3_804, seed)
    return tuple(
        rows.sample(min(len(rows), most), random_state=seed).reset_index(drop=True)  # type: ignore[return-value]
        for rows, most in ((train, sizes.most_rows), (test, sizes.most_rows // 2))
    )


def figures_of(case: str, method: str, sizes: Sizes, seed: int) -> Figures:
    """Return the figures of a method."""
    train, test = rows_of(case, sizes, seed)
    if method == "real rows":
        n = min(len(train), len(test))
        return {"C2ST to training rows": xgb_c2st(train.iloc[:n], test.iloc[:n], seed)}
    if method == "independent columns":
        generator, figures = np.random.default_rng(seed), Figures()
        drawn = pd.DataFrame({name: generator.permutation(train[name].to_numpy()) for name in train})
    else:
        model, seconds = timed(lambda: Diffusion(max_time=sizes.budget, random_state=seed, verbose=False).fit(train))
        drawn, drawing = timed(lambda: model.sample(len(train), random_state=seed))
        log_p = model.score_samples(test)
        figures = {
            "fit, s": seconds,
            "draw, s": drawing,
            "nats": float(np.mean(log_p[np.isfinite(log_p)])),
            "impossible rows": float(np.mean(np.isneginf(log_p))),
        }
    return {
        "C2ST to training rows": xgb_c2st(train, drawn, seed),
        "C2ST to test rows": xgb_c2st(test, drawn.iloc[: len(test)], seed),
        **figures,
    }
