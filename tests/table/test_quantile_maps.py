"""Maps of numbers to a normal through their quantiles: monotone, smooth, inverted exactly, and chosen by evidence."""

import json
import math

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats
from scipy.integrate import trapezoid

from backwalk.datasets import DENSITIES
from backwalk.errors import InvalidInput
from backwalk.streams import Stream
from backwalk.table import (
    BoundedColumn,
    Codec,
    HeavyTailedColumn,
    IntegerColumn,
    Number,
    NumberColumn,
    QuantileColumn,
    as_table,
)
from backwalk.table.map_choice import fitted_knots

KNOTS, QUANTILES = (-1.0, -0.8, 0.1, 0.3, 2.0), (-1.5, -0.4, 0.0, 0.9, 1.4)
FREE = QuantileColumn(NumberColumn(3.0, 2.0), KNOTS, QUANTILES)
BOUNDED = QuantileColumn(BoundedColumn(NumberColumn(3.0, 2.0, 0.0, 8.0), -1.5, 2.5, 0.3), KNOTS, QUANTILES)
HEAVY = QuantileColumn(HeavyTailedColumn(0.0, 0.5, 0.2, 1.5), KNOTS, QUANTILES)
X = np.linspace(0.2, 7.8, 1001)[:, None]
POSITIVE = st.floats(0.01, 10.0)


@pytest.mark.parametrize("column", [FREE, BOUNDED, HEAVY], ids=["free", "bounded", "heavy"])
def test_decode_undoes_encode_and_the_map_increases(column):
    codec = Codec((column,))
    z = codec.encode(X)
    assert (np.diff(z[:, 0]) > 0.0).all()
    np.testing.assert_allclose(codec.decode(z), X, rtol=1e-10)
    far = np.linspace(-3.0, 3.0, 500)[:, None]
    np.testing.assert_allclose(codec.encode(codec.decode(far)), far, atol=1e-6)


@pytest.mark.parametrize("column", [FREE, BOUNDED, HEAVY], ids=["free", "bounded", "heavy"])
def test_the_slope_is_that_of_the_map_and_continuous(column):
    codec, step = Codec((column,)), 1e-5
    difference = (codec.encode(X + step) - codec.encode(X - step))[:, 0] / (2.0 * step)
    slope = codec.log_abs_det_jacobian(X)
    np.testing.assert_allclose(np.exp(slope), difference, rtol=1e-4)
    np.testing.assert_allclose(codec.in_user_units(np.ones_like(X), codec.encode(X))[:, 0], np.exp(-slope), rtol=1e-8)
    at_knots = column.number.maps.decode(np.array(KNOTS)[:, None])
    np.testing.assert_allclose(codec.encode(at_knots)[:, 0], QUANTILES, atol=1e-12)
    sides = [codec.log_abs_det_jacobian(at_knots + shift) for shift in (-1e-9, 1e-9)]
    np.testing.assert_allclose(sides[0], sides[1], atol=1e-6)


@pytest.mark.parametrize("column", [FREE, BOUNDED, HEAVY], ids=["free", "bounded", "heavy"])
def test_the_density_of_a_mapped_normal_sums_to_one(column):
    codec = Codec((column,))
    x = codec.decode(np.linspace(-8.0, 8.0, 40_001)[:, None])
    p = np.exp(stats.norm.logpdf(codec.encode(x)[:, 0]) + codec.log_abs_det_jacobian(x))
    assert trapezoid(p, x[:, 0]) == pytest.approx(1.0, abs=1e-3)


@settings(derandomize=True, max_examples=50, deadline=None)
@given(st.lists(st.tuples(POSITIVE, POSITIVE), min_size=1, max_size=12))
def test_any_increasing_knots_give_an_increasing_map(steps):
    knots, quantiles = np.cumsum([(0.0, 0.0), *steps], axis=0).T
    column = QuantileColumn(NumberColumn(0.0, 1.0), tuple(knots.tolist()), tuple(quantiles.tolist()))
    x = np.linspace(-2.0, knots[-1] + 2.0, 400)[:, None]
    z = column.maps.encode(x)
    assert (np.diff(z[:, 0]) > 0.0).all()
    np.testing.assert_allclose(column.maps.decode(z), x, atol=1e-10 * (1.0 + knots[-1]))


def test_columns_side_by_side_are_mapped_as_alone_with_gaps():
    other = QuantileColumn(NumberColumn(0.0, 1.0), tuple(np.sort(np.random.default_rng(0).normal(size=5))), QUANTILES)
    both, x = Codec((FREE, other)), np.hstack([X, X - 4.0])
    x[0, 0] = np.nan
    z = both.encode(x)
    np.testing.assert_array_equal(z[:, [1]], Codec((other,)).encode(x[:, [1]]))
    assert np.isnan(z).sum() == 1
    np.testing.assert_allclose(both.decode(z), x, rtol=1e-9, atol=1e-9)
    assert np.isfinite(both.log_abs_det_jacobian(x)).all()


