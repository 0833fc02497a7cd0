"""`DiffusionImputer` in scikit-learn's manner: its contract, pipelines, and tables with labels."""

import numpy as np
import pandas as pd
import pytest
from sklearn.linear_model import LinearRegression
from sklearn.pipeline import make_pipeline
from sklearn.utils.estimator_checks import estimator_checks_generator

from backwalk.denoiser import Residual
from backwalk.errors import InvalidInput
from backwalk.estimator import Diffusion, DiffusionImputer

TINY = Diffusion(
    n_steps=10, max_steps=3, denoiser=Residual(8, 1), validation_fraction=0.0, random_state=0, verbose=False
)
NOT_RUN = {"check_array_api_input": "runs only where SCIPY_ARRAY_API is set in the environment"}


def sklearn_checks():
    for imputer, check in estimator_checks_generator(DiffusionImputer(TINY)):
        if check.func.__name__ not in NOT_RUN:
            yield pytest.param(imputer, check, id=check.func.__name__)


@pytest.fixture(scope="module")
def table():
    rng = np.random.default_rng(0)
    x = rng.normal(size=120)
    frame = pd.DataFrame({"x": x, "y": 2.0 * x + 0.1 * rng.normal(size=120), "kind": np.where(x > 0, "high", "low")})
    frame.loc[::5, "y"] = np.nan
    frame.loc[1::7, "kind"] = None
    return frame


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore::backwalk.errors.DegenerateRowsWarning")
@pytest.mark.filterwarnings("ignore::backwalk.errors.RepeatedValueWarning")
@pytest.mark.parametrize(("imputer", "check"), list(sklearn_checks()))
def test_scikit_learn_s_checks(imputer, check):
    check(imputer)


@pytest.mark.parametrize("statistic", ["mean", "median", None])
def test_gaps_are_filled_in_the_same_way_each_time(table, statistic):
    imputer = DiffusionImputer(TINY, statistic=statistic, n_draws=5, random_state=1).fit(table)
    found = imputer.transform(table)
    assert not found.isna().to_numpy().any()
    assert list(imputer.get_feature_names_out()) == ["x", "y", "kind"]
    seen = table.notna().to_numpy()
    assert (found.to_numpy(object) == table.to_numpy(object))[seen].all()
    pd.testing.assert_frame_equal(imputer.transform(table), found)


def test_it_fits_into_pipelines(table):
    numbers = table[["x", "y"]]
    pipeline = make_pipeline(DiffusionImputer(TINY).set_output(transform="pandas"), LinearRegression())
    assert pipeline.fit(numbers, table["x"]).predict(numbers).shape == (120,)
    assert DiffusionImputer(TINY).set_params(diffusion__max_steps=2).diffusion.max_steps == 2
    with_polars = DiffusionImputer(TINY).set_output(transform="polars").fit(table)
    assert with_polars.transform(table).columns == ["x", "y", "kind"]


def test_complete_rows_teach_it_to_fill_gaps(table):
    whole = table.dropna()
    imputer = DiffusionImputer(TINY).fit(whole[["x", "y"]])
    assert np.isfinite(imputer.transform(table[["x", "y"]])).to_numpy().all()


def test_what_is_no_model_is_refused(table):
    with pytest.raises(InvalidInput, match="diffusion"):
        DiffusionImputer("diffusion").fit(table)
