"""Numbers are mapped to a normal through their quantiles where held-out rows become likelier, or where a user asks."""

import numpy as np
import pandas as pd
import pytest
from scipy import stats

from backwalk.datasets import DENSITIES
from backwalk.errors import InvalidInput
from backwalk.streams import Stream
from backwalk.table import Number, Order, Spline, as_table, fit_codec, refit_codec
from backwalk.table.choose_splines import fit_knots


def test_knots_follow_the_rows_and_ties_do_not_make_them_coincide():
    y = np.random.default_rng(1).normal(size=20_000)
    knots, quantiles = fit_knots(y)
    assert 90 < len(knots) <= 120
    # Quantiles of 20,000 rows err by sqrt(p (1 - p) / n) / density: at most .014 at the tail's ten rows' .05 relative.
    np.testing.assert_allclose(knots, quantiles, atol=0.6)
    np.testing.assert_allclose(knots[20:-20], quantiles[20:-20], atol=0.06)
    assert (np.abs(quantiles[[0, -1]]) > 2.5).all()
    assert len(fit_knots(y[:300])[0]) < 12
    y[:900] = 0.5
    y[900:1000] = 0.5 + 1e-12
    tied, quantiles = fit_knots(y)
    assert (np.diff(tied) > 0.0).all()
    assert (np.diff(quantiles) <= 30.0 * np.diff(tied) * (1 + 1e-9)).all()
    spline = Spline(tuple(tied.tolist()), tuple(quantiles.tolist()))
    np.testing.assert_allclose(spline.decode(spline.encode(y)), y, atol=1e-10)


def test_a_user_asks_for_a_map_with_bounds():
    rng = np.random.default_rng(2)
    rows = pd.DataFrame({"share": rng.random(1000), "x": rng.normal(size=1000), "n": rng.integers(0, 400, 1000)})
    rows.loc[0, "share"] = 0.0
    asked = {"share": Number(bounds=(0.0, 1.0), map=True), "x": Number(map=False), "n": Number(map=True)}
    codec = fit_codec(as_table(rows), columns=asked)
    assert [column.spline is not None for column in codec.columns] == [True, False, True]
    assert [column.kind_name for column in codec.columns] == ["number", "number", "integer"]
    table = as_table(rows).values
    z = codec.encode(table, stream=Stream(0))
    np.testing.assert_allclose(codec.decode(z), table, rtol=1e-9, atol=1e-9)
    assert stats.kstest(z[:, 0], "norm").statistic < 0.03
    new = codec.within_range(codec.decode(3.0 * Stream(1).normal(0, 5000, 3).numpy()))
    assert ((new[:, 0] >= 0.0) & (new[:, 0] <= 1.0)).all()
    assert codec.columns[0].bounds is not None
    assert all(column.spline is None for column in refit_codec(codec, as_table(rows)).columns)
    with pytest.raises(InvalidInput, match="map"):
        Number(map="quantile")


@pytest.mark.slow
@pytest.mark.parametrize("name", ["two_moons", "spirals", "checkerboard", "gaussian_mixture", "funnel", "curved_chain"])
def test_known_densities_stay_as_they_are(name):
    rows = DENSITIES[name]().sample(2000, random_state=0)
    assert not any(column.spline for column in fit_codec(as_table(rows)).columns)


@pytest.mark.slow
def test_skewed_columns_that_depend_on_each_other_are_mapped():
    """Beta and exponential numbers joined by a normal copula: normal after the map, and hard for a mixture before."""
    rng = np.random.default_rng(3)
    normal = rng.multivariate_normal(np.zeros(3), 0.4 * np.eye(3) + 0.6, 2500)
    u = stats.norm.cdf(normal)
    rows = np.column_stack(
        [stats.beta(0.3, 0.3).ppf(u[:, 0]), stats.expon.ppf(u[:, 1]), stats.beta(2, 0.2).ppf(u[:, 2])]
    )
    assert all(column.spline for column in fit_codec(as_table(rows)).columns)
    assert not any(column.spline for column in fit_codec(as_table(rows[:900])).columns)  # too few to tell


@pytest.mark.slow
def test_an_order_between_columns_does_not_keep_them_from_being_mapped():
    """A bug found by measurement: with the gap of an order beside both ends the joint density was singular."""
    rng = np.random.default_rng(4)
    normal = rng.multivariate_normal(np.zeros(3), 0.4 * np.eye(3) + 0.6, 1500)
    low, gap, other = np.round(stats.gamma(0.6).ppf(stats.norm.cdf(normal.T)) * [[20.0], [30.0], [10.0]], 4) + 0.001
    table = as_table(pd.DataFrame({"low": low, "high": low + gap, "other": other}))
    plain, ordered = (fit_codec(table, rules=rules) for rules in ((), (Order("low", "high"),)))
    mapped = [bool(column.spline) for column in plain.columns]
    assert all(mapped)
    assert [bool(column.spline) for column in ordered.columns] == mapped


@pytest.mark.slow
def test_columns_that_belong_together_are_mapped_only_in_tables_of_many_rows():
    """Found by measurement: the joint density of few rows kept the peaked lengths of 40,000 diamonds as they are."""
    rng = np.random.default_rng(5)
    size = np.cbrt(rng.choice([0.3, 0.4, 0.5, 0.7, 1.0, 1.5], 20_000) + rng.exponential(0.04, 20_000))
    rows = pd.DataFrame(6.5 * size[:, None] + rng.normal(0.0, 0.2, (20_000, 2)), columns=["x", "y"])
    few, many = (fit_codec(as_table(rows[:n])) for n in (8_000, 20_000))
    assert [bool(column.spline) for column in few.columns] == [False, False]
    assert [bool(column.spline) for column in many.columns] == [True, True]


def test_a_table_maps_numbers_that_gain_alone_unless_they_lose_together():
    """Found by measurement: one more number beside it took the map of adult's weights away."""
    x = np.random.default_rng(0).gamma(2.0, size=(4000, 2)).round(6)
    assert not any(column.spline for column in fit_codec(as_table(x)).columns)  # mixtures gain less than .02 nats
    assert all(column.spline for column in fit_codec(as_table(pd.DataFrame(x, columns=["x", "y"]))).columns)
