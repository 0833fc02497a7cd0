"""The methods of the published protocol: each draws tables of as many rows as it was given, or fills their gaps."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Protocol

import numpy as np
import torch
from scipy import stats
from sklearn.ensemble import RandomForestClassifier, RandomForestRegressor
from sklearn.mixture import GaussianMixture

from backwalk import Diffusion
from backwalk.streams import Stream
from benchmarks.methods import REAL, timed
from benchmarks.peers_apart import run_apart
from benchmarks.protocol import Gower
from benchmarks.published_sets import CLASSES, PublishedSet, Rows
from benchmarks.table_baselines import TREE_SYNTHESIS
from benchmarks.table_methods import INDEPENDENT, IndependentColumns, TableMethod

OURS = "Diffusion"
MEANS = "column means and modes"
AT_OUR_TIME = " in our time"
"""Ends the name of a peer with settings that fit into the seconds that ours took."""


@dataclass(frozen=True, eq=False)
class Task:
    """What a method is given: training rows, with gaps as NaN where these are to be filled; `n_draws` are wanted.

    `true` are the rows without gaps, for the floor alone. `budget` are the seconds that ours took, for a peer that
    chooses its settings by them, and None for its defaults, which may take `limit` seconds.
    """

    table: PublishedSet
    rows: Rows
    true: Rows
    seed: int
    n_draws: int
    limit: float
    budget: float | None = None

    @property
    def has_gaps(self) -> bool:
        """Whether gaps are to be filled."""
        return bool(np.isnan(self.rows).any())


@dataclass(frozen=True, eq=False)
class Drawn:
    """Draws, each (n, d), one where all would be the same; seconds of fitting and drawing; settings in words.

    `single` is a best single imputation, None where it is to be the mean or mode of the draws.
    """

    draws: Sequence[Rows]
    seconds: float
    choice: str = ""
    single: Rows | None = None


class Method(Protocol):
    """A way to draw rows or to fill gaps."""

    @property
    def name(self) -> str:
        """What tables call it."""
        ...

    def draw(self, task: Task) -> Drawn:
        """Do the task."""
        ...


@dataclass(frozen=True)
class Ours:
    """`Diffusion()`, all at its defaults. The single imputation is its mean or mode."""

    name: str = OURS

    def draw(self, task: Task) -> Drawn:
        """Fit the rows, and sample or impute."""
        table, frame = task.table, task.table.frame(task.rows)

        def fit_and_draw() -> tuple[Diffusion, list[Rows]]:
            model = Diffusion(random_state=task.seed, verbose=False).fit(frame)
            if task.has_gaps:
                frames = model.impute(frame, n_draws=task.n_draws, random_state=task.seed)
            else:
                n = len(task.rows)
                drawn = model.sample(task.n_draws * n, random_state=task.seed)
                frames = [drawn.iloc[i * n : (i + 1) * n] for i in range(task.n_draws)]
            return model, [table.coded(each) for each in frames]

        (model, draws), seconds = timed(fit_and_draw)
        single = table.coded(model.impute(frame, statistic="mean")) if task.has_gaps else None
        return Drawn(draws, seconds, f"{model.history_.n_steps} steps of {model.denoiser_.n_members} networks", single)


@dataclass(frozen=True)
class RealRows:
    """The training rows themselves, the paper's oracle; of rows with gaps, the true rows."""

    name: str = REAL

    def draw(self, task: Task) -> Drawn:
        """Return the true rows."""
        return Drawn([task.true], 0.0)


@dataclass(frozen=True)
class OfFrames:
    """A method of `table_methods.py`, which fits a data frame."""

    method: TableMethod

    @property
    def name(self) -> str:
        """What tables call it."""
        return self.method.name

    def draw(self, task: Task) -> Drawn:
        """Fit the rows and sample."""

        def fit_and_draw() -> list[Rows]:
            fitted = self.method.fit(task.table.frame(task.rows), np.inf, task.seed)
            seeds = range(task.seed * task.n_draws, (task.seed + 1) * task.n_draws)
            draws = [task.table.coded(fitted.sample(len(task.rows), seed)) for seed in seeds]
            is_integer = np.array([kind == "integer" for kind in task.table.kinds])
            return [np.where(is_integer, np.round(draw), draw) for draw in draws]

        return Drawn(*timed(fit_and_draw))


@dataclass(frozen=True)
class EncodedMixture:
    """scikit-learn's `GaussianMixture` of scaled numbers and one-hot categories: 1 to 32 full covariances, by BIC."""

    name: str = "GaussianMixture of one-hot rows"
    n_components: tuple[int, ...] = (1, 2, 4, 8, 16, 32)

    def draw(self, task: Task) -> Drawn:
        """Fit the encoded rows and sample; a category is the largest of its coordinates."""

        def fit_and_draw() -> tuple[int, list[Rows]]:
            gower = Gower(task.table, task.rows)
            points = gower(task.rows)
            fits = [
                GaussianMixture(k, reg_covar=1e-4, random_state=task.seed).fit(points)
                for k in self.n_components
                if 2 * k <= len(points)
            ]
            best = min(fits, key=lambda mixture: mixture.bic(points))
            drawn, _ = best.sample(task.n_draws * len(points))  # in the order of the components
            order = Stream(task.seed).child("benchmark encoded mixture").permutation(len(drawn))
            return best.n_components, list(gower.rows(drawn[order]).reshape(task.n_draws, *task.rows.shape))

        (k, draws), seconds = timed(fit_and_draw)
        return Drawn(draws, seconds, f"{k} components")


