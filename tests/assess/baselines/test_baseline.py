"""Baselines in the units of the user's table: what is drawn, what is scored, and the code to copy."""

import numpy as np
import pandas as pd
import pytest
from numpy.testing import assert_allclose, assert_array_equal

from backwalk import Diffusion
from backwalk.assess import fit_baseline
from backwalk.assess.baselines import fit_baselines
from backwalk.assess.baselines.features import FeatureMap
from backwalk.denoiser import Residual
from backwalk.errors import InvalidInput
from backwalk.streams import Stream

from ..tables import LABELS, frame, model, table

TRAINING, UNSEEN = table(400, 1), table(160, 2)
SETTINGS = {"n_steps": 20, "max_steps": 20, "denoiser": Residual(8, 1), "random_state": 0, "verbose": False}


def test_features_are_restored():
    features = FeatureMap(model().codec)
    rows = features.encode(UNSEEN)
    assert_array_equal(np.isnan(rows[:, 2]), UNSEEN[:, 1] == 0.0)  # the number where it does not apply
    assert_allclose(features.decode(rows), UNSEEN, rtol=1e-12)


def test_a_baseline_alone_gives_tables_of_the_fitted_kind():
    drawn = fit_baseline("trees", frame(TRAINING), model()).sample(50, random_state=0)
    assert list(drawn.columns) == ["region", "rain", "flag", "grade"]
    assert set(drawn["region"]) <= set(LABELS)
    assert (drawn["rain"] == 0.0).any()
    with pytest.raises(InvalidInput, match="kernel, trees"):
        fit_baseline("forest", frame(TRAINING), model())


def test_trees_take_the_differences_of_an_order_that_have_atoms():
    """Seen in a table of seasons and careers, which are equal in a first year: a report ended in an IndexError."""
    rng = np.random.default_rng(0)
    season, before = rng.lognormal(3.0, 1.0, 400), rng.lognormal(5.0, 1.0, 400)
    rows = pd.DataFrame({"season": season, "career": season + np.where(rng.random(400) < 0.3, 0.0, before)})
    fitted = Diffusion(**SETTINGS, rules=["season <= career"]).fit(rows).model_
    assert any(block.column >= 2 for block in fitted.codec.blocks)
    trees = fit_baseline("trees", rows, fitted)
    drawn = trees.sample(200, random_state=0)
    assert (drawn["season"] <= drawn["career"]).all()
    assert 0.1 < (drawn["season"] == drawn["career"]).mean() < 0.5
    assert np.isfinite(trees.log_prob_of_rows(rows.to_numpy(dtype=float)[:50], stream=Stream(0))).all()


@pytest.mark.parametrize("kind", ["gaussian-mixture", "kernel"])
def test_baselines_of_numbers_refuse_levels_and_gaps(kind):
    with pytest.raises(InvalidInput, match=f"{kind} .* trees"):
        fit_baseline(kind, frame(TRAINING), model())


def run(code, path, X):
    """Run the code to copy, which reads the model at `path`."""
    names = {"X": X}
    exec(code, names)
    return names["X_new"]


@pytest.fixture(scope="module")
def integers(tmp_path_factory):
    """A saved model of a table with a flag, a constant, a count and a number with heavy tails; its table."""
    rng = np.random.default_rng(0)
    amount = 50.0 * np.exp(2.0 * rng.normal(size=400))
    flags, counts = rng.integers(0, 2, 400), rng.poisson(9.0, 400)
    training = pd.DataFrame({"flag": flags, "site": 3.5, "amount": amount, "count": counts})
    fit = Diffusion(**SETTINGS, columns={"flag": "integer", "count": "integer"}).fit(training)
    path = tmp_path_factory.mktemp("model") / "m.backwalk"
    fit.save(path)
    return fit.model_, training, path


@pytest.mark.slow
def test_the_code_to_copy_draws_rows_like_those_of_the_fit(integers):
    """Found by review: it gave integers as they stand to a mixture, and noise to constants."""
    fitted, training, path = integers
    values = training.to_numpy(dtype=float)
    for baseline, _ in fit_baselines(values, fitted, values[:100], of_numbers=True, stream=Stream(0)):
        drawn = run(baseline.code(str(path)), path, training)
        assert list(drawn.columns) == list(training.columns)
        assert (drawn["site"] == 3.5).all()
        assert set(drawn["flag"]) == {0, 1}
        assert_allclose(drawn["flag"].mean(), training["flag"].mean(), atol=0.15)
        assert_allclose(drawn["count"].mean(), 9.0, atol=0.9)
        assert (drawn["amount"] >= training["amount"].min()).all()
        # Quartiles of 10,000 and 400 draws, in units of ln.
        for share in (0.25, 0.5, 0.75):
            assert abs(np.log(drawn["amount"].quantile(share) / training["amount"].quantile(share))) < 0.7
