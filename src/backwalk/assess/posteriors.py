"""Posteriors: are they calibrated on unseen pairs of parameters and data, by ranks, expected coverage and TARP?"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from scipy.stats import binom

from backwalk.assess.statistics.calibration import (
    CoverageCurve,
    RankHistogram,
    coverage_curve,
    density_ranks,
    rank_histogram,
    ranks_in_draws,
    tarp_ranks,
)
from backwalk.errors import InvalidInput
from backwalk.estimates import Rows, random_rows
from backwalk.formatting import listed
from backwalk.inference import ParameterConditional
from backwalk.model import RARE, DiffusionModel, find_rarity
from backwalk.report.blocks import Picture, Pictures, Row, Section, Table, Text
from backwalk.report.calibration import plot_coverage, plot_ranks
from backwalk.report.words import column_name, percent
from backwalk.streams import Stream
from backwalk.table import Codec, Schema

_N_PAIRS, _N_DRAWS = 400, 39
_FALSE_ALARM = 0.01  # over all ranks and both curves
_MISCOVERAGE_THAT_MATTERS = 0.03  # the largest difference of shares over all levels
_MOST_PICTURES = 6


@dataclass(frozen=True, eq=False)
class PosteriorScores:
    """The calibration of p(parameters | given) on `n_pairs` unseen rows, with `n_draws` draws for each.

    `parameters` and `given` are numbers of columns; `ranks` holds the histogram of each of the `parameters`, which vary
    and whose gaps are not generated. Regions are those of all parameters.
    `expected_coverage` is that of highest-density regions, and `tarp` that of balls around reference points: for each
    row the parameters of the row before it whose given columns are nearest. So it can also see a posterior that equals
    the prior, the less so the more given columns there are. Rows should be independent of each other. Of them `n_far`
    lie so far from the fitted rows in the given columns that 1 in 1,000 would (`backwalk.model.distances`).
    """

    parameters: tuple[int, ...]
    given: tuple[int, ...]
    n_pairs: int
    n_draws: int
    ranks: tuple[RankHistogram, ...]
    expected_coverage: CoverageCurve
    tarp: CoverageCurve
    n_far: int

    def warnings(self, schema: Schema) -> Iterator[str]:
        """Yield warnings about posteriors that are not calibrated, and about data far from the fitted rows."""
        if binom.sf(self.n_far - 1, self.n_pairs, RARE) < _FALSE_ALARM:
            yield (
                f"Of {self.n_pairs:,} unseen rows {self.n_far:,} lie far from the fitted rows in "
                f"{listed(column_name(schema, j) for j in self.given)}, where 1 in 1,000 would: posteriors given these "
                "are extrapolated. See whether they come from the same simulator."
            )
        least = _FALSE_ALARM / (len(self.ranks) + 2)
        failed = [
            f"the ranks of {column_name(schema, j)} (p = {ranks.p_value:.1g})"
            for j, ranks in zip(self.parameters, self.ranks, strict=True)
            if ranks.p_value < least and ranks.distance > _MISCOVERAGE_THAT_MATTERS
        ]
        failed += [
            f"{what} (off by up to {percent(curve.deviation)}, by chance {percent(curve.limit)})"
            for what, curve in (("expected coverage", self.expected_coverage), ("TARP", self.tarp))
            if curve.p_value < least and curve.deviation > _MISCOVERAGE_THAT_MATTERS
        ]
        if failed:
            yield (
                f"Posteriors given {listed(column_name(schema, j) for j in self.given)} are not calibrated, by "
                f"{listed(failed)}. Fit to more simulations, or for longer, and with conditions on these columns alone."
            )

    def section(self, model: DiffusionModel, fidelity: Any) -> Section:  # noqa: ARG002 - every question takes it
        """Show the ranks of true parameters among draws, and how often regions hold them."""
        schema = model.schema
        given = listed(column_name(schema, j) for j in self.given)
        words = (
            f"For each of {self.n_pairs} unseen rows, {self.n_draws} draws of the other columns are made given "
            f"{given}. If posteriors are exact, the row's own values are like one more draw: their ranks are equally "
            "frequent, and regions of level 90 % hold them in 90 % of rows."
        )
        curves = (
            ("Expected coverage", self.expected_coverage, "regions of highest density"),
            ("TARP", self.tarp, "balls around the parameters of another row with similar data"),
        )
        ranked = [(column_name(schema, j), ranks) for j, ranks in zip(self.parameters, self.ranks, strict=True)]
        rows, pictures, limit = [], [], percent(self.expected_coverage.limit)
        for name, curve, explanation in curves:
            texts = percent(curve.deviation), percent(curve.limit), f"{curve.p_value:.2g}"
            rows.append(Row.of(name, *texts, explanation=explanation))
            figure = plot_coverage(curve.levels, curve.coverage, curve.low, curve.high, title=name)
            pictures.append(Picture.of(figure, f"{name}: {explanation}"))
        for name, ranks in ranked:
            rows.append(Row.of(f"Ranks of {name}", percent(ranks.distance), limit, f"{ranks.p_value:.2g}"))
        for name, ranks in sorted(ranked, key=lambda pair: pair[1].p_value)[: _MOST_PICTURES - len(pictures)]:
            figure = plot_ranks(ranks.shares, ranks.low, ranks.high, title=name)
            pictures.append(Picture.of(figure, f"Ranks of {name}"))
        head = ("Statistic", "Largest deviation over all levels", "By chance, in 5 % of cases, above", "p-value")
        notes = (
            "Grey: where exact posteriors lie in 95 % of cases, level by level, and for ranks over all bars together. "
            "Posteriors are too narrow where expected coverage lies below the diagonal, or bars are high at both ends. "
            "TARP leaves it where posteriors lie in the wrong place, have the wrong width, or ignore the data."
        )
        return Section(
            f"Are posteriors given {given} calibrated?",
            [Text(words), Table(head, rows), Pictures(pictures, small=True), Text(notes, note=True)],
        )


def choose_given(model: DiffusionModel, given: Sequence[int] | None) -> tuple[int, ...] | None:
    """Return the columns whose posterior is scored: those asked for, or the only set the model was fitted to be given.

    None where neither is. Raises InvalidInput for columns that may not be given, and where no other column varies.
    """
    if given is None:
        sets = model.conditions
        return sets[0] if isinstance(sets, tuple) and len(sets) == 1 else None
    model.check_pattern(given)
    if not given or not set(model.codec.varying) - set(given):
        raise InvalidInput(
            f"given should leave columns that vary, but has {listed(model.schema.label(j) for j in given) or 'none'}: "
            "the others are the parameters."
        )
    return tuple(sorted(given))


def score(
    model: DiffusionModel,
    unseen: Rows,
    given: Sequence[int],
    *,
    stream: Stream,
    n_pairs: int = _N_PAIRS,
    n_draws: int = _N_DRAWS,
) -> PosteriorScores | None:
    """Return the calibration of the posterior of all other columns, on unseen rows (n, d) in the user's units.

    Rows without all parameters are left out; a parameter whose gaps are generated may be missing, but has no ranks, as
    some of its draws have no value. Rows without all given columns are left out unless the model takes any
    conditions. None with fewer than two rows.
    """
    generated = model.codec.missing_levels
    parameters = [j for j in model.codec.varying if j not in given]
    ranked = [j for j in parameters if j not in generated]
    needed = ranked + [j for j in given if model.conditions != "any"]
    rows = unseen[~np.isnan(unseen[:, needed]).any(axis=1)]
    if len(rows) < 2:
        return None
    rows = random_rows(rows, n_pairs, stream=stream.child("rows"))
    others = [j for j in range(model.codec.n_columns) if j not in given]
    conditional = ParameterConditional(model, list(given), others)
    data, truth = rows.copy(), rows[:, others]
    data[:, others] = np.nan
    drawn = conditional.draw(data, n_draws, stream=stream.child("draws"))
    of_draws = conditional.log_prob(drawn.reshape(-1, len(others)), np.repeat(data, n_draws, axis=0))
    levels = density_ranks(
        of_draws.reshape(len(rows), n_draws), conditional.log_prob(truth, data), stream=stream.child("density")
    )
    places = [others.index(j) for j in parameters]
    ranks = tuple(
        rank_histogram(ranks_in_draws(drawn[..., i], truth[:, i], stream=stream.child("ranks", i)))
        for i in map(others.index, ranked)
    )
    codec = Codec(tuple(model.codec.columns[j] for j in parameters))
    points, at = (_coordinates(codec, values[..., places]) for values in (drawn, truth))
    may_repeat = len(codec.continuous) < codec.n_columns
    references = find_references(at, _coordinates(model.codec, data), may_repeat=may_repeat)
    nearer = tarp_ranks(points, at, references, stream=stream.child("tarp"))
    n_far = int((find_rarity(model, data, given) < RARE).sum())
    return PosteriorScores(
        tuple(ranked), tuple(given), len(rows), n_draws, ranks, coverage_curve(levels), coverage_curve(nearer), n_far
    )


def find_references(parameters: Rows, data: Rows, *, may_repeat: bool) -> Rows:
    """Return for each row the parameters, (n, k), of the row before it with the nearest data, (n, m); 0 for the first.

    A row's rank is uniform whatever the rows before it are. So the ranks are independent, which they would not be if
    two rows could be the references of each other. Distances are in standard deviations of the data. Unless parameters
    `may_repeat` by chance, rows with the same ones are of one draw of the prior, and no reference: the truth would be
    nearer than any draw.
    """
    z = data / np.maximum(data.std(axis=0), 1e-12)
    references = np.zeros_like(parameters)
    for i in range(1, len(parameters)):
        others = np.arange(i) if may_repeat else np.flatnonzero((parameters[:i] != parameters[i]).any(axis=1))
        if len(others):
            references[i] = parameters[others[np.square(z[others] - z[i]).sum(axis=1).argmin()]]
    return references


def _coordinates(codec: Codec, values: Rows) -> Rows:
    """Return encoded columns, (..., k), as coordinates for distances; a gap and a number at an atom count as 0."""
    z = codec.encode(values.reshape(-1, codec.n_columns))
    return np.asarray(np.nan_to_num(z).reshape(*values.shape[:-1], codec.n_encoded))
