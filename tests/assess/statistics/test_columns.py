"""Columns by their kinds. False-alarm rate 1e-8 for each statistical test, where no other is stated."""

import numpy as np
import pytest
from numpy.testing import assert_allclose
from scipy import stats

from backwalk.assess.statistics.columns import (
    ColumnKind,
    associations,
    column_distance,
    correlation_ratio,
    cramers_v,
    level_bands,
    level_counts,
    level_index,
)
from backwalk.errors import InvalidInput
from backwalk.streams import Stream

NAN = np.nan
CATEGORY, NUMBER = ColumnKind((0.0, 1.0, 2.0)), ColumnKind()
LEVELS = (0.0, 1.5, 4.0)


def test_levels_are_compared_by_total_variation():
    x, y = np.array([0.0, 0.0, 1.5, 4.0, NAN]), np.array([0.0, 1.5, 1.5, 1.5])
    # 0.5, 0.25, 0.25 against 0.25, 0.75, 0: the differences sum to 1.
    assert column_distance(x, y, ColumnKind(LEVELS)) == 0.5
    # With gaps: 0.4, 0.2, 0.2 and 0.2 missing.
    assert column_distance(x, y, ColumnKind(LEVELS, generates_gaps=True)) == pytest.approx(0.55)


def test_numbers_are_compared_by_their_distribution_functions():
    x, y = np.array([0.0, 0.0, 0.0, 1.0, 2.0, NAN]), np.array([0.0, 1.0, 2.0, 3.0, 4.0])
    assert column_distance(x, y, ColumnKind()) == pytest.approx(stats.ks_2samp(x[:5], y).statistic)
    # With gaps as the largest numbers F_x is 1/2, 4/6, 5/6 where F_y is 1/5, 2/5, 3/5.
    assert column_distance(x, y, ColumnKind(generates_gaps=True)) == pytest.approx(0.5 - 0.2)
    assert column_distance(x[5:], y, ColumnKind()) == 1.0
    assert column_distance(x[5:], x[5:], ColumnKind()) == 0.0


def test_unknown_values_of_levels_are_named():
    with pytest.raises(InvalidInput, match=r"3 levels .* holds 2"):
        level_index(np.array([0.0, NAN, 2.0]), LEVELS)
    assert level_counts(np.array([4.0, NAN, 0.0, 4.0]), LEVELS).tolist() == [1, 0, 2]


def are_outside(bands):
    return (bands.generated < bands.low) | (bands.generated > bands.high)


def test_bands_hold_all_shares_of_a_faithful_column_as_often_as_stated():
    """Of 400 columns of four levels 5 % or less leave a band: 48 or more has probability 2e-8 at 5 %."""
    shares, levels = np.cumsum([0.6, 0.3, 0.09, 0.01]), (0.0, 1.0, 2.0, 3.0)
    draws = np.searchsorted(shares, Stream(0).uniform(0, 400, 500).numpy()).astype(float)
    outside = [are_outside(level_bands(x[:200], x[200:], levels)).any() for x in draws]
    assert sum(outside) < 48
    moved = level_bands(draws[0, :200], np.where(draws[0] == 0.0, 2.0, draws[0])[200:], levels)
    assert are_outside(moved)[[0, 2]].all()
    assert_allclose(moved.real.sum(), 1.0)


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


def test_a_constant_column_has_no_association():
    x = Stream(2).uniform(0, 50, 3).numpy()
    x[:, 1] = 0.1
    np.testing.assert_array_equal(associations(x, [NUMBER] * 3)[1], [0.0, 1.0, 0.0])


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
    both = ~np.isnan(gaps[:, 1])
    ranks = stats.rankdata(gaps[:, 1], nan_policy="omit")[both]
    assert matrix[1, 2] == pytest.approx(np.corrcoef(ranks, stats.rankdata(gaps[:, 2])[both])[0, 1])
    assert not np.isnan(associations(np.full((5, 3), NAN), kinds)).any()
