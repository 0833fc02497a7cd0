"""Statistics of tables: data frames and probabilities in, numbers out. They know no model.

Categories are the columns of text. Features are fitted on real rows, so that every method is seen through the same
ones: categories one-hot, and numbers as they are or min-max scaled.
"""

from __future__ import annotations

import importlib
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import islice
from typing import Any

import numpy as np
import pandas as pd
import torch
from numpy.typing import NDArray
from sklearn.ensemble import HistGradientBoostingClassifier
from sklearn.metrics import roc_auc_score
from sklearn.model_selection import StratifiedKFold

from backwalk.assess.statistics import c2st
from backwalk.streams import Stream
from benchmarks.methods import Rows

N_FOLDS = 3


@dataclass(frozen=True, eq=False)
class Features:
    """The columns of real rows: the levels of each category, in order, and the range of each number."""

    levels: dict[str, list[str]]
    ranges: dict[str, tuple[float, float]]

    @classmethod
    def of(cls, frame: pd.DataFrame) -> Features:
        """Return the features of real rows."""
        numbers = [name for name in frame if pd.api.types.is_numeric_dtype(frame[name])]
        levels = {name: sorted(frame[name].astype(str).unique()) for name in frame if name not in numbers}
        return cls(levels, {name: (float(frame[name].min()), float(frame[name].max())) for name in numbers})

    def one_hot(self, frame: pd.DataFrame, *, scaled: bool = False) -> NDArray[np.float32]:
        """Return numbers, min-max scaled if asked, and categories one-hot, (n, k); a level not known is 0 in all."""
        numbers = []
        for name, (low, high) in self.ranges.items():
            values = frame[name].to_numpy(float)
            numbers.append((values - low) / max(high - low, 1e-300) if scaled else values)
        codes = [
            frame[name].astype(str).to_numpy()[:, None] == np.array(levels)[None]
            for name, levels in self.levels.items()
        ]
        return np.concatenate([np.stack(numbers, axis=1)] * bool(numbers) + codes, axis=1).astype(np.float32)

    def coded(self, frame: pd.DataFrame) -> Rows:
        """Return numbers as they are and categories as codes, (n, d), NaN for a level not known."""
        columns = []
        for name in frame:
            if name in self.ranges:
                columns.append(frame[name].to_numpy(float))
            else:
                code = {level: float(i) for i, level in enumerate(self.levels[name])}
                columns.append(frame[name].astype(str).map(code).to_numpy(float))
        return np.stack(columns, axis=1)

    def is_category(self, frame: pd.DataFrame) -> list[bool]:
        """Return which columns of the frame are categories, (d,)."""
        return [name in self.levels for name in frame]


def xgb_c2st(real: pd.DataFrame, generated: pd.DataFrame, *, seed: int) -> tuple[float, float]:
    """Return 2 (1 - AUC) of a default XGBClassifier that tells generated from real rows, capped and not capped.

    1 is best. As sdmetrics' detection and TabPC have it: categories one-hot, three stratified folds, an AUC below .5
    counted as .5 in each fold. The second figure has no such cap, and is 1 on average for rows of one distribution.
    """
    xgboost = importlib.import_module("xgboost")
    features = Features.of(real)
    x = np.concatenate([features.one_hot(real), features.one_hot(generated)])
    y = np.repeat([0, 1], [len(real), len(generated)])
    stream = Stream(seed).child("benchmark xgb")
    folds = StratifiedKFold(N_FOLDS, shuffle=True, random_state=stream.integer())
    aucs = []
    for train, test in folds.split(x, y):
        classifier = xgboost.XGBClassifier(random_state=seed, n_jobs=torch.get_num_threads())
        classifier.fit(x[train], y[train])
        aucs.append(roc_auc_score(y[test], classifier.predict_proba(x[test])[:, 1]))
    return float(2.0 * (1.0 - np.maximum(aucs, 0.5).mean())), float(2.0 * (1.0 - np.mean(aucs)))


def boosted_c2st(real: pd.DataFrame, generated: pd.DataFrame, *, stream: Stream) -> float:
    """Return the accuracy of boosted trees, which take categories as such, on equally many real and generated rows."""
    features = Features.of(pd.concat([real, generated], ignore_index=True))  # a drawn level may not be in this set
    categories = features.is_category(real)

    def classifier(d: int, seed: int) -> Any:  # noqa: ARG001 - every factory takes d
        return HistGradientBoostingClassifier(categorical_features=categories, random_state=seed)

    return c2st(features.coded(real), features.coded(generated[list(real)]), classifier=classifier, stream=stream)


