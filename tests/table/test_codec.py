"""The codec is invertible, knows its Jacobian, and loses nothing to large, small, whole or constant columns."""

import itertools
import json
import re

import numpy as np
import pandas as pd
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.integrate import trapezoid

from backwalk.errors import InvalidInput
from backwalk.streams import Stream
from backwalk.table import Codec, ConstantColumn, HeavyTailedColumn, IntegerColumn, NumberColumn, as_table
from backwalk.table.rounded_maps import log_cell_density, place_in_cell

RNG = np.random.default_rng(3)
MIXED = pd.DataFrame(
    {
        "length": RNG.normal(5.0, 0.3, 500),
        "count": RNG.poisson(3.0, 500),
        "unit": np.full(500, 0.1),
        "flag": RNG.random(500) < 0.3,
        "site": np.full(500, 7),
    }
)


# Lengths that span decades, amounts with a long upper tail and whole numbers with one, beside a plain column.
TAILED = pd.DataFrame(
    {
        "signed": RNG.standard_cauchy(2000),
        "amount": 1e3 * np.exp(2.0 * RNG.normal(size=2000)),
        "plain": RNG.normal(size=2000),
        "hits": np.rint(10.0 * np.exp(1.5 * RNG.normal(size=2000))).astype(np.int64),
    }
)


def test_encoded_columns_have_mean_zero_and_variance_one():
    x = RNG.normal([1.0, -200.0], [0.01, 30.0], (1000, 2))
    z = Codec.fit(as_table(x)).encode(x)
    np.testing.assert_allclose(z.mean(axis=0), 0.0, atol=1e-12)
    np.testing.assert_allclose(z.var(axis=0), 1.0, rtol=1e-12)


@pytest.mark.parametrize("magnitude", [1e300, 1e30, 1.0, 1e-30, 1e-300])
@pytest.mark.parametrize("offset", [0.0, 1.0, -100.0])
def test_decode_undoes_encode_at_every_magnitude(magnitude, offset):
    x = (RNG.normal(size=(200, 3)) + offset) * magnitude
    codec = Codec.fit(as_table(x))
    z = codec.encode(x)
    np.testing.assert_allclose(z.std(axis=0), 1.0, rtol=1e-12)
    assert np.abs(codec.decode(z) / magnitude - x / magnitude).max() < 1e-12


def test_the_whole_range_of_float64_is_encoded_without_overflow():
    x = np.array([[-1.7e308], [1.7e308], [1.7e308]])
    codec = Codec.fit(as_table(x))
    np.testing.assert_allclose(codec.encode(x).ravel(), [-(2**0.5), 0.5**0.5, 0.5**0.5], rtol=1e-12)
    assert np.isfinite(codec.decode([[-9.0], [1e308]])).all()


def test_a_spread_below_the_precision_of_float64_is_refused_by_name():
    with pytest.raises(InvalidInput, match=r"column 1.*smaller units"):
        Codec.fit(as_table([[1.0, 0.0], [2.0, 5e-324]]))


def test_a_value_whose_encoded_number_overflows_is_refused_by_row_and_column():
    codec = Codec.fit(as_table([[7.0, 0.0], [7.0, 1e-300]]))
    with pytest.raises(InvalidInput, match="row 1, column 1"):
        codec.encode([[7.0, 0.0], [7.0, 1e300]])


# Numbers of 1e-290 and less in size would meet columns whose spread is refused.
NUMBERS = st.floats(-1e6, 1e6).filter(lambda x: x == 0.0 or abs(x) > 1e-290)


@settings(derandomize=True, max_examples=100, deadline=None)
@given(
    st.lists(
        st.tuples(*[NUMBERS] * 3),
        min_size=2,
        max_size=20,
        unique_by=lambda row: row[0],
    ),
    st.booleans(),
)
def test_decode_undoes_encode_for_any_rows(rows, scale):
    x = np.array(rows)
    codec = Codec.fit(as_table(x), scale=scale)
    # A few units in the last place of the column's largest number, or of its logarithm (up to 700) where it is bent.
    digits = [1e-12 if column.kind == "heavy-tailed" else 1e-15 for column in codec.columns]
    assert (np.abs(codec.decode(codec.encode(x)) - x) <= digits * np.abs(x).max(axis=0)).all()


