"""Rubin's rules."""

import numpy as np
import pytest
from scipy import stats

from backwalk import pooled
from backwalk.errors import InvalidInput


def test_pooled_estimates_follow_rubin_s_rules():
    """By hand for three tables: Q = 2, U = 1, B = 1, T = 1 + 4/3, and Barnard and Rubin's degrees of freedom."""
    found = pooled([1.0, 2.0, 3.0], [0.5, 1.0, 1.5], complete_freedom=20)
    share = (4.0 / 3.0) / (7.0 / 3.0)
    assert (found.estimate, found.within, found.between) == (2.0, 1.0, 1.0)
    assert found.variance == pytest.approx(7.0 / 3.0)
    by_tables, observed = 2.0 / share**2, 21.0 / 23.0 * 20.0 * (1.0 - share)
    assert found.freedom == pytest.approx(by_tables * observed / (by_tables + observed))
    r = 4.0 / 3.0
    assert found.missing_information == pytest.approx((r + 2.0 / (found.freedom + 3.0)) / (r + 1.0))
    half = stats.t(found.freedom).ppf(0.975) * np.sqrt(7.0 / 3.0)
    np.testing.assert_allclose(found.interval(), [2.0 - half, 2.0 + half])
    several = pooled([[1.0, 5.0], [2.0, 5.0], [3.0, 5.0]], [[0.5, 1.0], [1.0, 1.0], [1.5, 1.0]])
    assert several.estimate.tolist() == [2.0, 5.0]
    assert several.freedom[1] == np.inf
    np.testing.assert_allclose(several.interval()[1], 5.0 + stats.norm.ppf([0.025, 0.975]))
    assert "2 +- 1.5" in repr(several)
    without_variances = pooled([1.0, 2.0, 3.0], [0.0, 0.0, 0.0], complete_freedom=20)
    assert without_variances.freedom == 2.0  # Rubin's m - 1
    for share in (95, 0.0, 1.0):
        with pytest.raises(InvalidInput, match=r"0\.95"):
            found.interval(share)


def test_pooled_intervals_hold_the_truth():
    """Means of 30 normal rows, of which 12 are drawn from their posterior: 95 % of 4,000 tables, within 5 errors."""
    rng, n, n_seen, m, tables = np.random.default_rng(0), 30, 18, 10, 4000
    seen = rng.normal(size=(tables, n_seen))
    spread = np.sqrt(seen.var(axis=1, ddof=1) * (n_seen - 1) / rng.chisquare(n_seen - 1, size=(m, tables)))
    centre = seen.mean(axis=1) + spread * rng.normal(size=(m, tables)) / np.sqrt(n_seen)
    drawn = centre[..., None] + spread[..., None] * rng.normal(size=(m, tables, n - n_seen))
    whole = np.concatenate([np.broadcast_to(seen, (m, *seen.shape)), drawn], axis=2)
    found = pooled(whole.mean(axis=2), whole.var(axis=2, ddof=1) / n, complete_freedom=n - 1)
    low, high = found.interval().T
    assert ((low < 0.0) & (high > 0.0)).mean() == pytest.approx(0.95, abs=5.0 * np.sqrt(0.95 * 0.05 / tables))


@pytest.mark.parametrize(
    ("estimates", "variances", "freedom"),
    [
        ([1.0], [1.0], 9),
        ([1.0, 2.0], [1.0], 9),
        ([1.0, np.nan], [1.0, 1.0], 9),
        ([1.0, 2.0], [1.0, -1.0], 9),
        ([1.0, 2.0], [1.0, 1.0], 0),
    ],
)
def test_what_cannot_be_pooled_is_refused(estimates, variances, freedom):
    with pytest.raises(InvalidInput):
        pooled(estimates, variances, complete_freedom=freedom)
