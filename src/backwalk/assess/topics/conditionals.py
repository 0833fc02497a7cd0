"""Conditionals of a table's model on unseen rows: calibration, self-tests, and draws given a level.

Each column is predicted from all others: levels in one evaluation, numbers by draws.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, fields
from typing import Any

import numpy as np

from backwalk.assess.representation import kinds_of
from backwalk.assess.statistics.calibration import (
    RankHistogram,
    Reliability,
    interval_coverage,
    log_loss,
    rank_histogram,
    ranks_in_draws,
    reliability,
)
from backwalk.assess.statistics.columns import ColumnKind, associations, level_index, level_shares
from backwalk.assess.statistics.downstream import frequency_probabilities, level_probabilities
from backwalk.assess.topics.rows import RowSets
from backwalk.assess.words import column_name, with_error
from backwalk.estimates import Estimate, Rows, mean_estimate, random_rows
from backwalk.formatting import listed
from backwalk.model import (
    DiffusionModel,
    Given,
    log_density,
    log_prob_of_levels,
    probabilities_of_levels,
    sample_rows,
)
from backwalk.streams import Stream
from backwalk.table import Schema

_MOST_ROWS = 2_048  # whose levels are predicted
_MOST_LEVELS = 64
_MOST_TREES = 16  # per round of boosting, over all columns that trees are trained for
_MOST_NUMBERS, N_DRAWN, _N_DRAWS = 6, 256, 19  # columns, rows, and draws of each
N_TESTED = 256  # rows of the self-test
_MOST_PANELS, _MOST_GIVEN, N_GIVEN = 3, 4, 1_000  # columns, levels, and rows drawn given each
_FEWEST_GIVEN = 10  # real rows that hold a level
LEVEL_LOSS_MARGIN = 0.01  # nats per row
_CALIBRATION_THAT_MATTERS = 0.01
_N_SPLITS = 2  # of each kind in the self-test
_CONTRADICTION_THAT_MATTERS = 0.1  # nats per row
_Z = 4.0


@dataclass(frozen=True, eq=False)
class LevelScores:
    """Probabilities of one column's levels, given all other columns, on unseen rows.

    Losses are -ln P(level), nats: of the model, of the training frequencies, and of boosted trees that were trained for
    this column alone (None where that takes too long). `excess` is the row-paired loss of the model minus that of the
    trees. `on_training` is the loss of the model on rows that it was trained on, None without these. `reliability` says
    whether the probabilities hold.
    """

    column: int
    n_levels: int
    loss: Estimate
    frequencies: Estimate | None
    trees: Estimate | None
    excess: Estimate | None
    on_training: Estimate | None
    reliability: Reliability

    @property
    def training_gain(self) -> Estimate | None:
        """The loss on unseen rows minus that on training rows: 0 where the model remembers nothing of this column."""
        if self.on_training is None:
            return None
        error = math.hypot(self.loss.standard_error, self.on_training.standard_error)
        return Estimate(self.loss.value - self.on_training.value, error, self.loss.n + self.on_training.n)


@dataclass(frozen=True, eq=False)
class NumberScores:
    """The ranks of unseen numbers among draws of their column given all others, and the coverage of intervals."""

    column: int
    n_draws: int
    ranks: RankHistogram
    coverage_50: Estimate
    coverage_90: Estimate


@dataclass(frozen=True)
class SelfTest:
    """How far the model's probabilities contradict each other, nats per row: 0 for one distribution.

    `halves` and `single_levels` are means of |ln p(A, B) - ln p(B) - ln p(A | B)|, less its standard error. For
    `halves`, the columns of levels and those of numbers are each divided into two, so that both A and B have levels and
    numbers where there are two of each; for `single_levels`, A is a column of levels and B all others. `orders` is the
    mean of |ln p with the levels in their order - ln p with them in reverse|. What a table has no columns for is None.
    """

    halves: Estimate | None
    single_levels: Estimate | None
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
class ConditionalScores:
    """The conditionals of a model that takes any conditions; columns are numbers of the user's table."""

    levels: tuple[LevelScores, ...]
    numbers: tuple[NumberScores, ...]
    self_test: SelfTest
    panels: tuple[GivenPanel, ...]

    def warnings(self, schema: Schema) -> Iterator[str]:
        """Yield the warnings about probabilities."""
        unsure = [
            f"{column_name(schema, scores.column)} ({scores.reliability.error:.3f}, by chance "
            f"{scores.reliability.null:.3f})"
            for scores in self.levels
            if scores.reliability.error - scores.reliability.null > _CALIBRATION_THAT_MATTERS
            and scores.reliability.excess > _Z
        ]
        if unsure:
            yield (
                "Stated probabilities of levels differ from the frequencies found in unseen rows, on average, in "
                f"{listed(unsure)}. Train on more rows or for fewer steps before you use them as probabilities."
            )
        for estimate, what in (
            (self.self_test.halves, "ln p(A, B) and ln p(B) + ln p(A | B) of two halves of the columns"),
            (self.self_test.single_levels, "ln p of a row and ln p of all but one level + ln P(level | all others)"),
            (self.self_test.orders, "ln p with the levels in their order and in reverse"),
        ):
            if estimate is not None and estimate.value > _CONTRADICTION_THAT_MATTERS:
                yield (
                    f"The model's probabilities contradict each other: {what} differ by "
                    f"{with_error(estimate.value, estimate.standard_error)} nats per row on average. Differences of "
                    "log-probabilities below that mean little."
                )

    def to_dict(self) -> dict[str, Any]:
        """Return everything but the panels, which hold rows."""
        return {field.name: getattr(self, field.name) for field in fields(self) if field.name != "panels"}