def test_the_jacobian_is_that_of_encode():
    frames = MIXED, TAILED
    for frame, row in itertools.product(frames, range(5)):
        codec = Codec.fit(as_table(frame))
        x = frame.to_numpy(dtype=np.float64)[row]
        z = codec.encode(x[None])
        units = codec.in_user_units(np.ones_like(z), z)[0]
        step = 1e-5 * np.diag(np.where(units > 0.0, units, 1.0))
        difference = codec.encode(x + step) - codec.encode(x - step)
        jacobian = (difference / (2.0 * step.sum(axis=1)[:, None]))[list(codec.varying)]
        expected = np.linalg.slogdet(jacobian)[1]
        assert codec.log_abs_det_jacobian(x[None]) == pytest.approx(expected, abs=1e-7)


def test_the_jacobian_is_that_of_decode_by_autograd():
    codec = Codec.fit(as_table(RNG.standard_cauchy(size=(500, 3)) * [1.0, 10.0, 0.1]))
    middle, core, centre, scale = (
        torch.tensor([vars(column)[name] for column in codec.columns], dtype=torch.float64)
        for name in ("asinh_centre", "asinh_scale", "centre", "scale")
    )
    z = torch.tensor([0.3, -2.0, 4.0], dtype=torch.float64)
    jacobian = torch.autograd.functional.jacobian(lambda z: middle + core * torch.sinh(centre + scale * z), z)
    rows = codec.decode(z.numpy()[None])
    assert codec.log_abs_det_jacobian(rows) == pytest.approx(-float(torch.linalg.slogdet(jacobian)[1]), rel=1e-12)
    np.testing.assert_allclose(
        codec.in_user_units(np.ones((1, 3)), z.numpy()[None]), torch.diagonal(jacobian).numpy()[None], rtol=1e-12
    )


def test_a_gaussian_has_the_same_log_density_in_either_units():
    x = RNG.normal(3.0, 2.0, (100, 1))
    codec = Codec.fit(as_table(x))
    z, s = codec.encode(x), codec.columns[0].scale
    log_p_z = -0.5 * z**2 - 0.5 * np.log(2 * np.pi)
    log_p_x = -0.5 * ((x - codec.columns[0].centre) / s) ** 2 - 0.5 * np.log(2 * np.pi * s**2)
    np.testing.assert_allclose(log_p_z[:, 0] + codec.log_abs_det_jacobian(x), log_p_x[:, 0], rtol=1e-12)


def test_the_density_of_bent_columns_is_one_in_the_users_units():
    """A sinh-normal column: its log-density is that of a normal z, by the change of variables, and sums to one."""
    codec = Codec((HeavyTailedColumn(3.0, 0.2, 0.5, 1.5),))
    x = codec.decode(np.linspace(-9.0, 9.0, 20_001)[:, None])
    z = codec.encode(x)
    np.testing.assert_allclose(z[:, 0], np.linspace(-9.0, 9.0, 20_001), atol=1e-12)
    p = np.exp(-0.5 * z[:, 0] ** 2 - 0.5 * np.log(2 * np.pi) + codec.log_abs_det_jacobian(x))
    assert trapezoid(p, x[:, 0]) == pytest.approx(1.0, abs=1e-5)


def test_heavy_tails_are_bent_and_others_are_not():
    kinds = [column.family for column in Codec.fit(as_table(TAILED)).columns]
    assert kinds == ["heavy-tailed", "heavy-tailed", "number", "integer heavy-tailed"]
    light = np.column_stack(
        [
            RNG.normal(size=5000),
            RNG.uniform(size=5000),
            RNG.random(5000) < 0.3,
            np.where(RNG.random(5000) < 0.5, -1.0, 1.0) + 0.1 * RNG.normal(size=5000),
            RNG.exponential(size=5000),
            np.where(RNG.random(5000) < 0.9, 0.0, 1e6 * RNG.exponential(size=5000)),  # its quartiles are equal
        ]
    )
    assert not any(column.axis.asinh for column in Codec.fit(as_table(light)).columns)
    assert not any(column.axis.asinh for column in Codec.fit(as_table(TAILED), scale=False).columns)


def test_rows_that_alternate_do_not_mislead():
    """Found by review: of more than 10,000 rows every other one was looked at, and rows may alternate."""
    x = np.empty((20_000, 1))
    x[::2], x[1::2] = RNG.normal(size=(10_000, 1)), RNG.normal(100.0, size=(10_000, 1))
    assert Codec.fit(as_table(x)).columns[0].kind == "number"


