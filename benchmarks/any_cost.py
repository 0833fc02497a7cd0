"""What training for any condition costs whole rows: `conditions=None` and `conditions="any"` at equal time."""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial
from pathlib import Path

from backwalk import Diffusion
from benchmarks.densities import CASES, cases
from benchmarks.draws import ERRORS_BY_DRAWS, Draws, Results, grouped, minus
from benchmarks.judge import JudgeSizes
from benchmarks.methods import Fitted, Rows
from benchmarks.record import Store
from benchmarks.suite import fitted_and_judged
from benchmarks.tables import Mean, shown, table

TITLE = "What any condition costs whole rows"


@dataclass(frozen=True)
class Conditioned:
    """`Diffusion(max_time=budget)`, trained for these conditions."""

    conditions: str | None

    @property
    def name(self) -> str:
        """What tables call it."""
        return f"conditions={self.conditions!r}"

    def fit(self, X: Rows, budget: float, seed: int) -> Fitted:
        """Fit within `budget` seconds."""
        model = Diffusion(max_time=budget, conditions=self.conditions, random_state=seed, verbose=False).fit(X)
        return Fitted(lambda n, seed: model.sample(n, random_state=seed), model.score_samples, "")


WHOLE, ANY = Conditioned(None), Conditioned("any")


@dataclass(frozen=True)
class Sizes:
    """The budget of a fit in seconds, the draws of the data, how much is judged, and the densities."""

    budget: float
    n_seeds: int
    judge: JudgeSizes
    densities: tuple[str, ...] = tuple(case.name for case in CASES)
    most_rows: int | None = None

    def __post_init__(self) -> None:
        cases(self.densities)


SIZES = {
    "quick": Sizes(1.0, 1, JudgeSizes(64, 32, 2, 100), ("two_moons",), most_rows=500),
    "short": Sizes(10.0, 1, JudgeSizes(2048, 512, 3, 2000), ("two_moons", "curved_chain")),
    "full": Sizes(60.0, 3, JudgeSizes(4096, 2048, 4, 3000)),
}


def run(store: Store, sizes: Sizes) -> None:
    """Fit both for each density and draw."""
    for seed in range(sizes.n_seeds):
        for case in cases(sizes.densities):
            for method in (WHOLE, ANY):
                key = {"density": case.name, "method": method.name, "budget": sizes.budget, "seed": seed}
                store.once(
                    key, partial(fitted_and_judged, method, case, seed, sizes.budget, sizes.judge, sizes.most_rows)
                )


def told(results: Results, curves: Path) -> str:  # noqa: ARG001 - every part is told where curves go
    """Return the table of differences, any condition minus whole rows."""
    texts = [
        f"Both fits have the same rows and seconds, and are judged on the same real rows. {ERRORS_BY_DRAWS} "
        "Differences are those of any condition minus whole rows: below 0, any condition is better.\n"
    ]
    for budget in sorted({result["key"]["budget"] for result in results}):
        groups = grouped([result for result in results if result["key"]["budget"] == budget], "density", "method")
        rows = []
        for density in dict.fromkeys(density for density, _ in groups):
            whole, for_any = (groups.get((density, method.name), {}) for method in (WHOLE, ANY))
            both = whole.keys() & for_any.keys()
            figures = [_difference(for_any, whole, name) for name in ("gap", "c2st_boosting")]
            rows.append((density, str(len(both)), *("" if figure is None else shown(figure) for figure in figures)))
        head = ("density", "draws", "gap, nats", "C2ST, boosted trees")
        texts.append(f"### {budget:g} seconds per fit\n\n{table(head, rows)}")
    return "\n".join(texts)


def _difference(for_any: Draws, whole: Draws, name: str) -> Mean | None:
    return minus(for_any, {seed: draw for seed, draw in whole.items() if name in draw}, name)
