"""Classifier two-sample tests at small n. Statistical tests have a false-alarm rate of 1e-8 each."""

import numpy as np
import pytest
from scipy import stats
from sklearn.linear_model import LogisticRegression

from backwalk.assess.statistics.columns import ColumnKind
from backwalk.assess.statistics.two_sample import boosting, boosting_of, c2st, neighbours
from backwalk.errors import InvalidInput
from backwalk.streams import Stream

Z = stats.norm.isf(0.5e-8)


def normal(seed, n, d=2):
    return Stream(seed).normal(0, n, d).numpy()


@pytest.mark.slow
@pytest.mark.parametrize("classifier", [boosting, neighbours])
def test_rows_of_one_density_cannot_be_told_apart(classifier):
    """Each held-out answer is right with probability 1/2; their dependence at most doubles the spread of a mean.

    An answer that knows of the row it is asked for would be seen.
    """
    pairs = 2 if classifier is boosting else 8
    accuracies = [
        c2st(normal(2 * k, 200), normal(2 * k + 1, 200), classifier=classifier, stream=Stream(k)) for k in range(pairs)
    ]
    assert abs(np.mean(accuracies) - 0.5) < 2.0 * Z * 0.5 / (400 * pairs) ** 0.5


@pytest.mark.parametrize("classifier", [boosting, neighbours])
def test_distant_rows_are_told_apart(classifier):
    assert c2st(normal(0, 100), normal(1, 100) + 10.0, classifier=classifier, stream=Stream(0)) == 1.0


def test_accuracy_for_shifted_normals_is_near_the_best_possible():
    """The best rule for N(0, I) against N((2, 0), I) is right with probability Phi(1)."""

    def linear(d, seed):
        return LogisticRegression()

    n = 4000
    accuracy = c2st(normal(0, n), normal(1, n) + np.array([2.0, 0.0]), classifier=linear, stream=Stream(0))
    assert (
        abs(accuracy - stats.norm.cdf(1.0)) < Z * (0.84 * 0.16 / (2 * n)) ** 0.5
    )  # 5 folds: nearly independent answers


def test_stream_decides_folds_and_classifier():
    x, y = normal(0, 60), normal(1, 60) + 0.5
    values = [c2st(x, y, classifier=neighbours, stream=Stream(seed)) for seed in (0, 0, 1, 2, 3)]
    assert values[0] == values[1]
    assert len(set(values)) > 1


@pytest.mark.parametrize(
    ("n", "m", "message"), [(20, 21, "equally many rows"), (4, 4, "x should have at least 5 rows")]
)
def test_wrong_input_is_refused(n, m, message):
    with pytest.raises(InvalidInput, match=message):
        c2st(normal(0, n), normal(1, m), stream=Stream(0))


def test_boosted_trees_see_levels_as_categories_and_take_gaps():
    """Half of 12 levels in no order of their codes: one split tells the sets apart, where codes would take many."""
    some = np.array([0.0, 2.0, 3.0, 5.0, 8.0, 9.0])
    rest = np.setdiff1d(np.arange(12.0), some)
    u = Stream(0).uniform(0, 120, 2).numpy()
    x, y = (np.column_stack([own[(6 * u[:, 0]).astype(int)], u[:, 1]]) for own in (some, rest))
    x[::10, 0], y[::10, 0] = np.nan, np.nan
    kinds = (ColumnKind(tuple(np.arange(12.0))), ColumnKind())
    assert c2st(x, y, classifier=boosting_of(kinds), stream=Stream(1)) > 0.9
    assert boosting_of((ColumnKind(tuple(np.arange(300.0))), ColumnKind((0.0, 1.0))))(
        2, 0
    ).categorical_features.tolist() == [
        False,
        True,
    ]
