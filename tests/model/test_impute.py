"""A column given others, gaps filled by draws and by estimates, and their observed cells."""

import numpy as np
import pandas as pd
import polars as pl
import pytest
from scipy import stats

from backwalk import Diffusion, multiple_imputations, pooled
from backwalk.denoiser import Residual
from backwalk.errors import InvalidInput
from backwalk.model import Conditional
from backwalk.model.impute import _own_values
from backwalk.table import AtomsColumn, Codec, IntegerColumn, NumberColumn, Schema

pytestmark = pytest.mark.usefixtures("small_tiles")
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


@pytest.mark.parametrize("given", [None, ["x"]])
def test_levels_given_others_have_their_probabilities(penguins, penguins_density, whole, given):
    rows, frame = whole
    found = penguins.conditional(frame.drop(columns="species"), "species", given=given)
    expected = penguins_density.level_log_probs(rows, "species", given=given)
    np.testing.assert_allclose(found.probabilities, np.exp(expected), atol=1e-6)
    assert found.levels.tolist() == ["Adelie", "Chinstrap", "Gentoo"]
    assert found.mode.tolist() == found.levels[expected.argmax(axis=1)].tolist()
    own = expected[np.arange(12), rows[:, 0].astype(int)]
    np.testing.assert_allclose(found.log_prob(frame["species"]), own, atol=1e-5)
    assert repr(found) == "Conditional(column 'species', 12 rows, levels 'Adelie', 'Chinstrap', 'Gentoo')"
    with pytest.raises(InvalidInput, match="'species' has labels"):
        found.quantile(0.5)
    with pytest.raises(InvalidInput, match="'species' has levels"):
        _ = found.draws


def test_levels_that_are_numbers_have_a_distribution_function(penguins, penguins_density, whole):
    rows, frame = whole
    found = penguins.conditional(frame, "sex")
    p = np.exp(penguins_density.level_log_probs(rows, "sex"))[:, 1]
    assert found.levels.tolist() == [False, True]
    np.testing.assert_allclose(found.mean, p, atol=1e-6)
    np.testing.assert_allclose(found.cdf(np.zeros(12)), 1.0 - p, atol=1e-6)
    np.testing.assert_array_equal(found.quantile([0.0, 0.5, 1.0])[:, 1], p > 0.5)
    ties = found.pit(frame["sex"])
    low = np.where(frame["sex"], 1.0 - p, 0.0)
    assert ((ties > low) & (ties < low + np.where(frame["sex"], p, 1.0 - p))).all()
    assert found.mode.dtype == bool


def test_a_number_given_others_has_their_mean_and_quantiles(penguins, penguins_density, whole):
    rows, frame = whole
    found = penguins.conditional(frame, "y", n_draws=99)
    species, sex = rows[:, 0].astype(int), rows[:, 2].astype(int)
    means = penguins_density.means[species, sex, 0]
    covariances = penguins_density.covariances[species, sex, 0]
    gain = covariances[:, 0, 1] / covariances[:, 0, 0]
    np.testing.assert_allclose(found.mean, means[:, 1] + gain * (rows[:, 1] - means[:, 0]), atol=1e-4)
    assert found.draws.shape == (12, 99)
    np.testing.assert_allclose(found.quantile([0.1, 0.5]), np.sort(found.draws, axis=1)[:, [9, 49]], rtol=1e-9)
    at = [penguins_density.conditional_cdf(np.column_stack([rows[:, :3], y]), "y") for y in found.draws.T]
    assert stats.kstest(np.ravel(at), "uniform").pvalue > 1e-8
    np.testing.assert_allclose(found.interval(0.8), found.quantile([0.1, 0.9]), rtol=1e-9)
    assert stats.kstest(found.pit(frame["y"]), "uniform").pvalue > 1e-8
    for what in ("levels", "probabilities", "mode"):
        with pytest.raises(InvalidInput, match="'y' is a number"):
            getattr(found, what)
    assert repr(found) == "Conditional(column 'y', 12 rows, 99 draws each)"


SCHEMA = Schema(("x",), ("float64",), "pandas")


def test_the_mean_and_quantiles_of_a_column_with_gaps_are_those_of_its_values():
    """Found by review: they were NaN wherever a gap has a probability. The probability of a gap is told apart."""
    weights = np.array([[0.2, 0.3, 0.5], [0.0, 0.0, 1.0]])
    levels = Conditional("x", SCHEMA, np.array([5.0, 1.0, np.nan]), weights)
    np.testing.assert_allclose(levels.missing, [0.5, 1.0])
    np.testing.assert_allclose(levels.mean, [0.4 * 5.0 + 0.6 * 1.0, np.nan])
    np.testing.assert_array_equal(levels.quantile([0.5, 0.7, 1.0])[0], [1.0, 5.0, 5.0])
    np.testing.assert_allclose(levels.cdf([1.0, 1.0]), [0.6, np.nan])
    draws = np.array([[1.0, 2.0, 4.0, np.nan], [np.nan] * 4])
    number = Conditional("x", SCHEMA, draws, gap=np.array([0.3, 0.9]))
    np.testing.assert_array_equal(number.missing, [0.3, 0.9])
    np.testing.assert_allclose(number.mean, [7.0 / 3.0, np.nan])
    np.testing.assert_allclose(number.quantile([0.25, 0.5, 0.625, 1.0])[0], [1.0, 2.0, 3.0, 4.0])
    assert np.isnan(number.quantile(0.5)[1])
    np.testing.assert_allclose(number.cdf([2.0, 2.0]), [2.0 / 3.0, np.nan])
    assert np.isnan(number.cdf([np.nan, 1.0])).all()
    assert 0.25 < number.pit([2.0, 2.0])[0] < 0.75