def score_conditionals(
    model: DiffusionModel, sets: RowSets, target: int | None, stream: Stream
) -> ConditionalScores | None:
    """Score the conditionals of a table with levels or gaps; None for a model that does not take any conditions.

    Trees that predict levels are trained for the column number `target` first.
    """
    if model.conditions != "any":
        return None
    return ConditionalScores(
        tuple(score_levels(model, sets.unseen, sets.trained, target, stream.child("levels"))),
        tuple(score_numbers(model, sets.unseen, model.codec.varying, stream.child("numbers"))),
        measure_consistency(model, sets.unseen, stream.child("self-test")),
        tuple(draw_given_levels(model, sets.unseen, stream.child("panels"))),
    )


def predict_levels(model: DiffusionModel, rows: Rows, block: int) -> Rows:
    """Return P(level | all other cells) of one column of levels, (n, L), for rows (n, d) in the user's units.

    It is the probability given that the cell is not missing, as the level of a missing cell is left out.
    """
    codec, others = model.codec, rows.copy()
    others[:, codec.blocks[block].column] = np.nan
    p = probabilities_of_levels(Given.to_draw(model, others), block)[:, ~np.isnan(codec.blocks[block].values)]
    return np.asarray(p / p.sum(axis=1, keepdims=True))


def score_levels(
    model: DiffusionModel, unseen: Rows, training: Rows | None, target: int | None, stream: Stream
) -> Iterator[LevelScores]:
    """Yield the scores of each column with up to 64 levels, of up to 2,048 unseen rows (n, d) in the user's units.

    Trees are trained for the target and for columns of few levels, until they are 16 per round.
    """
    kinds, blocks = kinds_of(model.codec), model.codec.blocks
    scored = random_rows(unseen, _MOST_ROWS, stream=stream.child("rows"))
    of_fit = None if training is None else random_rows(training, _MOST_ROWS, stream=stream.child("training"))
    shown = [i for i, b in enumerate(blocks) if b.number is None and 2 <= len(kinds[b.column].levels) <= _MOST_LEVELS]
    sizes = {i: len(kinds[blocks[i].column].levels) for i in shown}
    by_size = sorted(shown, key=lambda i: (blocks[i].column != target, sizes[i]))
    n_trees = np.cumsum([1 if sizes[i] == 2 else sizes[i] for i in by_size])
    with_trees = {i for i, n in zip(by_size, n_trees, strict=True) if n <= _MOST_TREES}
    for i in shown:
        j = blocks[i].column
        rows = scored[~np.isnan(scored[:, j])]
        if len(rows) < 2:
            continue
        level = level_index(rows[:, j], kinds[j].levels)
        p = predict_levels(model, rows, i)
        loss, frequencies, trees, on_training = log_loss(p, level), None, None, None
        if of_fit is not None and np.count_nonzero(~np.isnan(of_fit[:, j])) > 1:
            known = of_fit[~np.isnan(of_fit[:, j])]
            on_training = mean_estimate(
                log_loss(predict_levels(model, known, i), level_index(known[:, j], kinds[j].levels))
            )
        if training is not None:
            frequencies = log_loss(frequency_probabilities(training, len(rows), kinds[j], j), level)
            if i in with_trees:
                by_trees = level_probabilities(training, rows, kinds, j, stream=stream.child("trees", j))
                trees = log_loss(by_trees, level)
        yield LevelScores(
            j,
            sizes[i],
            mean_estimate(loss),
            None if frequencies is None else mean_estimate(frequencies),
            None if trees is None else mean_estimate(trees),
            None if trees is None else mean_estimate(loss - trees),
            on_training,
            reliability(p, level, stream=stream.child("reliability", j)),
        )


