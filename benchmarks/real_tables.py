"""Real tables, adult and magic: drawn rows by published statistics, probabilities on test rows, copies, and seconds."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np
import pandas as pd

from backwalk.streams import Stream
from benchmarks.densities import refuse_unknown
from benchmarks.draws import ERRORS_BY_DRAWS, Results, grouped, mean_over
from benchmarks.judge import block_means
from benchmarks.methods import REAL, Rows, timed
from benchmarks.record import Figures, Store
from benchmarks.table_baselines import PRODUCT_MIXTURE, TREE_SYNTHESIS
from benchmarks.table_judge import (
    copying_share,
    known_rows,
    log_losses,
    tree_log_losses,
    xgb_c2st,
)
from benchmarks.table_methods import FittedTable, IndependentColumns, OursOnTables, TableMethod
from benchmarks.table_peers import PeerOnTables
from benchmarks.tables import Mean, shown, table
from benchmarks.wheels import Split

TREES = "HistGradientBoosting"
USUAL: tuple[TableMethod, ...] = (OursOnTables(), TREE_SYNTHESIS, PRODUCT_MIXTURE, IndependentColumns())
PEERS = tuple(PeerOnTables(name) for name in ("ARF", "ForestDiffusion", "UnmaskingTrees"))
METHODS: tuple[TableMethod, ...] = (*USUAL, *PEERS)
WORDS = (
    "XGB-C2ST is 2 (1 - AUC) of a default XGBClassifier that tells drawn from real rows, 1 is best: categories "
    "one-hot, three stratified folds, an AUC below .5 counted as .5. *Real rows* have in each column the figure of a "
    "perfect method: training against test rows, and test rows in place of drawn ones. Published figures were "
    "measured by their authors, on GPUs, against training rows. *Nearer to a training row*: the share of drawn rows "
    "that are nearer to a training than to a held-out row, of equally many; .5 without copying. Nats and log losses "
    f"are of test rows whose levels all occur in the training rows. {TREES} is trained for each column by itself."
)


@dataclass(frozen=True)
class Sizes:
    """The budget of a fit in seconds, the draws, the methods, and the most rows to fit on and to judge by."""

    budget: float
    n_seeds: int
    methods: tuple[str, ...] = tuple(method.name for method in USUAL)
    most_rows: int | None = None
    n_copies: int = 8_000

    def __post_init__(self) -> None:
        refuse_unknown("methods", self.methods, [method.name for method in METHODS])


SIZES = {
    "quick": Sizes(1.0, 1, most_rows=300, n_copies=50),
    "short": Sizes(60.0, 1, most_rows=8_000, n_copies=2_000),
    "full": Sizes(300.0, 3),
}


def run(store: Store, sizes: Sizes, load: Callable[[int], Split]) -> None:
    """Judge real rows, then every method, one seed after the other; and boosted trees for each column with levels."""
    for seed in range(sizes.n_seeds):
        jobs: dict[str, Callable[[Split], Figures]] = {REAL: partial(real_rows, sizes=sizes, seed=seed)}
        jobs |= {m.name: partial(fitted_and_judged, m, sizes, seed) for m in METHODS if m.name in sizes.methods}
        jobs[TREES] = partial(trees, seed=seed)
        for name, job in jobs.items():
            key = {"method": name, "budget": sizes.budget, "seed": seed}
            store.once(key, partial(_on_rows, job, load, sizes, seed))


def _on_rows(job: Callable[[Split], Figures], load: Callable[[int], Split], sizes: Sizes, seed: int) -> Figures:
    return job(_cut(load(seed), sizes, seed))


def fitted_and_judged(method: TableMethod, sizes: Sizes, seed: int, split: Split) -> Figures:
    """Return the figures of one fit to a table's training rows."""
    fitted, seconds = timed(lambda: method.fit(split.train, sizes.budget, seed))
    return {"fit_seconds": seconds, "choice": fitted.choice, **judge(fitted, split, sizes, seed=seed)}


def judge(fitted: FittedTable, split: Split, sizes: Sizes, *, seed: int) -> Figures:
    """Return every figure of a fit.

    - xgb_training, xgb_test: 2 (1 - AUC) against as many training rows and test rows, 1 is best; `..._uncapped`.
    - nearer_to_training: the share of drawn rows nearer to a training than to a held-out row, of equally many.
    - nats: -ln p of the columns with levels of test rows. log_loss: -ln P(level | all other columns), column by column;
      the mean over the columns is `mean_log_loss`, the target's `target_log_loss`.
    - sampling_seconds: of as many rows as there are training rows; left out for peers that draw in the fit.
    """
    generated, seconds = timed(lambda: fitted.sample(len(split.train), seed))
    figures: Figures = {} if fitted.drew_in_fit else {"sampling_seconds": [seconds]}
    figures |= drawn(generated, split, sizes, seed=seed)
    unseen = known_rows(split.train, split.test, split.levels)
    figures["test_rows_with_unseen_levels"] = len(split.test) - len(unseen)
    if fitted.log_prob is not None:
        figures["nats"] = block_means(-fitted.log_prob(unseen, split.levels, ()))
    level_log_probs = fitted.level_log_probs
    if level_log_probs is not None:
        losses = {name: log_losses(*level_log_probs(unseen, name), unseen[name]) for name in split.levels}
        figures |= losses_in_figures(losses, split.target)
    return figures


