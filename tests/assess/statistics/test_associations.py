"""Associations of columns of any kind. False-alarm rate 1e-8 for each statistical test."""

import numpy as np
import pytest
from numpy.testing import assert_allclose
from scipy import stats

from backwalk.assess.statistics.associations import association_difference, associations, correlation_ratio, cramers_v
from backwalk.assess.statistics.kinds import ColumnKind
from backwalk.streams import Stream

NAN = np.nan
CATEGORY, NUMBER = ColumnKind((0.0, 1.0, 2.0)), ColumnKind()


def test_each_pair_has_the_association_of_its_kinds():
    u = Stream(0).uniform(0, 300, 4).numpy()
    rows = np.column_stack([np.floor(3 * u[:, 0]), np.floor(3 * u[:, 0] ** 2), u[:, 0] + u[:, 2], np.exp(9 * u[:, 3])])
    matrix = associations(rows, [CATEGORY, CATEGORY, NUMBER, NUMBER])
    assert_allclose(matrix, matrix.T)
    assert_allclose(np.diag(matrix), 1.0)
    assert matrix[2, 3] == pytest.approx(stats.spearmanr(rows[:, 2], rows[:, 3]).statistic)
    assert matrix[0, 2] == pytest.approx(correlation_ratio(rows[:, 0].astype(int), stats.rankdata(rows[:, 2])))
    assert matrix[0, 1] == pytest.approx(cramers_v(rows[:, 0].astype(int), rows[:, 1].astype(int)))
    # Ordered levels count as numbers.
    ordered = associations(rows, [ColumnKind((0.0, 1.0, 2.0), is_ordered=True), CATEGORY, NUMBER, NUMBER])
    assert ordered[0, 2] == pytest.approx(stats.spearmanr(rows[:, 0], rows[:, 2]).statistic)


def test_cramer_s_v_is_chi_square_corrected():
    a = np.repeat([0, 0, 1, 1, 2, 2], [30, 5, 10, 20, 3, 9])
    b = np.repeat([0, 1, 0, 1, 0, 1], [30, 5, 10, 20, 3, 9])
    table = np.array([[30, 5], [10, 20], [3, 9]])
    n, phi_sq = 77, stats.chi2_contingency(table, correction=False).statistic / 77
    expected = ((phi_sq - 2 / (n - 1)) / (min(3 - 4 / (n - 1), 2 - 1 / (n - 1)) - 1)) ** 0.5
    assert cramers_v(a, b) == pytest.approx(expected)
    assert cramers_v(a, a) == pytest.approx(1.0)
    assert cramers_v(a, np.zeros_like(a)) == 0.0


def test_without_association_the_corrected_squares_are_zero_on_average():
    """Many levels would otherwise look associated: eta^2 = 0.30 and phi^2 / 29 = 0.29 by chance alone."""
    squares = []
    for seed in range(100):
        u = Stream(seed).uniform(0, 100, 3).numpy()
        a, b = np.floor(30 * u[:, :2]).astype(int).T
        squares.append((cramers_v(a, b) ** 2, correlation_ratio(a, u[:, 2]) ** 2))
    assert (np.mean(squares, axis=0) < 0.05).all()


def test_the_correlation_ratio_is_that_of_an_analysis_of_variance():
    a, x = np.repeat([0, 1, 2], [10, 15, 20]), Stream(3).normal(0, 45, 1).numpy()[:, 0]
    x = x + a
    between = sum((a == k).sum() * (x[a == k].mean() - x.mean()) ** 2 for k in range(3))
    eta_sq = between / ((x - x.mean()) ** 2).sum()
    assert correlation_ratio(a, x) == pytest.approx((1 - (1 - eta_sq) * 44 / 42) ** 0.5)
    assert correlation_ratio(a, a.astype(float)) == pytest.approx(1.0)
    assert correlation_ratio(a, np.ones(45)) == 0.0


def test_pairs_use_the_rows_where_both_are_observed():
    u = Stream(1).uniform(0, 60, 3).numpy()
    rows = np.column_stack([np.floor(3 * u[:, 0]), u[:, 0] + u[:, 1], u[:, 0]])
    gaps = rows.copy()
    gaps[::3, 0], gaps[1::3, 1] = NAN, NAN
    kinds = [CATEGORY, NUMBER, NUMBER]
    matrix = associations(gaps, kinds)
    kept = rows[2::3]
    # Ranks are those among all observed values of a column.
    ranks = stats.rankdata(gaps[:, 1], nan_policy="omit")[2::3]
    assert matrix[0, 1] == pytest.approx(correlation_ratio(kept[:, 0].astype(int), ranks))
    assert association_difference(gaps, gaps, kinds) == 0.0
    assert association_difference(rows, rows[:, [0, 1, 1]], kinds) > 0.05
    assert association_difference(rows[:, :1], rows[:, :1], kinds[:1]) == 0.0
    assert not np.isnan(associations(np.full((5, 3), NAN), kinds)).any()
