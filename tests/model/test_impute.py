"""A column given others, gaps filled by draws and by estimates, and their observed cells."""

import numpy as np
import pandas as pd
import polars as pl
import pytest
from scipy import stats

from backwalk import Diffusion
from backwalk.denoiser import Residual
from backwalk.errors import InvalidInput

GAPS = [(0, "x"), (1, "species"), (2, "y"), (2, "sex"), (3, "species"), (3, "x")]


@pytest.fixture(scope="module")
def whole(penguins_density):
    """The rows as numbers, and as a frame of the fitted columns and dtypes."""
    rows = penguins_density.sample(12, random_state=6)
    frame = penguins_density.as_frame(rows)
    return rows, frame.assign(species=frame["species"].astype("string"), sex=rows[:, 2] == 1.0)


@pytest.fixture(scope="module")
def gaps(whole):
    frame = whole[1].astype({"sex": "boolean"})
    for i, name in GAPS:
        frame.loc[i, name] = None
    return frame.set_axis([f"row {i}" for i in range(12)])


def test_draws_fill_gaps_and_leave_the_rest(penguins, gaps, whole):
    draws = penguins.impute(gaps, n_draws=2, random_state=0)
    assert len(draws) == 2
    is_gap = gaps.isna().to_numpy()
    for drawn in draws:
        assert drawn.dtypes.astype(str).tolist() == ["string", "float64", "bool", "float64"]
        assert drawn.index.tolist() == gaps.index.tolist()
        assert not drawn.isna().to_numpy().any()
        same = drawn.to_numpy(object) == whole[1].to_numpy(object)
        assert same[~is_gap].all()
    assert (draws[0].loc["row 2", "y"]) != (draws[1].loc["row 2", "y"])
    pd.testing.assert_frame_equal(penguins.impute(gaps, random_state=0), draws[0])


@pytest.fixture(scope="module")
def with_a_rule():
    """A fit of few steps to an order of numbers, in which draws are checked, and 1,100 rows with gaps."""
    rng = np.random.default_rng(0)
    low = rng.normal(size=1_100).round(2)
    rows = pd.DataFrame({"low": low, "high": (low + rng.exponential(size=1_100)).round(2), "x": rng.normal(size=1_100)})
    model = Diffusion(max_steps=5, denoiser=Residual(8, 1), rules=["low <= high"], random_state=0, verbose=False)
    return model.fit(rows), rows.mask(rng.random(rows.shape) < 0.3)


def test_parts_of_a_table_are_imputed_as_the_whole(with_a_rule, penguins, penguins_density):
    """Up to rounding, wherever a table is divided."""
    values = penguins_density.sample(1_100, random_state=6)
    rows = penguins_density.as_frame(values).assign(sex=pd.array(values[:, 2] == 1.0, dtype="boolean"))
    rows = rows.mask(np.random.default_rng(0).random(rows.shape) < 0.2)
    for model, table in (with_a_rule, (penguins, rows)):
        whole = model.impute(table, random_state=5)
        for start, stop in ((2, 3), (1_000, 1_030)):
            part = model.impute(table[start:stop], first_row=start, random_state=5)
            pd.testing.assert_frame_equal(part, whole[start:stop], rtol=1e-4)


def test_draws_of_gaps_follow_the_conditional(penguins, penguins_density):
    """By the conditional distribution function: a false alarm in 1e8."""
    rows = penguins_density.sample(400, random_state=8)
    frame = penguins_density.as_frame(rows)
    frame = frame.assign(sex=rows[:, 2] == 1.0, y=np.nan)
    drawn = penguins.impute(frame, random_state=1)["y"].to_numpy()
    u = penguins_density.conditional_cdf(np.column_stack([rows[:, :3], drawn]), "y")
    assert stats.kstest(u, "uniform").pvalue > 1e-8


def test_medians_halve_the_conditional(penguins, penguins_density):
    rows = penguins_density.sample(100, random_state=8)
    frame = penguins_density.as_frame(rows).assign(sex=rows[:, 2] == 1.0, y=np.nan)
    medians = penguins.impute(frame, statistic="median")["y"].to_numpy()
    u = penguins_density.conditional_cdf(np.column_stack([rows[:, :3], medians]), "y")
    np.testing.assert_allclose(u, 0.5, atol=0.02)  # of ten evaluations


