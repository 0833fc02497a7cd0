"""The suite: every method on every density at one budget, over several draws of the data."""

from __future__ import annotations

import statistics
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

from benchmarks.densities import CASES, Case, cases, refuse_unknown
from benchmarks.draws import Draws, Results, choices, grouped, infinite, judged, minus
from benchmarks.edm import Edm
from benchmarks.judge import JudgeSizes, draw_reference, judge
from benchmarks.methods import REAL, Kernel, Method, Mixture, MixtureHeldOut, Ours, Truth, timed
from benchmarks.peers import Forest, SchedulerDdpm, SplineFlow, set_up
from benchmarks.record import Figures, Store
from benchmarks.tables import LEAST_DRAWS, count, first_and_tied, shown, table

MAIN = ("Diffusion", "zuko NSF", "GaussianMixture", "held-out GaussianMixture", "KernelDensity")
"""The methods with a density. The others, which take the whole budget, are added by --methods."""
METHODS: tuple[Method, ...] = (
    Ours(),
    SplineFlow(),
    Mixture(),
    MixtureHeldOut(),
    Kernel(),
    Forest(),
    SchedulerDdpm(),
    Edm(),
)

TITLE = "Densities with a known logarithm"


@dataclass(frozen=True)
class Sizes:
    """The budget of every fit in seconds, the draws of the data, which densities, and how much is judged."""

    budget: float
    n_seeds: int
    judge: JudgeSizes
    densities: tuple[str, ...] = tuple(case.name for case in CASES)
    methods: tuple[str, ...] = MAIN
    most_rows: int | None = None

    def __post_init__(self) -> None:
        cases(self.densities)
        refuse_unknown("methods", self.methods, [method.name for method in METHODS])


SIZES = {
    "quick": Sizes(1.0, 1, JudgeSizes(64, 32, 2, 100), ("two_moons", "curved_chain"), most_rows=500),
    "short": Sizes(10.0, 1, JudgeSizes(2048, 512, 3, 2000), ("two_moons", "curved_chain")),
    "full": Sizes(60.0, 5, JudgeSizes(4096, 2048, 4, 3000)),
}


def run(store: Store, sizes: Sizes) -> None:
    """Fit and judge all, one draw of the data after the other, so that a run that is stopped has whole tables."""
    set_up()
    for seed in range(sizes.n_seeds):
        for case in cases(sizes.densities):
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


_SUITE = {
    "gap": "Gap: mean of log p_true - log p_model over unseen rows, nats",
    "c2st_boosting": "C2ST minus that of real rows, boosted trees",
    "c2st_neighbours": "C2ST minus that of real rows, nearest neighbours (which see little beyond a few columns)",
    "energy": "Energy distance minus that of real rows, standardised columns",
}
_SCALES = (
    "Peers are given standardised columns, a kernel density also whitened ones, and ForestDiffusion, which scales by "
    "itself, the rows as they are; `Diffusion` also bends columns with heavy tails, which among these are the "
    "funnel's. Its defaults were chosen on other draws of some of these densities (two moons, four rings, spirals, "
    "the checkerboard, the pinwheel, the curved chain; for small tables the rotated chain and the mixtures too; the "
    "bend on the funnel), nearly all without a limit of time; peers choose from a few settings within the budget, but "
    "for the flow's beyond the plane, which were chosen by fits of a minute on other draws of two of these densities. "
    f"A method that has fewer than {LEAST_DRAWS} draws, where others have more, is not compared."
)


def told(results: Results, curves: Path) -> str:  # noqa: ARG001 - every part is told where curves go
    """Return a table for each figure: a row per density, a column per method."""
    texts = []
    for budget in sorted({result["key"]["budget"] for result in results}):
        here = [result for result in results if result["key"]["budget"] == budget]
        groups = grouped(here, "density", "method")
        n_seeds = len({result["key"]["seed"] for result in here})
        words = (f"{budget:g} seconds per fit.", _about_errors(n_seeds), judged(here), _SCALES)
        texts.append(" ".join(filter(None, words)) + "\n")
        texts += [f"### {title}\n\n{_figure_table(groups, name)}" for name, title in _SUITE.items()]
        texts.append(f"### Seconds of the fit, the median\n\n{_plain_table(groups, 'fit_seconds', '{:.1f}'.format)}")
        texts.append(f"### Rows sampled per second\n\n{_plain_table(groups, 'rows_sampled_a_second', count)}")
        texts.append(f"### What each fit chose\n\n{_chosen_table(groups)}")
    return "\n".join(texts)


