"""Missing cells: a fifth of a table's cells are removed at random, and imputed.

- error: that of the mean imputation, absolute, over the column's range in the complete rows.
- coverage: how often the truth lies in the central interval of 39 draws: 20 and 36 of its 40 places among them are the
  intervals of 50 and 90 %, exactly. Ties are broken at random, so that this holds for numbers with few values too.
"""

from __future__ import annotations

import warnings
from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from sklearn.datasets import load_breast_cancer, load_diabetes, load_iris, load_wine
from sklearn.ensemble import RandomForestRegressor
from sklearn.exceptions import ConvergenceWarning
from sklearn.experimental import enable_iterative_imputer  # noqa: F401 - scikit-learn's IterativeImputer needs it
from sklearn.impute import IterativeImputer, SimpleImputer
from sklearn.linear_model import BayesianRidge

from backwalk import Diffusion
from benchmarks.data import TABLES as ALL
from benchmarks.data import Rows
from benchmarks.record import Figures, Store, timed

N_DRAWS = 39
TABLES = {
    "iris": lambda: load_iris(as_frame=True).data,
    "wine": lambda: load_wine(as_frame=True).data,
    "breast_cancer": lambda: load_breast_cancer(as_frame=True).data,
    "diabetes": lambda: load_diabetes(as_frame=True, scaled=False).data,
    "magic": lambda: ALL["magic"]().drop(columns="class").sample(3_000, random_state=0),
}
METHODS = ("Diffusion", "MissForest", "chained ridge", "column means")
"""Ours; scikit-learn's IterativeImputer with random forests, and with Bayesian ridge and its draws; columns alone."""


@dataclass(frozen=True)
class Sizes:
    """Seconds of our fit, draws of the gaps, tables, methods and the most rows."""

    budget: float = 30.0
    n_seeds: int = 1
    tables: tuple[str, ...] = tuple(TABLES)
    methods: tuple[str, ...] = METHODS
    most_rows: int | None = None


SIZES = {
    "quick": Sizes(1.0, 1, ("iris",), ("Diffusion", "column means"), 60),
    "short": Sizes(20.0, 1, ("iris", "wine")),
    "full": Sizes(n_seeds=3),
}


def run(store: Store, sizes: Sizes) -> None:
    """Impute every table by every method, one draw of the gaps after the other."""
    for seed in range(sizes.n_seeds):
        for name in sizes.tables:
            for method in sizes.methods:
                budget = f"{sizes.budget:g} s" if method == "Diffusion" else ""
                store.once("gaps", name, method, budget, seed, partial(imputed_and_judged, name, method, sizes, seed))


def imputed_and_judged(name: str, method: str, sizes: Sizes, seed: int) -> Figures:
    """Return the figures of one imputation."""
    complete = TABLES[name]().astype(float).reset_index(drop=True).iloc[: sizes.most_rows]
    is_hidden = np.random.default_rng([seed, 1]).random(complete.shape) < 0.2
    rows = complete.mask(is_hidden)
    (mean, draws), seconds = timed(lambda: imputed(method, rows, sizes.budget, seed))
    figures = judge(mean, draws, complete.to_numpy(), is_hidden, np.random.default_rng([seed, 2]))
    return {"seconds": seconds, **figures}


def imputed(method: str, rows: pd.DataFrame, budget: float, seed: int) -> tuple[Rows, list[Rows] | None]:
    """Return the mean imputation, and draws where a method has any."""
    if method == "Diffusion":
        model = Diffusion(max_time=budget, conditions="any", random_state=seed, verbose=False).fit(rows)
        draws = [draw.to_numpy(float) for draw in model.impute(rows, n_draws=N_DRAWS, random_state=seed)]
        return model.impute(rows, statistic="mean").to_numpy(float), draws
    if method == "MissForest":
        return iterated(RandomForestRegressor(random_state=seed), rows, seed), None
    if method == "chained ridge":
        draws = [iterated(BayesianRidge(), rows, seed + 1_000 * i, sample_posterior=True) for i in range(N_DRAWS)]
        return iterated(BayesianRidge(), rows, seed), draws
    values, generator = rows.to_numpy(), np.random.default_rng(seed)
    draws = [values.copy() for _ in range(N_DRAWS)]
    for draw in draws:
        for column in draw.T:
            is_gap = np.isnan(column)
            column[is_gap] = generator.choice(column[~is_gap], size=is_gap.sum())
    return SimpleImputer().fit_transform(values), draws


def iterated(regressor: Any, rows: pd.DataFrame, seed: int, **options: Any) -> Rows:
    """Return what scikit-learn's chained imputation fills."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)  # ten rounds are the package's default
        return np.asarray(IterativeImputer(regressor, random_state=seed, **options).fit_transform(rows.to_numpy(float)))


def judge(
    mean: Rows, draws: list[Rows] | None, complete: Rows, is_hidden: NDArray[np.bool_], generator: np.random.Generator
) -> Figures:
    """Return the errors and coverages of the imputed cells."""
    scale = complete.max(axis=0) - complete.min(axis=0)
    figures: Figures = {"error": float((np.abs(mean - complete) / scale)[is_hidden].mean())}
    if draws is not None:
        of_gaps, truth = np.stack([draw[is_hidden] for draw in draws]), complete[is_hidden]
        u = generator.random(len(truth))
        place = (of_gaps < truth).sum(axis=0) + np.floor(u * ((of_gaps == truth).sum(axis=0) + 1.0))
        for level, left_out in {"50": 10, "90": 2}.items():
            is_covered = (place >= left_out) & (place <= len(draws) - left_out)
            figures[f"coverage of {level} %"] = float(is_covered.mean())
    return figures
