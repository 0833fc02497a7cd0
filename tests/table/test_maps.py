"""Every map increases, is inverted, knows its slope, and makes densities that integrate to one."""

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats
from scipy.integrate import trapezoid

from backwalk.table import Asinh, Boundary, Spline
from backwalk.table.maps import Affine, Chain, reflect

SPLINE = Spline((-1.0, -0.8, 0.1, 0.3, 2.0), (-1.5, -0.4, 0.0, 0.9, 1.4))
TO_UNITS, KNOTS = Affine(2.0, 2.0), ((-1.0, 0.1, 1.2), (-1.2, 0.3, 1.0))
MAPS = {
    "affine": Affine(3.0, 2.0),
    "asinh": Asinh(1.0, 0.5),
    "low": Boundary((-1.0, 3.0), (-1.5, 0.7), low=-2.0),
    "high": Boundary((-1.0, 0.0, 5.0), (-1.5, 0.0, 1.4), high=6.0, high_power=0.5),
    "both": Boundary((-1.0, 5.0), (-1.1, 1.2), -2.0, 6.0, 2.0, 1.0),
    "spline": SPLINE,
    "heavy": Chain((Asinh(3.0, 0.2), Affine(0.5, 1.5))),
    "bounded": Chain((TO_UNITS, Boundary(*KNOTS, -2.0, 2.0))),
    "bounded heavy": Chain((Asinh(1.0, 2.0), Affine(0.0, 1.0), Boundary(*KNOTS, high=float(np.arcsinh(2.5))))),
    "mapped": Chain((TO_UNITS, SPLINE)),
    "mapped bounded heavy": Chain((Asinh(0.0, 0.5), Affine(0.2, 1.5), Boundary(*KNOTS, low=-3.0), SPLINE)),
}
EACH = pytest.mark.parametrize("each", MAPS.values(), ids=MAPS)
X = np.linspace(-1.99, 5.99, 1001)
POSITIVE = st.floats(0.01, 10.0)


@EACH
def test_decode_undoes_encode_and_the_map_increases(each):
    z = each.encode(X)
    assert (np.diff(z) > 0.0).all()
    np.testing.assert_allclose(each.decode(z), X, rtol=1e-10, atol=1e-12)
    far = np.linspace(-3.0, 3.0, 500)
    np.testing.assert_allclose(each.encode(each.decode(far)), far, atol=1e-6)
    assert np.isnan(each.encode(np.array([np.nan, 1.0]))).tolist() == [True, False]
    assert np.isnan(each.decode(np.array([np.nan, 1.0]))).tolist() == [True, False]


@EACH
def test_the_slope_is_that_of_the_map_and_continuous(each):
    step, x = 1e-5, X[5:-5]
    difference = (each.encode(x + step) - each.encode(x - step)) / (2.0 * step)
    np.testing.assert_allclose(np.exp(each.log_slope(x)), difference, rtol=1e-4)
    sides = [each.log_slope(each.decode(np.linspace(-2.0, 2.0, 401)) + shift) for shift in (-1e-9, 1e-9)]
    np.testing.assert_allclose(*sides, atol=1e-5)
    units = Chain((each,)).deviation_in_user_units(np.ones_like(x), each.encode(x))
    np.testing.assert_allclose(units, np.exp(-each.log_slope(x)), rtol=1e-6)


@EACH
def test_the_gradient_of_a_density_is_that_of_its_logarithm(each):
    x, step = np.linspace(-1.97, 5.97, 203), 1e-6
    chain = each if isinstance(each, Chain) else Chain((each,))

    def log_p(x):
        return stats.norm.logpdf(chain.encode(x)) + chain.log_slope(x)

    slope = (log_p(x + step) - log_p(x - step)) / (2.0 * step)
    found = chain.gradient(x, -chain.encode(x))
    is_smooth = np.abs(slope - np.gradient(log_p(x), x)) < 10.0
    np.testing.assert_allclose(found[is_smooth], slope[is_smooth], rtol=1e-3, atol=1e-3)
    assert is_smooth.mean() > 0.9


def test_the_gradient_at_a_bound_is_finite():
    chain = Chain((Boundary((-1.0, 5.0), (-1.1, 1.2), -2.0, 6.0, 2.0, 1.0),))
    ends = np.array([-2.0, 6.0])
    inside = chain.gradient(ends + np.array([1e-9, -1e-9]), np.array([0.3, 0.3]))
    np.testing.assert_allclose(chain.gradient(ends, np.array([0.3, 0.3])), inside, rtol=1e-3)


@EACH
def test_the_density_of_a_mapped_normal_integrates_to_one(each):
    x = each.decode(np.linspace(-8.0, 8.0, 40_001))
    p = np.exp(stats.norm.logpdf(each.encode(x)) + each.log_slope(x))
    assert trapezoid(p, x) == pytest.approx(1.0, abs=1e-3)


