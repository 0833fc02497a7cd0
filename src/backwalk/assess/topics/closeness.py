"""The statistics that compare generated rows with real rows, for the model and every baseline on the same pairs.

They take rows as a `View` shows them, constant columns left out: of numbers, columns in standard deviations of the
training rows, heavy tails transformed by asinh; of tables with levels or gaps, values of each kind beside coordinates.
Statistics whose time grows faster than the number of rows use fewer rows; their nulls use as many. A null depends on
the real pairs alone, so it is computed once for all models.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial

from backwalk.assess import margins as m
from backwalk.assess.statistics import (
    ColumnKind,
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
from backwalk.assess.views import View
from backwalk.estimates import Rows
from backwalk.streams import Stream
from backwalk.threads import Map

STANDARD_DEVIATIONS = "standard deviations"


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
    def of(cls, statistic: Statistic, pairs: RealPairs, parallel_map: Map = map) -> PairedStatistic:
        """Compute the nulls of a statistic, pair by pair."""
        heads = pairs.head(statistic.most_rows)
        return cls(statistic, heads, tuple(parallel_map(lambda pair: statistic.measure(*pair), heads.pairs)))

    def figure(self, generated: Rows, parallel_map: Map = map) -> Figure:
        """Return the figure of generated rows (m, d), with m at least `pairs.n_generated`."""
        rows, own = generated[: self.pairs.n_generated], self.statistic
        return compare(
            own.measure,
            self.pairs,
            rows,
            name=own.name,
            unit=own.unit,
            nulls=self.nulls,
            parallel_map=parallel_map,
        )


def statistics_of(view: View, *, stream: Stream) -> tuple[Statistic, ...]:
    """Return the statistics for rows that a view shows.

    The classifiers' folds and the directions of projection are functions of the stream.
    """
    classifier, directions = stream.child("classifier"), stream.child("directions")
    trees = boosting if view.is_of_numbers else boosting_of(view.kinds)
    seen_by_trees = view.coordinates if view.is_of_numbers else view.values

    def on(part: slice, measure: Callable[[Rows, Rows], float]) -> Callable[[Rows, Rows], float]:
        return lambda x, y: measure(x[:, part], y[:, part])

    def by_trees(x: Rows, y: Rows) -> float:
        return c2st(x, y, classifier=trees, stream=classifier)

    def by_neighbours(x: Rows, y: Rows) -> float:
        return c2st(x, y, classifier=neighbours, stream=classifier)

    def projected(x: Rows, y: Rows) -> float:
        return sliced_wasserstein(x, y, n_projections=32, stream=directions)

    def worst(x: Rows, y: Rows) -> float:
        return max(column_distance(a, b, kind) for a, b, kind in zip(x.T, y.T, view.kinds, strict=True))

    if view.is_of_numbers:
        of_columns = Statistic(m.WORST_COLUMN, "probability", lambda x, y: float(marginal_ks(x, y).max()))
        of_pairs = Statistic(m.CORRELATIONS, "mean difference", correlation_difference)
        n_columns = view.codec.n_encoded
    else:
        of_columns = Statistic(m.WORST_OF_KINDS, "probability", on(view.values, worst))
        measure = on(view.values, lambda x, y: association_difference(x, y, view.kinds))
        of_pairs = Statistic(m.ASSOCIATIONS, "mean difference", measure)
        n_columns = len(view.kinds)
    statistics = [
        Statistic(m.C2ST, "accuracy", on(seen_by_trees, by_trees)),
        Statistic(m.C2ST_NEAREST, "accuracy", on(view.coordinates, by_neighbours), 2_000),
        Statistic(m.WASSERSTEIN, STANDARD_DEVIATIONS, on(view.coordinates, projected)),
        Statistic(m.ENERGY, STANDARD_DEVIATIONS, on(view.coordinates, energy_distance), 1_500),
        of_columns,
        *([of_pairs] if n_columns > 1 else []),
        Statistic(
            m.COVERAGE,
            "share of real rows",
            on(view.coordinates, coverage),
            5_000 if view.is_of_numbers else 1_000,  # codes of levels have many coordinates, where trees do not help
        ),
    ]
    return tuple(statistics)


def column_figures(pairs: RealPairs, generated: Rows, view: View, labels: Sequence[str]) -> tuple[Figure, ...]:
    """Return the figure of each column that varies, by the distance of its kind.

    The rows of the pairs and the generated rows (m, v + k) are those of the `view`; `labels` name its columns.
    """
    figures = []
    for k, (j, label) in enumerate(zip(view.codec.varying, labels, strict=True)):
        distance, block = _ks, view.codec.slices[j]
        if not view.is_of_numbers:
            distance, block = partial(_of_kind, kind=view.kinds[k]), slice(k, k + 1)
        rows = generated[: pairs.n_generated, block]
        figures.append(compare(distance, pairs.columns(block), rows, name=label, unit="probability"))
    return tuple(figures)


def _ks(x: Rows, y: Rows) -> float:
    return float(marginal_ks(x, y)[0])


def _of_kind(x: Rows, y: Rows, kind: ColumnKind) -> float:
    return column_distance(x[:, 0], y[:, 0], kind)
