"""Rubin's rules: a regression on a table with gaps, and how often its intervals hold the truth.

y is regressed on x1, x2 and x3, with gaps in x2 and x3 that depend on x1 and y: complete cases are biased. *Coverage*
is the share of 95 % intervals that hold the truth, over the three slopes; errors and widths are of the slopes of x2 and
x3.

- no gaps: the table before cells are removed: the floor. complete cases: the rows without gaps.
- mean imputation: each gap filled by the mean of its column.
- chained ridge: scikit-learn's IterativeImputer with sample_posterior, pooled; the truth is linear too.
- Diffusion: `impute(n_draws=m)` of one model, pooled. Diffusion, refitted: `multiple_imputations` by m / 2 networks of
  100 training steps each, pooled.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial

import numpy as np
import pandas as pd
from scipy import stats
from sklearn.experimental import enable_iterative_imputer  # noqa: F401 - scikit-learn's IterativeImputer needs it
from sklearn.impute import IterativeImputer, SimpleImputer

from backwalk import Diffusion, Residual, multiple_imputations, pooled
from benchmarks.data import Rows
from benchmarks.record import Figures, Store, timed

TRUTH = np.array([1.0, 1.0, -0.5, 0.8])
"""The intercept and the slopes of x1, x2 and x3."""
METHODS = ("no gaps", "complete cases", "mean imputation", "chained ridge", "Diffusion", "Diffusion, refitted")
_STEPS, _NETWORK = 100, Residual(64, 3, 1)  # of each of the models of `multiple_imputations`


@dataclass(frozen=True)
class Sizes:
    """Rows of a table, imputed tables, repetitions, shares of the cells and methods."""

    n: int = 500
    n_draws: int = 20
    n_seeds: int = 5
    shares: tuple[float, ...] = (0.2, 0.5)
    methods: tuple[str, ...] = METHODS


SIZES = {
    "quick": Sizes(80, 4, 1, (0.2,), ("complete cases", "Diffusion, refitted")),
    "short": Sizes(),
    "full": Sizes(n_seeds=200),
}


def run(store: Store, sizes: Sizes) -> None:
    """Estimate all, one repetition after the other."""
    for seed in range(sizes.n_seeds):
        for share in sizes.shares:
            for method in sizes.methods:
                job = partial(repetition, method, share, sizes, seed)
                store.once("rubin", f"{share:.0%} missing", method, "", seed, job)


def repetition(method: str, share: float, sizes: Sizes, seed: int) -> Figures:
    """Return the errors and the intervals of one repetition."""
    complete = drawn_table(sizes.n, seed)
    rows = complete.mask(gaps_of(complete, share, seed))
    (estimate, interval), seconds = timed(lambda: estimated(method, complete, rows, sizes, seed))
    is_covered = (interval[:, 0] <= TRUTH) & (interval[:, 1] >= TRUTH)
    return {
        "coverage, %": 100.0 * float(is_covered[1:].mean()),
        "error of x2": float(estimate[2] - TRUTH[2]),
        "error of x3": float(estimate[3] - TRUTH[3]),
        "width": float((interval[:, 1] - interval[:, 0])[2:].mean()),
        "seconds": seconds,
    }


def drawn_table(n: int, seed: int) -> pd.DataFrame:
    """Return n rows: correlated normal x1, x2, x3, and y = 1 + x1 - x2 / 2 + 0.8 x3 + noise of deviation 1."""
    generator = np.random.default_rng([seed, 5])
    x = generator.multivariate_normal(np.zeros(3), 0.5 * np.eye(3) + 0.5, n)
    y = TRUTH[0] + x @ TRUTH[1:] + generator.normal(size=n)
    return pd.DataFrame(np.column_stack([x, y]), columns=["x1", "x2", "x3", "y"])


def gaps_of(rows: pd.DataFrame, share: float, seed: int) -> pd.DataFrame:
    """Return which cells are removed: a share of those of x2 and x3, the more likely the larger x1 + y.

    Gaps depend on observed cells alone: x2 and x3 are missing at random.
    """
    drive = rows["x1"] + rows["y"]
    rank = (drive.rank().to_numpy() - 0.5) / len(rows)
    probability = np.clip(share + 2.0 * min(share, 1.0 - share) * 0.9 * (rank - 0.5), 0.0, 1.0)
    u = np.random.default_rng([seed, 6]).random((len(rows), 2))
    found = pd.DataFrame(False, index=rows.index, columns=rows.columns)
    found[["x2", "x3"]] = u < probability[:, None]
    return found


def estimated(method: str, complete: pd.DataFrame, rows: pd.DataFrame, sizes: Sizes, seed: int) -> tuple[Rows, Rows]:
    """Return the four coefficients, (4,), and their 95 % intervals, (4, 2)."""
    if method in ("no gaps", "complete cases", "mean imputation"):
        filled = {
            "no gaps": complete,
            "complete cases": rows.dropna(),
            "mean imputation": pd.DataFrame(SimpleImputer().fit_transform(rows), columns=rows.columns),
        }[method]
        q, u, freedom = regression(filled)
        half = stats.t.isf(0.025, freedom) * np.sqrt(u)
        return q, np.column_stack([q - half, q + half])
    if method == "Diffusion":
        model = Diffusion(random_state=seed, verbose=False).fit(rows)
        tables = model.impute(rows, n_draws=sizes.n_draws, random_state=seed)
    elif method == "Diffusion, refitted":
        settings = Diffusion(max_steps=_STEPS, denoiser=_NETWORK, verbose=False)
        n_fits = max(2, sizes.n_draws // 2)
        tables = list(multiple_imputations(rows, n_fits, diffusion=settings, random_state=seed))
    else:
        tables = [
            pd.DataFrame(
                IterativeImputer(sample_posterior=True, random_state=seed * sizes.n_draws + i).fit_transform(rows),
                columns=rows.columns,
            )
            for i in range(sizes.n_draws)
        ]
    found = [regression(each) for each in tables]
    result = pooled([q for q, _, _ in found], [u for _, u, _ in found], complete_freedom=found[0][2])
    return result.estimate, result.interval(0.95)


def regression(rows: pd.DataFrame) -> tuple[Rows, Rows, int]:
    """Return least-squares coefficients of y on x1, x2 and x3, (4,), their squared errors, and degrees of freedom."""
    design = np.column_stack([np.ones(len(rows)), rows[["x1", "x2", "x3"]].to_numpy(float)])
    y = rows["y"].to_numpy(float)
    inverse = np.linalg.inv(design.T @ design)
    q = inverse @ design.T @ y
    freedom = len(rows) - design.shape[1]
    return q, np.diag(inverse) * float(np.square(y - design @ q).sum()) / freedom, freedom