@dataclass(frozen=True)
class Means:
    """The mean of a number's observed values, the mode of a category's."""

    name: str = MEANS

    def draw(self, task: Task) -> Drawn:
        """Fill each column by itself."""
        filled = np.where(np.isnan(task.rows), _means_and_modes(task), task.rows)
        return Drawn([filled], 0.0)


@dataclass(frozen=True)
class ObservedValues:
    """Each column by itself: new rows of its values, gaps filled with an observed value, both at random."""

    name: str = INDEPENDENT

    def draw(self, task: Task) -> Drawn:
        """Fill each column by itself."""
        generator = Stream(task.seed).child("benchmark observed values").generator()
        draws = []
        for _ in range(task.n_draws):
            filled = task.rows.copy()
            for j in range(filled.shape[1]):
                gaps = np.isnan(task.rows[:, j])
                filled[gaps, j] = generator.choice(task.rows[~gaps, j], size=gaps.sum())
            draws.append(filled)
        return Drawn(draws, 0.0)


@dataclass(frozen=True)
class MissForest:
    """MissForest: forests of 100 trees, column after column, until the imputed cells stop changing, in 10 rounds.

    Starts from means and modes; columns with fewer gaps come first. A draw is a run with another seed.
    Source: Stekhoven and Buehlmann 2012.
    """

    name: str = "MissForest"
    n_rounds: int = 10

    def draw(self, task: Task) -> Drawn:
        """Impute once for each draw."""
        seeds = range(task.seed * task.n_draws, (task.seed + 1) * task.n_draws)
        return Drawn(*timed(lambda: [self._imputed(task, seed) for seed in seeds]))

    def _imputed(self, task: Task, seed: int) -> Rows:
        gaps = np.isnan(task.rows)
        is_class = np.array([kind in CLASSES for kind in task.table.kinds])
        filled, last = np.where(gaps, _means_and_modes(task), task.rows), np.array([np.inf, np.inf])
        order = [int(j) for j in np.argsort(gaps.sum(axis=0), kind="stable") if gaps[:, j].any()]
        for _ in range(self.n_rounds):
            before = filled.copy()
            for j in order:
                forest = (RandomForestClassifier if is_class[j] else RandomForestRegressor)(
                    random_state=seed, n_jobs=torch.get_num_threads()
                )
                others = np.delete(filled, j, axis=1)
                forest.fit(others[~gaps[:, j]], filled[~gaps[:, j], j])
                filled[gaps[:, j], j] = forest.predict(others[gaps[:, j]])
            changes = np.array([_squared_change(filled, before, ~is_class), (filled != before)[:, is_class].sum()])
            if (changes >= last).all():
                return before
            last = changes
        return filled


def _squared_change(after: Rows, before: Rows, numbers: np.ndarray) -> float:
    return float(((after - before)[:, numbers] ** 2).sum() / max((after[:, numbers] ** 2).sum(), 1e-300))


def _means_and_modes(task: Task) -> Rows:
    """Return the value that stands for each column, (d,)."""
    return np.array(
        [
            stats.mode(task.rows[:, j], nan_policy="omit").mode if kind in CLASSES else np.nanmean(task.rows[:, j])
            for j, kind in enumerate(task.table.kinds)
        ],
        dtype=float,
    )


@dataclass(frozen=True)
class Peer:
    """A method of `peer_child.py`, which runs in an environment of its own."""

    method: str
    at_our_time: bool = False

    @property
    def name(self) -> str:
        """What tables call it."""
        return self.method + AT_OUR_TIME * self.at_our_time

    def draw(self, task: Task) -> Drawn:
        """Run the peer in a child process. Raises RuntimeError with the peer's reason where it fails."""
        table = task.table
        rows, seconds, choice = run_apart(
            task.rows,
            table.columns,
            {
                "method": self.method,
                "kinds": dict(zip(table.columns, table.kinds, strict=True)),
                "is_class": table.is_class,
                "seed": task.seed,
                "n_draws": task.n_draws,
                "impute": task.has_gaps,
                "budget": task.budget if self.at_our_time else None,
                "limit": task.limit,
            },
        )
        return Drawn(list(rows.reshape(task.n_draws, *task.rows.shape)), seconds, choice)


_NUMBERS_BY_KIND = replace(TREE_SYNTHESIS, most_levels=0)

GENERATORS: tuple[Method, ...] = (
    RealRows(),
    OfFrames(IndependentColumns()),
    Ours(),
    Peer("ForestDiffusion"),
    Peer("ForestDiffusion", at_our_time=True),
    Peer("UnmaskingTrees"),
    Peer("UnmaskingTrees", at_our_time=True),
    Peer("ARF"),
    OfFrames(_NUMBERS_BY_KIND),
    EncodedMixture(),
)
IMPUTERS: tuple[Method, ...] = (
    RealRows(),
    Means(),
    ObservedValues(),
    Ours(),
    MissForest(),
    Peer("miceforest"),
    Peer("UnmaskingTrees"),
    Peer("UnmaskingTrees", at_our_time=True),
    Peer("ForestDiffusion"),
    Peer("ForestDiffusion", at_our_time=True),
)