def score_numbers(
    model: DiffusionModel, unseen: Rows, columns: Sequence[int], stream: Stream
) -> Iterator[NumberScores]:
    """Yield the ranks of 256 unseen numbers among 19 draws each, given all other columns, of up to six `columns`.

    Numbers whose gaps are generated are left out, as some of their draws have no value.
    """
    kinds, d = kinds_of(model.codec), model.codec.n_columns
    for j in [j for j in columns if not kinds[j].levels and j not in model.codec.missing_levels][:_MOST_NUMBERS]:
        rows = unseen[~np.isnan(unseen[:, j])]
        if len(rows) < 2:
            continue
        rows = random_rows(rows, N_DRAWN, stream=stream.child("rows", j))
        repeated = np.repeat(rows, _N_DRAWS, axis=0)
        given = Given.to_draw(model, repeated, np.broadcast_to(np.arange(d) != j, repeated.shape))
        drawn = sample_rows(model, 0, len(repeated), stream=stream.child("draws", j), given=given)
        ranks = ranks_in_draws(drawn[:, j].reshape(-1, _N_DRAWS), rows[:, j], stream=stream.child("ranks", j))
        coverage = [interval_coverage(ranks, probability) for probability in (0.5, 0.9)]
        yield NumberScores(j, _N_DRAWS, rank_histogram(ranks), *coverage)


def measure_consistency(model: DiffusionModel, unseen: Rows, stream: Stream) -> SelfTest:
    """Compare probabilities that one distribution would make equal, on up to 256 unseen rows.

    Each row takes one of the splits into A and B.
    """
    rows = random_rows(unseen, N_TESTED, stream=stream.child("rows"))
    splits = list(_splits(model, stream.child("splits")))
    gaps: dict[str, list[Rows]] = {"halves": [], "single_levels": []}
    whole = np.zeros((len(rows), 2)) if not splits else _log_prob_and_error(model, rows, stream=stream)
    for i, (kind, columns_a, columns_b) in enumerate(splits):
        some, of_some = rows[i :: len(splits)], whole[i :: len(splits)]
        if len(some):
            of_b = _log_prob_and_error(model, some, columns=columns_b, stream=stream)
            of_a = _log_prob_and_error(model, some, columns=columns_a, given=columns_b, stream=stream)
            difference, finite = of_some[:, 0] - of_b[:, 0] - of_a[:, 0], np.isfinite(of_some[:, 0])
            error = np.sqrt(of_some[:, 1] ** 2 + of_b[:, 1] ** 2 + of_a[:, 1] ** 2)
            gaps[kind].append(np.maximum(np.abs(difference) - error, 0.0)[finite])
    orders, n_blocks = None, len(model.codec.blocks)
    if n_blocks > 1:
        encoded = Given.to_score(model, rows)
        forth, back = (log_prob_of_levels(encoded, order).numpy() for order in (None, range(n_blocks - 1, -1, -1)))
        orders = mean_estimate(np.abs(forth - back))
    return SelfTest(
        orders=orders, **{kind: mean_estimate(np.concatenate(g)) if g else None for kind, g in gaps.items()}
    )