def test_a_number_in_many_rows_is_found_where_no_rounding_brings_it_back():
    pandas = pytest.importorskip("pandas")
    rng, many = np.random.default_rng(5), np.arange(900) % 10 > 0
    rows = pandas.DataFrame(
        {
            "rain": np.where(many, 0.0, rng.exponential(size=900)),
            "gain": np.where(many, 0, rng.integers(1, 99_999, 900)),
            "flag": rng.integers(0, 2, 900),
            "dose": rng.normal(size=900),
            "income": np.where(many, np.exp(4.0 * rng.normal(size=900)), 0.5),
        }
    )
    table = as_table(rows)
    found = Codec.fit(table).repeated_values(table.values, 0.002)
    assert sorted(found) == [0, 1]
    assert found[1] == (0.0, 0.9)


@pytest.mark.parametrize("core", [1e-6, 3.0])
def test_the_bend_of_sinh_normal_rows_is_found(core):
    """Candidates lie a factor of 2 apart, so the likeliest is within one of the truth; the median's error is 0.01."""
    x = 7.0 + core * np.sinh(2.0 * RNG.normal(size=(20_000, 1)))
    (column,) = Codec.fit(as_table(x)).columns
    assert 0.5 * core < column.asinh_scale < 2.0 * core
    assert (
        abs(column.asinh_centre - 7.0) < 6 * 2.0 * core * 1.2533 / 20_000**0.5 * 2**0.5
    )  # quartiles are of 10,000 rows
    assert column.scale == pytest.approx(2.0, rel=0.5)


@pytest.mark.parametrize("sign", [1.0, -1.0])
def test_rows_of_one_sign_are_bent_by_their_logarithm_and_keep_it(sign):
    x = sign * 50.0 * np.exp(2.0 * RNG.normal(size=(5000, 1)))
    codec = Codec.fit(as_table(x))
    column = codec.columns[0]
    assert column.asinh_centre == 0.0
    assert 2.0**-25 <= column.asinh_scale / np.abs(x).min() <= 2.0**-24
    assert np.frexp(column.asinh_scale)[0] == 0.5  # a power of two, and no row's number
    assert abs(np.corrcoef(codec.encode(x)[:, 0], np.log(np.abs(x[:, 0])))[0, 1]) > 0.9999
    decoded = codec.decode(np.array([[-9.0], [9.0]]))  # farther out than any row of any model
    assert (sign * decoded > 0).all()
    counts = pd.DataFrame({"hits": np.rint(np.abs(x[:, 0]) / 10.0).astype(np.int64)})
    column = Codec.fit(as_table(counts)).columns[0].number
    assert (column.asinh_centre, column.asinh_scale) == (0.0, 1.0)  # a cell


def test_bent_columns_have_mean_zero_and_variance_one_and_no_far_rows():
    table = as_table(TAILED)
    codec = Codec.fit(table)
    z = codec.encode(table.values, stream=Stream(0))
    np.testing.assert_allclose(z.mean(axis=0), 0.0, atol=2e-2)  # the whole numbers were spread over their cells
    np.testing.assert_allclose(z.std(axis=0), 1.0, atol=2e-2)
    # Unbent, the farthest Cauchy row of 2,000 stands about 40 standard deviations out.
    assert np.abs(z).max() < 6.0
    decoded = codec.decode(z)
    np.testing.assert_array_equal(decoded[:, 3], table.values[:, 3])
    assert (np.abs(decoded - table.values) <= 1e-14 * np.abs(table.values).max(axis=0)).all()


@pytest.mark.parametrize("magnitude", [2.0**990, 2.0**100, 1.0, 2.0**-100, 2.0**-960])
def test_decode_undoes_encode_for_heavy_tails_at_every_magnitude(magnitude):
    x = TAILED[["signed", "amount"]].to_numpy() * magnitude
    codec = Codec.fit(as_table(x))
    assert [column.kind for column in codec.columns] == ["heavy-tailed"] * 2
    z = codec.encode(x)
    np.testing.assert_allclose(z.std(axis=0), 1.0, rtol=1e-12)
    np.testing.assert_allclose(codec.decode(z) / magnitude, x / magnitude, rtol=1e-12, atol=1e-12)
    np.testing.assert_allclose(
        codec.log_abs_det_jacobian(x),
        Codec.fit(as_table(x / magnitude)).log_abs_det_jacobian(x / magnitude) - 2.0 * np.log(magnitude),
        rtol=1e-9,
    )


