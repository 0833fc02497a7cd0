"""Time to quality on two moons: how good each method is after so many seconds, one curve a method."""

from __future__ import annotations

import math
import statistics
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

from benchmarks.curves import Curve, drawn, write_svg
from benchmarks.densities import CASES, MOONS_ON_A_GRID
from benchmarks.draws import (
    ERRORS_BY_DRAWS,
    Draws,
    Results,
    choices,
    gap,
    grouped,
    infinite,
    judged,
    minus,
    over,
    parts,
)
from benchmarks.edm import Edm
from benchmarks.judge import JudgeSizes
from benchmarks.methods import REAL, Kernel, Method, Mixture, MixtureHeldOut, NotebookAsWritten, Ours, Truth
from benchmarks.peers import Forest, SchedulerDdpm, SplineFlow, set_up
from benchmarks.record import Store
from benchmarks.suite import fitted_and_judged
from benchmarks.tables import Mean, count, mean_of, shown, table

TWO_MOONS = CASES[0]
Plan = tuple[tuple[Method, tuple[float, ...]], ...]

TITLE = "Time to quality on two moons"


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
            (Edm(), (0.5,)),
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
            (Edm(), (10.0, 40.0)),
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
            (Edm(), (7.0, 30.0, 150.0)),
            (SplineFlow(), (3.0, 13.0, 40.0)),
            (Mixture(), (1.0, 20.0)),
            (MixtureHeldOut(), (2.5, 20.0)),
            (Kernel(), (20.0,)),
            (Forest(), (30.0, 150.0)),
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


MARKS = (0.8, 1 / 250), (2.5, 1 / 80)  # budgets, and the most that they may take of the notebook's training
MOST_C2ST, MOST_W1 = 0.004, 1.6  # of the second, minus and over that of real rows

_ON_A_GRID = (
    "The same density, but along the moons the training rows lie on a grid, as the notebook's do, and show it with "
    "less noise than independent rows can. Judged by independent rows, as above."
)

_TUNED_ON_MOONS = (
    "`Diffusion`'s defaults were chosen on other draws of two moons, among other densities, and some of them at these "
    "budgets: the narrower network of less than 1.3 s (at 0.8 s, and on two more densities), how many rows are kept "
    "apart (at 2.5 s), how time is shared between members and steps (1.6 to 60 s). The mixtures and the kernel density "
    "try all of their settings on the rows themselves, the flow four and the scheduler two."
)


def told(results: Results, curves: Path) -> str:
    """Return the tables and draw the curves: seconds of the whole fit against what its samples are worth."""
    apart = [result for result in results if result["key"]["rows"] == TWO_MOONS.name]
    on_a_grid = [result for result in results if result["key"]["rows"] != TWO_MOONS.name]
    text, plots = _quality_tables(apart)
    picture = curves / "time_to_quality.svg"
    positive = [t for t, curves in plots.items() if all(y > 0.0 for curve in curves.values() for _, y, _ in curve)]
    figure = drawn(plots, x="seconds from rows to a fitted model", log_y=positive)
    write_svg(figure, picture, note="Quality against seconds of the fit")
    text = f"![Quality against seconds of the fit]({curves.name}/{picture.name})\n\n{_TUNED_ON_MOONS}\n\n{text}"
    if on_a_grid:
        text += f"\n### The rows of scikit-learn's `make_moons`\n\n{_ON_A_GRID}\n\n{_quality_tables(on_a_grid)[0]}"
    return text


def _quality_tables(results: Results) -> tuple[str, dict[str, dict[str, Curve]]]:
    """Return the table of the draws that most methods have, one of those with more, and the first one's curves."""
    groups = grouped(results, "method", "budget")
    real = groups.pop((REAL, 0.0), {})
    seeds = {seed for draws in groups.values() for seed in draws}
    usual = {seed for seed in seeds if 2 * sum(seed in draws for draws in groups.values()) >= len(groups)}
    common = {key: {s: draw for s, draw in draws.items() if s in usual} for key, draws in groups.items()}
    text, plots = _quality_table({key: draws for key, draws in common.items() if draws}, real)
    head = " ".join(filter(None, (judged(results), _of_real_rows(real), ERRORS_BY_DRAWS)))
    text = f"{head}\n\n{text}"
    more = {key: draws for key, draws in groups.items() if set(draws) - usual}
    if more:
        table_of_more, _ = _quality_table(more, real)
        text += (
            f"\nWhat is held against a mark has more draws, the ones above among them:\n\n{table_of_more}"
            f"{_marks(groups, real)}"
        )
    return text, plots


