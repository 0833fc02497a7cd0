"""ForestDiffusion's protocol: rows generated and gaps filled in its data sets, by ours and by its peers."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import cache, partial
from pathlib import Path

import numpy as np
from scipy import stats

from benchmarks.densities import refuse_unknown
from benchmarks.draws import Results
from benchmarks.protocol import (
    Gower,
    absolute_errors,
    coverage,
    coverage_of_regression,
    efficiency,
    wasserstein,
)
from benchmarks.published_methods import AT_OUR_TIME, GENERATORS, IMPUTERS, OURS, Drawn, Method, Peer, Task
from benchmarks.published_sets import CLASSES, SETS, PublishedSet, Rows, load
from benchmarks.published_tables import GENERATION, IMPUTATION, tables
from benchmarks.record import Figures, Store

TITLE = "ForestDiffusion's protocol"
METHODS: dict[str, tuple[Method, ...]] = {GENERATION: GENERATORS, IMPUTATION: IMPUTERS}
_NAMES = tuple(dict.fromkeys(method.name for methods in METHODS.values() for method in methods))
_ROUNDING = 1e-5  # of a column's range: peers that scale observed cells return them so
_MOST_TRANSPORTED = 5_000  # rows of a set for which W1 is computed, as in the paper


@dataclass(frozen=True)
class Sizes:
    """How much is measured; `name` is part of the results' keys.

    Splits of each set (`n_seeds`), draws of a fit, seeds of each of the four models of `efficiency`, the data sets and
    methods. The defaults of peers that can be slow are measured on the first `own_time_seeds` splits, and where they
    should take at most `limit` seconds; within our time they are measured on all.
    """

    name: str
    n_seeds: int
    n_draws: int
    n_tries: int
    limit: float
    own_time_seeds: int
    sets: tuple[str, ...]
    methods: tuple[str, ...] = _NAMES
    most_rows: int | None = None

    def __post_init__(self) -> None:
        refuse_unknown("sets", self.sets, list(SETS))
        refuse_unknown("methods", self.methods, _NAMES)


SIZES = {
    "quick": Sizes(
        "quick",
        1,
        1,
        1,
        5.0,
        0,
        ("iris",),
        tuple(m.name for m in (*GENERATORS, *IMPUTERS) if not isinstance(m, Peer)),
        most_rows=60,
    ),
    "short": Sizes("short", 2, 2, 1, 45.0, 1, tuple(SETS)[:10]),
    "full": Sizes("full", 3, 5, 5, 1_200.0, 3, tuple(SETS)),
}


def run(store: Store, sizes: Sizes) -> None:
    """Do both tasks by every method, one split of all sets after the other."""
    for seed in range(sizes.n_seeds):
        for name in sizes.sets:
            for task, methods in METHODS.items():
                for method in methods:
                    is_wanted = method.name in sizes.methods and (seed < sizes.own_time_seeds or not _is_slow(method))
                    if is_wanted:
                        key = {"size": sizes.name, "task": task, "table": name, "method": method.name, "seed": seed}
                        store.once(key, partial(_MEASURED[task], method, name, seed, sizes, store, key))


def _is_slow(method: Method) -> bool:
    """Say whether a method is a peer at its defaults that has a variant within our time."""
    return isinstance(method, Peer) and method.name + AT_OUR_TIME in _NAMES


def generated_and_judged(
    method: Method, name: str, seed: int, sizes: Sizes, store: Store, key: dict[str, object]
) -> Figures:
    """Return the figures of drawn rows, each a list over draws.

    - w1_train, w1_test: Wasserstein distance to the training and the test rows.
    - coverage: share of the test rows that are covered.
    - f1 or r2: the score on test rows of models trained on the drawn ones, for a class or a number.
    """
    table, train, test = _rows(name, seed, sizes)
    drawn = method.draw(
        Task(table, train, train, seed, sizes.n_draws, sizes.limit, _seconds_of_ours(method, store, key))
    )
    figures: Figures = {"seconds": drawn.seconds, "choice": drawn.choice}
    return figures | _distances_and_scores(table, train, test, drawn, sizes)


def filled_and_judged(
    method: Method, name: str, seed: int, sizes: Sizes, store: Store, key: dict[str, object]
) -> Figures:
    """Return the figures of filled gaps; those of `generated_and_judged` but its coverage are of the filled rows.

    - mae_least, mae_mean: errors of the draws, the least for each row and the mean.
    - mae_single: error of the best single imputation.
    - coverage_of_regression: how often intervals of regressions hold; for numbers as targets alone.
    """
    table, train, test = _rows(name, seed, sizes)
    gaps = table.gaps(len(train), seed)
    seen = ~gaps[:, :-1].all(axis=1)
    train, gaps = train[seen], gaps[seen]
    rows = np.where(gaps, np.nan, train)
    drawn = method.draw(
        Task(table, rows, train, seed, sizes.n_draws, sizes.limit, _seconds_of_ours(method, store, key))
    )
    scale = train.max(axis=0) - train.min(axis=0)
    for draw in drawn.draws:
        changed = ~gaps & (np.abs(draw - train) > _ROUNDING * scale)
        if np.isnan(draw).any() or changed.any():
            raise RuntimeError(f"{changed.sum()} observed cells were changed, and {np.isnan(draw).sum()} gaps left")
    gower, n_missing = Gower(table, train), int(gaps.sum())
    least, mean = absolute_errors(gower(train), [gower(draw) for draw in drawn.draws], n_missing)
    single = drawn.single if drawn.single is not None else _middle(table, drawn)
    figures: Figures = {"seconds": drawn.seconds, "choice": drawn.choice, "mae_least": least, "mae_mean": mean}
    figures["mae_single"], _ = absolute_errors(gower(train), [gower(single)], n_missing)
    if not table.is_class:
        figures["coverage_of_regression"] = coverage_of_regression(train, drawn.draws)
    figures |= _distances_and_scores(table, train, test, drawn, sizes)
    del figures["coverage"]
    return figures


_MEASURED: dict[str, Callable[..., Figures]] = {GENERATION: generated_and_judged, IMPUTATION: filled_and_judged}


def _distances_and_scores(table: PublishedSet, train: Rows, test: Rows, drawn: Drawn, sizes: Sizes) -> Figures:
    gower = Gower(table, train)
    points = [gower(draw) for draw in drawn.draws]
    figures: Figures = {}
    if len(train) < _MOST_TRANSPORTED:
        figures["w1_train"] = [wasserstein(gower(train), each) for each in points]
        figures["w1_test"] = [wasserstein(gower(test), each) for each in points]
    figures["coverage"] = [coverage(gower(test), each) for each in points]
    figures["f1" if table.is_class else "r2"] = [efficiency(table, draw, test, sizes.n_tries) for draw in drawn.draws]
    return figures


def _middle(table: PublishedSet, drawn: Drawn) -> Rows:
    """Return the mean of the draws of each number, and the mode of each category."""
    draws = np.stack(drawn.draws)
    is_class = np.array([kind in CLASSES for kind in table.kinds])
    return np.where(is_class, stats.mode(draws, axis=0).mode, draws.mean(axis=0))


def _seconds_of_ours(method: Method, store: Store, key: dict[str, object]) -> float | None:
    """Return the budget of a peer in our time: the seconds that ours took. Raises RuntimeError where there are none."""
    if not method.name.endswith(AT_OUR_TIME):
        return None
    ours = store.find({**key, "method": OURS})
    if ours is None or "failed" in ours:
        raise RuntimeError(f"measure {OURS} first: its seconds are the budget")
    return float(ours["seconds"])


def _rows(name: str, seed: int, sizes: Sizes) -> tuple[PublishedSet, Rows, Rows]:
    table = _loaded(name)
    train, test = table.split(seed)
    return table, train[: sizes.most_rows], test[: sizes.most_rows]


@cache
def _loaded(name: str) -> PublishedSet:
    return load(name)


def told(results: Results, curves: Path) -> str:  # noqa: ARG001 - every part is told where curves go
    """Return the tables of each size, the largest first."""
    texts = []
    for size, sizes in reversed(SIZES.items()):
        of_size = [result for result in results if result["key"]["size"] == size]
        if of_size:
            n_splits = len({result["key"]["seed"] for result in of_size})
            words = (
                f"Splits of each set: {n_splits}; draws of each fit: {sizes.n_draws}; seeds of each scoring "
                f"model: {sizes.n_tries}. Slow peers at their defaults: on {sizes.own_time_seeds} of the splits, where "
                f"they should take at most {sizes.limit:,.0f} s."
            )
            texts.append(f"### Size {size}\n\n{words}\n\n{tables(of_size)}")
    return "\n".join(texts)
