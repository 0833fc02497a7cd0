"""Columns: is each distributed as it should be, and do pairs of them depend on each other as they should?

Each column is compared by the distance of its kind, and pairs by their associations. The worst column, and the mean
difference of associations, are statistics of each model. Their margins are choices: a cumulative distribution, or the
frequencies of levels, are off by one percentage point more; associations are off by 0.01 more on average.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from matplotlib.figure import Figure as Drawing
from numpy.typing import NDArray

from backwalk.assess.sets import RowSets
from backwalk.assess.statistics import Figure
from backwalk.assess.statistics.columns import ColumnKind, associations, column_distance, level_bands, level_index
from backwalk.assess.statistics.nulls import figure_of, generated_sets
from backwalk.estimates import Rows, student_quantile
from backwalk.formatting import listed
from backwalk.model import DiffusionModel
from backwalk.report.axes import some_rows
from backwalk.report.blocks import Details, Heading, Picture, Pictures, Row, Section, Table, Text
from backwalk.report.columns import plot_associations, plot_levels, plot_marginal, plot_number_with_atoms
from backwalk.report.words import column_name, value_text, with_error
from backwalk.table import Schema

if TYPE_CHECKING:
    from backwalk.assess.record import Fidelity

WORST_COLUMN, ASSOCIATIONS = "Worst column", "Associations"
SINGLE, TOGETHER = "single columns", "how columns go together"
_MARGIN = 0.01  # of either
_FALSE_ALARM = 0.01  # over all columns, or all pairs of columns
_MOST_ROWS = 5_000  # of a set, for associations, and of a picture
_MOST_PICTURES, _MOST_COLUMNS, _MOST_IN_A_MATRIX = 6, 50, 24
_MOST_BARS = 12  # levels


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
class ColumnScores:
    """The scores of the columns that vary: the kind of each, a figure of the diffusion model, and associations.

    `gaps` says that generated rows were given the gaps of training rows; `associations` are None for a single column.
    `of_models` holds the statistics of each model over all columns.
    """

    figures: tuple[Figure, ...]
    kinds: tuple[ColumnKind, ...]
    gaps: bool
    associations: AssociationScores | None
    of_models: tuple[tuple[Figure, ...], ...]

    def to_dict(self) -> dict[str, Any]:
        """Return everything but the statistics, which each model has."""
        names = ("figures", "kinds", "gaps", "associations")
        return {name: getattr(self, name) for name in names}

    def failed(self) -> list[Figure]:
        """Return the columns that differ beyond the margin and beyond chance, for all columns together."""
        return [
            figure
            for figure in self.figures
            if figure.difference
            > max(
                figure.margin,
                student_quantile(figure.n_pairs - 1, tail=_FALSE_ALARM / len(self.figures))
                * figure.difference_standard_error,
            )
        ]

    def warnings(self, schema: Schema) -> Iterator[str]:  # noqa: ARG002 - every question takes it
        """Yield the warning about columns that differ."""
        failed = [
            f"{figure.name} ({with_error(figure.difference, figure.difference_standard_error)})"
            for figure in self.failed()
        ]
        if failed:
            yield (
                f"Generated values are distributed differently from real ones in {listed(failed)}; in brackets, the "
                "distance of cumulative distributions or of the levels' frequencies, minus that between real rows. "
                "Train for longer, or check the kinds of these columns."
            )

    def telling_pairs(self, varying: Sequence[int], numbers: Sequence[int]) -> tuple[tuple[int, int], ...]:
        """Return up to two pairs of the columns `numbers` in which generated rows differ most, in the table's order.

        The first is that of the columns that differ most alone; the second that of the largest association difference.
        """
        places = [k for k, j in enumerate(varying) if j in numbers]
        if len(places) < 2 or self.associations is None:
            return ()
        by_distance = sorted(places, key=lambda k: -self.figures[k].difference)
        first = tuple(sorted(by_distance[:2]))
        pairs = [(i, j) for i in places for j in places if i < j]
        second = max(pairs, key=lambda pair: (pair != first, abs(self.associations.difference[pair])))  # type: ignore[union-attr]
        return tuple((varying[i], varying[j]) for i, j in dict.fromkeys([first, second]))

    def section(self, model: DiffusionModel, fidelity: Fidelity) -> Section:
        """Show the columns that differ most as pictures, all columns in numbers, and the associations of pairs."""
        varying, n = model.codec.varying, len(self.figures)
        difference = np.array([figure.difference for figure in self.figures])
        drawn = np.sort(np.argsort(-difference, kind="stable")[:_MOST_PICTURES]).tolist()
        shown = f"The {len(drawn)} of {n} columns that differ most. " if len(drawn) < n else ""
        words = "Blue and filled: real rows. Vermilion lines and points: generated ones."
        if model.codec.blocks:
            words += (
                " Levels: if the model is right, all points of a column lie in the grey bands in 95 % of cases, "
                "by chance alone."
            )
        views = [_View(model, fidelity, self.kinds[k], varying[k]) for k in range(n)]
        title = (
            "All columns in numbers" if n <= _MOST_COLUMNS else f"The first {_MOST_COLUMNS} of {n} columns in numbers"
        )
        blocks = [
            Text(f"{shown}{words}", note=True),
            Pictures([views[k].picture() for k in drawn], small=True),
            Details(title, [_column_table(self.figures[:_MOST_COLUMNS])]),
        ]
        if self.associations is not None:
            names = [column_name(model.schema, j) for j in varying]
            blocks += [Heading("Do columns depend on each other as they should?"), *_pairs(self.associations, names)]
        return Section("Is each column right?", blocks)


def score(sets: RowSets, represented: Sequence[Rows], schema: Schema) -> ColumnScores:
    """Score sets of represented generated rows, (m, w) each, the diffusion model's first, by column and by pair."""
    representation, pairs, kinds = sets.representation, sets.pairs, sets.representation.kinds
    cells = representation.values

    def distances(others: Sequence[Rows]) -> Rows:
        """Return the distance of each column of each pair's first set and the other one: (J, v)."""
        both = zip((a for a, _ in pairs.pairs), others, strict=True)
        return np.array(
            [
                [column_distance(x, y, kind) for x, y, kind in zip(a[:, cells].T, b[:, cells].T, kinds, strict=True)]
                for a, b in both
            ]
        )

    drawn = [generated_sets(rows, pairs) for rows in represented]
    of_real, of_models = distances([b for _, b in pairs.pairs]), [distances(generated) for generated in drawn]
    names = [column_name(schema, j) for j in representation.codec.varying]
    figures = [
        figure_of(of_models[0][:, k], of_real[:, k], pairs, name=name, unit="probability", margin=_MARGIN)
        for k, name in enumerate(names)
    ]
    worst = [
        figure_of(
            of_model.max(axis=1),
            of_real.max(axis=1),
            pairs,
            name=WORST_COLUMN,
            unit="probability",
            margin=_MARGIN,
            explanation="The largest difference in any one column, of cumulative distributions (KS) or levels' shares.",
            purpose=SINGLE,
        )
        for of_model in of_models
    ]
    gaps = representation.gaps is not None
    if len(kinds) < 2:
        return ColumnScores(tuple(figures), kinds, gaps, None, tuple((figure,) for figure in worst))
    scores, of_pairs = _score_associations(sets, drawn)
    return ColumnScores(tuple(figures), kinds, gaps, scores, tuple(zip(worst, of_pairs, strict=True)))