def test_a_fit_that_generates_gaps_tells_their_probability():
    rng = np.random.default_rng(0)
    x = np.where(rng.random(200) < 0.3, np.nan, rng.normal(size=200))
    frame = pd.DataFrame({"x": x, "y": rng.normal(size=200)})
    small = Diffusion(max_steps=5, missing="generate", denoiser=Residual(8, 1), random_state=0, verbose=False)
    model = small.fit(frame)
    found = model.conditional(frame[:6], "x", n_draws=60)
    np.testing.assert_allclose(found.missing, np.isnan(x).mean(), atol=0.1)
    assert np.isfinite(found.mean).all()
    assert np.isfinite(found.interval(0.5)).all()


def test_columns_that_cannot_be_told_are_refused(penguins, fitted, rows, whole):
    _, frame = whole
    with pytest.raises(InvalidInput, match="'y' is"):
        penguins.conditional(frame, "y", given=["x", "y"])
    with pytest.raises(InvalidInput, match="column 1 is constant"):
        fitted.conditional(rows[:2], 1)
    with pytest.raises(InvalidInput, match='conditions="any"'):
        fitted.conditional(rows[:2], 2)
    with pytest.raises(InvalidInput, match="'x'"):
        penguins.conditional(frame.drop(columns="x"), "y")
    with pytest.raises(InvalidInput, match="12 rows, but has 2"):
        penguins.conditional(frame, "sex").log_prob([True, False])


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


def test_a_gap_is_drawn_in_whatever_table_its_row_stands(penguins, gaps):
    """Row 2 is the same where the rows after it are missing, up to rounding."""
    one, other = (penguins.impute(table, random_state=5) for table in (gaps, gaps.head(3)))
    assert one.loc["row 2", "y"] == pytest.approx(other.loc["row 2", "y"], abs=1e-5)


def test_draws_of_gaps_follow_the_conditional(penguins, penguins_density):
    """By the conditional distribution function: a false alarm in 1e8."""
    rows = penguins_density.sample(400, random_state=8)
    frame = penguins_density.as_frame(rows)
    frame = frame.assign(sex=rows[:, 2] == 1.0, y=np.nan)
    drawn = penguins.impute(frame, random_state=1)["y"].to_numpy()
    u = penguins_density.conditional_cdf(np.column_stack([rows[:, :3], drawn]), "y")
    assert stats.kstest(u, "uniform").pvalue > 1e-8


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


def test_a_walk_of_a_table_draws_levels_and_then_numbers(penguins):
    *_, last = penguins.walk(6, random_state=3)
    drawn = penguins.sample(6, random_state=3)
    np.testing.assert_allclose(last.rows[:, [1, 3]], drawn[["x", "y"]], atol=1e-4)
    states = list(penguins.walk(drawn, direction="forward", n_evaluations=5, random_state=0))
    for state in states:
        np.testing.assert_array_equal(state.rows[:, [0, 2]], states[0].rows[:, [0, 2]])
    assert states[-1].rows[:, 1].std() != states[0].rows[:, 1].std()


def test_latents_and_students_are_of_numbers_alone(penguins, whole):
    for call in (
        lambda: penguins.to_latent(whole[1]),
        lambda: penguins.from_latent(np.zeros((1, 6))),
        lambda: penguins.distil(max_steps=1),
    ):
        with pytest.raises(InvalidInput, match="'species', column 'sex' have levels"):
            call()


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


def test_the_mean_of_a_count_with_a_spike_may_be_the_spike():
    """Found by review: means of up to a half were filled as 1, where a count is 0 or at least 1."""
    count = IntegerColumn(NumberColumn(20.0, 5.0), 1.0, 40.0, "uniform")
    inside = IntegerColumn(NumberColumn(20.0, 5.0), 1.0, 40.0, "uniform")
    codec = Codec((AtomsColumn(count, (0.0,), (0.6, 0.4)), AtomsColumn(inside, (-3.0, 5.0), (0.3, 0.3, 0.4))))
    means = np.array([[0.2, -2.9], [0.49, -0.9], [0.51, 5.3], [1.4, 4.4], [7.7, 60.0]])
    expected = [[0.0, -3.0], [0.0, 1.0], [1.0, 5.0], [1.0, 4.0], [8.0, 40.0]]
    np.testing.assert_array_equal(_own_values(codec, means), expected)
