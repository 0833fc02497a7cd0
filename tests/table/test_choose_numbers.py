"""Numbers are scaled, transformed where their tails are heavy, and dequantised where they are rounded."""

import numpy as np
import pandas as pd
import pytest

from backwalk.errors import InvalidInput
from backwalk.streams import Stream
from backwalk.table import Number, NumberColumn, as_table, fit_codec, refit_codec
from backwalk.table.choose_numbers import rows_looked_at
from backwalk.table.maps import Asinh
from tests.table.tables import MIXED, TAILED, WHOLE

RNG = np.random.default_rng(3)


def integers(codec):
    return {j: column.dequantisation for j, column in enumerate(codec.columns) if column.kind_name == "integer"}


def test_heavy_tails_are_transformed_and_others_are_not():
    columns = fit_codec(as_table(TAILED)).columns
    assert [column.kind_name for column in columns] == ["heavy-tailed", "heavy-tailed", "number", "integer"]
    assert [column.asinh is not None for column in columns] == [True, True, False, True]
    light = np.column_stack(
        [
            RNG.normal(size=900),
            RNG.uniform(size=900),
            RNG.random(900) < 0.3,
            np.where(RNG.random(900) < 0.5, -1.0, 1.0) + 0.1 * RNG.normal(size=900),
            RNG.exponential(size=900),
            np.where(RNG.random(900) < 0.9, 0.0, 1e6 * RNG.exponential(size=900)),  # its quartiles are equal
        ]
    )
    assert not any(column.asinh for column in fit_codec(as_table(light)).columns)
    assert not any(column.asinh for column in fit_codec(as_table(TAILED), scale=False).columns)


@pytest.mark.parametrize("scale", [1e-6, 3.0])
def test_the_scale_of_sinh_normal_rows_is_found(scale):
    """Candidates lie a factor of 2 apart, so the likeliest is within one of the truth; the median's error is 0.01."""
    x = 7.0 + scale * np.sinh(2.0 * RNG.normal(size=(20_000, 1)))
    (column,) = fit_codec(as_table(x)).columns
    assert 0.5 * scale < column.asinh.scale < 2.0 * scale
    assert (
        abs(column.asinh.centre - 7.0) < 6 * 2.0 * scale * 1.2533 / 20_000**0.5 * 2**0.5
    )  # quartiles are of 10,000 rows
    assert column.scale == pytest.approx(2.0, rel=0.5)


@pytest.mark.parametrize("sign", [1.0, -1.0])
def test_rows_of_one_sign_are_transformed_by_their_logarithm_and_keep_it(sign):
    x = sign * 50.0 * np.exp(2.0 * RNG.normal(size=(5000, 1)))
    codec = fit_codec(as_table(x))
    column = codec.columns[0]
    assert column.asinh.centre == 0.0
    assert 2.0**-25 <= column.asinh.scale / np.abs(x).min() <= 2.0**-24
    assert np.frexp(column.asinh.scale)[0] == 0.5  # a power of two, and no row's number
    assert abs(np.corrcoef(codec.encode(x)[:, 0], np.log(np.abs(x[:, 0])))[0, 1]) > 0.9999
    decoded = codec.decode(np.array([[-9.0], [9.0]]))  # farther out than any row of any model
    assert (sign * decoded > 0).all()
    counts = pd.DataFrame({"hits": np.rint(np.abs(x[:, 0]) / 10.0).astype(np.int64)})
    column = fit_codec(as_table(counts)).columns[0]
    assert (column.asinh.centre, column.asinh.scale) == (0.0, 1.0)  # a cell


