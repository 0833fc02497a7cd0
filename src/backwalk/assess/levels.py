"""Levels: do the model's predictions of each column, given all others, hold on unseen rows?

Levels are predicted in one evaluation of the network, numbers by draws. The predictions stand beside those of boosted
trees that were trained for one column alone. A `target` is also predicted by trees that were trained on generated rows,
and by trees that were trained on real rows.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from sklearn.ensemble import HistGradientBoostingClassifier, HistGradientBoostingRegressor

from backwalk.assess.representation import kinds_of
from backwalk.assess.sets import FEWEST_ROWS, RowSets
from backwalk.assess.statistics.calibration import (
    RankHistogram,
    Reliability,
    interval_coverage,
    log_loss,
    rank_histogram,
    ranks_in_draws,
    reliability,
)
from backwalk.assess.statistics.columns import ColumnKind, categories_of, level_counts, level_index
from backwalk.assess.statistics.nulls import sign_that_matters
from backwalk.errors import InvalidInput
from backwalk.estimates import Estimate, Rows, mean_estimate, random_rows
from backwalk.formatting import listed
from backwalk.model import DiffusionModel, Given, probabilities_with_copies, sample_rows
from backwalk.report.blocks import Cell, Heading, Picture, Pictures, Row, Section, Table, Text
from backwalk.report.calibration import plot_ranks, plot_reliability
from backwalk.report.words import column_name, estimate_text, signed, with_error
from backwalk.streams import Stream
from backwalk.table import Schema

if TYPE_CHECKING:
    from backwalk.assess.record import Fidelity

_MOST_ROWS = 2_048  # whose levels are predicted
_MOST_LEVELS = 64
_MOST_TREES = 16  # per round of boosting, over all columns that trees are trained for
_FEWEST_OF_A_LEVEL = 10  # below, trees learn little and cannot hold rows out
_MOST_NUMBERS, N_DRAWN, _N_DRAWS = 6, 256, 19  # columns, rows, and draws of each
_MARGIN = 0.01  # of a loss: nats per row, or a share of the variance
_CALIBRATION_THAT_MATTERS, _Z = 0.01, 4.0
_MOST_PICTURES = 3


@dataclass(frozen=True, eq=False)
class LevelScores:
    """Probabilities of one column's levels, given all other columns, on unseen rows.

    Losses are -ln P(level), nats: of the model, of the training frequencies, and of boosted trees that were trained for
    this column alone (None where that takes too long). `excess` is the row-paired loss of the model minus that of the
    trees. `reliability` says whether the probabilities hold.
    """

    column: int
    n_levels: int
    loss: Estimate
    frequencies: Estimate | None
    trees: Estimate | None
    excess: Estimate | None
    reliability: Reliability

    @property
    def fails(self) -> bool:
        """Whether the probabilities are off by more than matters and than chance explains."""
        error = self.reliability.error - self.reliability.null
        return error > _CALIBRATION_THAT_MATTERS and self.reliability.excess > _Z


@dataclass(frozen=True, eq=False)
class NumberScores:
    """The ranks of unseen numbers among draws of their column given all others, and the coverage of intervals."""

    column: int
    n_draws: int
    ranks: RankHistogram
    coverage_50: Estimate
    coverage_90: Estimate


@dataclass(frozen=True)
class Utility:
    """How well models of one column, trained on generated rows and on as many real rows, predict unseen rows.

    The losses are means over unseen rows: of levels -ln P(level), nats; of a number the squared error over the variance
    of the unseen values, 1 - R^2. `excess` is the row-paired difference, generated minus real, with its standard error
    over the unseen rows. `target` is the number of the column, and `constant` the loss of the real rows' frequencies or
    mean, which use no other column.
    """

    target: int
    is_level: bool
    generated: Estimate
    real: Estimate
    excess: Estimate
    constant: Estimate
    n_training: int

    @property
    def is_worse(self) -> bool:
        """Whether generated rows teach less than real ones, by a difference that matters."""
        return sign_that_matters(self.excess.value, self.excess.standard_error, _MARGIN) > 0


@dataclass(frozen=True, eq=False)
class PredictionScores:
    """The predictions of columns given all others; columns are numbers of the user's table.

    `levels` and `numbers` are empty for a model that does not take any conditions, and for complete numbers.
    `utility` is None without a target.
    """

    levels: tuple[LevelScores, ...]
    numbers: tuple[NumberScores, ...]
    utility: Utility | None

    def warnings(self, schema: Schema) -> Iterator[str]:
        """Yield the warning about probabilities that do not hold."""
        unsure = [
            f"{column_name(schema, scores.column)} ({scores.reliability.error:.3f}, by chance "
            f"{scores.reliability.null:.3f})"
            for scores in self.levels
            if scores.fails
        ]
        if unsure:
            yield (
                "Stated probabilities of levels differ from the frequencies found in unseen rows, on average, in "
                f"{listed(unsure)}. Train on more rows or for fewer steps before you use them as probabilities."
            )

    def section(self, model: DiffusionModel, fidelity: Fidelity) -> Section | None:  # noqa: ARG002 - every question takes it
        """Show whether the model's conditional probabilities and intervals hold on unseen rows."""
        blocks: list[object] = []
        if self.levels or self.numbers:
            words = (
                "Each column is predicted from all others, on unseen rows, by the model as it is: it was trained for "
                "no single column."
            )
            blocks.append(Text(words))
        if self.levels:
            blocks += self._level_blocks(model.schema)
        if self.numbers:
            blocks += self._number_blocks(model.schema)
        if self.utility is not None:
            blocks += _utility_blocks(self.utility, model.schema)
        return Section("Can its predictions be trusted?", blocks) if blocks else None

    def _level_blocks(self, schema: Schema) -> Iterator[object]:
        rows = []
        for level in self.levels:
            excess, found = level.excess, level.reliability
            matters = excess is not None and sign_that_matters(excess.value, excess.standard_error, _MARGIN) != 0
            cells = [
                Cell(estimate_text(level.frequencies)),
                Cell(estimate_text(level.trees)),
                Cell(estimate_text(level.loss), "" if excess is None else signed(estimate_text(excess)), matters),
                Cell(f"{found.error:.3f}", f"by chance {with_error(found.null, found.null_spread)}", level.fails),
            ]
            rows.append(Row(column_name(schema, level.column), cells, f"{level.n_levels} levels"))
        yield Heading("Levels")
        head = (
            "Column",
            "−ln P(level) of the training frequencies, nats",
            "Of boosted trees trained for this column",
            "Of the model; minus the trees'",
            "Calibration error of the model",
        )
        yield Table(head, rows)
        words = (
            "The calibration error is the mean difference between the probabilities that the model states and the "
            "shares of rows in which these levels came. Trees are trained for columns of few levels only."
        )
        yield Text(words, note=True)
        pictures = []
        for level in sorted(self.levels, key=lambda level: -level.reliability.excess)[:_MOST_PICTURES]:
            name, found = column_name(schema, level.column), level.reliability
            figure = plot_reliability(found.stated, found.observed, found.low, found.high, title=name)
            pictures.append(Picture.of(figure, f"Calibration of the levels of {name}"))
        yield Pictures(pictures, small=True)
        words = (
            "Points: the share of statements that came true, against their probability. Grey: where 95 % of the points "
            "of true statements lie. Shown are the columns whose errors are largest beside chance."
        )
        yield Text(words, note=True)

    def _number_blocks(self, schema: Schema) -> Iterator[object]:
        rows, pictures = [], []
        for number in self.numbers:
            name, ranks = column_name(schema, number.column), number.ranks
            shares = [
                with_error(coverage.value, coverage.standard_error, percent=True)
                for coverage in (number.coverage_50, number.coverage_90)
            ]
            rows.append(Row.of(name, *shares, f"{ranks.p_value:.2g}"))
            figure = plot_ranks(ranks.shares, ranks.low, ranks.high, title=name)
            pictures.append(Picture.of(figure, f"Ranks of {name} among draws"))
        yield Heading("Numbers")
        head = ("Column", "Unseen numbers in the 50 % interval", "In the 90 % interval", "p-value of equal ranks")
        yield Table(head, rows)
        yield Pictures(pictures, small=True)
        words = (
            f"The rank of each of {self.numbers[0].coverage_50.n} real numbers among {self.numbers[0].n_draws} draws "
            "of its column, given the rest of its row. If the model is right, all ranks are equally frequent, and the "
            "bars lie in the grey band in 95 % of cases. Bars high at both ends mean draws that are too narrow."
        )
        yield Text(words, note=True)


