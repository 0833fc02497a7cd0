"""How close generated rows are to real rows: the statistics, for the model and every baseline on the same pairs.

Statistics whose time grows faster than the number of rows use fewer rows; their nulls
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

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from types import MappingProxyType

from backwalk.assess.representation import Representation
from backwalk.assess.statistics import (
    Figure,
    RealPairs,
    c2st,
    compare,
    correlation_difference,
    coverage,
    energy_distance,
    neighbours,
    sliced_wasserstein,
)
from backwalk.assess.statistics.columns import association_difference, column_distance
from backwalk.assess.statistics.two_sample import boosting_of
from backwalk.estimates import Rows
from backwalk.streams import Stream

C2ST, C2ST_NEAREST = "C2ST, boosting", "C2ST, nearest rows"
ENERGY, WASSERSTEIN, WORST_COLUMN = "Energy distance", "Sliced Wasserstein", "Worst column"
CORRELATIONS, ASSOCIATIONS, COVERAGE = "Correlations", "Associations", "Coverage"


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
            "probability",
            0.01,
            "The largest difference in any one column, of cumulative distributions (KS) or levels' shares.",
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
class Measure:
    """A function of two sets of represented rows, (real, other) -> float, and the most rows per set that it uses."""

    name: str
    of: Callable[[Rows, Rows], float]
    most_rows: int = 10_000


def score_closeness(
    representation: Representation,
    pairs: RealPairs,
    generated: Sequence[Rows],
    *,
    stream: Stream,
    watch: Callable[[float, str], object] = lambda _share, _stage: None,
) -> list[tuple[Figure, ...]]:
    """Return the figures of each set of represented generated rows, (m, w) with m at least `pairs.n_generated`.

    The classifiers' folds and the directions of projection are functions of the stream. `watch` is called with the
    share done and the next statistic.
    """
    measures, by_measure = choose_measures(representation, stream=stream), []
    for k, measure in enumerate(measures):
        watch(k / len(measures), measure.name)
        heads, unit = pairs.head(measure.most_rows), DESCRIPTIONS[measure.name].unit
        nulls = [measure.of(a, b) for a, b in heads.pairs]
        by_measure.append(
            [compare(measure.of, heads, rows, name=measure.name, unit=unit, nulls=nulls) for rows in generated]
        )
    return list(zip(*by_measure, strict=True))


def choose_measures(representation: Representation, *, stream: Stream) -> list[Measure]:
    """Return the statistics of rows in a representation."""
    kinds, of_numbers = representation.kinds, representation.is_of_numbers
    values, coordinates = representation.values, representation.coordinates
    classifier, directions = stream.child("classifier"), stream.child("directions")
    trees = boosting_of(kinds)

    def by_trees(x: Rows, y: Rows) -> float:
        return c2st(x[:, values], y[:, values], classifier=trees, stream=classifier)

    def by_neighbours(x: Rows, y: Rows) -> float:
        return c2st(x[:, coordinates], y[:, coordinates], classifier=neighbours, stream=classifier)

    def projected(x: Rows, y: Rows) -> float:
        return sliced_wasserstein(x[:, coordinates], y[:, coordinates], n_projections=32, stream=directions)

    def worst(x: Rows, y: Rows) -> float:
        columns = zip(x[:, values].T, y[:, values].T, kinds, strict=True)
        return max(column_distance(a, b, kind) for a, b, kind in columns)

    def associated(x: Rows, y: Rows) -> float:
        return association_difference(x[:, values], y[:, values], kinds)

    of_pairs = Measure(CORRELATIONS, correlation_difference) if of_numbers else Measure(ASSOCIATIONS, associated)
    return [
        Measure(C2ST, by_trees),
        Measure(C2ST_NEAREST, by_neighbours, 2_000),
        Measure(ENERGY, lambda x, y: energy_distance(x[:, coordinates], y[:, coordinates]), 1_500),
        Measure(WASSERSTEIN, projected),
        Measure(WORST_COLUMN, worst),
        *([of_pairs] if len(kinds) > 1 else []),
        # Codes of levels have many coordinates, where the search for neighbours is slow.
        Measure(COVERAGE, lambda x, y: coverage(x[:, coordinates], y[:, coordinates]), 5_000 if of_numbers else 1_000),
    ]