def test_bent_columns_hold_the_whole_range_of_float64():
    codec = Codec((HeavyTailedColumn(0.0, 1e-280, 0.0, 1.0),))
    x = np.array([[-1.7e308], [1.7e308], [1e-280], [0.0]])
    z = codec.encode(x)
    assert z[1, 0] == pytest.approx(np.log(2.0) + np.log(1.7) + 588 * np.log(10.0), rel=1e-12)
    np.testing.assert_allclose(codec.decode(z), x, rtol=1e-12)
    assert np.isfinite(codec.decode([[-1e5], [1e308]])).all()
    assert np.isfinite(codec.log_abs_det_jacobian(x)).all()
    assert np.isfinite(codec.in_user_units(np.ones((2, 1)), [[-1e5], [1e308]])).all()


def test_columns_of_any_size_are_bent_without_a_warning():
    decades = 10.0 ** RNG.uniform(-300.0, 300.0, (3000, 1))
    (column,) = Codec.fit(as_table(decades)).columns
    assert (column.kind, column.asinh_centre) == ("heavy-tailed", 0.0)
    far = RNG.normal(size=(20_001, 1)) * 1e-300
    far[1] = 1e300  # not among the rows that choose
    assert np.isfinite(Codec.fit(as_table(far)).encode(far)).all()
    wide = np.array([[-1.7e308], [-1.0], [0.0], [1.0], [1.7e308]])
    codec = Codec.fit(as_table(wide))
    np.testing.assert_allclose(codec.decode(codec.encode(wide)), wide, rtol=1e-12, atol=1e-12)


def test_constant_columns_are_dropped_and_come_back_exactly():
    codec = Codec.fit(as_table(MIXED))
    assert codec.varying == (0, 1, 3)
    assert [s.indices(9)[:2] for s in codec.slices] == [(0, 1), (1, 2), (2, 2), (2, 3), (3, 3)]
    rows = codec.decode(np.zeros((4, codec.n_encoded)))
    assert (rows[:, 2] == 0.1).all()
    assert (rows[:, 4] == 7.0).all()


def test_rows_off_a_constant_are_told():
    codec = Codec.fit(as_table(MIXED))
    rows = MIXED.to_numpy(dtype=np.float64)[:3]
    rows[1, 2] = np.nextafter(0.1, 1.0)
    assert codec.supports(rows).all(axis=1).tolist() == [True, False, True]
    assert codec.supports(rows)[1].tolist() == [True, True, False, True, True]
    assert Codec.fit(as_table([[1.0], [2.0]])).supports([[9.0]]).tolist() == [[True]]


@pytest.mark.parametrize("dtype", ["float16", "float32", "float64"])
def test_a_constant_is_the_same_in_the_precision_that_it_was_fitted_in(dtype):
    """Found by review: fitted in float32, the constant 0.1 was another number than 0.1."""
    codec = Codec.fit(as_table(np.array([[0.1, 1.0], [0.1, 2.0]], dtype=dtype)))
    given = np.array([0.1, np.float32(0.1), np.float16(0.1), 0.1 - 1e-5, 0.11])
    rows = np.column_stack([given, np.ones(5)])
    expected = {"float16": [1, 1, 1, 1, 0], "float32": [1, 1, 0, 0, 0], "float64": [1, 1, 0, 0, 0]}[dtype]
    assert codec.supports(rows, (dtype, dtype)).tolist() == [[bool(same), True] for same in expected]


