"""Missing cells: a fifth of a table's cells are removed at random, and imputed."""

from __future__ import annotations

import warnings
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, Protocol

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
from backwalk.streams import Stream
from benchmarks.densities import refuse_unknown
from benchmarks.draws import ERRORS_BY_DRAWS, Draws, Results, grouped, mean_over
from benchmarks.judge import block_means
from benchmarks.methods import Rows, timed
from benchmarks.record import Figures, Store
from benchmarks.tables import first_and_tied, shown, table
from benchmarks.wheels import magic

TITLE = "Missing cells"
N_DRAWS = 39
"""With 39 draws, 20 and 36 of the 40 places of the truth among them are the intervals of 50 and 90 %, exactly."""
LEVELS = {"50": 10, "90": 2}
"""For each interval in per cent, how many places it leaves out at each end."""
TABLES = {
    "iris": partial(load_iris, as_frame=True),
    "wine": partial(load_wine, as_frame=True),
    "breast_cancer": partial(load_breast_cancer, as_frame=True),
    "diabetes": partial(load_diabetes, as_frame=True, scaled=False),
}
MAGIC, N_MAGIC = "magic", 3_000


@dataclass(frozen=True, eq=False)
class Imputed:
    """A table without gaps, and draws of it, or None from a method that has none."""

    mean: Rows
    draws: list[Rows] | None


class Imputer(Protocol):
    """A way to fill gaps."""

    @property
    def name(self) -> str:
        """What tables call it."""
        ...

    def impute(self, rows: pd.DataFrame, budget: float, seed: int) -> Imputed:
        """Fill the gaps of rows, which are NaN, within `budget` seconds where the method has a limit of time."""
        ...


@dataclass(frozen=True)
class OursOnGaps:
    """`Diffusion(max_time=budget)`, fitted to the rows with their gaps."""

    name: str = "Diffusion"

    def impute(self, rows: pd.DataFrame, budget: float, seed: int) -> Imputed:
        """Fit the rows, and impute them by the mean and by draws."""
        model = Diffusion(max_time=budget, conditions="any", random_state=seed, verbose=False).fit(rows)
        draws = model.impute(rows, n_draws=N_DRAWS, random_state=seed)
        return Imputed(model.impute(rows, statistic="mean").to_numpy(float), [draw.to_numpy(float) for draw in draws])


@dataclass(frozen=True)
class Column:
    """The mean of the column; draws are its observed values."""

    name: str = "column means"

    def impute(self, rows: pd.DataFrame, budget: float, seed: int) -> Imputed:  # noqa: ARG002
        """Impute each column by itself."""
        values, generator = rows.to_numpy(float), Stream(seed).child("benchmark column draws").generator()
        draws = []
        for _ in range(N_DRAWS):
            draw = values.copy()
            for j in range(values.shape[1]):
                gaps = np.isnan(values[:, j])
                draw[gaps, j] = generator.choice(values[~gaps, j], size=gaps.sum())
            draws.append(draw)
        return Imputed(SimpleImputer().fit_transform(values), draws)


@dataclass(frozen=True)
class Chained:
    """scikit-learn's `IterativeImputer` with random forests (MissForest), which has no draws."""

    name: str = "MissForest"

    def impute(self, rows: pd.DataFrame, budget: float, seed: int) -> Imputed:  # noqa: ARG002
        """Impute by forests of 100 trees, in up to ten rounds."""
        return Imputed(_iterated(RandomForestRegressor(random_state=seed), rows, seed), None)


@dataclass(frozen=True)
class ChainedRidge:
    """scikit-learn's `IterativeImputer` with `BayesianRidge`; draws by `sample_posterior`."""

    name: str = "chained ridge"

    def impute(self, rows: pd.DataFrame, budget: float, seed: int) -> Imputed:  # noqa: ARG002
        """Impute by ridge regressions, in up to ten rounds."""
        draws = [_iterated(BayesianRidge(), rows, seed * N_DRAWS + i, sample_posterior=True) for i in range(N_DRAWS)]
        return Imputed(_iterated(BayesianRidge(), rows, seed), draws)


METHODS: tuple[Imputer, ...] = (OursOnGaps(), Chained(), ChainedRidge(), Column())


@dataclass(frozen=True)
class Sizes:
    """The budget of a fit in seconds, the draws of the gaps, the tables, the methods and the most rows of a table."""

    budget: float
    n_seeds: int
    tables: tuple[str, ...] = (*TABLES, MAGIC)
    methods: tuple[str, ...] = tuple(method.name for method in METHODS)
    most_rows: int | None = None

    def __post_init__(self) -> None:
        refuse_unknown("tables", self.tables, [*TABLES, MAGIC])
        refuse_unknown("methods", self.methods, [method.name for method in METHODS])