def test_the_slope_is_that_of_decode_by_autograd():
    z = torch.tensor([-2.0, 0.3, 4.0], dtype=torch.float64)
    jacobian = torch.autograd.functional.jacobian(lambda z: 3.0 + 0.2 * torch.sinh(0.5 + 1.5 * z), z)
    each = MAPS["heavy"]
    slope = torch.diagonal(jacobian).numpy()
    np.testing.assert_allclose(np.exp(-each.log_slope(each.decode(z.numpy()))), slope, rtol=1e-12)
    np.testing.assert_allclose(each.deviation_in_user_units(np.ones(3), z.numpy()), slope, rtol=1e-12)


def test_heavy_tails_hold_the_whole_range_of_float64():
    each = Chain((Asinh(0.0, 1e-280), Affine(0.0, 1.0)))
    x = np.array([-1.7e308, 1.7e308, 1e-280, 0.0])
    z = each.encode(x)
    assert z[1] == pytest.approx(np.log(2.0) + np.log(1.7) + 588 * np.log(10.0), rel=1e-12)
    np.testing.assert_allclose(each.decode(z), x, rtol=1e-12)
    far = np.array([-1e5, 1e308])
    for numbers in (each.decode(far), each.log_slope(x), each.deviation_in_user_units(np.ones(2), far)):
        assert np.isfinite(numbers).all()


@pytest.mark.parametrize("power", [0.5, 1.0, 2.0])
def test_a_normal_has_a_power_law_beside_a_bound(power):
    """F = Phi(z_1) u^k, but for a thousandth of it: the density is infinite, positive or 0 at the bound, and finite."""
    each = Boundary((1.0, 2.0), (-1.0, 1.0), low=0.0, low_power=power)
    u = np.array([0.1, 0.3, 0.7, 1.0])
    share = stats.norm.cdf(-1.0) * (1e-3 + (1.0 - 1e-3) * u**power)
    np.testing.assert_allclose(stats.norm.cdf(each.encode(u)), share, rtol=1e-12)
    density = np.exp(stats.norm.logpdf(each.encode(u)) + each.log_slope(u))
    expected = stats.norm.cdf(-1.0) * (1.0 - 1e-3) * power * u ** (power - 1.0)
    np.testing.assert_allclose(density, expected, rtol=1e-12)
    at_bound = np.exp(stats.norm.logpdf(each.encode(np.zeros(1))) + each.log_slope(np.zeros(1)))[0]
    assert at_bound == pytest.approx(expected[-1] / power * 1e-3 ** (1.0 - 1.0 / power), rel=1e-9)


@pytest.mark.parametrize("name", ["low", "high", "both"])
def test_nothing_lies_beyond_a_bound(name):
    each = MAPS[name]
    new = each.decode(np.array([-100.0, 100.0]))
    bounds = np.array([bound for bound in (each.low, each.high) if bound is not None])
    assert new.min() >= (-np.inf if each.low is None else each.low)
    assert new.max() <= (np.inf if each.high is None else each.high)
    assert np.isfinite(each.encode(bounds)).all()
    assert np.isfinite(each.log_slope(bounds)).all()
    assert np.isinf(each.encode(np.array([-2.01, 6.01]))).tolist() == [each.low is not None, each.high is not None]


def test_knots_go_to_their_quantiles():
    np.testing.assert_allclose(SPLINE.encode(np.array(SPLINE.knots)), SPLINE.quantiles, atol=1e-12)


@settings(derandomize=True, max_examples=50, deadline=None)
@given(st.lists(st.tuples(POSITIVE, POSITIVE), min_size=1, max_size=12))
def test_any_increasing_knots_give_an_increasing_map(steps):
    knots, quantiles = np.cumsum([(0.0, 0.0), *steps], axis=0).T
    spline = Spline(tuple(knots.tolist()), tuple(quantiles.tolist()))
    x = np.linspace(-2.0, knots[-1] + 2.0, 400)
    z = spline.encode(x)
    assert (np.diff(z) > 0.0).all()
    np.testing.assert_allclose(spline.decode(z), x, atol=1e-10 * (1.0 + knots[-1]))


def test_numbers_beyond_a_range_are_reflected_and_far_ones_clipped():
    x = np.array([-9.0, -0.25, 0.5, 1.25, 9.0, np.nan])
    np.testing.assert_allclose(reflect(x, 0.0, 1.0), [0.0, 0.25, 0.5, 0.75, 1.0, np.nan])
    np.testing.assert_allclose(reflect(x, -np.inf, 1.0), [-9.0, -0.25, 0.5, 0.75, -7.0, np.nan])
    assert reflect(np.array([4.0, 6.0]), 0.0, 3.0, edge=0.5).tolist() == [3.0, 1.0]