def _log_prob_and_error(model: DiffusionModel, rows: Rows, **options: Any) -> Rows:
    """Return ln p of rows and its standard error, (n, 2)."""
    found = log_density(model, rows, **options)
    return np.stack([found.log_prob.numpy(), found.standard_error.nan_to_num().numpy()], axis=1)


def _splits(model: DiffusionModel, stream: Stream) -> Iterator[tuple[str, list[int], list[int]]]:
    """Yield the splits of the self-test: their kind in `SelfTest`, and the columns of A and of B."""
    varying = list(model.codec.varying)
    with_levels = {block.column for block in model.codec.blocks if block.number is None}
    kinds = [[j for j in varying if j in with_levels], [j for j in varying if j not in with_levels]]
    if len(varying) < 2:
        return
    for i in range(_N_SPLITS):
        levels, numbers = (
            [columns[k] for k in stream.child(i, place).permutation(len(columns))]
            for place, columns in enumerate(kinds)
        )
        yield "halves", sorted(levels[::2] + numbers[1::2]), sorted(levels[1::2] + numbers[::2])
        if i < len(levels):
            alone = stream.child("alone").permutation(len(kinds[0]))[i]
            yield "single_levels", [kinds[0][alone]], [j for j in varying if j != kinds[0][alone]]


def draw_given_levels(model: DiffusionModel, real: Rows, stream: Stream) -> Iterator[GivenPanel]:
    """Yield panels of columns given levels: the category with the strongest associations, and what depends on it most.

    `real` are unseen rows, (n, d) in the user's units. For each of the category's four most frequent levels 1,000 rows
    are drawn given it.
    """
    kinds, varying = kinds_of(model.codec), list(model.codec.varying)
    varying_kinds = [kinds[j] for j in varying]
    candidates = [k for k, kind in enumerate(varying_kinds) if 2 <= len(kind.levels) <= _MOST_LEVELS]
    if not candidates or len(varying) < 2:
        return
    strength = np.abs(associations(real[:, varying], varying_kinds)) - np.eye(len(varying))
    chosen = max(candidates, key=lambda k: float(np.sort(strength[k])[-_MOST_PANELS:].sum()))
    given = varying[chosen]
    columns = [varying[k] for k in np.argsort(-strength[chosen], kind="stable")[:_MOST_PANELS] if k != chosen]
    for level in _frequent_levels(real[:, given], varying_kinds[chosen]):
        holds = real[real[:, given] == level]
        known = np.full((1, model.codec.n_columns), np.nan)
        known[0, given] = level
        drawn = sample_rows(
            model, 0, N_GIVEN, stream=stream.child("given", f"{level!r}"), given=Given.to_draw(model, known)
        )
        for column in sorted(columns):
            yield GivenPanel(given, level, column, holds[:, column], drawn[:, column])


def _frequent_levels(values: Rows, kind: ColumnKind) -> list[float]:
    """Return up to four of the most frequent levels with 10 rows or more, in their order."""
    shares = level_shares(values, kind.levels)
    n = int((~np.isnan(values)).sum())
    most = [k for k in np.argsort(-shares, kind="stable")[:_MOST_GIVEN] if shares[k] * n >= _FEWEST_GIVEN]
    return [kind.levels[k] for k in sorted(most)]