def drawn(generated: pd.DataFrame, split: Split, sizes: Sizes, *, seed: int) -> Figures:
    """Return the figures of drawn rows alone."""
    figures: Figures = {}
    for name, real in (("training", split.train), ("test", split.test)):
        n = min(len(real), len(generated))
        capped, uncapped = xgb_c2st(real.iloc[:n], generated.iloc[:n], seed=seed)
        figures |= {f"xgb_{name}": [capped], f"xgb_{name}_uncapped": [uncapped]}
    nearer = copying_share(generated.iloc[: sizes.n_copies], split.train, split.test, seed=seed)
    return figures | {"nearer_to_training": block_means(nearer)}


def real_rows(split: Split, sizes: Sizes, *, seed: int) -> Figures:
    """Return the nulls: training rows against test rows, and held-out rows that are compared with other real rows.

    `xgb_training` and `xgb_test` are one figure here, of equally many rows of both. For `nearer_to_training`, one half
    of the test rows takes the place of drawn rows, and the other half that of the held-out rows.
    """
    n = min(len(split.train), len(split.test))
    order = Stream(seed).child("benchmark real rows").permutation(len(split.train))[:n]
    capped, uncapped = xgb_c2st(split.train.iloc[order], split.test.iloc[:n], seed=seed)
    half = len(split.test) // 2
    nearer = copying_share(
        split.test.iloc[:half].iloc[: sizes.n_copies], split.train, split.test.iloc[half:], seed=seed
    )
    return {
        **{f"xgb_{name}": [capped] for name in ("training", "test")},
        **{f"xgb_{name}_uncapped": [uncapped] for name in ("training", "test")},
        "nearer_to_training": block_means(nearer),
    }


def trees(split: Split, *, seed: int) -> Figures:
    """Return the log losses of boosted trees that are trained for one column with levels each."""
    unseen = known_rows(split.train, split.test, split.levels)
    losses = {name: tree_log_losses(split.train, unseen, name, seed=seed) for name in split.levels}
    return losses_in_figures(losses, split.target)


def losses_in_figures(losses: dict[str, Rows], target: str) -> Figures:
    """Return the mean log loss of each column, and in parts the target's and the mean over the columns."""
    mean = np.mean(list(losses.values()), axis=0)
    return {
        "log_loss": {name: float(loss.mean()) for name, loss in losses.items()},
        "mean_log_loss": block_means(mean),
        "target_log_loss": block_means(losses[target]),
    }


def _cut(split: Split, sizes: Sizes, seed: int) -> Split:
    """Return the table, or `most_rows` of its training and half as many of its test rows."""
    if sizes.most_rows is None:
        return split
    stream = Stream(seed).child("benchmark cut")

    def some(rows: pd.DataFrame, name: str, n: int) -> pd.DataFrame:
        return rows.iloc[stream.child(name).permutation(len(rows))[:n]].reset_index(drop=True)

    train, test = some(split.train, "train", sizes.most_rows), some(split.test, "test", sizes.most_rows // 2)
    return Split(split.name, train, test, split.target, split.levels)


_FIGURES = {
    "xgb_training": "XGB-C2ST, training rows",
    "xgb_test": "XGB-C2ST, test rows",
    "nearer_to_training": "nearer to a training row",
    "nats": "levels, nats",
    "target_log_loss": "log loss, {target}",
    "mean_log_loss": "log loss, mean over columns with levels",
    "sampling_seconds": "seconds to draw the training rows' number",
}


def told(results: Results, *, target: str, published: dict[str, str], words: str) -> str:
    """Return the table of all methods, and that of the log losses by column."""
    texts = [f"{words} {ERRORS_BY_DRAWS}\n"]
    for budget in sorted({result["key"]["budget"] for result in results}):
        groups = grouped([result for result in results if result["key"]["budget"] == budget], "method")
        rows = [
            (method, str(len(draws)), *(_cell(mean_over(draws, name)) for name in _FIGURES))
            for (method,), draws in groups.items()
        ]
        rows += [(f"{name} (published)", "", value, *[""] * (len(_FIGURES) - 1)) for name, value in published.items()]
        head = ("method", "draws", *(title.format(target=target) for title in _FIGURES.values()))
        texts.append(f"### {budget:g} seconds per fit\n\n{table(head, rows)}")
        of_columns = {
            method: draws for (method,), draws in groups.items() if all("log_loss" in d for d in draws.values())
        }
        if of_columns:
            columns = list(
                dict.fromkeys(c for draws in of_columns.values() for d in draws.values() for c in d["log_loss"])
            )
            lines = [(c, *(_mean_of_column(draws, c) for draws in of_columns.values())) for c in columns]
            texts.append(f"Log loss of each column given all others, nats:\n\n{table(('column', *of_columns), lines)}")
    return "\n".join(texts)


def _cell(mean: Mean | None) -> str:
    return "" if mean is None else shown(mean)


def _mean_of_column(draws: dict[int, Any], column: str) -> str:
    return f"{np.mean([draw['log_loss'][column] for draw in draws.values()]):.4f}"
