"""The statistics that every contender meets, on the same pairs of real sets.

All of them get rows in standard deviations of the training rows, columns with heavy tails bent and constant ones left
out. Some see fewer rows than there are, because their time grows faster than the rows; their nulls see as few. A null
depends on the real pairs alone, so it is computed once and serves every contender.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

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

C2ST = "C2ST, boosting"
SPREAD = "standard deviations"


@dataclass(frozen=True)
class Statistic:
    """A number that two sets of rows give, (real, other) -> float, and the most rows of a set that it is worth."""

    name: str
    unit: str
    measure: Callable[[Rows, Rows], float]
    most_rows: int = 10_000


@dataclass(frozen=True)
class Judge:
    """A statistic with its nulls: what it gives for each pair of real sets."""

    statistic: Statistic
    pairs: RealPairs
    nulls: tuple[float, ...]

    @classmethod
    def ready(cls, statistic: Statistic, pairs: RealPairs) -> Judge:
        """Return the judge of some pairs, its nulls computed."""
        heads = pairs.head(statistic.most_rows)
        return cls(statistic, heads, tuple(statistic.measure(a, b) for a, b in heads.pairs))

    def judge(self, generated: Rows) -> Figure:
        """Return the figure of generated rows (m, d), with m at least the pairs' number of rows."""
        rows, own = generated[: self.pairs.n_generated], self.statistic
        return compare(own.measure, self.pairs, rows, name=own.name, unit=own.unit, nulls=self.nulls)


def battery(d: int, *, stream: Stream) -> tuple[Statistic, ...]:
    """Return the statistics for rows with d columns. A classifier's folds and the directions are the stream's."""
    classifier, directions = stream.child("classifier"), stream.child("directions")
    statistics = [
        Statistic(C2ST, "accuracy", lambda x, y: c2st(x, y, classifier=boosting, stream=classifier)),
        Statistic(
            "C2ST, nearest rows", "accuracy", lambda x, y: c2st(x, y, classifier=neighbours, stream=classifier), 2_000
        ),
        Statistic(
            "Sliced Wasserstein", SPREAD, lambda x, y: sliced_wasserstein(x, y, n_projections=32, stream=directions)
        ),
        Statistic("Energy distance", SPREAD, energy_distance, 1_500),
        Statistic("Worst column (KS)", "probability", lambda x, y: float(marginal_ks(x, y).max())),
        Statistic("Correlations", "mean difference", correlation_difference),
        Statistic("Coverage", "share of real rows", coverage, 5_000),
    ]
    return tuple(s for s in statistics if d > 1 or s.name != "Correlations")


_DISTANCES: dict[str, Callable[[Rows, Rows], float]] = {
    "Kolmogorov-Smirnov": lambda x, y: float(marginal_ks(x, y)[0]),
}


def column_figures(pairs: RealPairs, generated: Rows, codec: Codec, labels: Sequence[str]) -> tuple[Figure, ...]:
    """Return the distance of each column that varies, by its own measure, beside its null.

    The rows of the pairs and the generated ones, (m, k), are encoded by `codec`; `labels` name its varying columns.
    """
    figures = []
    for j, label in zip(codec.varying, labels, strict=True):
        block, measure = codec.slices[j], _DISTANCES[codec.columns[j].distance]
        rows = generated[: pairs.n_generated, block]
        figures.append(compare(measure, pairs.columns(block), rows, name=label, unit="probability"))
    return tuple(figures)