def test_knots_follow_the_rows_and_ties_do_not_make_them_coincide():
    y = np.random.default_rng(1).normal(size=20_000)
    knots, quantiles = fitted_knots(y)
    assert 90 < len(knots) <= 120
    # Quantiles of 20,000 rows err by sqrt(p (1 - p) / n) / density: at most .014 at the tail's ten rows' .05 relative.
    np.testing.assert_allclose(knots, quantiles, atol=0.6)
    np.testing.assert_allclose(knots[20:-20], quantiles[20:-20], atol=0.06)
    assert (np.abs(quantiles[[0, -1]]) > 2.5).all()
    assert len(fitted_knots(y[:300])[0]) < 12
    y[:900] = 0.5
    y[900:1000] = 0.5 + 1e-12
    tied, quantiles = fitted_knots(y)
    assert (np.diff(tied) > 0.0).all()
    assert (np.diff(quantiles) <= 30.0 * np.diff(tied) * (1 + 1e-9)).all()
    column = QuantileColumn(NumberColumn(0.0, 1.0), tuple(tied.tolist()), tuple(quantiles.tolist()))
    np.testing.assert_allclose(column.maps.decode(column.maps.encode(y[:, None]))[:, 0], y, atol=1e-10)


def test_a_user_asks_for_a_map_with_bounds():
    rng = np.random.default_rng(2)
    rows = pd.DataFrame({"share": rng.random(1000), "x": rng.normal(size=1000), "n": rng.integers(0, 400, 1000)})
    rows.loc[0, "share"] = 0.0
    asked = {"share": Number(bounds=(0.0, 1.0), map=True), "x": Number(map=False), "n": Number(map=True)}
    codec = Codec.fit(as_table(rows), columns=asked)
    assert [column.kind for column in codec.columns] == ["quantile", "number", "integer"]
    assert codec.columns[2].number.kind == "quantile"
    table = as_table(rows).values
    z = codec.encode(table, stream=Stream(0))
    np.testing.assert_allclose(codec.decode(z), table, rtol=1e-9, atol=1e-9)
    assert stats.kstest(z[:, 0], "norm").statistic < 0.03
    new = codec.within_range(codec.decode(3.0 * Stream(1).normal(0, 5000, 3).numpy()))
    assert ((new[:, 0] >= 0.0) & (new[:, 0] <= 1.0)).all()
    assert Codec.from_dict(json.loads(json.dumps(codec.to_dict(), allow_nan=False))) == codec
    assert isinstance(codec.columns[0].number, BoundedColumn)
    assert [column.kind for column in codec.refitted(as_table(rows)).columns] == ["number", "number", "integer"]
    with pytest.raises(InvalidInput, match="map"):
        Number(map="quantile")


@pytest.mark.parametrize("name", ["two_moons", "spirals", "checkerboard", "gaussian_mixture", "funnel", "curved_chain"])
def test_known_densities_stay_as_they_are(name):
    rows = DENSITIES[name]().sample(4000, random_state=0)
    assert not any(column.kind == "quantile" for column in Codec.fit(as_table(rows)).columns)


def test_skewed_columns_that_depend_on_each_other_are_mapped():
    """Beta and exponential numbers joined by a normal copula: normal after the map, and hard for a mixture before."""
    rng = np.random.default_rng(3)
    normal = rng.multivariate_normal(np.zeros(3), 0.4 * np.eye(3) + 0.6, 4000)
    u = stats.norm.cdf(normal)
    rows = np.column_stack(
        [stats.beta(0.3, 0.3).ppf(u[:, 0]), stats.expon.ppf(u[:, 1]), stats.beta(2, 0.2).ppf(u[:, 2])]
    )
    assert {column.kind for column in Codec.fit(as_table(rows)).columns} == {"quantile"}
    assert not any(column.kind == "quantile" for column in Codec.fit(as_table(rows), asinh=False).columns)
    assert not any(column.kind == "quantile" for column in Codec.fit(as_table(rows[:900])).columns)  # too few to tell


MAPPED = FREE.to_dict()


@pytest.mark.parametrize(
    "column",
    [
        {**MAPPED, "knots": [0.0]},
        {**MAPPED, "knots": [0.0, 0.0, 1.0, 2.0, 3.0]},
        {**MAPPED, "quantiles": [0.0, 1.0]},
        {**MAPPED, "quantiles": [0, 1, 2, 3, 4]},
        {**MAPPED, "knots": None},
        {**MAPPED, "low": 0.0},
        {**MAPPED, "number": MAPPED},
    ],
    ids=str,
)
def test_a_record_that_is_no_map_is_refused(column):
    assert Codec.from_dict({"columns": [MAPPED]}) == Codec((FREE,))
    with pytest.raises(InvalidInput):
        Codec.from_dict({"columns": [column]})


def test_mapped_integers_are_dequantised_and_have_a_probability():
    column = IntegerColumn(FREE, 0.0, 9.0, "uniform")
    codec = Codec((column,))
    rows = np.arange(10.0)[:, None]
    np.testing.assert_array_equal(codec.decode(codec.encode(rows, stream=Stream(0))), rows)
    assert "mapped to a normal" in column.description
    edges = np.arange(-0.5, 10.0)
    of_cells = np.diff(stats.norm.cdf(Codec((FREE,)).encode(edges[:, None])[:, 0]))
    fine = np.linspace(2.5, 3.5, 2001)[:, None]
    p = np.exp(stats.norm.logpdf(codec.encode(fine)[:, 0]) + codec.log_abs_det_jacobian(fine))
    assert trapezoid(p, fine[:, 0]) == pytest.approx(of_cells[3], rel=1e-5)
    assert math.isfinite(column.cell)