def _about_errors(n_draws: int) -> str:
    if n_draws >= LEAST_DRAWS:
        return f"± is over {n_draws} draws of the data, each with a fit of its own."
    draws = "One draw" if n_draws == 1 else f"{n_draws} draws"
    return f"{draws} of the data; ± is over rows of the same fits, and leaves out the chance of another fit."


def _densities_and_methods(groups: dict[tuple[Any, ...], Draws]) -> tuple[list[str], list[str]]:
    """Return the names in order: densities as they were measured, methods as the suite has them."""
    densities, methods = (list(dict.fromkeys(names)) for names in zip(*groups, strict=True))
    order = [method.name for method in METHODS]
    methods.sort(key=lambda name: order.index(name) if name in order else len(order))
    return densities, [method for method in methods if method != REAL]


def _figure_table(groups: dict[tuple[Any, ...], Draws], name: str) -> str:
    densities, methods = _densities_and_methods(groups)
    rows, places = [], dict[str, list[str]]()
    for density in densities:
        real = groups.get((density, REAL), {})
        draws = {method: groups[density, method] for method in methods if (density, method) in groups}
        has = {method: [seed for seed in sorted(real) if name in d.get(seed, {})] for method, d in draws.items()}
        endless = {method: infinite(d) if name == "gap" else "" for method, d in draws.items()}
        compared = {method: seeds for method, seeds in has.items() if not endless[method]}
        first, tied = first_and_tied({m: {s: draws[m][s][name] for s in seeds} for m, seeds in compared.items()})
        cells = []
        for method in methods:
            seeds = compared.get(method, [])
            figure = minus({seed: draws[method][seed] for seed in seeds}, real, name) if seeds else None
            if figure is None:
                cells.append(endless.get(method, ""))
                continue
            cell = shown(figure) + _of_draws(len(seeds), len(real))
            cells.append(f"**{cell}**" if method == first else f"≈ {cell}" if method in tied else cell)
            if method == Ours().name:
                places.setdefault(_place(len(seeds), len(real), method == first, method in tied), []).append(density)
        rows.append((density, *cells))
    summary = "; ".join(
        f"{place} on {len(where)}" + (f" ({', '.join(where)})" if place != "first" else "")
        for place, where in sorted(places.items())
    )
    return table(("density", *methods), rows) + (f"\n{Ours().name}: {summary}.\n" if summary else "")


def _place(n: int, n_all: int, is_first: bool, is_tied: bool) -> str:
    """Return where a method with n of all draws stands, in words."""
    if is_first:
        return "first"
    if is_tied:
        return "not shown worse than the first"
    return "worse" if n >= min(n_all, LEAST_DRAWS) else "not compared"


def _chosen_table(groups: dict[tuple[Any, ...], Draws]) -> str:
    densities, methods = _densities_and_methods(groups)
    rows = [(density, *(choices(groups.get((density, method), {})) for method in methods)) for density in densities]
    return table(("density", *methods), rows)


def _of_draws(n: int, n_all: int) -> str:
    """Return of how many of the draws a figure is, where that is not all of them, and whether its error is another."""
    if n == n_all:
        return ""
    return f" ({n} of {n_all} draws{', ± over rows' if n < LEAST_DRAWS <= n_all else ''})"


def _plain_table(groups: dict[tuple[Any, ...], Draws], name: str, word: Callable[[float], str]) -> str:
    densities, methods = _densities_and_methods(groups)

    def cell(density: str, method: str) -> str:
        values = [draw[name] for draw in groups.get((density, method), {}).values()]
        return word(statistics.median(values)) if values else ""

    return table(
        ("density", *methods), [(density, *(cell(density, method) for method in methods)) for density in densities]
    )
