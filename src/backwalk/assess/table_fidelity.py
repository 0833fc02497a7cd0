"""The record of an assessment of a table with levels or gaps, beyond what all tables have."""

from __future__ import annotations

from dataclasses import dataclass, fields
from typing import Any

import numpy as np
from numpy.typing import NDArray

from backwalk.assess.statistics import ColumnKind, Estimate, RankHistogram, RareCopies, Reliability, Utility
from backwalk.estimates import Rows


@dataclass(frozen=True, eq=False)
class AssociationScores:
    """The associations of pairs of columns, (d, d): of real rows, and what generated rows add to them.

    `difference` is the mean over pairs of sets of generated minus real, `null` that of other real rows minus real, each
    with its standard error. `matters` marks differences beyond the margin and beyond chance, for all pairs together.
    """

    real: Rows
    difference: Rows
    error: Rows
    null: Rows
    matters: NDArray[np.bool_]


@dataclass(frozen=True, eq=False)
class LevelScores:
    """Probabilities of one column's levels, given all other columns, on unseen rows.

    Losses are -ln P(level), nats: of the model, of the training frequencies, and of boosted trees that were trained for
    this column alone (None where that takes too long). `excess` is the row-paired loss of the model minus that of the
    trees. `reliability` says whether the probabilities hold.
    """

    column: int
    n_levels: int
    loss: Estimate
    frequencies: Estimate | None
    trees: Estimate | None
    excess: Estimate | None
    reliability: Reliability


@dataclass(frozen=True, eq=False)
class NumberScores:
    """The ranks of unseen numbers among draws of their column given all others, and the coverage of intervals."""

    column: int
    n_draws: int
    ranks: RankHistogram
    coverage_50: Estimate
    coverage_90: Estimate


@dataclass(frozen=True)
class Beyond:
    """The shares of a column's numbers below the least and above the largest value of the fit's rows."""

    column: int
    generated_below: float
    generated_above: float
    unseen_below: float
    unseen_above: float

    @property
    def generated(self) -> float:
        """The share of generated numbers beyond the range of the training rows."""
        return self.generated_below + self.generated_above

    @property
    def unseen(self) -> float:
        """The same of unseen real numbers."""
        return self.unseen_below + self.unseen_above


@dataclass(frozen=True)
class SelfTest:
    """How far the model's probabilities contradict each other, nats per row: 0 for one distribution.

    `halves` is the mean of |ln p(A, B) - ln p(B) - ln p(A | B)| for two halves of the columns, and `orders` that of
    |ln p with the levels in their order - ln p with them in reverse| (None with fewer than two columns of levels).
    """

    halves: Estimate | None
    orders: Estimate | None


@dataclass(frozen=True, eq=False)
class GivenPanel:
    """One column, given a level of another: values of real rows that hold the level, and of rows drawn given it."""

    given: int
    level: float
    column: int
    real: Rows
    drawn: Rows


@dataclass(frozen=True, eq=False)
class TableScores:
    """The scores of a table with levels or gaps.

    `kinds` are those of the columns that vary. `gaps` says that generated rows were given the gaps of training rows.
    Columns are numbers of the user's table; `target` is the column that models were trained to predict.
    """

    kinds: tuple[ColumnKind, ...]
    gaps: bool
    associations: AssociationScores | None
    rare_copies: RareCopies | None
    levels: tuple[LevelScores, ...]
    numbers: tuple[NumberScores, ...]
    beyond: tuple[Beyond, ...]
    self_test: SelfTest | None
    target: int | None
    utility: Utility | None
    panels: tuple[GivenPanel, ...]

    def to_dict(self) -> dict[str, Any]:
        """Return everything but the panels, which hold rows."""
        return {field.name: getattr(self, field.name) for field in fields(self) if field.name != "panels"}
