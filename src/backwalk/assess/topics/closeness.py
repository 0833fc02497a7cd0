"""How close generated rows are to real rows: the statistics, for the model and every baseline on the same pairs.

Constant columns are left out. Statistics whose time grows faster than the number of rows use fewer rows; their nulls
use as many. A null depends on the real pairs alone, so it is computed once for all models.

Each statistic has a margin, below which a difference does not matter however sure it is. The margins are choices:

- accuracy of a classifier, 0.003: it is right in three more of 1,000 cases;
- energy distance, 0.001 standard deviations: about what a shift of every column by 4 % of its spread adds;
- sliced Wasserstein, 0.01 standard deviations: rows have to be moved by 1 % of a column's spread further;
- worst column, 0.01: a cumulative distribution, or the frequencies of levels, are off by one percentage point more;
- correlations and associations, 0.01: they are off by 0.01 more, on average over pairs of columns;
- coverage, 0.01: one more of 100 real rows has no generated row nearby.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from types import MappingProxyType

from backwalk.assess.representation import Representation
from backwalk.assess.statistics import (
    Figure,
    RealPairs,
    association_difference,
    boosting,
    boosting_of,
    c2st,
    column_distance,
    compare,
    correlation_difference,
    coverage,
    energy_distance,
    marginal_ks,
    neighbours,
    sliced_wasserstein,
)
from backwalk.estimates import Rows
from backwalk.streams import Stream

C2ST, C2ST_NEAREST = "C2ST, boosting", "C2ST, nearest rows"
ENERGY, WASSERSTEIN, WORST_COLUMN = "Energy distance", "Sliced Wasserstein", "Worst column (KS)"
CORRELATIONS, COVERAGE = "Correlations", "Coverage"
WORST_OF_KINDS, ASSOCIATIONS = "Worst column", "Associations"


@dataclass(frozen=True)
class Description:
    """The unit of a statistic, the margin of differences that matter, and an explanation for readers."""

    unit: str
    margin: float
    explanation: str


DESCRIPTIONS: Mapping[str, Description] = MappingProxyType(
    {
        C2ST: Description(
            "accuracy", 0.003, "How often boosted trees tell generated rows from real rows. Guessing gives 50 %."
        ),
        C2ST_NEAREST: Description(
            "accuracy", 0.003, "The same by a vote of the 15 nearest rows, which sees local differences better."
        ),
        ENERGY: Description(
            "standard deviations",
            0.001,
            "How much farther apart rows of different sets are than rows of the same set. About 0 if alike.",
        ),
        WASSERSTEIN: Description(
            "standard deviations",
            0.01,
            "How far rows have to be moved to match the real ones, on average over random directions.",
        ),
        WORST_COLUMN: Description(
            "probability", 0.01, "The largest difference between the cumulative distributions of any one column."
        ),
        WORST_OF_KINDS: Description(
            "probability",
            0.01,
            "The largest difference in any one column, of cumulative distributions or levels' shares.",
        ),
        CORRELATIONS: Description(
            "mean difference",
            0.01,
            "How far the correlation of two columns is off, on average over pairs of columns.",
        ),
        ASSOCIATIONS: Description(
            "mean difference",
            0.01,
            "How far the association of two columns is off, on average over pairs of columns.",
        ),
        COVERAGE: Description(
            "share of real rows",
            0.01,
            "The share of real rows with a generated row within their five nearest real rows. More is better.",
        ),
    }
)
"""The statistics in the order of the verdict, which goes by the first whose difference matters."""


@dataclass(frozen=True)
class Statistic:
    """A function of two sets of represented rows, (real, other) -> float, and the most rows per set that it uses."""

    name: str
    measure: Callable[[Rows, Rows], float]
    most_rows: int = 10_000


@dataclass(frozen=True)
class PairedStatistic:
    """A statistic with its nulls: its value for each pair of real sets."""

    statistic: Statistic
    pairs: RealPairs
    nulls: tuple[float, ...]

    @classmethod
    def of(cls, statistic: Statistic, pairs: RealPairs) -> PairedStatistic:
        """Compute the nulls of a statistic, pair by pair."""
        heads = pairs.head(statistic.most_rows)
        return cls(statistic, heads, tuple(statistic.measure(a, b) for a, b in heads.pairs))

    def figure(self, generated: Rows) -> Figure:
        """Return the figure of represented generated rows (m, d), with m at least `pairs.n_generated`."""
        return compare(
            self.statistic.measure,
            self.pairs,
            generated[: self.pairs.n_generated],
            name=self.statistic.name,
            unit=DESCRIPTIONS[self.statistic.name].unit,
            nulls=self.nulls,
        )


def choose_statistics(representation: Representation, *, stream: Stream) -> list[Statistic]:
    """Return the statistics for rows in a representation.

    The classifiers' folds and the directions of projection are functions of the stream.
    """
    kinds, of_numbers = representation.kinds, representation.is_of_numbers
    values, coordinates = representation.values, representation.coordinates
    classifier, directions = stream.child("classifier"), stream.child("directions")
    trees = boosting if of_numbers else boosting_of(kinds)

    def on(cells: slice, measure: Callable[[Rows, Rows], float]) -> Callable[[Rows, Rows], float]:
        return lambda x, y: measure(x[:, cells], y[:, cells])

    def by_trees(x: Rows, y: Rows) -> float:
        return c2st(x, y, classifier=trees, stream=classifier)

    def by_neighbours(x: Rows, y: Rows) -> float:
        return c2st(x, y, classifier=neighbours, stream=classifier)

    def projected(x: Rows, y: Rows) -> float:
        return sliced_wasserstein(x, y, n_projections=32, stream=directions)

    def worst(x: Rows, y: Rows) -> float:
        return max(column_distance(a, b, kind) for a, b, kind in zip(x.T, y.T, kinds, strict=True))

    if of_numbers:
        of_columns = Statistic(WORST_COLUMN, lambda x, y: float(marginal_ks(x, y).max()))
        of_pairs = Statistic(CORRELATIONS, correlation_difference)
        n_columns = representation.codec.n_encoded
    else:
        of_columns = Statistic(WORST_OF_KINDS, on(values, worst))
        of_pairs = Statistic(ASSOCIATIONS, on(values, lambda x, y: association_difference(x, y, kinds)))
        n_columns = len(kinds)
    # Codes of levels have many coordinates, where the search for neighbours is slow.
    most_covered = 5_000 if of_numbers else 1_000
    return [
        Statistic(C2ST, on(coordinates if of_numbers else values, by_trees)),
        Statistic(C2ST_NEAREST, on(coordinates, by_neighbours), 2_000),
        Statistic(ENERGY, on(coordinates, energy_distance), 1_500),
        Statistic(WASSERSTEIN, on(coordinates, projected)),
        of_columns,
        *([of_pairs] if n_columns > 1 else []),
        Statistic(COVERAGE, on(coordinates, coverage), most_covered),
    ]
