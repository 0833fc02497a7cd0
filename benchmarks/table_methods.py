"""Methods for tables of categories, numbers and spikes: ours, independent columns, and the truth where it is known.

A method is `fit(frame, budget, seed) -> FittedTable`: a data frame in, and within `budget` seconds something that draws
rows and, where it can, gives probabilities.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Literal, Protocol

import numpy as np
import pandas as pd

from backwalk import Diffusion
from backwalk.datasets import MixedDensity
from backwalk.model import log_density
from backwalk.streams import Stream
from benchmarks.methods import REAL, Rows
from benchmarks.table_judge import independent_nats

INDEPENDENT = "independent columns"


@dataclass(frozen=True, eq=False)
class FittedTable:
    """What a fit left. All but `sample` are None where a method does not have them.

    - sample: (n, seed) -> data frame.
    - log_prob: (frame, columns, given) -> ln p(columns | given), (n,), nats. `scores` says for which: "any"; "rows",
      all columns or all with levels, given none; "levels", columns with levels alone.
    - level_log_probs: (frame, column) -> its levels, and ln P(level | all other columns), (n, L).
    - reversed_log_prob: frame -> ln p(row) with the levels in the reverse order, (n,), nats.
    - bound: (frame, seed) -> the variational bound on -ln p(row), (n,), nats.
    - drew_in_fit: whether the rows of `sample` were drawn in the fit, so that its seconds tell nothing.
    """

    sample: Callable[[int, int], pd.DataFrame]
    log_prob: Callable[[pd.DataFrame, Sequence[str], Sequence[str]], Rows] | None
    level_log_probs: Callable[[pd.DataFrame, str], tuple[Sequence[Any], Rows]] | None
    bound: Callable[[pd.DataFrame, int], Rows] | None
    choice: str = ""
    scores: Literal["any", "rows", "levels"] = "any"
    reversed_log_prob: Callable[[pd.DataFrame], Rows] | None = None
    drew_in_fit: bool = False


class TableMethod(Protocol):
    """A way to get from a table to new rows."""

    @property
    def name(self) -> str:
        """What tables call it."""
        ...

    def fit(self, frame: pd.DataFrame, budget: float, seed: int) -> FittedTable:
        """Fit within `budget` seconds."""
        ...


@dataclass(frozen=True)
class OursOnTables:
    """`Diffusion(max_time=budget)`, which is asked for any condition; all else at its default."""

    name: str = "Diffusion"
    conditions: str | None = "any"

    def fit(self, frame: pd.DataFrame, budget: float, seed: int) -> FittedTable:
        """Fit within `budget` seconds."""
        model = Diffusion(max_time=budget, conditions=self.conditions, random_state=seed, verbose=False).fit(frame)

        def level_log_probs(rows: pd.DataFrame, column: str) -> tuple[Sequence[Any], Rows]:
            conditional = model.conditional(rows, column)
            with np.errstate(divide="ignore"):
                return list(conditional.levels), np.log(np.asarray(conditional.probabilities))

        def reversed_log_prob(rows: pd.DataFrame) -> Rows:
            order = range(len(model.model_.codec.blocks))[::-1]
            return log_density(model.model_, model._matched(rows).values, order=order).log_prob.numpy()

        return FittedTable(
            sample=lambda n, seed: model.sample(n, random_state=seed),
            log_prob=lambda rows, columns, given: model.score_samples(rows, columns=list(columns), given=list(given)),
            level_log_probs=level_log_probs,
            bound=lambda rows, seed: model.bound(rows, random_state=seed).per_row,
            choice=f"{model.history_.n_steps} steps",
            reversed_log_prob=reversed_log_prob,
        )


@dataclass(frozen=True)
class IndependentColumns:
    """Each column drawn by itself from the training rows."""

    name: str = INDEPENDENT

    def fit(self, frame: pd.DataFrame, budget: float, seed: int) -> FittedTable:  # noqa: ARG002
        """Keep the rows."""

        def sample(n: int, seed: int) -> pd.DataFrame:
            generator = Stream(seed).child("benchmark independent columns").generator()
            return pd.DataFrame(
                {name: frame[name].to_numpy()[generator.integers(len(frame), size=n)] for name in frame}
            )

        def level_log_probs(rows: pd.DataFrame, column: str) -> tuple[Sequence[Any], Rows]:
            frequency = frame[column].value_counts(normalize=True)
            return list(frequency.index), np.tile(np.log(frequency.to_numpy()), (len(rows), 1))

        def log_prob(rows: pd.DataFrame, columns: Sequence[str], given: Sequence[str]) -> Rows:  # noqa: ARG001
            return -independent_nats(frame, rows, columns)

        return FittedTable(sample, log_prob, level_log_probs, None, scores="levels")


@dataclass(frozen=True, eq=False)
class MixedTruth:
    """The known density itself, judged like a method: the null of every figure."""

    density: MixedDensity
    name: str = REAL

    def fit(self, frame: pd.DataFrame, budget: float, seed: int) -> FittedTable:  # noqa: ARG002
        """Return the density; nothing is fitted."""
        density = self.density

        def log_prob(rows: pd.DataFrame, columns: Sequence[str], given: Sequence[str]) -> Rows:
            return density.conditional_log_prob(density.from_frame(rows), columns, given=given)

        def level_log_probs(rows: pd.DataFrame, column: str) -> tuple[Sequence[Any], Rows]:
            place = density.names.index(column)
            return density.labels(place), density.level_log_probs(density.from_frame(rows), column)

        def sample(n: int, seed: int) -> pd.DataFrame:
            return density.as_frame(density.sample_rows(0, n, stream=Stream(seed).child("benchmark truth")))

        return FittedTable(sample, log_prob, level_log_probs, None)