@pytest.mark.parametrize("scale", [True, False])
def test_whole_numbers_are_spread_over_their_cells_and_rounded_back(scale):
    table = as_table(MIXED)
    codec = Codec.fit(table, scale=scale)
    z = codec.encode(table.values, stream=Stream(0).child("cells"))
    scaled = [getattr(codec.columns[j], "number", codec.columns[j]) for j in codec.varying]
    spread = z * np.array([column.scale for column in scaled]) + np.array([column.centre for column in scaled])
    off = spread - table.values[:, codec.varying]
    np.testing.assert_allclose(off[:, 0], 0.0, atol=1e-14)  # a continuous column stays where it is
    assert (np.abs(off[:, 1:]) < 0.5).all()
    assert [codec.columns[j].dequantisation for j in (1, 3)] == ["uniform", "cosine"]
    # Kolmogorov's distance of 500 draws exceeds 0.142 with probability 2 exp(-1000 * 0.142^2) < 1e-8.
    for column in (1, 2):
        u = np.sort(off[:, column])
        cosine = codec.columns[codec.varying[column]].dequantisation == "cosine"
        below = u + 0.5 + cosine * np.sin(2.0 * np.pi * u) / (2.0 * np.pi)
        assert np.abs(below - (np.arange(500) + 0.5) / 500).max() < 0.142
    decoded = codec.decode(z)
    np.testing.assert_array_equal(decoded[:, 1:], table.values[:, 1:])
    np.testing.assert_allclose(decoded[:, 0], table.values[:, 0], rtol=1e-15)


@pytest.mark.parametrize("cosine", [0.0, 0.25, 0.5, 1.0])
def test_places_are_quantiles_of_their_density(cosine):
    v = np.linspace(0.001, 0.999, 999)[:, None]
    u = place_in_cell(v.copy(), np.array([cosine]))
    np.testing.assert_allclose(u + 0.5 + cosine * np.sin(2.0 * np.pi * u) / (2.0 * np.pi), v, atol=1e-9)
    middle = (np.arange(4000)[:, None] + 0.5) / 4000 - 0.5
    assert np.exp(log_cell_density(middle, np.array([cosine]))).mean() == pytest.approx(1.0, abs=1e-4)


def test_a_whole_number_column_counts_with_the_variance_of_its_cell():
    codec = Codec.fit(as_table(MIXED))
    np.testing.assert_allclose(codec.columns[1].number.scale ** 2, MIXED["count"].var(ddof=0) + 1 / 12, rtol=1e-12)


def test_numbers_of_wide_cells_are_spread_by_a_bell_and_count_with_its_variance():
    flags, table = Stream(3).uniform(0, 200_000, 1).numpy() < 0.3, pd.DataFrame({"flag": np.zeros(200_000)})
    table["flag"] = flags[:, 0].astype(float)
    codec = Codec.fit(as_table(table))
    assert codec.columns[0].dequantisation == "cosine"
    z = codec.encode(as_table(table).values, stream=Stream(4))
    # Standard errors of the mean and, from a fourth moment below 3, of the variance; false alarms of 1e-8.
    assert abs(z.mean()) < 5.7 / 200_000**0.5
    assert abs(z.var() - 1.0) < 5.7 * (2.0 / 200_000) ** 0.5


@pytest.mark.parametrize(("deviation", "density"), [(1.2, "cosine"), (1.5, "uniform")])
def test_numbers_are_spread_by_a_bell_where_cells_are_three_quarters_of_a_standard_deviation(deviation, density):
    x = np.rint(deviation * Stream(5).normal(0, 5000, 1).numpy())
    assert Codec.fit(as_table(pd.DataFrame({"x": x[:, 0]}))).columns[0].dequantisation == density


def test_the_density_of_spread_numbers_against_the_bell_is_their_probability():
    """ln(p / q) at spread numbers, where p is P(number) q: the very logarithm of P, at every place in the cell."""
    share = np.array([0.7, 0.3])
    rows = pd.DataFrame({"flag": np.repeat([0, 1], [70, 30])})
    codec = Codec.fit(as_table(rows))
    spread = codec.dequantise(rows.to_numpy(dtype=float), stream=Stream(6))
    u = spread - rows.to_numpy()
    log_p = np.log(share[rows["flag"]]) + np.log(2.0 * np.cos(np.pi * u[:, 0]) ** 2)  # in the user's units
    np.testing.assert_allclose(log_p - codec.log_dequantisation(spread), np.log(share[rows["flag"]]), atol=1e-9)
    edge = codec.log_dequantisation([[0.5], [0.49], [0.0]])  # at the edge the bell would end at -inf
    assert edge[0] == pytest.approx(edge[1])
    assert edge[2] == pytest.approx(np.log(2.0))


def integers(codec):
    return {j: column.dequantisation for j, column in enumerate(codec.columns) if column.kind == "integer"}


