"""Known densities of mixed rows: draws, probabilities and conditionals of a fit against the truth."""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial
from pathlib import Path

import numpy as np

from backwalk.datasets import MIXED_DENSITIES, MixedDensity
from backwalk.estimates import log_ratio
from backwalk.streams import Stream
from benchmarks.densities import refuse_unknown
from benchmarks.draws import ERRORS_BY_DRAWS, Results, grouped, mean_over, minus
from benchmarks.judge import block_means
from benchmarks.methods import REAL, timed
from benchmarks.record import Figures, Store
from benchmarks.table_baselines import PRODUCT_MIXTURE, TREE_SYNTHESIS
from benchmarks.table_judge import boosted_c2st
from benchmarks.table_methods import FittedTable, IndependentColumns, MixedTruth, OursOnTables, TableMethod
from benchmarks.tables import shown, table

TITLE = "Known densities of mixed rows"
METHODS: tuple[TableMethod, ...] = (OursOnTables(), TREE_SYNTHESIS, PRODUCT_MIXTURE, IndependentColumns())


@dataclass(frozen=True)
class Sizes:
    """The budget of a fit in seconds, the draws of the data, the densities and methods, and how much is judged."""

    budget: float
    n_seeds: int
    n_train: int
    n_unseen: int
    n_pairs: int
    n_rows: int
    densities: tuple[str, ...] = tuple(MIXED_DENSITIES)
    methods: tuple[str, ...] = tuple(method.name for method in METHODS)

    def __post_init__(self) -> None:
        refuse_unknown("densities", self.densities, list(MIXED_DENSITIES))
        refuse_unknown("methods", self.methods, [method.name for method in METHODS])


SIZES = {
    "quick": Sizes(1.0, 1, 500, 40, 2, 100, ("levels_alone",)),
    "short": Sizes(20.0, 1, 20_000, 1000, 2, 5000, ("mixed_arcs",)),
    "full": Sizes(60.0, 3, 20_000, 2000, 4, 10_000),
}


def run(store: Store, sizes: Sizes) -> None:
    """Fit and judge all, one draw of the data after the other."""
    for seed in range(sizes.n_seeds):
        for name in sizes.densities:
            density = MIXED_DENSITIES[name]()
            for method in (MixedTruth(density), *METHODS):
                if isinstance(method, MixedTruth) or method.name in sizes.methods:
                    key = {"density": name, "method": method.name, "budget": sizes.budget, "seed": seed}
                    store.once(key, partial(fitted_and_judged, method, density, seed, sizes))


def fitted_and_judged(method: TableMethod, density: MixedDensity, seed: int, sizes: Sizes) -> Figures:
    """Return the figures of one fit to rows with this seed."""
    rows = density.as_frame(density.sample(sizes.n_train, random_state=seed))
    fitted, seconds = timed(lambda: method.fit(rows, sizes.budget, seed))
    return {"fit_seconds": seconds, "choice": fitted.choice, **judge(fitted, density, sizes, seed=seed)}


