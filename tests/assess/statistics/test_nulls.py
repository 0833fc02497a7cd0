"""Pairs, figures and their errors, checked on many repetitions. False-alarm rate 1e-8 for each statistical test."""

import math

import numpy as np
import pytest
from scipy import stats

from backwalk.assess.statistics.distances import sliced_wasserstein
from backwalk.assess.statistics.nulls import (
    compare,
    disjoint_pairs,
    resampled_pairs,
    sign_that_matters,
)
from backwalk.errors import InvalidInput
from backwalk.streams import Stream

Z = stats.norm.isf(0.5e-8)


def normal(seed, n, d=2):
    return Stream(seed).normal(0, n, d).numpy()


def mean_gap(real, other):
    return float(real.mean() - other.mean())


def test_disjoint_pairs_use_no_row_twice():
    real = disjoint_pairs(np.arange(103.0)[:, None], 5, stream=Stream(0))
    used = np.concatenate([half for pair in real.pairs for half in pair])[:, 0]
    assert len(real.pairs) == 5
    assert real.n_rows == 10
    assert len(np.unique(used)) == len(used) == 100
    assert real.overlap == real.correlation == 0.0


def test_resampled_pairs_are_different_splits_into_halves():
    real = resampled_pairs(np.arange(21.0)[:, None], 8, stream=Stream(0))
    assert real.n_rows == 10
    assert real.n_generated == 80
    for a, b in real.pairs:
        assert len(np.unique(np.concatenate([a, b]))) == 20
    assert len({tuple(np.sort(a[:, 0])) for a, _ in real.pairs}) == 8
    assert real.overlap == 0.5
    assert real.correlation == 0.25
    head = real.head(4)  # of 21 rows a set has 10, and another split's set half of these; of the first 4, a fifth
    assert (head.n_rows, head.overlap) == (4, 0.2)
    assert real.head(99).n_rows == 10


def test_pairs_of_sorted_rows_are_mixed():
    a, b = disjoint_pairs(np.arange(10_000.0)[:, None], 2, stream=Stream(0)).pairs[0]
    assert abs(a.mean() - b.mean()) < Z * 10_000 * math.sqrt(2 / 12 / 2500)


@pytest.mark.parametrize(("pairing", "wider"), [(disjoint_pairs, 1.0), (resampled_pairs, math.sqrt(1.0 + 4.0 / 3.0))])
def test_compare_takes_means_over_pairs_and_errors_from_them(pairing, wider):
    """With rho = 1/4 between four splits, an error is sqrt(1 + 4 rho / (1 - rho)) times that of independent pairs."""
    real = pairing(normal(0, 80 if pairing is disjoint_pairs else 20), 4, stream=Stream(1))
    generated = normal(2, 45)
    figure = compare(mean_gap, real, generated, name="mean", unit="cm")
    values = [mean_gap(a, generated[10 * k : 10 * k + 10]) for k, (a, _) in enumerate(real.pairs)]
    nulls = [mean_gap(a, b) for a, b in real.pairs]
    differences = np.subtract(values, nulls)
    assert figure.value == pytest.approx(np.mean(values))
    assert figure.standard_error == pytest.approx(wider * stats.sem(values))
    assert figure.null == pytest.approx(np.mean(nulls))
    assert figure.null_standard_error == pytest.approx(stats.sem(nulls))
    assert figure.difference == pytest.approx(figure.value - figure.null)
    assert figure.difference_standard_error == pytest.approx(wider * stats.sem(differences))
    assert (figure.name, figure.unit, figure.n_rows, figure.n_pairs) == ("mean", "cm", 10, 4)


def distance(real, other):
    return sliced_wasserstein(real, other, n_projections=4, stream=Stream(0))


@pytest.mark.slow
@pytest.mark.parametrize("statistic", [mean_gap, distance])
@pytest.mark.parametrize("pairing", [disjoint_pairs, resampled_pairs])
def test_errors_are_those_of_repeating_the_whole_study(pairing, statistic):
    """Over 200 tables of 48 rows, the spread of value, null and difference is what the errors say.

    A variance over 200 repetitions has a relative error of about 0.11 (means: normal), and that of distances, which are
    skew, up to 0.21. Only the value and the difference of distances from halves, whose parts of second order are less
    correlated than those of first order, may have errors that are too large.
    """
    figures = []
    for k in range(200):
        real = pairing(normal(3 * k, 48), 6, stream=Stream(k))
        generated = normal(3 * k + 1, real.n_generated) + 0.5
        figures.append(compare(statistic, real, generated, name="x"))
    margin = 1.0 + Z * (0.11 if statistic is mean_gap else 0.21)
    for value, error in (
        ("value", "standard_error"),
        ("null", "null_standard_error"),
        ("difference", "difference_standard_error"),
    ):
        seen = np.var([getattr(f, value) for f in figures], ddof=1)
        stated = np.mean([getattr(f, error) ** 2 for f in figures])
        assert seen < stated * margin
        if value == "null" or statistic is mean_gap or pairing is disjoint_pairs:
            assert stated < seen * margin


def test_rows_of_the_truth_differ_from_their_null_as_often_as_stated():
    """Of 200 studies of a perfect model 4.6 % may differ by more than two errors, by Student's t; more than 23: 1e-8.

    A shift of half a standard deviation is always seen.
    """
    alarms = 0
    for k in range(200):
        real = disjoint_pairs(normal(3 * k, 320), 8, stream=Stream(k))
        for shift in (0.0, 1.5)[: 2 if k < 20 else 1]:
            figure = compare(distance, real, normal(3 * k + 1, real.n_generated) + shift, name="x")
            alarms += figure.matters != 0 if shift == 0.0 else 0
            assert shift == 0.0 or figure.matters == 1
    assert alarms <= 28


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: disjoint_pairs(np.zeros((100, 2)), 1, stream=Stream(0)), "n_pairs should be at least 2"),
        (lambda: disjoint_pairs(np.zeros((11, 2)), 3, stream=Stream(0)), "rows should have at least 12 rows"),
        (lambda: resampled_pairs(np.zeros((3, 2)), 3, stream=Stream(0)), "rows should have at least 4 rows"),
        (
            lambda: compare(mean_gap, disjoint_pairs(normal(0, 40), 2, stream=Stream(0)), normal(1, 19), name="m"),
            "generated should have at least 20 rows, but has 19",
        ),
        (
            lambda: compare(mean_gap, disjoint_pairs(normal(0, 40), 2, stream=Stream(0)), normal(1, 20, 3), name="m"),
            "generated should have 2 columns",
        ),
    ],
)
def test_wrong_input_is_refused(call, message):
    with pytest.raises(InvalidInput, match=message):
        call()


def test_margins_and_errors_decide_what_matters():
    assert sign_that_matters(1.01, 0.1, 1.0) == 1
    assert sign_that_matters(-1.01, 0.1, 1.0) == -1
    assert sign_that_matters(0.99, 0.1, 1.0) == 0
    assert sign_that_matters(2.3, 1.0, 1.0) == 1
    assert sign_that_matters(2.3, 1.0, 1.0, n_pairs=8) == 0  # 2.43 errors by Student's t
