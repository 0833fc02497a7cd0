"""The statistics that compare generated rows with real rows, for the model and every baseline on the same pairs.

They take encoded rows: columns in standard deviations of the training rows, heavy tails transformed by asinh, constant
columns left out. Those whose time grows faster than the number of rows use fewer rows; their nulls use as many. A null
depends on the real pairs alone, so it is computed once for all models.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from backwalk.assess import margins as m
from backwalk.evaluation import (
    Figure,
    RealPairs,
    boosting,
    c2st,
    compare,
    correlation_difference,
    coverage,
    energy_distance,
    marginal_ks,
    neighbours,
    sliced_wasserstein,
)
from backwalk.evaluation.rows import Rows
from backwalk.streams import Stream
from backwalk.table import Codec

STANDARD_DEVIATIONS = "standard deviations"

_DISTANCES: dict[str, Callable[[Rows, Rows], float]] = {
    "Kolmogorov-Smirnov": lambda x, y: float(marginal_ks(x, y)[0]),
}
"""The distances that a column of the codec may name."""


@dataclass(frozen=True)
class Statistic:
    """A function of two sets of rows, (real, other) -> float, and the most rows per set that it uses."""

    name: str
    unit: str
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
        """Compute the nulls of a statistic."""
        heads = pairs.head(statistic.most_rows)
        return cls(statistic, heads, tuple(statistic.measure(a, b) for a, b in heads.pairs))

    def figure(self, generated: Rows) -> Figure:
        """Return the figure of generated rows (m, d), with m at least `pairs.n_generated`."""
        rows, own = generated[: self.pairs.n_generated], self.statistic
        return compare(own.measure, self.pairs, rows, name=own.name, unit=own.unit, nulls=self.nulls)


def statistics_of(d: int, *, stream: Stream) -> tuple[Statistic, ...]:
    """Return the statistics for rows of d coordinates.

    The classifiers' folds and the directions of projection are functions of the stream.
    """
    classifier, directions = stream.child("classifier"), stream.child("directions")
    statistics = [
        Statistic(m.C2ST, "accuracy", lambda x, y: c2st(x, y, classifier=boosting, stream=classifier)),
        Statistic(m.C2ST_NEAREST, "accuracy", lambda x, y: c2st(x, y, classifier=neighbours, stream=classifier), 2_000),
        Statistic(
            m.WASSERSTEIN,
            STANDARD_DEVIATIONS,
            lambda x, y: sliced_wasserstein(x, y, n_projections=32, stream=directions),
        ),
        Statistic(m.ENERGY, STANDARD_DEVIATIONS, energy_distance, 1_500),
        Statistic(m.WORST_COLUMN, "probability", lambda x, y: float(marginal_ks(x, y).max())),
        Statistic(m.CORRELATIONS, "mean difference", correlation_difference),
        Statistic(m.COVERAGE, "share of real rows", coverage, 5_000),
    ]
    return tuple(s for s in statistics if d > 1 or s.name != m.CORRELATIONS)


def column_figures(pairs: RealPairs, generated: Rows, codec: Codec, labels: Sequence[str]) -> tuple[Figure, ...]:
    """Return the figure of each column that varies, by the distance that the column names.

    The rows of the pairs and the generated rows (m, k) are encoded by `codec`; `labels` name its varying columns.
    """
    figures = []
    for j, label in zip(codec.varying, labels, strict=True):
        block, distance = codec.slices[j], _DISTANCES[codec.columns[j].distance]
        rows = generated[: pairs.n_generated, block]
        figures.append(compare(distance, pairs.columns(block), rows, name=label, unit="probability"))
    return tuple(figures)