def copying_share(
    generated: pd.DataFrame, training: pd.DataFrame, held_out: pd.DataFrame, *, seed: int
) -> NDArray[np.float64]:
    """Return for each drawn row whether it is nearer to a training row (1) than to a held-out one (0), (n,).

    Equally many of both are compared, drawn with the seed; 1/2 where the distances are equal. The distance is TabSyn's:
    the sum of absolute differences of numbers scaled to [0, 1] and of one-hot codes. The mean is .5 without copying.
    """
    n = min(len(training), len(held_out))
    stream = Stream(seed).child("benchmark copying")
    features = Features.of(pd.concat([training, held_out], ignore_index=True))
    sides = [
        torch.from_numpy(features.one_hot(rows.iloc[stream.child(name).permutation(len(rows))[:n]], scaled=True))
        for name, rows in (("training", training), ("held out", held_out))
    ]
    points = torch.from_numpy(features.one_hot(generated, scaled=True))
    to_training, to_held_out = (
        torch.cat([torch.cdist(tile, side, p=1.0).amin(dim=1) for tile in points.split(512)]) for side in sides
    )
    nearer = (to_training < to_held_out).double() + 0.5 * (to_training == to_held_out).double()
    return np.asarray(nearer.numpy())


def log_losses(levels: Sequence[Any], log_probs: Rows, truth: pd.Series) -> Rows:
    """Return -ln P of the true levels, (n,), nats, from the log-probabilities of these levels, (n, L)."""
    place = {level: i for i, level in enumerate(levels)}
    codes = truth.map(place)
    losses = np.full(len(truth), np.inf)  # for a level that has no probability
    known = codes.notna().to_numpy()
    losses[known] = -log_probs[np.flatnonzero(known), codes[known].astype(int)]
    return losses


def known_rows(train: pd.DataFrame, test: pd.DataFrame, columns: Sequence[str]) -> pd.DataFrame:
    """Return the test rows whose levels in these columns all occur in the training rows: others have no probability."""
    known = np.ones(len(test), dtype=bool)
    for name in columns:
        known &= test[name].isin(train[name].unique()).to_numpy()
    return test[known].reset_index(drop=True)


def independent_nats(train: pd.DataFrame, test: pd.DataFrame, columns: Sequence[str]) -> Rows:
    """Return -ln P of the levels of test rows under independent columns with the training frequencies, (n,), nats."""
    total = np.zeros(len(test))
    for name in columns:
        frequency = train[name].value_counts(normalize=True)
        total -= np.log(test[name].map(frequency).to_numpy(float))
    return total


def tree_log_losses(train: pd.DataFrame, test: pd.DataFrame, column: str, *, seed: int) -> Rows:
    """Return -ln P of a column's levels in test rows by HistGradientBoosting trained for it on all others, (n,), nats.

    A tenth of the training rows chooses the learning rate, 0.1 or 0.02, the number of iterations, and the share of the
    levels' frequencies that is mixed in: with its defaults boosting is worse than these where levels are many, as it
    overfits the rare ones. Every test row's level should occur in the training rows.
    """
    others = train.drop(columns=column)
    features, y = Features.of(others), train[column]
    x, x_test = features.coded(others), features.coded(test.drop(columns=column))
    held_out = np.zeros(len(train), dtype=bool)
    held_out[Stream(seed).child("benchmark trees", column).permutation(len(train))[: len(train) // 10]] = True
    of_trees = held_out & y.isin(y[~held_out].unique()).to_numpy()  # boosting refuses levels that it was not fitted to
    log_frequency = np.log(y.value_counts(normalize=True))
    choices = []
    for rate in (0.1, 0.02):
        model = HistGradientBoostingClassifier(
            learning_rate=rate,
            max_iter=400,
            categorical_features=features.is_category(others),
            early_stopping=True,
            random_state=seed,
        )
        model.fit(x[~held_out], y[~held_out], X_val=x[of_trees], y_val=y[of_trees])
        places = [list(model.classes_).index(level) if level in model.classes_ else -1 for level in y[held_out]]
        prior = np.exp(y[held_out].map(log_frequency).to_numpy(float))
        for iteration, p in enumerate(model.staged_predict_proba(x[held_out])):
            of_level = np.where(np.array(places) >= 0, p[np.arange(len(p)), places], 0.0)
            for share in (0.001, 0.003, 0.01, 0.03, 0.1, 0.3, 0.6, 1.0):
                loss = -np.log((1.0 - share) * of_level + share * prior).mean()
                choices.append((loss, share, iteration, model))
    _, share, iteration, model = min(choices, key=lambda choice: choice[0])
    p = next(islice(model.staged_predict_proba(x_test), iteration, None))
    levels = list(log_frequency.index)
    mixed = np.tile(share * np.exp(log_frequency.to_numpy()), (len(test), 1))
    mixed[:, [levels.index(level) for level in model.classes_]] += (1.0 - share) * p
    return log_losses(levels, np.log(mixed), test[column])