def _marks(groups: dict[tuple[Any, ...], Draws], real: Draws) -> str:
    """Return which of the marks that were set beforehand are reached, in words."""
    whole = max((budget for method, budget in groups if method == NotebookAsWritten().name), default=None)
    if whole is None or any((Ours().name, budget) not in groups for budget, _ in MARKS):
        return ""

    def figures(method: str, budget: float) -> tuple[float, Mean, Mean]:
        draws = groups[method, budget]
        c2st, w1 = minus(draws, real, "c2st_boosting"), over(draws, real, "sliced_w1")
        assert c2st is not None
        assert w1 is not None
        return statistics.mean(draw["fit_seconds"] for draw in draws.values()), c2st, w1

    seconds, *final = figures(NotebookAsWritten().name, whole)
    words = []
    for budget, share in MARKS:
        taken, *ours = figures(Ours().name, budget)
        most = [MOST_C2ST, MOST_W1] if budget == MARKS[-1][0] else [figure.value for figure in final]
        told = [
            f"{name} at most {mark:.3g}: {shown(figure)}, {'reached' if figure.value <= mark else '**not reached**'}"
            for name, mark, figure in zip(("C2ST minus real", "sliced W1 over real"), most, ours, strict=True)
        ]
        in_time = "" if taken <= share * seconds else " (**not in time**)"
        words.append(
            f"- In at most 1/{1 / share:.0f} of the notebook's training ({budget:g} s are 1/{seconds / taken:.0f} of "
            f"it{in_time}): {'; '.join(told)}."
        )
    return "\nMarks that were set beforehand; those of the first line are the notebook's:\n\n" + "\n".join(words) + "\n"


def _quality_table(groups: dict[tuple[Any, ...], Draws], real: Draws) -> tuple[str, dict[str, dict[str, Curve]]]:
    """Return a table, a row per method and budget, and the curves of its figures against the fit's seconds."""
    plots: dict[str, dict[str, list[tuple[float, float, float]]]] = {
        title: {} for title in ("C2ST minus real", "sliced W1 over real", "gap, nats")
    }
    rows = []
    for (method, budget), draws in sorted(groups.items()):
        seconds = mean_of([[draw["fit_seconds"] for draw in draws.values()]]).value
        figures = (
            minus(draws, real, "c2st_boosting"),
            over(draws, real, "sliced_w1"),
            gap(draws),
        )
        for title, figure in zip(plots, figures, strict=True):
            if figure is not None:
                plots[title].setdefault(method, []).append((seconds, figure.value, _error(figure)))
        speed = mean_of([[draw["rows_sampled_a_second"] for draw in draws.values()]]).value
        cells = (
            f"{budget:g}",
            str(len(draws)),
            f"{seconds:.2f}",
            *("" if f is None else shown(f) for f in figures[:2]),
            infinite(draws) or ("" if figures[2] is None else shown(figures[2])),
            count(speed),
        )
        rows.append((method, *cells, choices(draws)))
    sorted_curves: dict[str, dict[str, Curve]] = {
        title: {name: sorted(curve) for name, curve in curves.items()} for title, curves in plots.items()
    }
    head = ("method", "budget, s", "draws", "fit, s", *plots, "rows sampled per second", "chosen")
    return table(head, rows), sorted_curves


def _of_real_rows(real: Draws) -> str:
    if not real:
        return ""
    c2st, w1 = (shown(mean_of(parts(real, name))) for name in ("c2st_boosting", "sliced_w1"))
    return f"Real rows have a C2ST of {c2st} and a sliced W1 of {w1} of a column's standard deviations."


def _error(figure: Mean) -> float:
    return figure.standard_error if math.isfinite(figure.standard_error) else 0.0