def test_transformed_columns_have_mean_zero_and_variance_one_and_no_far_rows():
    table = as_table(TAILED)
    codec = fit_codec(table)
    z = codec.encode(table.values, stream=Stream(0))
    np.testing.assert_allclose(z.mean(axis=0), 0.0, atol=2e-2)  # the integers were dequantised
    np.testing.assert_allclose(z.std(axis=0), 1.0, atol=2e-2)
    # Without the transform, the farthest Cauchy row of 2,000 stands about 40 standard deviations out.
    assert np.abs(z).max() < 6.0
    decoded = codec.within_range(codec.decode(z))
    np.testing.assert_array_equal(decoded[:, 3], table.values[:, 3])
    assert (np.abs(decoded - table.values) <= 1e-14 * np.abs(table.values).max(axis=0)).all()


@pytest.mark.parametrize("magnitude", [2.0**990, 2.0**100, 1.0, 2.0**-100, 2.0**-960])
def test_decode_undoes_encode_for_heavy_tails_at_every_magnitude(magnitude):
    x = TAILED[["signed", "amount"]].to_numpy() * magnitude
    codec = fit_codec(as_table(x))
    assert [column.kind_name for column in codec.columns] == ["heavy-tailed"] * 2
    z = codec.encode(x)
    np.testing.assert_allclose(z.std(axis=0), 1.0, rtol=1e-12)
    np.testing.assert_allclose(codec.decode(z) / magnitude, x / magnitude, rtol=1e-12, atol=1e-12)
    np.testing.assert_allclose(
        codec.log_abs_det_jacobian(x),
        fit_codec(as_table(x / magnitude)).log_abs_det_jacobian(x / magnitude) - 2.0 * np.log(magnitude),
        rtol=1e-9,
    )


def test_columns_of_any_size_are_transformed_without_a_warning():
    decades = 10.0 ** RNG.uniform(-300.0, 300.0, (3000, 1))
    (column,) = fit_codec(as_table(decades)).columns
    assert (column.kind_name, column.asinh.centre) == ("heavy-tailed", 0.0)
    far = RNG.normal(size=(20_001, 1)) * 1e-300
    far[1] = 1e300  # not among the rows that choose
    assert np.isfinite(fit_codec(as_table(far)).encode(far)).all()
    wide = np.array([[-1.7e308], [-1.0], [0.0], [1.0], [1.7e308]])
    codec = fit_codec(as_table(wide))
    np.testing.assert_allclose(codec.decode(codec.encode(wide)), wide, rtol=1e-12, atol=1e-12)


def test_numbers_of_wide_cells_are_scaled_with_the_variance_of_their_places():
    table = pd.DataFrame({"x": np.rint(2.0 * Stream(3).normal(0, 200_000, 1).numpy()[:, 0])})
    codec = fit_codec(as_table(table), columns={"x": "integer"})
    z = codec.encode(as_table(table).values, stream=Stream(4))
    # Standard errors of the mean and, from a fourth moment below 3, of the variance; false alarms of 1e-8.
    assert abs(z.mean()) < 5.7 / 200_000**0.5
    assert abs(z.var() - 1.0) < 5.7 * (2.0 / 200_000) ** 0.5


def test_a_codec_of_other_rows_keeps_integers_and_constants():
    """So that a simple model of the same rows has its density over the same coordinates."""
    codec = fit_codec(as_table(MIXED), columns=WHOLE)
    assert integers(codec) == {1: 0.0, 3: 0.9}
    others = MIXED.assign(count=MIXED["flag"] * 1, flag=MIXED["count"] * 40, unit=MIXED["length"], length=1.5)
    refitted = refit_codec(codec, as_table(others))
    assert integers(refitted) == {1: 0.0, 3: 0.9}
    assert [refitted.columns[j] == codec.columns[j] for j in range(5)] == [True, False, True, False, True]
    counts = as_table(pd.DataFrame({"x": np.arange(400) % 2 + 40 * (np.arange(400) % 50 == 0)}))
    tailed = fit_codec(counts, columns={"x": "integer"})
    assert tailed.columns[0].asinh is not None
    assert refit_codec(tailed, counts) == tailed
    assert refit_codec(tailed, counts, asinh=False).columns[0].asinh is None


