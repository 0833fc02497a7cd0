"""Rubin's rules: a regression on a table with gaps, and how often its intervals hold the truth."""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial
from pathlib import Path

import numpy as np
import pandas as pd
from sklearn.experimental import enable_iterative_imputer  # noqa: F401 - scikit-learn's IterativeImputer needs it
from sklearn.impute import IterativeImputer, SimpleImputer

from backwalk import Diffusion, Residual, multiple_imputations, pooled
from backwalk.estimates import student_quantile
from backwalk.streams import Stream
from benchmarks.densities import refuse_unknown
from benchmarks.draws import Draws, Results, grouped
from benchmarks.methods import Rows, timed
from benchmarks.record import Figures, Store
from benchmarks.tables import table

TITLE = "Pooled regressions on tables with gaps"
TRUTH = np.array([1.0, 1.0, -0.5, 0.8])
"""The intercept and the slopes of x1, x2 and x3."""
METHODS = ("no gaps", "complete cases", "mean imputation", "chained ridge", "Diffusion", "Diffusion, refitted")
_STEPS, _NETWORK = 100, Residual(64, 3, 1)  # of each of the models of `multiple_imputations`
_WORDS = {
    "no gaps": "the table before cells are removed: the floor",
    "complete cases": "the rows without gaps",
    "mean imputation": "each gap filled by the mean of its column",
    "chained ridge": "scikit-learn's IterativeImputer with sample_posterior, pooled; the truth is linear too",
    "Diffusion": "`impute(n_draws=m)` of one model, pooled by Rubin's rules",
    "Diffusion, refitted": f"`multiple_imputations` by m / 2 networks of {_STEPS} training steps each, pooled",
}


@dataclass(frozen=True)
class Sizes:
    """Rows of a table, seconds of a fit (None: it ends by itself), imputed tables, repetitions, shares and methods."""

    n: int
    budget: float | None
    n_draws: int
    n_seeds: int
    shares: tuple[float, ...] = (0.2, 0.5)
    methods: tuple[str, ...] = METHODS

    def __post_init__(self) -> None:
        refuse_unknown("methods", self.methods, list(METHODS))


SIZES = {
    "quick": Sizes(80, 1.0, 3, 1, (0.2,), ("complete cases", "Diffusion")),
    "short": Sizes(500, None, 20, 5),
    "full": Sizes(500, None, 20, 200),
}


def run(store: Store, sizes: Sizes) -> None:
    """Estimate all, one repetition after the other."""
    for seed in range(sizes.n_seeds):
        for share in sizes.shares:
            for method in sizes.methods:
                key = {"method": method, "share": share, "n": sizes.n, "budget": sizes.budget, "seed": seed}
                store.once(key, partial(repetition, method, share, sizes, seed))


def repetition(method: str, share: float, sizes: Sizes, seed: int) -> Figures:
    """Return the errors and the intervals of one repetition."""
    complete = drawn_table(sizes.n, seed)
    rows = complete.mask(gaps_of(complete, share, seed))
    (estimate, interval), seconds = timed(lambda: estimated(method, complete, rows, sizes, seed))
    return {
        "seconds": seconds,
        "errors": (estimate - TRUTH).tolist(),
        "covered": ((interval[:, 0] <= TRUTH) & (interval[:, 1] >= TRUTH)).astype(float).tolist(),
        "widths": (interval[:, 1] - interval[:, 0]).tolist(),
    }


def drawn_table(n: int, seed: int) -> pd.DataFrame:
    """Return n rows: correlated normal x1, x2, x3, and y = 1 + x1 - x2 / 2 + 0.8 x3 + noise of deviation 1."""
    generator = Stream(seed).child("benchmark regression").generator()
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
    u = Stream(seed).child("benchmark gaps at random").uniform(0, len(rows), 2).numpy()
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
        half = student_quantile(freedom, tail=0.025) * np.sqrt(u)
        return q, np.column_stack([q - half, q + half])
    if method == "Diffusion":
        model = Diffusion(max_time=sizes.budget, random_state=seed, verbose=False).fit(rows)
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


def told(results: Results, curves: Path) -> str:  # noqa: ARG001 - every part is told where curves go
    """Return a table: a row per method and share of gaps."""
    texts = [
        "y is regressed on x1, x2 and x3, with gaps in x2 and x3 that depend on x1 and y: complete cases are biased. "
        "Coverage is the share of 95 % intervals that hold the truth, over repetitions and the three slopes; its ± is "
        "that of independent intervals. Bias and width are of the slopes of x2 and x3.\n"
    ]
    groups = grouped(results, "share", "method")
    rows = [_row(*key, draws) for key, draws in sorted(groups.items(), key=lambda i: (i[0][0], METHODS.index(i[0][1])))]
    head = ("method", "gaps", "repetitions", "coverage", "largest bias", "mean width", "seconds")
    texts.append(table(head, rows))
    texts.append("\n".join(f"- *{name}*: {words}." for name, words in _WORDS.items()) + "\n")
    return "\n".join(texts)


def _row(share: float, method: str, draws: Draws) -> tuple[str, ...]:
    errors, covered, widths = (
        np.array([draw[name] for draw in draws.values()])[:, 1:] for name in ("errors", "covered", "widths")
    )
    p = covered.mean()
    error = np.sqrt(max(p * (1.0 - p), 0.0) / covered.size)
    return (
        method,
        f"{share:.0%}",
        str(len(draws)),
        f"{100 * p:.1f} ± {100 * error:.1f} %",
        f"{np.abs(errors.mean(axis=0)[1:]).max():.3f}",
        f"{widths[:, 1:].mean():.3f}",
        f"{np.mean([draw['seconds'] for draw in draws.values()]):.1f}",
    )
