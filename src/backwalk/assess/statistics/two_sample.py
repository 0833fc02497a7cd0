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
    """Return boosted trees with scikit-learn's defaults, for `c2st`: fast, sharp on single columns.

    Parameters
    ----------
    d : int
        The number of columns. It is not used.
    seed : int
        The seed.

    Returns
    -------
    HistGradientBoostingClassifier
        A fresh classifier.

    See Also
    --------
    neighbours : A classifier that is sharp on local density.
    c2st : The test.

    Examples
    --------
    >>> from backwalk.assess.statistics import boosting
    >>> boosting(2, seed=0)
    HistGradientBoostingClassifier(random_state=0)
    """
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
    """Return a vote of the 15 nearest rows, for `c2st`: sharp on local density in few dimensions.

    Parameters
    ----------
    d : int
        The number of columns. It is not used.
    seed : int
        The seed. It is not used.

    Returns
    -------
    Pipeline
        A fresh classifier of standardised columns.

    See Also
    --------
    boosting : A classifier that is sharp on single columns.
    c2st : The test.

    Examples
    --------
    >>> from backwalk.assess.statistics import neighbours
    >>> list(neighbours(2, seed=0).named_steps)
    ['standardscaler', 'kneighborsclassifier']
    """
    return make_pipeline(StandardScaler(), KNeighborsClassifier(15))


def c2st(x: ArrayLike, y: ArrayLike, *, classifier: ClassifierFactory = boosting, stream: Stream) -> float:
    """Return the accuracy of a classifier that tells two sets of rows apart (C2ST).

    An accuracy of 1/2 means that this classifier cannot separate them with this number of rows; the densities may still
    differ.

    Parameters
    ----------
    x : array-like of shape (n, d)
        The first set. Cells may be NaN where the classifier takes them, as boosted trees do.
    y : array-like of shape (n, d)
        The second set, of as many rows. No row may occur twice, in one set or in both: a copy in the training folds
        would reveal the held-out row.
    classifier : callable, default=boosting
        A function of (d, seed) that returns a scikit-learn classifier: `boosting`, `neighbours` or your own.
    stream : Stream
        The seed of folds and classifier.

    Returns
    -------
    float
        The cross-validated accuracy, in [0, 1].

    Raises
    ------
    InvalidInput
        For unequal numbers of rows, and for fewer than folds or the classifier need.

    See Also
    --------
    compare : The accuracy beside its null.
    sliced_wasserstein : A distance in the unit of the columns.

    Notes
    -----
    For two sets of 10,000 rows of one density the accuracy has a standard deviation of about 0.004.

    Source: Lopez-Paz and Oquab 2017.

    Examples
    --------
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
