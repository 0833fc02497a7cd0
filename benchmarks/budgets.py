"""Is a larger budget ever worse? Fits of `Diffusion` with T and with 3 T seconds, on the same unseen rows."""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial
from pathlib import Path

import numpy as np

from backwalk import Diffusion
from backwalk.assess.statistics import mean_estimate, paired_gap
from benchmarks.densities import Case, cases
from benchmarks.draws import Results
from benchmarks.record import Figures, Store
from benchmarks.tables import table

TITLE = "Is more time ever worse?"


@dataclass(frozen=True)
class Sizes:
    """The shorter budgets in seconds, the densities, the draws of the data, and the unseen rows."""

    budgets: tuple[float, ...]
    densities: tuple[str, ...]
    n_seeds: int
    n_unseen: int
    most_rows: int | None = None

    def __post_init__(self) -> None:
        cases(self.densities)


SIZES = {
    "quick": Sizes((0.3,), ("two_moons",), 1, 50, 500),
    "short": Sizes((2.0,), ("two_moons", "curved_chain"), 1, 1024),
    "full": Sizes(
        (2.0, 6.0, 20.0), ("two_moons", "rings", "checkerboard", "curved_chain", "warped_mixture_12"), 2, 4096
    ),
}


def run(store: Store, sizes: Sizes) -> None:
    """Fit both budgets for each density and draw."""
    for seed in range(sizes.n_seeds):
        for case in cases(sizes.densities):
            for budget in sizes.budgets:
                key = {"density": case.name, "budget": budget, "seed": seed}
                store.once(key, partial(_both, case, budget, seed, sizes))


def _both(case: Case, budget: float, seed: int, sizes: Sizes) -> Figures:
    density, X = case.make(), case.training_rows(sizes.most_rows, seed)
    unseen = density.sample(sizes.n_unseen, random_state=seed + 1000)
    log_p = density.log_prob(unseen)
    short, long = (
        Diffusion(max_time=seconds, random_state=seed, verbose=False).fit(X).score_samples(unseen)
        for seconds in (budget, 3.0 * budget)
    )
    worse_by = mean_estimate(np.asarray(short - long))
    return {
        "gap": paired_gap(log_p, short).value,
        "gap_of_three_times": paired_gap(log_p, long).value,
        "worse_by": worse_by.value,
        "worse_by_standard_error": worse_by.standard_error,
    }


def told(results: Results, curves: Path) -> str:  # noqa: ARG001
    """Return the table of gaps at T and 3 T, and whether any is worse by more than its error."""
    order = sorted(
        results, key=lambda result: (result["key"]["density"], result["key"]["budget"], result["key"]["seed"])
    )
    worse = [result for result in order if result["worse_by"] > result["worse_by_standard_error"]]
    rows = [
        (
            result["key"]["density"],
            f"{result['key']['budget']:g} and {3 * result['key']['budget']:g}",
            str(result["key"]["seed"]),
            f"{result['gap']:.4f}",
            f"{result['gap_of_three_times']:.4f}",
            f"{result['worse_by']:+.4f} ± {result['worse_by_standard_error']:.4f}"
            + (" worse" if result in worse else ""),
        )
        for result in order
    ]
    verdict = (
        f"Three times the budget is worse by more than a standard error in {len(worse)} of {len(order)} pairs. One fit "
        "each; ± is over the same unseen rows, and leaves out the chance of another fit.\n"
    )
    head = ("density", "budgets, s", "seed", "gap at T", "gap at 3 T", "gap at 3 T less that at T, nats")
    return f"{verdict}\n{table(head, rows)}"
