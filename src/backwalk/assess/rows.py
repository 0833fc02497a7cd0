"""Whole rows: does a classifier tell generated rows from real ones, how far apart are they, and are rare kinds there?

All models meet the same pairs of real sets. A statistic whose time grows faster than the number of rows uses fewer
rows, and so does its null. What is computed of a real set alone, and each null, is computed once for all models.

A difference below a statistic's margin does not matter, however sure it is. The margins are choices: a classifier is
right in three more of 1,000 cases; rows have to be moved by 1 % of a column's spread further; one more of 100 real rows
has no generated row nearby.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from backwalk.assess.representation import Representation
from backwalk.assess.sets import RowSets
from backwalk.assess.statistics import Figure, c2st, neighbours, sliced_wasserstein
from backwalk.assess.statistics.distances import coverage
from backwalk.assess.statistics.nulls import figure_of, generated_sets
from backwalk.assess.statistics.two_sample import boosting_of
from backwalk.estimates import Rows
from backwalk.model import DiffusionModel
from backwalk.report.axes import limits_of, some_rows
from backwalk.report.blocks import Cell, Picture, Pictures, Row, Section, Table, Text
from backwalk.report.clouds import MOST_POINTS, plot_points
from backwalk.report.style import GENERATED, REAL
from backwalk.report.words import column_name, signed
from backwalk.streams import Stream
from backwalk.table import Schema

if TYPE_CHECKING:
    from backwalk.assess.record import Fidelity

C2ST, C2ST_NEAREST, WASSERSTEIN, COVERAGE = "C2ST, boosting", "C2ST, nearest rows", "Sliced Wasserstein", "Coverage"
_IN_PLACE, _RARE = "whole rows in the place of real ones", "rare kinds of rows"
_FEWEST_IN_A_CLOUD = 20


@dataclass(frozen=True)
class Measure:
    """A statistic of two sets of represented rows, (real, other) -> float, of which it uses `most_rows` each."""

    name: str
    of: Callable[[Rows, Rows], float]
    most_rows: int
    unit: str
    margin: float
    explanation: str
    purpose: str
    more_is_better: bool = False


def choose_measures(representation: Representation, *, stream: Stream) -> list[Measure]:
    """Return the statistics of rows in a representation, the one that decides first.

    The classifiers' folds and the directions of projection are functions of the stream.
    """
    values, coordinates = representation.values, representation.coordinates
    classifier, directions = stream.child("classifier"), stream.child("directions")
    trees = boosting_of(representation.kinds)
    return [
        Measure(
            C2ST,
            lambda x, y: c2st(x[:, values], y[:, values], classifier=trees, stream=classifier),
            10_000,
            "accuracy",
            0.003,
            "How often boosted trees tell generated rows from real rows. Guessing gives 50 %.",
            _IN_PLACE,
        ),
        Measure(
            C2ST_NEAREST,
            lambda x, y: c2st(x[:, coordinates], y[:, coordinates], classifier=neighbours, stream=classifier),
            2_000,
            "accuracy",
            0.003,
            "The same by a vote of the 15 nearest rows, which sees local differences better.",
            _IN_PLACE,
        ),
        Measure(
            WASSERSTEIN,
            lambda x, y: sliced_wasserstein(x[:, coordinates], y[:, coordinates], n_projections=32, stream=directions),
            10_000,
            "standard deviations",
            0.01,
            "How far rows have to be moved to match the real ones, on average over random directions.",
            _IN_PLACE,
        ),
        Measure(
            COVERAGE,
            lambda x, y: coverage(x[:, coordinates], y[:, coordinates]),
            # Codes of levels have many coordinates, where the search for neighbours is slow.
            5_000 if representation.is_of_numbers else 1_000,
            "share of real rows",
            0.01,
            "The share of real rows with a generated row within their five nearest real rows. More is better.",
            _RARE,
            more_is_better=True,
        ),
    ]


@dataclass(frozen=True, eq=False)
class RowScores:
    """The statistics of whole rows, of each model, and the rows that were compared, in the user's units.

    `real` is (n, d) and `generated`, the diffusion model's, (m, d). `real_rows` says where the real ones come from,
    `asinh_columns` which columns with heavy tails are compared after an asinh transform, and `sampler` how the others
    were drawn. `telling_pairs` are pairs of columns of numbers in which the two differ most.
    """

    figures: tuple[tuple[Figure, ...], ...]
    real: Rows
    generated: Rows
    real_rows: str
    asinh_columns: tuple[str, ...]
    sampler: str
    telling_pairs: tuple[tuple[int, int], ...]

    def to_dict(self) -> dict[str, Any]:
        """Return everything but rows, and figures, which each model has."""
        return {"real_rows": self.real_rows, "asinh_columns": self.asinh_columns, "sampler": self.sampler}

    def warnings(self, schema: Schema) -> Iterator[str]:  # noqa: ARG002 - every question takes it
        """Yield nothing: the answers and the verdict say what the statistics mean."""
        yield from ()

    def section(self, model: DiffusionModel, fidelity: Fidelity) -> Section:
        """Show pairs of columns as clouds of points, and the statistics of generated rows beside those of real rows."""
        gaps = (
            " The model makes complete rows; for comparison they have the gaps of random training rows. Where gaps "
            "depend on values, this counts against the model."
        )
        blocks: list[object] = [
            Text(rows_text(model, fidelity)),
            Text(
                "Two sets of real rows also differ, by chance. So the first column holds each statistic for real rows "
                f"against other real rows ({self.real_rows}); below each value stands its difference from that. ± is "
                "one standard error. A difference in bold matters: it is larger than chance explains (two standard "
                "errors, by Student's t) and larger than the margin in the last column."
            ),
            Table(
                ("Statistic", "Real against real", *(scores.name for scores in fidelity.models), "Margin"),
                [
                    _figure_row(figure, [scores.figure(figure.name) for scores in fidelity.models])
                    for figure in fidelity.model.figures
                ],
            ),
            Text(
                f"{self._unit(fidelity)}. Sampler of the generated rows: {self.sampler}."
                f"{gaps if fidelity.columns.gaps else ''}",
                note=True,
            ),
        ]
        clouds = list(self._clouds(model))
        if clouds:
            blocks.append(Pictures(clouds))
            if any(column.is_integer for column in model.codec.columns):
                words = "Integers are drawn spread out by up to ± 1/2, so that points do not hide each other."
                blocks.append(Text(words, note=True))
        return Section("How close are generated rows to real rows?", blocks)

    def _unit(self, fidelity: Fidelity) -> str:
        """Return the unit of distances in words."""
        whose = "scored" if fidelity.checks.n_training is None else "training"
        unit = f"Distances are in standard deviations of the {whose} rows"
        if self.asinh_columns:
            unit += f", after an asinh transform of columns with heavy tails ({', '.join(self.asinh_columns)})"
        if any(kind.levels for kind in fidelity.columns.kinds):
            unit += "; two levels of a category are 1 apart"
        if np.isnan(self.real).any():
            unit += "; missing cells have their column's mean"
        return unit

    def _clouds(self, model: DiffusionModel) -> Iterator[Picture]:
        """Yield real and generated rows in turn, for each telling pair of columns."""
        codec = model.codec
        for pair in self.telling_pairs:
            complete = [rows[~np.isnan(rows[:, pair]).any(axis=1)] for rows in (self.real, self.generated)]
            n = min(*map(len, complete), MOST_POINTS)
            if n < _FEWEST_IN_A_CLOUD:
                continue
            # Integers on a lattice would hide each other.
            x, y = (
                codec.dequantise(some_rows(rows, n), stream=Stream(0).child("clouds", k))[:, pair]
                for k, rows in enumerate(complete)
            )
            asinh = codec.columns[pair[0]].asinh, codec.columns[pair[1]].asinh
            limits = limits_of(x, y, asinh=asinh)
            labels = column_name(model.schema, pair[0]), column_name(model.schema, pair[1])
            for points, color, title in ((x, REAL, "Real"), (y, GENERATED, "Generated")):
                figure = plot_points(points, title=title, labels=labels, limits=limits, color=color, asinh=asinh)
                yield Picture.of(figure, f"{title}: {labels[1]} against {labels[0]}")


def score(
    sets: RowSets,
    represented: Sequence[Rows],
    *,
    about: dict[str, Any],
    stream: Stream,
    watch: Callable[[float, str], object] = lambda _share, _stage: None,
) -> RowScores:
    """Score sets of represented generated rows, (m, w) each, with m at least the `n_generated` of the pairs.

    `about` holds what `RowScores` says about the rows. `watch` is called with the share done and the next statistic.
    """
    measures, by_measure = choose_measures(sets.representation, stream=stream), []
    for k, measure in enumerate(measures):
        watch(k / len(measures), measure.name)
        pairs = sets.pairs.head(measure.most_rows)
        nulls = [measure.of(a, b) for a, b in pairs.pairs]
        figures = []
        for rows in represented:
            generated = generated_sets(rows, sets.pairs, pairs.n_rows)
            values = [measure.of(a, g) for (a, _), g in zip(pairs.pairs, generated, strict=True)]
            figures.append(
                figure_of(
                    values,
                    nulls,
                    pairs,
                    name=measure.name,
                    unit=measure.unit,
                    margin=measure.margin,
                    more_is_better=measure.more_is_better,
                    explanation=measure.explanation,
                    purpose=measure.purpose,
                )
            )
        by_measure.append(figures)
    return RowScores(figures=tuple(zip(*by_measure, strict=True)), generated=sets.generated, **about)


def rows_text(model: DiffusionModel, fidelity: Fidelity) -> str:
    """Return how many rows trained, chose the weights and score the model."""
    checks, n_columns, n_varying = fidelity.checks, model.schema.n_columns, len(model.codec.varying)
    columns = f"{n_columns} column{'s' * (n_columns > 1)}"
    words = f"The model is scored on {checks.n_unseen:,} rows of {columns}"
    if checks.n_training is None:
        words += "; its training rows were not given."
    elif checks.is_other_training:
        words += f". The {checks.n_given:,} training rows given here are not the table of its fit."
    else:
        words += f", and was trained on {checks.n_training:,} rows."
        held_out = (checks.n_given or 0) - checks.n_training
        if held_out:
            words += f" Of the {checks.n_given:,} rows given to the fit, the other {held_out:,} only chose its weights."
    if n_varying < n_columns:
        n = n_columns - n_varying
        words += f" {n} column{' is' if n == 1 else 's are'} constant, and generated exactly."
    if fidelity.density.entropy is not None:
        words += " The true density of the data is known."
    return words


def _figure_row(of_model: Figure, figures: Sequence[Figure]) -> Row:
    """Return a statistic as a row: its null, the value of each model, and the margin."""
    cells = [Cell(of_model.texts()[1])]
    for figure in figures:
        value, _, difference = figure.texts()
        cells.append(Cell(value, signed(difference), bool(figure.matters)))
    margin = of_model.margin
    cells.append(Cell(f"{100 * margin:g} %" if of_model.is_share else f"{margin:g}"))
    return Row(of_model.name, cells, of_model.explanation)