def test_a_codec_of_other_rows_keeps_integers_and_constants():
    """So that a simple model of the same rows has its density over the same coordinates."""
    codec = Codec.fit(as_table(MIXED))
    assert integers(codec) == {1: "uniform", 3: "cosine"}
    others = MIXED.assign(count=MIXED["flag"] * 1, flag=MIXED["count"] * 40, unit=MIXED["length"], length=1.5)
    refitted = codec.refitted(as_table(others))
    assert integers(refitted) == {1: "uniform", 3: "cosine"}
    assert [refitted.columns[j] == codec.columns[j] for j in range(5)] == [True, False, True, False, True]
    counts = as_table(pd.DataFrame({"x": np.arange(400) % 2 + 40 * (np.arange(400) % 50 == 0)}))
    assert Codec.fit(counts).columns[0].family == "integer heavy-tailed"
    assert Codec.fit(counts).refitted(counts) == Codec.fit(counts)
    assert Codec.fit(counts).refitted(counts, asinh=False).columns[0].family == "integer number"
    few = Codec((IntegerColumn(NumberColumn(0.0, 1.0), 0.0, 1.0, "cosine"),))
    assert few.refitted(counts).columns[0].family == "integer number"  # few integers have no tails


def test_rows_are_encoded_in_pieces_as_together():
    counts = pd.DataFrame({"hits": np.arange(40) % 37, "mass": np.linspace(0.0, 1.0, 40)})
    codec, rows = Codec.fit(as_table(counts)), as_table(counts).values
    together = codec.encode(rows, stream=Stream(3))
    assert codec.n_uniforms
    np.testing.assert_array_equal(codec.encode(rows[25:], stream=Stream(3), first_row=25), together[25:])


def test_without_a_stream_whole_numbers_stand_at_the_centres_of_their_cells():
    table = as_table(MIXED)
    codec = Codec.fit(table, scale=False)
    np.testing.assert_array_equal(codec.encode(table.values), table.values[:, codec.varying])


def test_arrays_of_integers_count_as_continuous():
    codec = Codec.fit(as_table(np.array([[1, 2], [3, 5]])))
    assert [column.kind for column in codec.columns] == ["number", "number"]


def test_without_scaling_the_codec_is_the_identity():
    x = RNG.normal(size=(10, 2))
    codec = Codec.fit(as_table(x), scale=False)
    np.testing.assert_array_equal(codec.encode(x), x)
    np.testing.assert_array_equal(codec.decode(x), x)
    assert (codec.log_abs_det_jacobian(x) == 0.0).all()


def test_encode_changes_nothing_that_it_was_given_and_keeps_gaps():
    table = as_table(MIXED)
    values = table.values.copy()
    values[0, 1] = np.nan
    before = values.copy()
    codec = Codec.fit(table)
    z = codec.encode(values, stream=Stream(0))
    np.testing.assert_array_equal(values, before)
    np.testing.assert_array_equal(~np.isnan(z), codec.observed(as_table(values).observed))
    assert np.argwhere(np.isnan(z)).tolist() == [[0, 1]]
    assert np.isnan(codec.decode(z)[0, 1])


@pytest.mark.parametrize("order", ["C", "F"])
def test_encoded_rows_lie_row_by_row_however_the_values_lie(order):
    """The bits of a row's sums, and so of its score, depend on how the rows lie in memory."""
    x = RNG.normal(size=(50, 12))
    x[:, 5] = 2.0
    assert Codec.fit(as_table(x)).encode(np.asarray(x, order=order)).flags.c_contiguous


@pytest.mark.parametrize("rows", [[[1.0, 2.0], [1.0, 2.0]], [[3.0], [3.0], [3.0]]])
@pytest.mark.parametrize("scale", [True, False])
def test_columns_none_of_which_varies_are_refused(rows, scale):
    with pytest.raises(InvalidInput, match="constant"):
        Codec.fit(as_table(rows), scale=scale)


def test_a_single_row_is_refused_in_the_words_of_scikit_learn():
    with pytest.raises(InvalidInput, match="1 sample"):
        Codec.fit(as_table([[1.0, 2.0]]))


@pytest.mark.parametrize("shape", [(3,), (3, 2), (1, 3, 1)])
def test_rows_of_another_shape_are_refused(shape):
    codec = Codec.fit(as_table(RNG.normal(size=(5, 3))))
    for use in (codec.encode, codec.decode, codec.supports):
        with pytest.raises(InvalidInput, match=r"shape \(n, 3\)"):
            use(np.zeros(shape))


