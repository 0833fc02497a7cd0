"""Time to quality on two moons: how good each method is after so many seconds, one curve a method."""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import partial

from benchmarks.densities import CASES, MOONS_ON_A_GRID
from benchmarks.judge import JudgeSizes
from benchmarks.methods import Kernel, Method, Mixture, MixtureHeldOut, NotebookAsWritten, Ours, Truth
from benchmarks.peers import Forest, SchedulerDdpm, SplineFlow, set_up
from benchmarks.record import Store
from benchmarks.suite import fitted_and_judged

TWO_MOONS = CASES[0]
Plan = tuple[tuple[Method, tuple[float, ...]], ...]


@dataclass(frozen=True)
class Sizes:
    """The budgets of each method, in seconds; the draws of the data; how much is judged.

    `plan` is for independent rows, `plan_on_a_grid` for those of scikit-learn, each with `n_seeds` draws.
    `plan_closely` is for both, with `times_closely` as many draws: what is held against a number needs a smaller error
    than what is held against other methods. The notebook ends by itself after 5,000 epochs, the two simple models when
    all their settings are tried.
    """

    plan: Plan
    plan_on_a_grid: Plan
    n_seeds: int
    judge: JudgeSizes
    n_train: int = TWO_MOONS.n_train
    plan_closely: Plan = ()
    times_closely: int = 6


SIZES = {
    "quick": Sizes(
        (
            (Ours(), (0.5,)),
            (NotebookAsWritten(), (0.5,)),
            (SchedulerDdpm(), (0.5,)),
            (SplineFlow(), (0.5,)),
            (Mixture(), (1.0,)),
            (Kernel(), (1.0,)),
        ),
        ((Ours(), (0.5,)),),
        1,
        JudgeSizes(64, 32, 2, 100),
        500,
    ),
    "short": Sizes(
        (
            (Ours(), (0.8, 2.5, 7.0)),
            (NotebookAsWritten(), (10.0, 30.0)),
            (SchedulerDdpm(), (20.0,)),
            (SplineFlow(), (3.0, 13.0)),
            (Mixture(), (10.0,)),
            (Kernel(), (10.0,)),
        ),
        ((Ours(), (0.8, 2.5)),),
        1,
        JudgeSizes(4096, 1024, 3, 3000),
    ),
    "full": Sizes(
        (
            (Ours(), (4.0, 7.0, 30.0)),
            (NotebookAsWritten(), (10.0, 50.0, 1000.0)),
            (SchedulerDdpm(), (10.0, 40.0)),
            (SplineFlow(), (3.0, 13.0, 40.0)),
            (Mixture(), (1.0, 20.0)),
            (MixtureHeldOut(), (20.0,)),
            (Kernel(), (20.0,)),
            (Forest(), (150.0,)),
        ),
        (
            (Ours(), (4.0, 7.0)),
            (NotebookAsWritten(), (1000.0,)),
            (SplineFlow(), (13.0,)),
            (Mixture(), (20.0,)),
            (MixtureHeldOut(), (20.0,)),
            (Kernel(), (20.0,)),
        ),
        3,
        JudgeSizes(10_000, 2048, 5, 10_000),
        plan_closely=((Ours(), (0.8, 2.5)),),
    ),
}


def run(store: Store, sizes: Sizes) -> None:
    """Fit and judge each method at each of its budgets."""
    set_up()
    for case, plan in ((TWO_MOONS, sizes.plan), (MOONS_ON_A_GRID, sizes.plan_on_a_grid)):
        given = replace(case, n_train=sizes.n_train)
        every_draw = ((Truth(case.make()), (0.0,)), *sizes.plan_closely)
        for seed in range(sizes.n_seeds * (sizes.times_closely if sizes.plan_closely else 1)):
            for method, budgets in (*every_draw, *(plan if seed < sizes.n_seeds else ())):
                for budget in budgets:
                    key = {"rows": case.name, "method": method.name, "budget": budget, "seed": seed}
                    store.once(key, partial(fitted_and_judged, method, given, seed, budget, sizes.judge))
