"""Numbers with known bounds: maps to all numbers, whose densities have no mass beyond a bound and integrate to one."""

import json

import numpy as np
import pandas as pd
import pytest
from scipy import stats
from scipy.integrate import trapezoid

from backwalk import Diffusion, Number, Residual
from backwalk.errors import InvalidInput
from backwalk.table import BoundedColumn, Codec, HeavyTailedColumn, NumberColumn, as_table

BOTH = BoundedColumn(NumberColumn(2.0, 2.0, -2.0, 6.0), -2.0, 2.0, 0.5)
LOW = BoundedColumn(NumberColumn(2.0, 2.0, -2.0, None), -2.0, None, 0.5)
HIGH = BoundedColumn(HeavyTailedColumn(1.0, 2.0, 0.0, 1.0, None, 6.0), None, float(np.arcsinh(2.5)), 0.5)
KINDS = pytest.mark.parametrize("column", [BOTH, LOW, HIGH], ids=["both", "low", "high"])
X = np.linspace(-1.99, 5.99, 1001)[:, None]


@KINDS
def test_decode_undoes_encode_and_the_map_increases(column):
    codec = Codec((column,))
    z = codec.encode(X)
    assert (np.diff(z[:, 0]) > 0.0).all()
    np.testing.assert_allclose(codec.decode(z), X, rtol=1e-10, atol=1e-12)
    far = np.linspace(-4.0, 4.0, 500)[:, None]
    np.testing.assert_allclose(codec.encode(codec.decode(far)), far, atol=1e-8)


@KINDS
def test_the_middle_is_left_as_it_is(column):
    middle = np.linspace(-0.9, 3.5, 50)[:, None]
    np.testing.assert_allclose(column.maps.encode(middle), column.number.maps.encode(middle), rtol=1e-12, atol=1e-12)


@KINDS
def test_the_slope_is_that_of_the_map(column):
    codec, step, x = Codec((column,)), 1e-6, X[5:-5]
    difference = (codec.encode(x + step) - codec.encode(x - step))[:, 0] / (2.0 * step)
    slope = codec.log_abs_det_jacobian(x)
    np.testing.assert_allclose(np.exp(slope), difference, rtol=1e-5)
    np.testing.assert_allclose(codec.in_user_units(np.ones_like(x), codec.encode(x))[:, 0], np.exp(-slope), rtol=1e-6)


@KINDS
def test_a_density_integrates_to_one_within_the_bounds(column):
    codec = Codec((column,))
    x = codec.decode(np.linspace(-6.0, 6.0, 40_001)[:, None])
    p = np.exp(stats.norm.logpdf(codec.encode(x)[:, 0]) + codec.log_abs_det_jacobian(x))
    assert trapezoid(p, x[:, 0]) == pytest.approx(1.0, abs=1e-4)


@KINDS
def test_values_beside_a_bound_are_moved_off_it_and_no_others(column):
    """The nearest go to three tenths of the margin of .5, in the number's coordinate; values beyond stay there."""
    codec, number = Codec((column,)), column.number.maps
    x = np.concatenate([[-2.0, 6.0, -2.5, 6.5], X[:, 0]])[:, None]
    moved = codec.off_bounds(x)
    y = number.encode(x)[:, 0]
    low, high = (np.inf if end is None else abs(end) for end in (column.low, column.high))
    is_beyond = (y < -low - 1e-6) | (y > high + 1e-6)
    is_near = ~is_beyond & ((y < -low + 0.15) | (y > high - 0.15))
    assert is_near.sum() > 5
    np.testing.assert_array_equal(moved[~is_near], x[~is_near])
    held = number.encode(moved)[is_near, 0]
    np.testing.assert_allclose(np.minimum(held + low, high - held), 0.15, rtol=1e-9)
    np.testing.assert_allclose(codec.off_bounds(moved), moved, rtol=1e-12)


