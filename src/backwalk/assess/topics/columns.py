"""Columns one by one, by the distance of their kind, and the associations of pairs of columns."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from backwalk.assess.representation import Representation, kinds_of
from backwalk.assess.statistics import Figure, RealPairs, compare
from backwalk.assess.statistics.columns import ColumnKind, associations, column_distance
from backwalk.assess.topics.closeness import ASSOCIATIONS, DESCRIPTIONS, WORST_COLUMN
from backwalk.assess.topics.rows import RowSets
from backwalk.assess.words import column_name, percent, with_error
from backwalk.estimates import Rows, student_quantile
from backwalk.formatting import listed
from backwalk.table import Schema

_FALSE_ALARM = 0.01  # over all columns, or all pairs of columns
_MOST_ROWS = 5_000  # of a set, for associations
_BEYOND_THAT_MATTERS = 0.001  # of the rows


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


@dataclass(frozen=True, eq=False)
class ColumnScores:
    """The scores of the columns that vary: the kind of each, and a figure.

    Of a table with levels or gaps there are further: `gaps`, which says that generated rows were given the gaps of
    training rows, associations, and the columns with numbers `beyond` the range of the fit.
    """

    figures: tuple[Figure, ...]
    kinds: tuple[ColumnKind, ...]
    gaps: bool = False
    associations: AssociationScores | None = None
    beyond: tuple[Beyond, ...] = ()

    def warnings(self, schema: Schema) -> Iterator[str]:
        """Yield the warnings about columns."""
        failed = [
            f"{figure.name} ({with_error(figure.difference, figure.difference_standard_error)})"
            for figure in self.figures
            if _fails(figure, len(self.figures))
        ]
        if failed:
            yield (
                f"Generated values are distributed differently from real ones in {listed(failed)}; in brackets, the "
                "distance of cumulative distributions or of the levels' frequencies, minus that between real rows. "
                "Train for longer, or check the kinds of these columns."
            )
        outside = [
            f"{column_name(schema, beyond.column)} ({percent(beyond.generated)} of them, and {percent(beyond.unseen)} "
            "of unseen numbers)"
            for beyond in self.beyond
            if beyond.generated > _BEYOND_THAT_MATTERS + 2.0 * beyond.unseen
        ]
        if outside:
            yield (
                f"Generated numbers lie beyond the range of the training rows in {listed(outside)}. If a column has a "
                "bound, give it when you fit."
            )


def score_columns(sets: RowSets, schema: Schema, *, is_other_training: bool = False) -> ColumnScores:
    """Score the columns that vary, and the pairs of columns of a table with levels or gaps.

    Training rows that are not those of the fit (`RowChecks`) do not say which numbers lie beyond these.
    """
    representation, pairs = sets.representation, sets.pairs
    labels = [column_name(schema, j) for j in representation.codec.varying]
    figures = compare_columns(pairs, sets.represented, representation, labels)
    if representation.is_of_numbers:
        return ColumnScores(figures, representation.kinds)
    return ColumnScores(
        figures,
        representation.kinds,
        representation.gaps is not None,
        compare_associations(pairs, sets.represented, representation),
        () if sets.training is None or is_other_training else tuple(find_beyond_range(sets)),
    )


def compare_columns(
    pairs: RealPairs, generated: Rows, representation: Representation, labels: Sequence[str]
) -> tuple[Figure, ...]:
    """Return the figure of each column that varies, by the distance of its kind.

    The rows of the pairs and the generated rows (m, w) are represented; `labels` name the columns.
    """
    figures = []
    for k, (kind, label) in enumerate(zip(representation.kinds, labels, strict=True)):

        def distance(x: Rows, y: Rows, kind: ColumnKind = kind) -> float:
            return column_distance(x[:, 0], y[:, 0], kind)

        cell = slice(k, k + 1)
        figures.append(compare(distance, pairs.columns(cell), generated[:, cell], name=label, unit="probability"))
    return tuple(figures)


def compare_associations(pairs: RealPairs, generated: Rows, representation: Representation) -> AssociationScores | None:
    """Return the associations of real rows, and the differences of generated rows from them; None for one column.

    Rows are represented: generated ones are (m, w), the k-th set of them meets the k-th pair.
    """
    d = len(representation.kinds)
    if d < 2:
        return None
    n, heads = pairs.n_rows, pairs.head(_MOST_ROWS)

    def matrices(sets: list[Rows]) -> Rows:
        return np.array([associations(rows[:, representation.values], representation.kinds) for rows in sets])

    n_pairs, size = len(pairs.pairs), heads.n_rows
    a, b = matrices([a for a, _ in heads.pairs]), matrices([b for _, b in heads.pairs])
    g = matrices([generated[k * n : k * n + size] for k in range(n_pairs)])
    difference, error = (g - a).mean(axis=0), (g - a).std(axis=0, ddof=1) * heads.error_factor
    quantile = student_quantile(n_pairs - 1, tail=0.5 * _FALSE_ALARM / (d * (d - 1) / 2))
    matters = np.abs(difference) > np.maximum(DESCRIPTIONS[ASSOCIATIONS].margin, quantile * error)
    np.fill_diagonal(matters, False)
    return AssociationScores(0.5 * (a + b).mean(axis=0), difference, error, (b - a).mean(axis=0), matters)


def find_beyond_range(sets: RowSets) -> Iterator[Beyond]:
    """Yield each column of numbers in which generated rows lie beyond the rows of the fit, which are given.

    Held-out rows are among these, as the bounds of columns are those of all rows of the fit.
    """
    assert sets.training is not None
    codec = sets.representation.codec
    kinds = kinds_of(codec)
    for j in codec.varying:
        of_fit = sets.training[~np.isnan(sets.training[:, j]), j]
        if kinds[j].levels or not len(of_fit):
            continue
        shares = [
            float(np.mean(outside)) if len(outside) else 0.0
            for x in (sets.generated[:, j], sets.unseen[:, j])
            for outside in (x[~np.isnan(x)] < of_fit.min(), x[~np.isnan(x)] > of_fit.max())
        ]
        beyond = Beyond(j, *shares)
        if beyond.generated > 0.0:
            yield beyond


def _fails(figure: Figure, n_columns: int) -> bool:
    quantile = student_quantile(figure.n_pairs - 1, tail=_FALSE_ALARM / n_columns)
    return figure.difference > max(DESCRIPTIONS[WORST_COLUMN].margin, quantile * figure.difference_standard_error)