def test_a_codec_survives_json_exactly():
    for frame in (MIXED, TAILED):
        codec = Codec.fit(as_table(frame))
        assert Codec.from_dict(json.loads(json.dumps(codec.to_dict()))) == codec


NUMBER = {"kind": "number", "centre": 0.0, "scale": 1.0, "least": None, "largest": None}
HEAVY = {**NUMBER, "kind": "heavy-tailed", "asinh_centre": 0.0, "asinh_scale": 1.0}
INTEGER = {"kind": "integer", "number": NUMBER, "least": 0.0, "largest": 5.0, "dequantisation": "uniform"}
INTEGER |= {"step": 1.0, "offset": 0.0, "per": 1.0}


@pytest.mark.parametrize(
    "column",
    [
        {**NUMBER, "scale": 0.0},
        {**NUMBER, "scale": -1.0},
        {**HEAVY, "asinh_scale": 0.0},
        {**HEAVY, "scale": 0.0},
        {**HEAVY, "asinh_scale": float("inf")},
        {**HEAVY, "kind": "number"},
        {**HEAVY, "step": 1.0},
        {**HEAVY, "least": 1.0, "largest": 0.0},
        {**NUMBER, "kind": "heavy-tailed"},
        {**NUMBER, "scale": 1e-320},
        {**NUMBER, "scale": float("inf")},
        {**NUMBER, "centre": float("nan")},
        {**NUMBER, "centre": "0"},
        {**NUMBER, "centre": 10**400},
        {**NUMBER, "centre": True},
        {**INTEGER, "dequantisation": 1.0},
        {**INTEGER, "dequantisation": ["uniform"]},
        {**INTEGER, "number": INTEGER},
        {**INTEGER, "number": {"kind": "constant", "value": 1.0}},
        {**INTEGER, "number": {**NUMBER, "scale": 0.0}},
        {**INTEGER, "number": None},
        {**INTEGER, "least": "0"},
        {**INTEGER, "step": None},
        {**INTEGER, "step": 0.0},
        {**INTEGER, "step": 0.5},
        {**INTEGER, "per": -1.0},
        {**INTEGER, "offset": 0.5},
        {**INTEGER, "largest": float("nan")},
        {**INTEGER, "least": 6.0},
        {**NUMBER, "kind": "text"},
        {**NUMBER, "kind": ["number"]},
        {**NUMBER, "extra": 1.0},
        {"kind": "number", "centre": 0.0},
        {"kind": "constant", "value": None},
        {"kind": "constant", "value": 1.0},
        {},
        None,
        [],
    ],
    ids=str,
)
def test_a_record_that_is_no_codec_is_refused(column):
    assert Codec.from_dict({"columns": [NUMBER, HEAVY, INTEGER]}).n_encoded == 3
    with pytest.raises(InvalidInput):
        Codec.from_dict({"columns": [column]})


@pytest.mark.parametrize(
    "record", [None, [], {}, {"columns": {}}, {"columns": []}, {"columns": [NUMBER], "more": 1}], ids=str
)
def test_a_record_without_columns_is_refused(record):
    with pytest.raises(InvalidInput):
        Codec.from_dict(record)


def test_columns_describe_themselves():
    codec = Codec((NumberColumn(0.0, 2.0), ConstantColumn(7.0)))
    assert (codec.n_columns, codec.n_encoded, codec.in_user_units([[1.0]], [[5.0]]).tolist()) == (2, 1, [[2.0, 0.0]])
    count = IntegerColumn(HeavyTailedColumn(1.5, 4.0, 0.0, 1.0), 0.0, 90.0, "uniform")
    assert (count.width, count.cell, count.axis.asinh, count.axis.integers) == (1, 1.0, (1.5, 4.0), True)
    assert (ConstantColumn(7.0).width, NumberColumn(0.0, 2.0).axis.asinh) == (0, None)
    for column, words in ((count, "0 to 90.*uniform.*asinh"), (ConstantColumn(7.0), "constant, 7")):
        assert re.search(words, column.description)