def judge(fitted: FittedTable, density: MixedDensity, sizes: Sizes, *, seed: int) -> Figures:
    """Return every figure of a fit in parts. Part k is taken on the same real rows for every method.

    - c2st_boosting: accuracies of boosted trees on (real set k, generated set k).
    - gap: means of ln p_true - ln p_model over blocks of unseen rows, nats; bound_gap: of the bound + ln p_true.
    - conditional_gap: the Kullback-Leibler divergence of the model's P(level | all other columns) from the truth's,
      nats, averaged over the columns of levels and over blocks of unseen rows.
    - self_test: |ln p(A, B) - ln p(B) - ln p(A | B)|, nats, where B is the later half of the columns.
    - order_spread: |ln p - ln p with the levels in the reverse order|, nats.
    - sum_of_probabilities: that of all rows of a table of levels, minus 1.
    """
    stream = Stream(seed).child("benchmark mixed")
    unseen = density.sample_rows(0, sizes.n_unseen, stream=stream.child("unseen"))
    frame, log_p = density.as_frame(unseen), density.log_prob(unseen)
    n = sizes.n_pairs * sizes.n_rows
    real = density.as_frame(density.sample_rows(0, n, stream=stream.child("sets")))
    generated, seconds = timed(lambda: fitted.sample(n, seed))
    sets = [slice(k * sizes.n_rows, (k + 1) * sizes.n_rows) for k in range(sizes.n_pairs)]
    figures: Figures = {
        "pairs": sizes.n_pairs,
        "rows_in_a_set": sizes.n_rows,
        "unseen_rows": sizes.n_unseen,
        "rows_sampled_a_second": n / seconds,
    }
    if density.numbers:  # rows of levels alone repeat, and a copy in the training folds would reveal the held-out row
        figures["c2st_boosting"] = [
            boosted_c2st(real[here], generated[here], stream=stream.child("c2st", k)) for k, here in enumerate(sets)
        ]
    if fitted.log_prob is not None and (fitted.scores != "levels" or not density.numbers):
        of_rows = fitted.log_prob(frame, density.names, ())
        figures["gap"] = block_means(-log_ratio(log_p, of_rows))
        if fitted.scores == "any":
            first, last = np.array_split(np.array(density.names), 2)
            of_last = fitted.log_prob(frame, last.tolist(), ())
            of_first = fitted.log_prob(frame, first.tolist(), last.tolist())
            figures["self_test"] = block_means(np.abs(of_rows - of_last - of_first))
        if fitted.reversed_log_prob is not None:
            figures["order_spread"] = block_means(np.abs(of_rows - fitted.reversed_log_prob(frame)))
        if not density.numbers:
            every = density.as_frame(np.argwhere(density.table[..., 0] >= 0))
            figures["sum_of_probabilities"] = [float(np.exp(fitted.log_prob(every, density.names, ())).sum() - 1.0)]
    if fitted.bound is not None:
        figures["bound_gap"] = block_means(fitted.bound(frame, seed) + log_p)
    if fitted.level_log_probs is not None:
        figures["conditional_gap"] = block_means(conditional_gap(fitted, density, unseen))
    return figures


def conditional_gap(fitted: FittedTable, density: MixedDensity, rows: np.ndarray) -> np.ndarray:
    """Return the divergence of the model's P(level | rest) from the truth's, (n,), the mean over the categories."""
    assert fitted.level_log_probs is not None
    frame, columns = density.as_frame(rows), [j for j in density.with_levels if j not in density.numbers]
    total = np.zeros(len(rows))
    for j in columns:
        name, labels = density.names[j], density.labels(j)
        log_p = density.level_log_probs(rows, name)
        levels, log_q = fitted.level_log_probs(frame, name)
        order = [list(levels).index(label) for label in labels]
        total += np.where(log_p > -np.inf, np.exp(log_p) * (log_p - log_q[:, order]), 0.0).sum(axis=1)
    return total / len(columns)


def told(results: Results, curves: Path) -> str:  # noqa: ARG001 - every part is told where curves go
    """Return a table of each density: a row per method, a column per figure."""
    texts = [
        "Every density has its truth beside it, as *real rows*. `self-test` is |ln p(A, B) - ln p(B) - ln p(A given "
        "B)|, with the later half of the columns as B. `P(level given the rest)` is the divergence from the truth's, "
        f"the mean over the categories. {ERRORS_BY_DRAWS}\n"
    ]
    for budget, density in dict.fromkeys((r["key"]["budget"], r["key"]["density"]) for r in results):
        here = [r for r in results if (r["key"]["budget"], r["key"]["density"]) == (budget, density)]
        groups = grouped(here, "method")
        real = groups.get((REAL,), {})
        rows = [
            (
                method,
                str(len(draws)),
                *(
                    "" if figure is None else shown(figure)
                    for figure in (minus(draws, real, "c2st_boosting"), *(mean_over(draws, name) for name in _FIGURES))
                ),
            )
            for (method,), draws in groups.items()
        ]
        head = ("method", "draws", "C2ST minus real", *_FIGURES.values())
        texts.append(f"### {density}, {budget:g} seconds per fit\n\n{table(head, rows)}")
    return "\n".join(texts)


_FIGURES = {
    "gap": "gap, nats",
    "bound_gap": "bound's gap, nats",
    "conditional_gap": "P(level given the rest), nats",
    "self_test": "self-test, nats",
    "order_spread": "spread over orders, nats",
    "sum_of_probabilities": "sum of all probabilities - 1",
}