@KINDS
def test_nothing_lies_beyond_a_bound(column):
    codec = Codec((column,))
    new = codec.decode(np.array([[-100.0], [100.0]]))[:, 0]
    low, high = (-1e60 if column.low is None else -2.0), (1e60 if column.high is None else 6.0 + 1e-12)
    assert new.min() >= low
    assert new.max() <= high
    assert codec.supports([[max(low, -1e6) - 0.01], [min(high, 1e6) + 0.01], [2.0]])[:, 0].tolist() == [
        column.low is None,
        column.high is None,
        True,
    ]
    at = np.array([[bound] for bound in (low, high) if abs(bound) < 1e6])
    assert np.isfinite(codec.encode(at)).all()
    assert np.isfinite(codec.log_abs_det_jacobian(at)).all()
    with pytest.raises(InvalidInput, match="bounds"):
        codec.encode(at + (1.0 if column.low is None else -9.0))


def test_columns_are_mapped_side_by_side_as_alone():
    both, alone = Codec((BOTH, LOW, HIGH)), [Codec((column,)) for column in (BOTH, LOW, HIGH)]
    x = np.hstack([X, X, X])
    x[3, 1] = np.nan
    z = both.encode(x)
    for j, codec in enumerate(alone):
        np.testing.assert_array_equal(z[:, [j]], codec.encode(x[:, [j]]))
    np.testing.assert_allclose(both.decode(z), x, atol=1e-9)


def test_known_bounds_make_a_bounded_column():
    rng = np.random.default_rng(0)
    rows = pd.DataFrame({"u": rng.uniform(-1.0, 1.0, 400), "e": rng.exponential(size=400), "x": rng.normal(size=400)})
    rows.loc[0, "e"] = 0.0
    bounds = {"u": Number(bounds=(-1.0, 1.0)), "e": Number(bounds=(0.0, None)), "x": Number(bounds=(None, None))}
    codec = Codec.fit(as_table(rows), columns=bounds)
    u, e, x = codec.columns
    np.testing.assert_allclose(u.number.maps.decode(np.array([[u.low], [u.high]]))[:, 0], [-1.0, 1.0], atol=1e-12)
    assert (u.least, u.largest, e.least, e.high, e.largest) == (-1.0, 1.0, 0.0, None, None)
    assert e.low < float(e.number.maps.encode(np.zeros((1, 1)))[0, 0])  # beyond the row at the bound
    assert isinstance(x, NumberColumn)
    z = codec.encode(rows.to_numpy())
    np.testing.assert_allclose(codec.decode(z), rows, atol=1e-12)
    drawn = codec.within_range(codec.decode(np.random.default_rng(1).normal(size=z.shape) * 3.0))
    assert (np.abs(drawn[:, 0]) <= 1.0).all()
    assert (drawn[:, 1] >= 0.0).all()
    assert Codec.from_dict(json.loads(json.dumps(codec.to_dict(), allow_nan=False))) == codec
    assert all(column.kind in ("number", "heavy-tailed") for column in codec.refitted(as_table(rows)).columns)
    assert isinstance(Codec.fit(as_table(rows), columns=bounds, scale=False).columns[0], NumberColumn)


@pytest.mark.parametrize("change", [{"low": None, "high": None}, {"low": 1.5}, {"low": "0"}, {"margin": 0.0}], ids=str)
def test_a_record_that_is_no_bounded_column_is_refused(change):
    with pytest.raises(InvalidInput):
        Codec.from_dict({"columns": [{**BOTH.to_dict(), **change}]})


def test_a_fitted_density_has_no_mass_beyond_the_bounds(tmp_path):
    """A uniform prior on (0, 1): the exact log-density is -inf beyond, and integrates to one; draws lie within."""
    rows = np.random.default_rng(0).uniform(size=(500, 1))
    bounds, tiny = {"x1": Number(bounds=(0.0, 1.0))}, Residual(width=16, n_blocks=1)
    model = Diffusion(max_steps=200, denoiser=tiny, columns=bounds, random_state=0, verbose=False).fit(rows)
    grid = Codec((model.codec_.columns[0],)).decode(np.linspace(-4.0, 4.0, 1501)[:, None])
    assert trapezoid(np.exp(model.score_samples(grid)), grid[:, 0]) == pytest.approx(1.0, abs=2e-3)
    assert np.isneginf(model.score_samples([[-0.001], [1.001]])).all()
    drawn = model.sample(2_000, random_state=1)
    assert ((drawn >= 0.0) & (drawn <= 1.0)).all()
    model.save(tmp_path / "m.safetensors")
    again = Diffusion.load(tmp_path / "m.safetensors")
    np.testing.assert_array_equal(again.score_samples(grid), model.score_samples(grid))
