"""Is a larger budget ever worse? Fits of `Diffusion` with T and with 3 T seconds, on the same unseen rows."""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial

import numpy as np

from backwalk import Diffusion
from backwalk.evaluation import mean_estimate, paired_gap
from benchmarks.densities import Case, cases
from benchmarks.record import Figures, Store


@dataclass(frozen=True)
class Sizes:
    """The shorter budgets in seconds, the densities, the draws of the data, and the unseen rows."""

    budgets: tuple[float, ...]
    densities: tuple[str, ...]
    n_seeds: int
    n_unseen: int
    most_rows: int | None = None


SIZES = {
    "quick": Sizes((0.3,), ("two_moons",), 1, 50, 500),
    "short": Sizes((2.0,), ("two_moons", "curved_chain"), 1, 1024),
    "full": Sizes(
        (2.0, 6.0, 20.0), ("two_moons", "rings", "checkerboard", "curved_chain", "warped_mixture_12"), 2, 4096
    ),
}


def run(store: Store, sizes: Sizes) -> None:
    """Fit both budgets for each density and draw."""
    chosen = cases(sizes.densities)
    for seed in range(sizes.n_seeds):
        for case in chosen:
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