@pytest.mark.parametrize("share", [0.3, 0.7])
def test_medians_beside_atoms_halve_the_draws(share):
    """Of 2,000 draws, within four standard errors: a false alarm in 16,000 of each comparison."""
    rng = np.random.default_rng(0)
    x = rng.normal(size=500)
    y = np.where(rng.random(500) < share, 0.0, np.exp(x + rng.normal(size=500)))
    network = Residual(width=16, n_blocks=1, n_members=1)
    model = Diffusion(denoiser=network, max_steps=60, conditions="any", random_state=0, verbose=False)
    model.fit(pd.DataFrame({"x": x, "y": y}))
    assert 0.0 in model.model_.codec.columns[1].atom_shares
    gaps = pd.DataFrame({"x": [-1.0, 0.0, 1.0], "y": np.nan})
    medians = model.impute(gaps, statistic="median")["y"].to_numpy()
    draws = model.conditional(gaps, "y", n_draws=2_000, random_state=0).draws
    below, up_to = (draws < medians[:, None]).mean(axis=1), (draws <= medians[:, None]).mean(axis=1)
    error = 4.0 * 0.5 / np.sqrt(2_000) + 0.02  # of quantiles and of ten evaluations
    assert (below < 0.5 + error).all()
    assert (up_to > 0.5 - error).all()


@pytest.mark.parametrize("statistic", ["mean", "median"])
def test_estimates_are_those_of_each_gap(penguins, gaps, whole, statistic):
    found = penguins.impute(gaps, statistic=statistic, n_draws=40, random_state=0)
    assert found.loc["row 1", "species"] == penguins.conditional(gaps.iloc[[1]], "species").mode[0]
    assert found.loc["row 2", "sex"] == penguins.conditional(gaps.iloc[[2]], "sex").mode[0]
    of_x = penguins.conditional(gaps.iloc[[0]], "x", n_draws=40)
    expected, error = of_x.mean[0], of_x.draws.std() / np.sqrt(40)
    tolerance = 1e-5 if statistic == "mean" else 6.0 * error
    assert found.loc["row 0", "x"] == pytest.approx(expected, abs=tolerance)
    is_gap = gaps.isna().to_numpy()
    assert (found.to_numpy(object) == whole[1].to_numpy(object))[~is_gap].all()


def test_a_row_without_any_value_is_a_new_one(penguins, gaps):
    empty = gaps.head(2).copy()
    empty.loc["row 1"] = [pd.NA, np.nan, pd.NA, np.nan]
    assert not penguins.impute(empty, random_state=0).isna().to_numpy().any()


def test_complete_rows_come_back(penguins, whole):
    pd.testing.assert_frame_equal(penguins.impute(whole[1]), whole[1])
    as_polars = pl.from_pandas(whole[1])
    pd.testing.assert_frame_equal(penguins.impute(as_polars, statistic="mean"), whole[1])


def test_what_cannot_be_filled_is_refused(penguins, fitted, rows, gaps):
    holes = rows[:3].copy()
    holes[0, 0] = np.nan
    with pytest.raises(InvalidInput, match='conditions="any"'):
        fitted.impute(holes)
    holes = rows[:3].copy()
    holes[0, 1] = np.nan
    np.testing.assert_array_equal(fitted.impute(holes), rows[:3])
    with pytest.raises(InvalidInput, match="statistic"):
        penguins.impute(gaps, statistic="mode")
    with pytest.raises(InvalidInput, match="n_draws"):
        penguins.impute(gaps, n_draws=0)
    with pytest.raises(InvalidInput, match=r"'sex', .* 0\.5"):
        penguins.impute(gaps.assign(sex=0.5))


def test_latents_are_of_numbers_alone(penguins, whole):
    for call in (
        lambda: penguins.to_latent(whole[1]),
        lambda: penguins.from_latent(np.zeros((1, 6))),
    ):
        with pytest.raises(InvalidInput, match="'species', column 'sex' have levels"):
            call()


@pytest.mark.slow
@pytest.mark.parametrize("statistic", ["mean", "median"])
def test_estimates_are_values_that_their_column_can_have(statistic):
    """Found by review: 39.1 was filled as 38.123, and a mass in steps of 25 g as 3,801.3."""
    rng = np.random.default_rng(0)
    frame = pd.DataFrame(
        {
            "bill": np.round(rng.normal(40.0, 4.0, 150), 1),
            "mass": 25.0 * np.round(rng.normal(160.0, 20.0, 150)),
            "rating": rng.choice([0.5, 1.0, 3.5], 150),
            "x": rng.normal(size=150),
        }
    )
    gaps = frame.mask(rng.random(frame.shape) < 0.2)
    small = Diffusion(max_steps=5, denoiser=Residual(8, 1), random_state=0, verbose=False)
    filled = small.fit(gaps).impute(gaps, statistic=statistic, n_draws=5, random_state=0)
    np.testing.assert_array_equal(filled["bill"], filled["bill"].round(1))
    assert (filled["mass"] % 25.0 == 0.0).all()
    assert set(filled["rating"]) <= {0.5, 1.0, 3.5}
    pd.testing.assert_frame_equal(filled.where(gaps.notna()), gaps)