def test_a_column_alone_maps_as_among_others():
    codec = Codec.fit(as_table(TAILED))
    x = TAILED.to_numpy(dtype=np.float64)
    z = codec.encode(x)
    for j, column in enumerate(codec.columns):
        np.testing.assert_array_equal(column.maps.encode(x[:, [j]]), z[:, codec.slices[j]])
        np.testing.assert_array_equal(column.maps.decode(z[:, codec.slices[j]]), codec.decode(z)[:, [j]])
    each = [np.broadcast_to(column.maps.log_slope(x[:, [j]]), (len(x), 1)) for j, column in enumerate(codec.columns)]
    np.testing.assert_allclose(sum(each)[:, 0], codec.log_abs_det_jacobian(x), rtol=1e-12)


def test_new_whole_numbers_are_brought_within_the_range_of_the_fitted_ones():
    """Found by review: a column of 0 and 1 gave -1 and 2."""
    codec = Codec.fit(as_table(MIXED))
    most = MIXED["count"].max()
    assert [(codec.columns[j].least, codec.columns[j].largest) for j in (1, 3)] == [(0.0, most), (0.0, 1.0)]
    assert Codec.from_dict(codec.to_dict()) == codec

    def brought(count, flag):
        row = codec.within_range(np.array([[5.0, count, 0.1, flag, 7.0]]))
        assert row[0, 0] == 5.0
        return row[0, [1, 3]].tolist()

    assert brought(most, 1.0) == [most, 1.0]
    # Beyond the last cell they are reflected, where clipping would heap them up at the end.
    assert brought(most + 1, 2.0) == [most, 1.0]
    assert brought(most + 3, 3.0) == [most - 2, 0.0]
    assert brought(-2.0, -1.0) == [1.0, 0.0]
    # What is too far for that is at the near end.
    assert brought(9e9, 4.0) == [most, 1.0]
    assert brought(-9e9, -3.0) == [0.0, 0.0]


def test_the_reflection_keeps_the_density_of_uniform_numbers_at_their_edge():
    """A blurred edge loses mass to the cells beyond: reflected, it comes back to where it came from."""
    codec = Codec.fit(as_table(pd.DataFrame({"age": np.arange(18, 91), "x": RNG.normal(size=73)})))
    spread = Stream(1).uniform(0, 200_000, 1).numpy()[:, 0] * 73 + 17.5
    blurred = np.rint(spread + 1.5 * Stream(2).normal(0, 200_000, 1).numpy()[:, 0])
    rows = codec.within_range(np.column_stack([blurred, blurred]))[:, 0]
    counts = np.bincount(rows.astype(int), minlength=91)[18:]
    assert counts.sum() == 200_000
    # A chi-square of 72 degrees of freedom is above 150 with probability 2e-7.
    assert ((counts - 200_000 / 73) ** 2 / (200_000 / 73)).sum() < 150.0


def test_decode_gives_whole_numbers_back_wherever_they_lie():
    """Found by review: latents of a row beyond the fitted range came back as another row."""
    codec = Codec.fit(as_table(MIXED))
    row = np.array([[5.0, MIXED["count"].max() + 7.0, 0.1, -3.0, 7.0]])
    np.testing.assert_allclose(codec.decode(codec.encode(row)), row, rtol=1e-12)


@pytest.mark.parametrize("far", [3.0, 300.0])
def test_whole_numbers_are_told_by_the_rows_too(far):
    """Found by review: pandas makes floats of integers with gaps, and writes them as floats."""
    whole = RNG.integers(0, 4, 200).astype(float)
    whole[0] = far  # 300 makes the tails heavy, or not: a whole number all the same
    frame = pd.DataFrame({"whole": whole, "huge": RNG.normal(size=200) * 1e20, "third": whole / 3.0})
    codec = Codec.fit(as_table(frame))
    assert list(integers(codec)) == [0]
    assert (codec.columns[0].least, codec.columns[0].largest) == (0.0, far)
    assert integers(Codec.fit(as_table(frame.to_numpy()))) == {}  # arrays are on a continuous scale
    made = codec.decode(RNG.normal(size=(100, 3)))
    assert (made[:, 0] == np.rint(made[:, 0])).all()
    assert not (made[:, 2] == np.rint(made[:, 2])).all()


def test_columns_that_were_left_as_they_are_are_told_from_scaled_ones():
    x = as_table(RNG.normal(3.0, 2.0, size=(50, 2)))
    assert Codec.fit(x).is_scaled
    assert not Codec.fit(x, scale=False).is_scaled
