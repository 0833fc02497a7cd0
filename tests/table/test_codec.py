"""The codec is invertible, knows its Jacobian, and loses nothing to large, small, whole or constant columns."""

import itertools

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats

from backwalk.errors import InvalidInput
from backwalk.streams import Stream
from backwalk.table import as_table, fit_codec
from tests.table.tables import MIXED, TAILED, WHOLE

RNG = np.random.default_rng(3)


def test_encoded_columns_have_mean_zero_and_variance_one():
    x = RNG.normal([1.0, -200.0], [0.01, 30.0], (1000, 2))
    z = fit_codec(as_table(x)).encode(x)
    np.testing.assert_allclose(z.mean(axis=0), 0.0, atol=1e-12)
    np.testing.assert_allclose(z.var(axis=0), 1.0, rtol=1e-12)


@pytest.mark.parametrize("magnitude", [1e300, 1e30, 1.0, 1e-30, 1e-300])
@pytest.mark.parametrize("offset", [0.0, 1.0, -100.0])
def test_decode_undoes_encode_at_every_magnitude(magnitude, offset):
    x = (RNG.normal(size=(200, 3)) + offset) * magnitude
    codec = fit_codec(as_table(x))
    z = codec.encode(x)
    np.testing.assert_allclose(z.std(axis=0), 1.0, rtol=1e-12)
    assert np.abs(codec.decode(z) / magnitude - x / magnitude).max() < 1e-12


def test_the_whole_range_of_float64_is_encoded_without_overflow():
    x = np.array([[-1.7e308], [1.7e308], [1.7e308]])
    codec = fit_codec(as_table(x))
    np.testing.assert_allclose(codec.encode(x).ravel(), [-(2**0.5), 0.5**0.5, 0.5**0.5], rtol=1e-12)
    assert np.isfinite(codec.decode([[-9.0], [1e308]])).all()


def test_a_spread_below_the_precision_of_float64_is_refused_by_name():
    with pytest.raises(InvalidInput, match=r"column 1.*smaller units"):
        fit_codec(as_table([[1.0, 0.0], [2.0, 5e-324]]))


def test_a_value_whose_encoded_number_overflows_is_refused_by_row_and_column():
    codec = fit_codec(as_table([[7.0, 0.0], [7.0, 1e-300]]))
    with pytest.raises(InvalidInput, match="row 1, column 1"):
        codec.encode([[7.0, 0.0], [7.0, 1e300]])


# Numbers of 1e-290 and less in size would meet columns whose spread is refused.
NUMBERS = st.floats(-1e6, 1e6).filter(lambda x: x == 0.0 or abs(x) > 1e-290)


@pytest.mark.slow
@settings(derandomize=True, max_examples=50, deadline=None)
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
    codec = fit_codec(as_table(x), scale=scale)
    # A few units in the last place of the largest number, or of its logarithm (up to 700) where it is transformed.
    digits = [1e-12 if column.kind_name == "heavy-tailed" else 1e-15 for column in codec.columns]
    assert (np.abs(codec.decode(codec.encode(x)) - x) <= digits * np.abs(x).max(axis=0)).all()


def test_the_jacobian_is_that_of_encode():
    for (frame, kinds), row in itertools.product(((MIXED, WHOLE), (TAILED, None)), range(5)):
        codec = fit_codec(as_table(frame), columns=kinds)
        x = frame.to_numpy(dtype=np.float64)[row]
        z = codec.encode(x[None])
        units = codec.deviation_in_user_units(np.ones_like(z), z)[0]
        step = 1e-5 * np.diag(np.where(units > 0.0, units, 1.0))
        difference = codec.encode(x + step) - codec.encode(x - step)
        jacobian = (difference / (2.0 * step.sum(axis=1)[:, None]))[list(codec.varying)]
        expected = np.linalg.slogdet(jacobian)[1]
        assert codec.log_abs_det_jacobian(x[None]) == pytest.approx(expected, abs=1e-7)


def test_constant_columns_are_dropped_and_come_back_exactly():
    codec = fit_codec(as_table(MIXED), columns=WHOLE)
    assert codec.varying == (0, 1, 3)
    assert [s.indices(9)[:2] for s in codec.slices] == [(0, 1), (1, 2), (2, 2), (2, 3), (3, 3)]
    rows = codec.decode(np.zeros((4, codec.n_encoded)))
    assert (rows[:, 2] == 0.1).all()
    assert (rows[:, 4] == 7.0).all()


