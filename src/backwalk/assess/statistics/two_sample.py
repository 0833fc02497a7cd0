"""Classifier two-sample tests: the accuracy of a classifier that separates generated rows from real rows.

An accuracy of 1/2 means that this classifier cannot separate them with this number of rows; the densities may still
differ. For two sets of 10,000 rows of one density the accuracy has a standard deviation of about 0.004: take the mean
of several pairs by `nulls.compare`. Source: Lopez-Paz and Oquab 2017.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
from numpy.typing import ArrayLike
from sklearn.ensemble import HistGradientBoostingClassifier
from sklearn.model_selection import StratifiedKFold, cross_val_score
from sklearn.neighbors import KNeighborsClassifier
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from backwalk.assess.statistics.columns import ColumnKind, categories_of
from backwalk.errors import InvalidInput
from backwalk.estimates import as_two_sets
from backwalk.streams import Stream

_N_FOLDS = 5
ClassifierFactory = Callable[[int, int], Any]
"""(d, seed) -> a fresh scikit-learn classifier."""


def boosting(d: int, seed: int) -> Any:  # noqa: ARG001 - every factory takes d
    """Return histogram gradient boosting with scikit-learn's defaults: fast, sharp on single columns."""
    return HistGradientBoostingClassifier(random_state=seed)


def boosting_of(kinds: Sequence[ColumnKind]) -> ClassifierFactory:
    """Return the factory of boosted trees that treat categories as such, on rows of `kinds`.

    A split sends any set of levels to the left. Categories of more than 255 levels, the most that these trees take, are
    ordered by their codes instead. Missing cells are a side of each split.
    """

    def factory(d: int, seed: int) -> Any:  # noqa: ARG001 - every factory takes d
        return HistGradientBoostingClassifier(categorical_features=categories_of(kinds), random_state=seed)

    return factory


def neighbours(d: int, seed: int) -> Any:  # noqa: ARG001 - every factory takes both
    """Return a vote of the 15 nearest rows on standardised columns: sharp on local density in few dimensions."""
    return make_pipeline(StandardScaler(), KNeighborsClassifier(15))


def c2st(x: ArrayLike, y: ArrayLike, *, classifier: ClassifierFactory = boosting, stream: Stream) -> float:
    """Return the cross-validated accuracy of a classifier trained to tell the rows of x from the rows of y.

    x and y are (n, d), with equally many rows, so that guessing has accuracy 1/2. No row may occur twice, in one set or
    in both: a copy in the training folds would reveal the held-out row. The stream seeds folds and classifier.
    `classifier` is one of `boosting`, `neighbours`, `boosting_of(kinds)`, or any (d, seed) -> scikit-learn classifier.
    Cells may be NaN, for missing, where the classifier takes them, as boosted trees do.

    Returns an accuracy in [0, 1]. Raises InvalidInput for unequal numbers, for fewer rows than folds, and for fewer
    than the classifier can learn from.

    >>> from backwalk.assess.statistics import c2st, neighbours
    >>> from backwalk.streams import Stream
    >>> x = Stream(0).normal(0, 100, 2).numpy()
    >>> c2st(x, x + 9.0, classifier=neighbours, stream=Stream(1))
    1.0
    """
    x_rows, y_rows = as_two_sets(x, y, at_least=_N_FOLDS, allow_gaps=True)
    if len(x_rows) != len(y_rows):
        raise InvalidInput(
            f"x and y should have equally many rows, but have {len(x_rows)} and {len(y_rows)}: take random_rows of the "
            "larger set."
        )
    model = classifier(x_rows.shape[1], stream.child("classifier").integer())
    folds = StratifiedKFold(_N_FOLDS, shuffle=True, random_state=stream.child("folds").integer())
    labels = np.repeat([0, 1], len(x_rows))
    rows = np.concatenate([x_rows, y_rows])
    try:
        scores = cross_val_score(model, rows, labels, cv=folds, scoring="accuracy", error_score="raise")
    except ValueError as error:
        raise InvalidInput(
            f"The classifier should learn from the rows of x and y, but with {len(x_rows)} of each it raised: "
            f"{' '.join(str(error).split()).rstrip('.')}. Give more rows, or another classifier."
        ) from error
    return float(scores.mean())