def _score_associations(sets: RowSets, drawn: Sequence[Sequence[Rows]]) -> tuple[AssociationScores, list[Figure]]:
    """Return the associations of the first model's rows beside the real ones, and the mean difference of each model."""
    kinds, pairs = sets.representation.kinds, sets.pairs.head(_MOST_ROWS)
    d, n_pairs, upper = len(kinds), len(pairs.pairs), np.triu_indices(len(kinds), k=1)

    def matrices(of: Sequence[Rows]) -> Rows:
        return np.array([associations(rows[: pairs.n_rows, sets.representation.values], kinds) for rows in of])

    a, b = matrices([a for a, _ in pairs.pairs]), matrices([b for _, b in pairs.pairs])
    of_models = [matrices(generated) for generated in drawn]

    def mean_difference(other: Rows) -> Rows:
        return np.asarray(np.abs(other - a)[:, *upper].mean(axis=1))

    figures = [
        figure_of(
            mean_difference(g),
            mean_difference(b),
            pairs,
            name=ASSOCIATIONS,
            unit="mean difference",
            margin=_MARGIN,
            explanation="How far the association of two columns is off, on average over pairs of columns.",
            purpose=TOGETHER,
        )
        for g in of_models
    ]
    g = of_models[0]
    difference, error = (g - a).mean(axis=0), (g - a).std(axis=0, ddof=1) * pairs.error_factor
    quantile = student_quantile(n_pairs - 1, tail=0.5 * _FALSE_ALARM / (d * (d - 1) / 2))
    matters = np.abs(difference) > np.maximum(_MARGIN, quantile * error)
    np.fill_diagonal(matters, False)
    return AssociationScores(0.5 * (a + b).mean(axis=0), difference, error, (b - a).mean(axis=0), matters), figures


