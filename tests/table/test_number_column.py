"""Columns of numbers: chains of maps, grids, known bounds and atoms."""

import numpy as np
import pandas as pd
import pytest
from scipy import stats
from scipy.integrate import trapezoid

from backwalk import Number
from backwalk.errors import InvalidInput
from backwalk.streams import Stream
from backwalk.table import (
    Asinh,
    Boundary,
    Codec,
    Grid,
    NumberColumn,
    Spline,
    as_table,
    fit_codec,
    refit_codec,
)

SPLINE = Spline((-1.0, -0.8, 0.1, 0.3, 2.0), (-1.5, -0.4, 0.0, 0.9, 1.4))
KNOTS = (-1.0, 0.1, 1.2), (-1.2, 0.3, 1.0)
BOTH = NumberColumn(2.0, 2.0, -2.0, 6.0, bounds=Boundary(*KNOTS, -2.0, 2.0))
LOW = NumberColumn(2.0, 2.0, -2.0, bounds=Boundary(*KNOTS, -2.0))
HIGH = NumberColumn(0.0, 1.0, None, 6.0, asinh=Asinh(1.0, 2.0), bounds=Boundary(*KNOTS, high=float(np.arcsinh(2.5))))
BOUNDED = pytest.mark.parametrize("column", [BOTH, LOW, HIGH], ids=["both", "low", "high"])


@BOUNDED
def test_values_beyond_a_bound_are_refused(column):
    codec = Codec((column,))
    below, above = column.least is None, column.largest is None
    assert codec.supports([[-2.01], [6.01], [2.0]])[:, 0].tolist() == [below, above, True]
    with pytest.raises(InvalidInput, match="bounds"):
        codec.encode([[-3.0], [7.0]])


def test_maps_end_at_known_bounds():
    rng = np.random.default_rng(0)
    rows = pd.DataFrame({"u": rng.uniform(-1.0, 1.0, 400), "e": rng.exponential(size=400), "x": rng.normal(size=400)})
    rows.loc[0, "e"] = 0.0
    bounds = {"u": Number(bounds=(-1.0, 1.0)), "e": Number(bounds=(0.0, None)), "x": Number(bounds=(None, None))}
    codec = fit_codec(as_table(rows), columns=bounds)
    u, e, x = codec.columns
    np.testing.assert_allclose([u.centre + u.scale * end for end in (u.bounds.low, u.bounds.high)], [-1, 1], atol=1e-12)
    assert (u.least, u.largest, e.least, e.bounds.high, e.largest) == (-1.0, 1.0, 0.0, None, None)
    assert x.bounds is None
    z = codec.encode(rows.to_numpy())
    np.testing.assert_allclose(codec.decode(z), rows, atol=1e-12)
    drawn = codec.within_range(codec.decode(np.random.default_rng(1).normal(size=z.shape) * 3.0))
    assert (np.abs(drawn[:, 0]) <= 1.0).all()
    assert (drawn[:, 1] >= 0.0).all()
    assert all(column.bounds is None for column in refit_codec(codec, as_table(rows)).columns)
    assert fit_codec(as_table(rows), columns=bounds, scale=False).columns[0].bounds is None


def test_mapped_integers_are_dequantised_and_have_a_probability():
    column = NumberColumn(3.0, 2.0, 0.0, 9.0, spline=SPLINE, grid=Grid(), dequantisation=0.0)
    codec, rows = Codec((column,)), np.arange(10.0)[:, None]
    np.testing.assert_array_equal(codec.decode(codec.encode(rows, stream=Stream(0))), rows)
    edges = np.arange(-0.5, 10.0)
    of_cells = np.diff(stats.norm.cdf(column.chain.encode(edges)))
    fine = np.linspace(2.5, 3.5, 2001)[:, None]
    p = np.exp(stats.norm.logpdf(codec.encode(fine)[:, 0]) + codec.log_abs_det_jacobian(fine))
    assert trapezoid(p, fine[:, 0]) == pytest.approx(of_cells[3], rel=1e-5)