SIZES = {
    "quick": Sizes(1.0, 1, ("iris",), ("Diffusion", "chained ridge", "column means"), most_rows=60),
    "short": Sizes(20.0, 1, ("iris", "wine")),
    "full": Sizes(30.0, 3),
}


def run(store: Store, sizes: Sizes) -> None:
    """Impute every table by every method, one draw of the gaps after the other."""
    for seed in range(sizes.n_seeds):
        for name in sizes.tables:
            for method in METHODS:
                if method.name in sizes.methods:
                    key = {"table": name, "method": method.name, "budget": sizes.budget, "seed": seed}
                    store.once(key, partial(imputed_and_judged, method, name, sizes, seed))


def imputed_and_judged(method: Imputer, name: str, sizes: Sizes, seed: int) -> Figures:
    """Return the figures of one imputation."""
    complete = complete_rows(name, seed).iloc[: sizes.most_rows]
    gaps = Stream(seed).child("benchmark gaps", name).uniform(0, len(complete), complete.shape[1]).numpy() < 0.2
    imputed, seconds = timed(lambda: method.impute(complete.mask(gaps), sizes.budget, seed))
    return {"impute_seconds": seconds, **judge(imputed, complete.to_numpy(float), gaps, seed=seed)}


def complete_rows(name: str, seed: int) -> pd.DataFrame:
    """Return the numbers of a table; of magic 3,000 rows, drawn with the seed."""
    if name == MAGIC:
        split = magic(seed)
        return split.train.drop(columns=split.target).iloc[:N_MAGIC].astype(float)
    rows: pd.DataFrame = TABLES[name]().data
    return rows


def judge(imputed: Imputed, complete: Rows, gaps: NDArray[np.bool_], *, seed: int) -> Figures:
    """Return the errors and coverages of the imputed cells, in parts.

    - mae: absolute errors of the mean imputation over the column's range in the complete rows.
    - coverage_50, coverage_90: whether the truth lies in the central interval of the draws. Its place among the draws,
      0 to `N_DRAWS`, is uniform for exact conditional draws; ties are broken at random, so that this holds for numbers
      with few values too.
    """
    scale = complete.max(axis=0) - complete.min(axis=0)
    figures: Figures = {"mae": block_means((np.abs(imputed.mean - complete) / scale)[gaps])}
    if imputed.draws is not None:
        draws, truth = np.stack([draw[gaps] for draw in imputed.draws]), complete[gaps]
        u = Stream(seed).child("benchmark ties").uniform(0, len(truth), 1)[:, 0].numpy()
        place = (draws < truth).sum(axis=0) + np.floor(u * ((draws == truth).sum(axis=0) + 1.0))
        for level, left_out in LEVELS.items():
            covered = (place >= left_out) & (place <= len(draws) - left_out)
            figures[f"coverage_{level}"] = block_means(covered.astype(float))
    return figures


def _iterated(regressor: Any, rows: pd.DataFrame, seed: int, **options: Any) -> Rows:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)  # ten rounds are the package's default
        return np.asarray(IterativeImputer(regressor, random_state=seed, **options).fit_transform(rows.to_numpy(float)))


def told(results: Results, curves: Path) -> str:  # noqa: ARG001 - every part is told where curves go
    """Return a table of each figure: a row per table, a column per method."""
    texts = [
        "A fifth of the cells is removed at random. The error is that of the mean imputation, absolute, over the "
        f"column's range. Intervals are those of {N_DRAWS} draws; *column means* draws observed values of the column. "
        f"Only the numbers of a table are taken. {ERRORS_BY_DRAWS}\n"
    ]
    for budget in sorted({result["key"]["budget"] for result in results}):
        groups = grouped([result for result in results if result["key"]["budget"] == budget], "table", "method")
        texts += [
            f"### {title}, {budget:g} seconds per fit\n\n{_table(groups, name, marked=name == 'mae')}"
            for name, title in _FIGURES.items()
        ]
    return "\n".join(texts)


_FIGURES = {
    "mae": "Absolute error over the range",
    "coverage_50": "Coverage of the 50 % interval",
    "coverage_90": "Coverage of the 90 % interval",
}


def _table(groups: dict[tuple[Any, ...], Draws], name: str, *, marked: bool) -> str:
    names, methods = (list(dict.fromkeys(column)) for column in zip(*groups, strict=True))
    rows = []
    for each in names:
        draws = {method: groups[each, method] for method in methods if (each, method) in groups}
        means = {method: mean for method, d in draws.items() if (mean := mean_over(d, name)) is not None}
        first, tied = first_and_tied({m: {seed: r[name] for seed, r in draws[m].items()} for m in means})
        cells = {method: shown(mean) for method, mean in means.items()}
        if marked and first is not None:
            cells |= {first: f"**{cells[first]}**"} | {method: f"≈ {cells[method]}" for method in tied}
        rows.append((each, *(cells.get(method, "") for method in methods)))
    return table(("table", *methods), rows)
