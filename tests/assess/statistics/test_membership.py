import numpy as np
import pytest
from scipy.stats import beta, binom

from backwalk.assess.statistics.membership import area_under_roc, found_rows, smallest_area_shown
from backwalk.errors import InvalidInput
from backwalk.streams import Stream


def normal(seed, n):
    return Stream(seed).normal(0, n, 1).numpy()[:, 0]


def test_the_area_and_its_error_are_the_direct_formula():
    """With ties and infinite scores on both sides."""
    x = np.append(np.round(normal(0, 40) + 0.5, 1), [-np.inf, np.inf])
    y = np.append(np.round(normal(1, 30), 1), [-np.inf, -np.inf])
    wins = (x[:, None] > y).astype(float) + 0.5 * (x[:, None] == y)
    error = (wins.mean(axis=1).var(ddof=1) / len(x) + wins.mean(axis=0).var(ddof=1) / len(y)) ** 0.5
    found = area_under_roc(x, y)
    assert found.value == pytest.approx(wins.mean(), abs=1e-12)
    assert found.standard_error == pytest.approx(error, abs=1e-12)
    assert area_under_roc(y, x).value == pytest.approx(1.0 - found.value, abs=1e-12)


def test_exchangeable_rows_are_beyond_two_errors_as_often_as_a_normal():
    """Of 400 pairs of sets 4.6 % on average; the bounds have a false-alarm rate of 1e-6."""
    areas = [area_under_roc(scores[:60], scores[60:]) for scores in np.random.default_rng(0).normal(size=(400, 150))]
    beyond = sum(abs(area.value - 0.5) > 2.0 * area.standard_error for area in areas)
    low, high = binom.ppf([5e-7, 1 - 5e-7], 400, 0.0455)
    assert low <= beyond <= high
    spread = np.std([area.value for area in areas])
    assert smallest_area_shown(60, 90) - 0.5 == pytest.approx(2.0 * spread, rel=0.15)


@pytest.mark.parametrize(("n_found", "n"), [(0, 50), (7, 50), (50, 50)])
def test_the_interval_is_clopper_and_pearson_s(n_found, n):
    found = found_rows(np.where(np.arange(n) < n_found, 1e3, -1e3), normal(0, 500))
    assert found.share == n_found / n
    assert found.low == pytest.approx(0.0 if n_found == 0 else beta.ppf(0.025, n_found, n - n_found + 1))
    assert found.high == pytest.approx(1.0 if n_found == n else beta.ppf(0.975, n_found + 1, n - n_found))


def test_one_percent_of_alarms_needs_99_unseen_rows():
    assert found_rows(normal(0, 50), normal(1, 98)) is None
    assert found_rows([100.0, 0.5], np.arange(99.0)).share == 0.5
    assert found_rows([98.5, 97.5, 98.0], np.arange(99.0)).share == pytest.approx(1 / 3)
    assert found_rows([1.0, 1.0], np.ones(500)).share == 0.0  # ties are no finds


@pytest.mark.slow
def test_as_many_rows_are_found_by_chance_as_is_said():
    scores = np.random.default_rng(0).normal(size=(100, 650))
    all_found = [found_rows(each[:400], each[400:]) for each in scores]
    shares = np.array([found.share for found in all_found])
    assert all_found[0].by_chance == pytest.approx(2 / 251)
    assert shares.mean() == pytest.approx(2 / 251, abs=6 * shares.std() / 100**0.5)
    n_above = (shares > all_found[0].limit).sum()  # 2.5 of 100 on average; the bound has a false-alarm rate of 1e-6
    assert n_above <= binom.ppf(1 - 1e-6, 100, 0.025)
    assert (shares > 0.7 * all_found[0].limit).sum() > n_above


def test_scores_that_are_no_numbers_are_refused():
    with pytest.raises(InvalidInput, match="none of them NaN, but has shape \\(2,\\) and 1 NaN"):
        area_under_roc([1.0, 2.0], [np.nan, 1.0])
    with pytest.raises(InvalidInput, match="trained should hold at least two scores"):
        found_rows([1.0], normal(0, 100))