def test_rows_off_a_constant_are_told():
    codec = fit_codec(as_table(MIXED), columns=WHOLE)
    rows = MIXED.to_numpy(dtype=np.float64)[:3]
    rows[1, 2] = np.nextafter(0.1, 1.0)
    assert codec.supports(rows).all(axis=1).tolist() == [True, False, True]
    assert codec.supports(rows)[1].tolist() == [True, True, False, True, True]
    assert fit_codec(as_table([[1.0], [2.0]])).supports([[9.0]]).tolist() == [[True]]


@pytest.mark.parametrize("dtype", ["float16", "float32", "float64"])
def test_a_constant_is_the_same_in_the_precision_that_it_was_fitted_in(dtype):
    """Found by review: fitted in float32, the constant 0.1 was another number than 0.1."""
    codec = fit_codec(as_table(np.array([[0.1, 1.0], [0.1, 2.0]], dtype=dtype)))
    given = np.array([0.1, np.float32(0.1), np.float16(0.1), 0.1 - 1e-5, 0.11])
    rows = np.column_stack([given, np.ones(5)])
    expected = {"float16": [1, 1, 1, 1, 0], "float32": [1, 1, 0, 0, 0], "float64": [1, 1, 0, 0, 0]}[dtype]
    assert codec.supports(rows, (dtype, dtype)).tolist() == [[bool(same), True] for same in expected]


@pytest.mark.parametrize("scale", [True, False])
def test_integers_are_dequantised_and_rounded_back(scale):
    table = as_table(MIXED)
    codec = fit_codec(table, scale=scale, columns=WHOLE)
    z = codec.encode(table.values, stream=Stream(0).child("cells"))
    scaled = [codec.columns[j] for j in codec.varying]
    spread = z * np.array([column.scale for column in scaled]) + np.array([column.centre for column in scaled])
    off = spread - table.values[:, codec.varying]
    np.testing.assert_allclose(off[:, 0], 0.0, atol=1e-14)  # a continuous column stays where it is
    ends = table.values.min(axis=0), table.values.max(axis=0)
    inside = ((table.values > ends[0]) & (table.values < ends[1]))[:, codec.varying]  # cells at the ends have tails
    assert (np.abs(off[:, 1:]) < 0.5)[inside[:, 1:]].all()
    assert [codec.columns[j].dequantisation for j in (1, 3)] == [0.0, 0.9]
    # Kolmogorov's distance of 500 draws exceeds 0.142 with probability 2 exp(-1000 * 0.142^2) < 1e-8.
    below = np.clip(np.sort(off[:, 1]), -0.5, 0.5) + 0.5
    assert np.abs(below - (np.arange(500) + 0.5) / 500).max() < 0.142
    decoded = codec.within_range(codec.decode(z))
    np.testing.assert_array_equal(decoded[:, 1:], table.values[:, 1:])
    np.testing.assert_allclose(decoded[:, 0], table.values[:, 0], rtol=1e-15)


def test_rows_are_encoded_in_pieces_as_together():
    counts = pd.DataFrame({"hits": np.arange(40) % 37, "mass": np.linspace(0.0, 1.0, 40)})
    codec, rows = fit_codec(as_table(counts), columns={"hits": "integer"}), as_table(counts).values
    together = codec.encode(rows, stream=Stream(3))
    assert codec.n_uniforms
    np.testing.assert_array_equal(codec.encode(rows[25:], stream=Stream(3), first_row=25), together[25:])


def test_without_a_stream_whole_numbers_stand_at_the_centres_of_their_cells():
    table = as_table(MIXED)
    codec = fit_codec(table, scale=False, columns=WHOLE)
    np.testing.assert_array_equal(codec.encode(table.values), table.values[:, codec.varying])


def test_without_scaling_the_codec_is_the_identity():
    x = RNG.normal(size=(10, 2))
    codec = fit_codec(as_table(x), scale=False)
    np.testing.assert_array_equal(codec.encode(x), x)
    np.testing.assert_array_equal(codec.decode(x), x)
    assert (codec.log_abs_det_jacobian(x) == 0.0).all()
    assert (codec.is_scaled, fit_codec(as_table(x)).is_scaled) == (False, True)