def _pairs(scores: AssociationScores, names: Sequence[str]) -> Iterator[object]:
    """Yield the associations of real rows, and what generated and other real rows change, as pictures."""
    most_changed = np.argsort(-np.abs(scores.difference).max(axis=1), kind="stable")
    shown = sorted(most_changed[:_MOST_IN_A_MATRIX].tolist())
    cells, labels = np.ix_(shown, shown), [names[k] for k in shown]
    most = max(0.1, float(np.abs(scores.difference[cells]).max()), float(np.abs(scores.null[cells]).max()))
    n = int(np.triu(scores.matters).sum())
    pairs = f"{n} pair{'s' * (n != 1)} of columns {'differs' if n == 1 else 'differ'}"
    yield Text(
        "Numbers and ordered levels are compared by rank correlation, a category and a number by the correlation ratio "
        "(the share of the ranks' variance between levels, as a root), two categories by Cramér's V. 0 means none, 1 "
        f"full association. {pairs if n else 'No pair of columns differs'} by more than 0.01 and more than chance "
        f"explains{' (framed)' if n else ''}."
    )
    matrices = (
        ("Real rows", scores.real, None, 1.0),
        ("Generated minus real", scores.difference, scores.matters[cells], most),
        ("Other real rows minus real", scores.null, None, most),
    )
    yield Pictures(
        [
            Picture.of(
                plot_associations(matrix[cells], labels, matters=matters, title=title, most=scale),
                f"Associations of pairs of columns: {title}",
            )
            for title, matrix, matters, scale in matrices
        ],
        small=True,
    )
    if len(shown) < len(names):
        yield Text(f"Of {len(names)} columns, the {len(shown)} with the largest differences.", note=True)


@dataclass(frozen=True, eq=False)
class _View:
    """The values of column number j of the user's table, of a kind, in real and in generated rows."""

    model: DiffusionModel
    fidelity: Fidelity
    kind: ColumnKind
    j: int

    @property
    def name(self) -> str:
        return column_name(self.model.schema, self.j)

    @property
    def sets(self) -> tuple[Rows, Rows]:
        return self.fidelity.rows.real[:, self.j], self.fidelity.rows.generated[:, self.j]

    def text(self, value: float) -> str:
        return value_text(self.model.schema, self.j, value)

    def picture(self) -> Picture:
        """Return the picture of the column, by its kind."""
        kind, column = self.kind, self.model.codec.columns[self.j]
        real, generated = (values[~np.isnan(values)] for values in self.sets)
        if kind.levels and (kind.is_category or len(kind.levels) <= _MOST_BARS):
            return Picture.of(self._draw_levels(real, generated), f"Levels of {self.name}")
        looks: dict[str, Any] = {"title": self.name, "asinh": column.asinh, "integers": column.is_integer}
        if kind.atoms:
            figure = plot_number_with_atoms(real, generated, kind.atoms, **looks)
        else:
            figure = plot_marginal(real, generated, **looks)
        return Picture.of(figure, f"Histograms of {self.name}, real and generated")

    def _draw_levels(self, real: Rows, generated: Rows) -> Drawing:
        """Draw the levels in their order; of many the 11 most frequent, by frequency, and all others together."""
        levels, n = self.kind.levels, len(self.kind.levels)
        shown, index = list(range(n)), level_index(real, self.kind.levels)
        if n > _MOST_BARS:
            counts = np.bincount(index, minlength=n)
            shown = np.argsort(-counts, kind="stable")[: _MOST_BARS - 1].tolist()
        names = [self.text(levels[level]) for level in shown]
        place = np.full(n, float(len(shown)))
        place[shown] = np.arange(len(shown))
        if len(shown) < n:
            names.append(f"{n - len(shown):,} others")
        x, y = (
            place[level_index(some_rows(values[:, None], _MOST_ROWS)[:, 0], levels)] for values in (real, generated)
        )
        bands = level_bands(x, y, tuple(np.arange(float(len(names))).tolist()))
        return plot_levels(bands.real, bands.generated, bands.low, bands.high, names, title=self.name)


def _column_table(figures: Sequence[Figure]) -> Table:
    """Return the distance of each column beside its null."""
    head = ("Column", "Distance of the distributions (KS, or total variation of levels)", "Of real rows", "Difference")
    return Table(head, [Row.of(figure.name, *figure.texts()) for figure in figures], stacked=False)
