"""The statistics of ForestDiffusion's protocol: arrays of codes and numbers in, numbers out. They know no method.

Distances are Gower's: numbers scaled to [0, 1] by the training rows, categories of three levels or more one-hot times
1/2, and absolute differences summed. Source: Jolicoeur-Martineau, Fatras and Kachman 2024, appendix C, and the code of
their results, from which these differ where a note says so.
"""

from __future__ import annotations

import importlib
import warnings
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import torch
from scipy import stats
from scipy.spatial.distance import cdist
from sklearn.ensemble import AdaBoostClassifier, AdaBoostRegressor, RandomForestClassifier, RandomForestRegressor
from sklearn.exceptions import ConvergenceWarning
from sklearn.linear_model import LinearRegression, LogisticRegression
from sklearn.metrics import f1_score, r2_score
from sklearn.preprocessing import LabelEncoder

from benchmarks.published_sets import PublishedSet, Rows

_MOST_DEPTH = 28  # of a tree in a forest
_COVERED = 0.95  # of real rows by each other: the least for a number of neighbours


class Gower:
    """Rows as points whose L1 distance is Gower's."""

    def __init__(self, table: PublishedSet, train: Rows) -> None:
        self._kinds = table.kinds
        self._levels = [np.unique(table.rows[:, j]) for j in range(len(table.kinds))]
        self._low = train.min(axis=0)
        self._range = np.where(train.max(axis=0) > self._low, train.max(axis=0) - self._low, 1.0)

    def __call__(self, rows: Rows) -> Rows:
        """Return the points of rows, (n, k)."""
        scaled = (rows - self._low) / self._range
        blocks = [
            0.5 * (rows[:, j, None] == levels) if kind == "category" else scaled[:, j, None]
            for j, (levels, kind) in enumerate(zip(self._levels, self._kinds, strict=True))
        ]
        return np.concatenate(blocks, axis=1)

    def rows(self, points: Rows) -> Rows:
        """Return rows of any points, (n, d): a category is its largest coordinate; numbers stay within their range.

        Integers and binary columns are rounded.
        """
        columns, start = [], 0
        for j, kind in enumerate(self._kinds):
            if kind == "category":
                block = points[:, start : start + len(self._levels[j])]
                columns.append(self._levels[j][block.argmax(axis=1)])
                start += block.shape[1]
            else:
                values = self._low[j] + self._range[j] * np.clip(points[:, start], 0.0, 1.0)
                columns.append(values if kind == "number" else np.round(values))
                start += 1
        return np.stack(columns, axis=1)


def wasserstein(x: Rows, y: Rows) -> float:
    """Return the exact W1 of two sets of points, (n, k) and (m, k), with the L1 distance as cost."""
    optimal_transport = importlib.import_module("ot")
    cost = cdist(x, y, "cityblock")
    return float(optimal_transport.emd2([], [], cost, numItermax=10_000_000))


def coverage(real: Rows, generated: Rows) -> float:
    """Return the share of real points with a generated one nearer than their k-th real neighbour, all in L1.

    k is one more than the least for which 95 % of the real points differ from their k-th neighbour: 2, unless rows
    repeat. Source: Naeem et al. 2020; the paper's code has this k.
    """
    between = np.sort(cdist(real, real, "cityblock"), axis=1)  # the nearest to a point is itself
    is_enough = (between[:, 1:] > 0.0).mean(axis=0) >= _COVERED
    k = min(int(np.argmax(is_enough)) + 2 if is_enough.any() else len(real), between.shape[1] - 1)
    return float((cdist(real, generated, "cityblock").min(axis=1) < between[:, k]).mean())