def score(model: DiffusionModel, sets: RowSets, target: int | None, stream: Stream) -> PredictionScores | None:
    """Score the predictions of columns, and of what generated rows teach about the column number `target`.

    Trees that predict levels are trained for the target first. None where there is nothing to score.
    """
    levels, numbers, taught = tuple[LevelScores, ...](), tuple[NumberScores, ...](), None
    if model.conditions == "any" and not sets.representation.is_of_numbers:
        levels = tuple(score_levels(model, sets.unseen, sets.trained, target, stream.child("levels")))
        numbers = tuple(score_numbers(model, sets.unseen, model.codec.varying, stream.child("numbers")))
    if target is not None and sets.trained is not None:
        kinds, of_utility = kinds_of(model.codec), stream.child("utility")
        taught = utility(sets.generated, sets.trained, sets.unseen, kinds, target, stream=of_utility)
    return PredictionScores(levels, numbers, taught) if levels or numbers or taught else None


def check_target(target: int | None, trained: Rows | None, unseen: Rows) -> None:
    """Raise InvalidInput for a target that too few rows hold, or without training rows."""
    if target is None:
        return
    if trained is None:
        raise InvalidInput("A target needs training rows, whose models are compared: give training too.")
    n = min(int((~np.isnan(rows[:, target])).sum()) for rows in (trained, unseen))
    if n < FEWEST_ROWS:
        raise InvalidInput(f"At least {FEWEST_ROWS} rows should hold the target in each set, but only {n} do.")


