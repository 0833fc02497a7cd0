"""Multiple imputation: each completed table from another model."""

import numpy as np
import pandas as pd
import pytest
from scipy import stats

from backwalk import Diffusion, multiple_imputations
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
