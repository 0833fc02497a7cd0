"""Multiple imputation: each completed table from another model, and estimates pooled by Rubin's rules."""

import numpy as np
import pandas as pd
import pytest
from scipy import stats

from backwalk import Diffusion, multiple_imputations, pooled
from backwalk.denoiser import Residual
from backwalk.errors import InvalidInput


@pytest.fixture(scope="module")
def refitted():
    """The fits' weights and the tables of three imputations, each from a model of its own."""
    rows = pd.DataFrame(np.random.default_rng(0).normal(size=(40, 2)), columns=["a", "b"]).round(3)
    rows.loc[::2, "b"] = None
    seen, fit = [], Diffusion.fit

    def recorded(self, X, y=None, sample_weight=None):
        seen.append((self.random_state, sample_weight))
        return fit(self, X, y, sample_weight)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Diffusion, "fit", recorded)
        quick = Diffusion(n_steps=20, max_steps=5, denoiser=Residual(8, 1), verbose=False)
        tables = list(multiple_imputations(rows, 3, diffusion=quick, random_state=1))
    first = next(multiple_imputations(rows, 3, diffusion=quick, random_state=1))
    return rows, seen, tables, first


@pytest.mark.slow
def test_each_imputation_has_a_model_of_its_own_weights(refitted):
    """Weights are Exp(1): of 120, the mean is within 5 errors of 1, false alarm below 1e-6."""
    rows, seen, tables, first = refitted
    observed = rows.notna()
    for table in tables:
        assert table.notna().all(axis=None)
        pd.testing.assert_frame_equal(table.where(observed), rows)
    pd.testing.assert_frame_equal(first, tables[0])
    seeds, weights = zip(*seen, strict=True)
    assert len(set(seeds)) == 3
    for i in range(3):
        assert abs(np.corrcoef(weights[i], weights[i - 1])[0, 1]) < 0.8
    assert np.min(weights) > 0.0
    assert np.mean(weights) == pytest.approx(1.0, abs=5.0 / np.sqrt(120))
    assert stats.kstest(np.ravel(weights), "expon").pvalue > 1e-6


@pytest.mark.parametrize(("n_draws", "diffusion"), [(1, None), (2.5, None), (2, "ddpm")])
def test_imputations_that_cannot_be_made_are_refused_before_any_fit(n_draws, diffusion):
    with pytest.raises(InvalidInput, match="n_draws" if diffusion is None else "diffusion"):
        multiple_imputations(np.zeros((5, 2)), n_draws, diffusion=diffusion)


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
    for share in (95, 0.0, 1.0, "a"):
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
        ([1.0, 2.0], [1.0, 1.0], "a"),
        ("a", [1.0, 2.0], 9),
        ([[1.0], [1.0, 2.0]], [1.0, 1.0], 9),
    ],
)
def test_what_cannot_be_pooled_is_refused(estimates, variances, freedom):
    with pytest.raises(InvalidInput):
        pooled(estimates, variances, complete_freedom=freedom)
