"""Supervised learning on tables: models trained on generated rows and on real rows, scored on the same unseen rows.

The models are scikit-learn's histogram gradient boosting, which takes categories and missing cells as they are.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from sklearn.ensemble import HistGradientBoostingClassifier, HistGradientBoostingRegressor

from backwalk.assess.statistics.calibration import log_loss
from backwalk.assess.statistics.columns import ColumnKind, categories_of, level_index, level_shares
from backwalk.errors import InvalidInput
from backwalk.estimates import Estimate, Rows, mean_estimate, random_rows
from backwalk.streams import Stream

_FEWEST_ROWS = 20
_FEWEST_OF_A_LEVEL = 10  # below, trees learn little and cannot hold rows out


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


def utility(
    generated: Rows, real: Rows, unseen: Rows, kinds: Sequence[ColumnKind], target: int, *, stream: Stream
) -> Utility:
    """Train on generated rows and on real rows, test on unseen rows: how well is column `target` predicted?

    All are (., d) in the user's units with the `kinds`; rows without a target are left out. Both models get equally
    many rows. Raises InvalidInput for fewer than 20 rows.
    """
    sets = [rows[~np.isnan(rows[:, target])] for rows in (generated, real, unseen)]
    n = min(len(sets[0]), len(sets[1]))
    if min(n, len(sets[2])) < _FEWEST_ROWS:
        raise InvalidInput(f"At least {_FEWEST_ROWS} rows should hold the target in each set, but only {n} do.")
    drawn, trained = (random_rows(rows, n, stream=stream.child(k)) for k, rows in enumerate(sets[:2]))
    test = sets[2]
    losses = [_losses(rows, test, kinds, target, stream.child("model")) for rows in (drawn, trained)]
    constant = _constant_losses(trained, test, kinds[target], target)
    return Utility(
        target,
        bool(kinds[target].levels),
        mean_estimate(losses[0]),
        mean_estimate(losses[1]),
        mean_estimate(losses[0] - losses[1]),
        mean_estimate(constant),
        n,
    )


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
    counts = level_shares(training[:, column], kind.levels) * (~np.isnan(training[:, column])).sum()
    return np.tile((counts + 1.0 / len(counts)) / (counts.sum() + 1.0), (n, 1))


def _losses(training: Rows, test: Rows, kinds: Sequence[ColumnKind], target: int, stream: Stream) -> Rows:
    if kinds[target].levels:
        p = level_probabilities(training, test, kinds, target, stream=stream)
        return log_loss(p, level_index(test[:, target], kinds[target].levels))
    others = [j for j in range(len(kinds)) if j != target]
    regressor = HistGradientBoostingRegressor(
        categorical_features=categories_of(kinds)[others], early_stopping=True, random_state=stream.integer()
    )
    regressor.fit(training[:, others], training[:, target])
    return _squared(test[:, target], regressor.predict(test[:, others]))


def _constant_losses(training: Rows, test: Rows, kind: ColumnKind, target: int) -> Rows:
    if kind.levels:
        p = frequency_probabilities(training, len(test), kind, target)
        return log_loss(p, level_index(test[:, target], kind.levels))
    return _squared(test[:, target], training[:, target].mean())


def _squared(values: Rows, predicted: Rows | float) -> Rows:
    variance = float(values.var())
    return np.asarray((values - predicted) ** 2 / (variance if variance > 0.0 else 1.0))