def efficiency(table: PublishedSet, train: Rows, test: Rows, n_tries: int) -> float:
    """Return the score on test rows of four models that are trained on generated rows: macro F1, or R^2.

    It is the mean over linear models without a penalty, AdaBoost, random forests and XGBoost, each with `n_tries`
    seeds; 0 where classes of the test rows were not generated. Where the paper's scikit-learn had AdaBoost's SAMME.R,
    today's has SAMME, which is better for many classes.
    """
    levels = [np.unique(table.rows[:, j]) for j in range(len(table.kinds) - 1)]
    x, x_test = (_dummies(table, rows, levels) for rows in (train, test))
    y, y_test = train[:, -1], test[:, -1]
    if table.is_class and not np.isin(y_test, y).all():
        return 0.0
    encoder = LabelEncoder().fit(y)
    scores = []
    for seed in range(n_tries):
        for model in _classifiers(seed) if table.is_class else _regressors(seed):
            with warnings.catch_warnings():
                warnings.simplefilter("ignore", ConvergenceWarning)
                if table.is_class:
                    predicted = encoder.inverse_transform(model.fit(x, encoder.transform(y)).predict(x_test))
                    scores.append(f1_score(y_test, predicted, average="macro"))
                else:
                    scores.append(r2_score(y_test, model.fit(x, y).predict(x_test)))
    return float(np.mean(scores))


def _dummies(table: PublishedSet, rows: Rows, levels: Sequence[Rows]) -> Rows:
    kinds = table.kinds[:-1]
    blocks = [
        (rows[:, j, None] == levels[j]).astype(float) if kind == "category" else rows[:, j, None]
        for j, kind in enumerate(kinds)
    ]
    return np.concatenate(blocks, axis=1)


def _classifiers(seed: int) -> list[Any]:
    return [
        LogisticRegression(C=np.inf, max_iter=500, random_state=seed),
        AdaBoostClassifier(random_state=seed),
        RandomForestClassifier(max_depth=_MOST_DEPTH, random_state=seed, n_jobs=torch.get_num_threads()),
        _xgboost("XGBClassifier", seed),
    ]


def _regressors(seed: int) -> list[Any]:
    return [
        LinearRegression(),
        AdaBoostRegressor(random_state=seed),
        RandomForestRegressor(max_depth=_MOST_DEPTH, random_state=seed, n_jobs=torch.get_num_threads()),
        _xgboost("XGBRegressor", seed),
    ]


def _xgboost(name: str, seed: int) -> Any:
    model: Callable[..., Any] = getattr(importlib.import_module("xgboost"), name)
    return model(reg_lambda=0.0, random_state=seed, n_jobs=torch.get_num_threads())


def absolute_errors(points: Rows, imputed: Sequence[Rows], n_missing: int) -> tuple[float, float]:
    """Return the least and the mean error of imputations, in Gower's distance per missing cell.

    The least is over the imputations of each row (MinMAE), the mean over all (AvgMAE).

    Args:
        points: the true rows by `Gower`, (n, k).
        imputed: the imputed ones, each (n, k).
        n_missing: number of missing cells.
    """
    by_row = np.stack([np.abs(each - points).sum(axis=1) for each in imputed])
    return float(by_row.min(axis=0).sum() / n_missing), float(by_row.mean(axis=0).sum() / n_missing)


def coverage_of_regression(true: Rows, imputed: Sequence[Rows]) -> float:
    """Return how often 95 % intervals of a least-squares fit to imputed rows hold the coefficients of the true rows.

    The mean is over coefficients, the intercept among them, and imputations. The target is the last column.
    """
    coefficients, _ = _least_squares(true)
    held = []
    for rows in imputed:
        estimate, half_width = _least_squares(rows)
        held.append((np.abs(estimate - coefficients) < half_width).mean())
    return float(np.mean(held))


def _least_squares(rows: Rows) -> tuple[Rows, Rows]:
    """Return the coefficients, the intercept first, and half the widths of their 95 % intervals."""
    x, y = np.column_stack([np.ones(len(rows)), rows[:, :-1]]), rows[:, -1]
    scale = np.linalg.norm(x, axis=0)  # columns may be of very different units
    scaled = x / scale
    inverse = np.linalg.pinv(scaled.T @ scaled)
    coefficients = inverse @ scaled.T @ y
    freedom = len(x) - x.shape[1]
    variance = float(((y - scaled @ coefficients) ** 2).sum()) / freedom
    errors = np.sqrt(variance * np.diagonal(inverse))
    return coefficients / scale, stats.t.ppf(0.975, freedom) * errors / scale