def test_encode_changes_nothing_that_it_was_given_and_keeps_gaps():
    table = as_table(MIXED)
    values = table.values.copy()
    values[0, 1] = np.nan
    before = values.copy()
    codec = fit_codec(table)
    z = codec.encode(values, stream=Stream(0))
    np.testing.assert_array_equal(values, before)
    np.testing.assert_array_equal(~np.isnan(z), codec.expand_mask(as_table(values).observed))
    assert np.argwhere(np.isnan(z)).tolist() == [[0, 1]]
    assert np.isnan(codec.decode(z)[0, 1])


@pytest.mark.parametrize("order", ["C", "F"])
def test_encoded_rows_lie_row_by_row_however_the_values_lie(order):
    """The bits of a row's sums, and so of its score, depend on how the rows lie in memory."""
    x = RNG.normal(size=(50, 12))
    x[:, 5] = 2.0
    assert fit_codec(as_table(x)).encode(np.asarray(x, order=order)).flags.c_contiguous


@pytest.mark.parametrize("rows", [[[1.0, 2.0], [1.0, 2.0]], [[3.0], [3.0], [3.0]]])
@pytest.mark.parametrize("scale", [True, False])
def test_columns_none_of_which_varies_are_refused(rows, scale):
    with pytest.raises(InvalidInput, match="constant"):
        fit_codec(as_table(rows), scale=scale)


def test_a_single_row_is_refused_in_the_words_of_scikit_learn():
    with pytest.raises(InvalidInput, match="1 sample"):
        fit_codec(as_table([[1.0, 2.0]]))


@pytest.mark.parametrize("shape", [(3,), (3, 2), (1, 3, 1)])
def test_rows_of_another_shape_are_refused(shape):
    codec = fit_codec(as_table(RNG.normal(size=(5, 3))))
    for use in (codec.encode, codec.decode, codec.supports):
        with pytest.raises(InvalidInput, match=r"shape \(n, 3\)"):
            use(np.zeros(shape))


def test_a_column_alone_maps_as_among_others():
    codec, x = fit_codec(as_table(TAILED)), TAILED.to_numpy(dtype=np.float64)
    x[3] = np.nan
    z = codec.encode(x)
    for j, column in enumerate(codec.columns):
        np.testing.assert_array_equal(column.encode(x[:, j]), z[:, codec.slices[j]])
        np.testing.assert_array_equal(column.decode(z[:, codec.slices[j]]), codec.decode(z)[:, j])
    each = [column.log_slope(x[:, j]) for j, column in enumerate(codec.columns)]
    np.testing.assert_allclose(np.nan_to_num(sum(each)), codec.log_abs_det_jacobian(x), rtol=1e-12)


@pytest.mark.parametrize("kind", ["integer", "number"])
def test_what_a_cell_at_the_end_of_the_range_holds_is_what_is_drawn_there(kind):
    """Found by review: draws beyond the range were reflected into it, and their mass was missing from the scores."""
    ages = np.arange(18, 91)
    codec = fit_codec(as_table(pd.DataFrame({"age": ages, "x": RNG.normal(size=73)})), columns={"age": kind})
    n = 4096
    z = np.zeros((n, codec.n_encoded))
    z[:, 0] = stats.norm.ppf((np.arange(n) + 0.5) / n)  # beyond the range as well
    drawn = codec.within_range(codec.decode(z))[:, 0]
    v = (np.arange(n) + 0.5)[:, None] / n
    for age in (18, 19, 90):
        values = np.tile([float(age), 0.0], (n, 1))
        places = codec.dequantised_at(values, v)
        p = stats.norm.pdf(codec.encode(places)[:, 0]) * np.exp(codec.columns[0].log_slope(places[:, 0]))
        scored = np.mean(p / np.exp(codec.log_dequantisation(places, values)))
        assert scored == pytest.approx((drawn == age).mean(), abs=1e-3)
    spread = codec.dequantise(np.column_stack([ages, np.zeros(73)]), stream=Stream(1))
    np.testing.assert_array_equal(codec.within_range(spread)[:, 0], ages)


def test_decode_gives_whole_numbers_back_wherever_they_lie():
    """Found by review: latents of a row beyond the fitted range came back as another row."""
    codec = fit_codec(as_table(MIXED), columns=WHOLE)
    row = np.array([[5.0, MIXED["count"].max() + 7.0, 0.1, -3.0, 7.0]])
    np.testing.assert_allclose(codec.decode(codec.encode(row)), row, rtol=1e-12)