def predict_levels(model: DiffusionModel, rows: Rows, block: int) -> Rows:
    """Return P(level | all other cells) of one column of levels, (n, L), for rows (n, d) in the user's units.

    It is the probability given that the cell is not missing, as the level of a missing cell is left out.
    """
    codec, others = model.codec, rows.copy()
    others[:, codec.blocks[block].column] = np.nan
    p = probabilities_with_copies(Given.to_draw(model, others), block)[:, ~np.isnan(codec.blocks[block].values)]
    return np.asarray(p / p.sum(axis=1, keepdims=True))


def score_levels(
    model: DiffusionModel, unseen: Rows, training: Rows | None, target: int | None, stream: Stream
) -> Iterator[LevelScores]:
    """Yield the scores of each column with up to 64 levels, of up to 2,048 unseen rows (n, d) in the user's units.

    Trees are trained for the target and for columns of few levels, until they are 16 per round.
    """
    # The blocks of rules' cells come after those of columns, whose numbers they leave as they are.
    kinds, blocks = kinds_of(model.codec), model.codec.without_rules.blocks
    scored = random_rows(unseen, _MOST_ROWS, stream=stream.child("rows"))
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
        loss, frequencies, trees = log_loss(p, level), None, None
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


def utility(
    generated: Rows, real: Rows, unseen: Rows, kinds: Sequence[ColumnKind], target: int, *, stream: Stream
) -> Utility:
    """Train on generated rows and on as many real rows, test on unseen rows: how well is column `target` predicted?

    All are (., d) in the user's units with the `kinds`; rows without a target are left out.
    """
    drawn, trained, test = (rows[~np.isnan(rows[:, target])] for rows in (generated, real, unseen))
    n, kind = min(len(drawn), len(trained)), kinds[target]
    drawn, trained = (random_rows(rows, n, stream=stream.child(k)) for k, rows in enumerate((drawn, trained)))
    others, seed = [j for j in range(len(kinds)) if j != target], stream.child("model")

    def losses_of(training: Rows | None) -> Rows:
        """Return the loss of each unseen row after training on some rows; of the constant for None."""
        if kind.levels:
            if training is None:
                p = frequency_probabilities(trained, len(test), kind, target)
            else:
                p = level_probabilities(training, test, kinds, target, stream=seed)
            return log_loss(p, level_index(test[:, target], kind.levels))
        predicted: Rows | float = float(trained[:, target].mean())
        if training is not None:
            trees = HistGradientBoostingRegressor(
                categorical_features=categories_of(kinds)[others], early_stopping=True, random_state=seed.integer()
            )
            predicted = trees.fit(training[:, others], training[:, target]).predict(test[:, others])
        return np.asarray(np.square(test[:, target] - predicted) / (float(test[:, target].var()) or 1.0))

    of_drawn, of_trained, constant = losses_of(drawn), losses_of(trained), losses_of(None)
    excess = mean_estimate(of_drawn - of_trained)
    estimates = mean_estimate(of_drawn), mean_estimate(of_trained), excess, mean_estimate(constant)
    return Utility(target, bool(kind.levels), *estimates, n)


