"""The suite: every method on every density at one budget, over several draws of the data."""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial

from benchmarks.densities import CASES, Case, cases, refuse_unknown
from benchmarks.judge import JudgeSizes, draw_reference, judge
from benchmarks.methods import Kernel, Method, Mixture, MixtureHeldOut, Ours, Truth, timed
from benchmarks.peers import Forest, SchedulerDdpm, SplineFlow, set_up
from benchmarks.record import Figures, Store

MAIN = ("Diffusion", "zuko NSF", "GaussianMixture", "held-out GaussianMixture", "KernelDensity")
"""Those that have a density. The others are added with --methods: they take the whole budget and show less."""
METHODS: tuple[Method, ...] = (
    Ours(),
    SplineFlow(),
    Mixture(),
    MixtureHeldOut(),
    Kernel(),
    Forest(),
    SchedulerDdpm(),
)


@dataclass(frozen=True)
class Sizes:
    """The budget of every fit in seconds, the draws of the data, which densities, and how much is judged."""

    budget: float
    n_seeds: int
    judge: JudgeSizes
    densities: tuple[str, ...] = tuple(case.name for case in CASES)
    methods: tuple[str, ...] = MAIN
    most_rows: int | None = None


SIZES = {
    "quick": Sizes(1.0, 1, JudgeSizes(64, 32, 2, 100), ("two_moons", "curved_chain"), most_rows=500),
    "short": Sizes(10.0, 1, JudgeSizes(2048, 512, 3, 2000), ("two_moons", "curved_chain")),
    "full": Sizes(60.0, 5, JudgeSizes(4096, 2048, 4, 3000)),
}


def run(store: Store, sizes: Sizes) -> None:
    """Fit and judge all, one draw of the data after the other, so that a run that is stopped has whole tables."""
    chosen = cases(sizes.densities)
    set_up()
    refuse_unknown("methods", sizes.methods, [method.name for method in METHODS])
    for seed in range(sizes.n_seeds):
        for case in chosen:
            for method in (Truth(case.make()), *METHODS):
                if isinstance(method, Truth) or method.name in sizes.methods:
                    key = {"density": case.name, "method": method.name, "budget": sizes.budget, "seed": seed}
                    store.once(
                        key, partial(fitted_and_judged, method, case, seed, sizes.budget, sizes.judge, sizes.most_rows)
                    )


def fitted_and_judged(
    method: Method, case: Case, seed: int, budget: float, sizes: JudgeSizes, most_rows: int | None = None
) -> Figures:
    """Return the figures of one fit: seconds from rows to a fitted model, the choice made, and the judge's parts.

    A method is given the case's rows with this seed, or only `most_rows` of them.
    """
    density, X = case.make(), case.training_rows(most_rows, seed)
    fitted, seconds = timed(lambda: method.fit(X, budget, seed))
    reference = draw_reference(density, X, sizes, seed=seed)
    return {"fit_seconds": seconds, "choice": fitted.choice, **judge(fitted, reference, seed=seed)}