@pytest.mark.parametrize("far", [3.0, 300.0])
def test_whole_numbers_are_told_by_the_rows_too(far):
    """Found by review: pandas makes floats of integers with gaps, and writes them as floats."""
    whole = RNG.integers(0, 4, 200).astype(float)
    whole[0] = far  # 300 makes the tails heavy, or not: a whole number all the same
    frame = pd.DataFrame({"whole": whole, "huge": RNG.normal(size=200) * 1e20, "third": whole / 3.0})
    codec = fit_codec(as_table(frame), columns=dict.fromkeys(frame, "number"))
    assert list(integers(codec)) == [0]
    assert (codec.columns[0].least, codec.columns[0].largest) == (0.0, far)
    assert integers(fit_codec(as_table(frame.to_numpy()))) == {}  # arrays are on a continuous scale
    made = codec.decode(RNG.normal(size=(100, 3)))
    assert (made[:, 0] == np.rint(made[:, 0])).all()
    assert not (made[:, 2] == np.rint(made[:, 2])).all()


DAY = 86_400.0


@pytest.mark.parametrize(
    ("column", "periods"),
    [
        (pd.date_range("2015-01-01", periods=2000), (365.2425, 7.0)),
        (pd.date_range("2017-01-01", periods=730), (365.2425, 7.0)),
        (pd.date_range("2015-01-01", periods=700), (7.0,)),  # less than two years
        (pd.date_range("2015-01-01", periods=13), ()),
        (pd.date_range("2015-01-01", periods=900, freq="7D"), (365.2425,)),  # a step of a week has no weekdays
        (pd.date_range("2015-01-01", periods=900, freq="h"), (7.0, 1.0)),
        (pd.date_range("2015-01-01", periods=900, freq="min"), ()),
        (pd.to_timedelta(np.arange(2000), unit="D"), ()),
    ],
    ids=[
        "days",
        "two years",
        "two years less a month",
        "two weeks less two days",
        "weeks",
        "hours",
        "minutes",
        "durations",
    ],
)
def test_dates_have_the_periods_that_they_span_twice_and_whose_phases_differ(column, periods):
    (chosen,) = fit_codec(as_table(pd.DataFrame({"when": column}))).columns
    per_day = {1.0: 1.0, 7.0: 1.0}.get(chosen.cell_width, DAY)
    np.testing.assert_allclose(chosen.periods, np.multiply(periods, per_day))
    assert chosen.comes_first == bool(periods)


def test_dates_with_periods_are_not_transformed_unless_that_is_asked():
    """Found by trying: waves of a mapped date have no period."""
    days = np.floor(2000.0 * np.random.default_rng(1).beta(0.2, 3.0, size=3000))
    dates = pd.DataFrame({"when": pd.Timestamp("2015-01-01") + pd.to_timedelta(days, unit="D")})
    (chosen,) = fit_codec(as_table(dates), columns={"when": Number()}).columns
    assert chosen.is_linear
    assert len(chosen.periods) == 2
    (asked,) = fit_codec(as_table(dates), columns={"when": Number(map=True)}).columns
    assert asked.spline is not None
    assert asked.periods == ()


@pytest.mark.parametrize(
    ("fields", "message"), [({"periods": (0.0,)}, "period"), ({"asinh": Asinh(0.0, 1.0)}, "scaled")]
)
def test_a_column_refuses_periods_that_its_waves_cannot_have(fields, message):
    with pytest.raises(InvalidInput, match=message):
        NumberColumn(0.0, 1.0, **{"periods": (7.0,), **fields})


@pytest.mark.parametrize("weights", [None, np.linspace(0.5, 1.5, 20_000)])
def test_rows_that_are_looked_at_are_looked_at_once(weights):
    """So that a trial's held-out rows are none that it was fitted to."""
    rows = rows_looked_at(np.arange(20_000.0), "maps", weights)
    assert 9_000 < len(rows) <= 10_000
    assert len(np.unique(rows)) == len(rows)