def level_probabilities(
    training: Rows, rows: Rows, kinds: Sequence[ColumnKind], column: int, *, stream: Stream
) -> Rows:
    """Return P(level | other columns) of one column by boosted trees trained on `training`: (n, L) for rows (n, d).

    Levels with fewer than 10 training rows have their frequencies instead, and the others the rest of the probability.
    """
    kind = kinds[column]
    with_level = training[~np.isnan(training[:, column])]
    index = level_index(with_level[:, column], kind.levels)
    p = frequency_probabilities(training, len(rows), kind, column)
    common = np.bincount(index, minlength=len(kind.levels)) >= _FEWEST_OF_A_LEVEL
    if common.sum() < 2:
        return p
    others, kept = [j for j in range(len(kinds)) if j != column], common[index]
    classifier = HistGradientBoostingClassifier(
        categorical_features=categories_of(kinds)[others], early_stopping=True, random_state=stream.integer()
    )
    classifier.fit(with_level[kept][:, others], index[kept])
    p[:, common] = p[:, common].sum(axis=1, keepdims=True) * classifier.predict_proba(rows[:, others])
    return p


def frequency_probabilities(training: Rows, n: int, kind: ColumnKind, column: int) -> Rows:
    """Return the training frequencies of one column's levels, one pseudo-row added, for n rows: (n, L)."""
    counts = level_counts(training[:, column], kind.levels).astype(np.float64)
    return np.tile((counts + 1.0 / len(counts)) / (counts.sum() + 1.0), (n, 1))


def _utility_blocks(scores: Utility, schema: Schema) -> Iterator[object]:
    name = column_name(schema, scores.target)
    what = "−ln P(level), nats" if scores.is_level else "squared error / variance (1 − R²)"
    yield Heading(f"Can generated rows teach to predict {name}?")
    yield Text(
        f"Boosted trees predict {name} from the other columns. They are trained on {scores.n_training:,} generated or "
        f"real rows, and tested on {scores.generated.n:,} unseen real rows. ± is the error over the tested rows."
    )
    rows = [
        Row.of("Generated rows", estimate_text(scores.generated), signed(estimate_text(scores.excess))),
        Row.of("Real training rows", estimate_text(scores.real), "0"),
        Row.of("No other column", estimate_text(scores.constant), "–"),
    ]
    yield Table(("Trained on", f"Loss on unseen rows: {what}", "Minus that of real rows"), rows)
