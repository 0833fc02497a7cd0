"""Columns with levels: codes, atoms, blocks, and a codec that keeps its laws beside them."""

import json
import math

import numpy as np
import pytest
from scipy import stats

from backwalk.errors import InvalidInput
from backwalk.streams import Stream
from backwalk.table import Asinh, AtomsColumn, Codec, ConstantColumn, Grid, LevelsColumn, NumberColumn, repeated_values

NAN = math.nan
RAIN = AtomsColumn(NumberColumn(1.0, 0.5, asinh=Asinh(0.0, 0.5)), (0.0, NAN), (0.6, 0.1, 0.3))
VISITS = AtomsColumn(NumberColumn(20.0, 5.0, 5.0, 40.0, grid=Grid(), dequantisation="uniform"), (0.0,), (0.25, 0.75))
# (values, frequencies, coding) of four kinds of codes.
SITE = LevelsColumn((0.0, 1.0, 2.0), (0.5, 0.2, 0.3), "one-hot")
GRADE = LevelsColumn((1.0, 2.0, 5.0, 9.0), (0.1, 0.2, 0.3, 0.4), "value")
GAIN = LevelsColumn((0.0, 114.0, 99_999.0), (0.9, 0.05, 0.05), "rank")
CITY = LevelsColumn(tuple(map(float, range(100))), (0.01,) * 100, "random")
MIXED = Codec((SITE, NumberColumn(5.0, 2.0), GRADE, RAIN, ConstantColumn(7.0), CITY, VISITS, GAIN))
ROWS = np.array(
    [
        [0.0, 4.0, 1.0, 0.0, 7.0, 99.0, 0.0, 114.0],
        [2.0, 6.5, 9.0, NAN, 7.0, 0.0, 17.0, 0.0],
        [1.0, -1.0, 5.0, 2.25, 7.0, 42.0, 30.0, 99_999.0],
    ]
)


def codes_of(column):
    return column.encode(np.array(column.values))


def test_decode_undoes_encode():
    z = MIXED.encode(ROWS, stream=Stream(0))
    assert z.shape == (3, MIXED.n_encoded) == (3, 3 + 1 + 1 + 4 + 0 + 16 + 3 + 1)
    np.testing.assert_allclose(MIXED.decode(z), ROWS, rtol=1e-12)
    np.testing.assert_allclose(MIXED.decode(MIXED.encode(ROWS)), ROWS, rtol=1e-12)


def test_the_coordinate_of_a_number_is_missing_at_its_atoms_alone():
    z = MIXED.encode(ROWS)
    rain, visits = MIXED.slices[3], MIXED.slices[6]
    np.testing.assert_array_equal(z[:, rain][:, :3], np.eye(3))
    assert np.isnan(z[:, rain][:, 3]).tolist() == [True, True, False]
    assert z[2, rain][3] == pytest.approx((np.arcsinh(4.5) - 1.0) / 0.5)
    np.testing.assert_array_equal(z[:, visits][:, :2], [[1.0, 0.0], [0.0, 1.0], [0.0, 1.0]])
    np.testing.assert_array_equal(z[:, visits][:, 2], [NAN, -0.6, 2.0])


def test_missing_values_are_missing_in_all_coordinates_unless_they_are_an_atom():
    z = MIXED.encode(np.full((1, 8), NAN))
    of_rain = np.zeros(MIXED.n_encoded, dtype=bool)
    of_rain[MIXED.slices[3]] = [True, True, True, False]
    np.testing.assert_array_equal(np.isnan(z[0]), ~of_rain)
    np.testing.assert_array_equal(MIXED.decode(z), [[NAN, NAN, NAN, NAN, 7.0, NAN, NAN, NAN]])
    assert MIXED.supports(np.full((1, 8), NAN)).all()


def test_the_nearest_code_is_decoded():
    stream = Stream(1)
    z = MIXED.encode(np.repeat(ROWS, 200, axis=0), stream=stream.child("places"))
    noise = 0.2 * stream.child("noise").uniform(0, len(z), MIXED.n_encoded).numpy()
    decoded = MIXED.decode(z + np.where(np.isin(np.arange(z.shape[1]), MIXED.numbers), 0.0, noise))
    np.testing.assert_allclose(decoded[:, [0, 3, 5, 6]], np.repeat(ROWS, 200, axis=0)[:, [0, 3, 5, 6]], rtol=1e-12)
    for column in (SITE, GRADE, GAIN, CITY):  # by distances to all codes
        points = 2.0 * stream.child(column.coding).normal(0, 300, column.width).numpy()
        distance = np.linalg.norm(points[:, None] - codes_of(column), axis=2)
        np.testing.assert_array_equal(column.decode(points), np.array(column.values)[distance.argmin(axis=1)])


def test_codes_of_numbers_have_mean_zero_and_variance_one_and_others_length_one():
    for column in (GRADE, GAIN):
        assert column.frequencies @ codes_of(column)[:, 0] == pytest.approx(0.0, abs=1e-15)
        assert column.frequencies @ codes_of(column)[:, 0] ** 2 == pytest.approx(1.0)
    steps = np.diff(codes_of(GRADE)[:, 0])
    np.testing.assert_allclose(steps / steps[0], [1.0, 3.0, 4.0])
    np.testing.assert_allclose(np.diff(codes_of(GAIN)[:, 0], 2), 0.0, atol=1e-12)
    wide = LevelsColumn((-1.7e308, 0.0, 1.7e308), (0.25, 0.5, 0.25), "value")
    np.testing.assert_allclose(codes_of(wide)[:, 0], [-(2.0**0.5), 0.0, 2.0**0.5])
    np.testing.assert_array_equal(codes_of(SITE), np.eye(3))
    np.testing.assert_allclose(np.linalg.norm(codes_of(CITY), axis=1), 1.0)
    assert codes_of(CITY).shape == (100, 16)


def test_blocks_hold_the_codes_and_the_numbers_are_the_rest():
    site, grade, rain, city, visits, gain = MIXED.blocks
    assert [block.column for block in MIXED.blocks] == [0, 2, 3, 5, 6, 7]
    assert [MIXED.slices[block.column].start for block in MIXED.blocks] == [b.coordinates.start for b in MIXED.blocks]
    z = MIXED.encode(ROWS)
    for block, level in (
        (site, [0, 2, 1]),
        (grade, [0, 3, 2]),
        (rain, [0, 1, 2]),
        (city, [99, 0, 42]),
        (gain, [1, 0, 2]),
    ):
        np.testing.assert_array_equal(z[:, block.coordinates], block.codes[level])
        assert block.frequencies.sum() == pytest.approx(1.0)
    assert (site.number, site.is_one_hot, grade.is_one_hot) == (None, True, False)
    assert (rain.other, visits.other, visits.atoms.tolist()) == (2, 1, [0.0])
    np.testing.assert_array_equal(rain.values, [0.0, NAN, NAN])
    np.testing.assert_array_equal(MIXED.numbers, [3, rain.number, visits.number])
    assert (rain.number, visits.number) == (MIXED.slices[3].stop - 1, MIXED.slices[6].stop - 1)
    plain = Codec((NumberColumn(0.0, 1.0), NumberColumn(0.0, 1.0)))
    assert (plain.blocks, plain.numbers.tolist()) == ((), [0, 1])


def test_levels_have_no_volume_and_a_number_has_its_own_off_its_atoms():
    number, rain, visits = (MIXED.columns[j].chain.log_slope(ROWS[:, j]) for j in (1, 3, 6))
    found = MIXED.log_abs_det_jacobian(ROWS)
    np.testing.assert_allclose(found, [number[0], number[1] + visits[1], number[2] + rain[2] + visits[2]])
    assert MIXED.log_abs_det_jacobian(np.full((1, 8), NAN)).tolist() == [0.0]
    # Central differences of the coordinate of rain.
    at, step = MIXED.slices[3].stop - 1, 1e-6
    moved = [MIXED.encode(ROWS + shift * np.eye(8)[3])[2, at] for shift in (step, -step)]
    assert rain[2] == pytest.approx(math.log((moved[0] - moved[1]) / (2.0 * step)), abs=1e-6)
    units = MIXED.in_user_units(np.ones((3, MIXED.n_encoded)), MIXED.encode(ROWS))
    np.testing.assert_array_equal(units[:, [0, 2, 4, 5, 7]], 0.0)
    np.testing.assert_allclose(units[:, 3], [0.0, 0.0, math.exp(-rain[2])])
    np.testing.assert_allclose(units[:, 6], [0.0, 5.0, 5.0])


def test_integers_beside_atoms_are_dequantised_anew_and_kept_in_their_range():
    values = np.repeat(ROWS, 50, axis=0)
    redraw = MIXED.redraw(values)
    assert MIXED.n_uniforms == redraw.n_uniforms == 1
    v = Stream(5).uniform(0, 150, 1).numpy()
    z = MIXED.encode(values)
    z[:, redraw.coordinates] = redraw(np.arange(150), v)
    moved = z[:, MIXED.slices[6].stop - 1] * 5.0 + 20.0 - values[:, 6]
    assert np.isnan(moved[:50]).all()
    np.testing.assert_allclose(moved[50:], v[50:, 0] - 0.5, atol=1e-9)
    np.testing.assert_allclose(MIXED.decode(z), values, rtol=1e-12)
    rows = MIXED.dequantise(values, stream=Stream(6))
    np.testing.assert_array_equal(np.rint(rows[:, 6]), values[:, 6])
    assert (rows[:50, 6] == 0.0).all()
    assert (rows[50:, 6] != values[50:, 6]).all()
    np.testing.assert_array_equal(np.delete(rows, 6, axis=1), np.delete(values, 6, axis=1))
    assert (MIXED.log_dequantisation(rows) == 0.0).all()  # uniform
    new = ROWS.copy()
    new[:, 6] = [0.0, 4.0, 41.0]
    assert MIXED.within_range(new)[:, 6].tolist() == [0.0, 5.0, 40.0]


@pytest.mark.parametrize("dequantisation", ["uniform", "cosine"])
@pytest.mark.parametrize("atoms", [(7.0,), (6.5, 7.0, 7.5), (-3.0, 4.0, 4.5, 9.0, 11.5)])
def test_a_number_beside_atoms_has_the_probability_with_which_it_is_drawn(dequantisation, atoms):
    """Found by review: draws that rounded to an atom were not counted in its probability.

    The numbers k / 2 from -1 to 11 have the coordinate z ~ N(0, 1). P is the share of z that is decoded to a number,
    and what scoring integrates: E[p / q] over q, the dequantisation with half of its cosine. Numbers near the bounds
    are not compared, as what lies beyond is reflected.
    """
    grid = {"grid": Grid(per=2.0), "dequantisation": dequantisation}
    shares = (0.5 / len(atoms),) * len(atoms)
    codec = Codec((AtomsColumn(NumberColumn(6.0, 1.5, -1.0, 11.0, **grid), atoms, (*shares, 0.5)),))
    v = (np.arange(20_000) + 0.5) / 20_000
    z = np.zeros((len(v), codec.n_encoded))
    z[:, -2:] = np.stack([np.ones(len(v)), stats.norm.ppf(v)], axis=1)
    drawn = codec.decode(z)[:, 0]
    assert not np.isin(drawn, atoms).any()
    inner = [x for x in np.unique(drawn) if 2.0 <= x <= 10.0]
    assert len(inner) > 10
    for x in inner:
        places = codec.dequantised_at(np.full((len(v), 1), x), v[:, None], weight=0.5)
        p = stats.norm.pdf(codec.encode(places)[:, -1]) * np.exp(codec.log_abs_det_jacobian(places))
        scored = np.mean(p / np.exp(codec.log_dequantisation(places, weight=0.5)))
        assert scored == pytest.approx((drawn == x).mean(), abs=2e-4)
        np.testing.assert_array_equal(codec.decode(codec.encode(places)), x)


def test_a_number_beyond_its_bounds_is_not_decoded_to_an_atom_there():
    codec = Codec((VISITS,))
    z = np.array([[0.0, 1.0, -4.0], [1.0, 0.0, NAN]])
    assert codec.decode(z)[:, 0].tolist() == [9.0, 0.0]  # -4 is 0, reflected at 4.5


def test_a_value_that_is_no_level_is_refused_by_row_column_and_levels():
    for j, value, words in (
        (0, 3.0, "3 fitted levels, 0, 1, 2"),
        (5, 0.5, "100 fitted levels"),
        (2, 3.0, "4 fitted"),
    ):
        rows = ROWS.copy()
        rows[1, j] = value
        with pytest.raises(InvalidInput, match=f"{words}.*got {value} at row 1, column {j}"):
            MIXED.encode(rows)
        held = MIXED.supports(rows)
        assert np.argwhere(~held).tolist() == [[1, j]]
    rows = ROWS.copy()
    rows[1, 6] = 17.5
    assert np.argwhere(~MIXED.supports(rows)).tolist() == [[1, 6]]


def test_levels_are_the_same_in_float32():
    column = LevelsColumn((0.1, 0.2), (0.5, 0.5), "one-hot")
    single = np.array([[np.float32(0.1)], [0.1]], dtype=np.float64)
    np.testing.assert_array_equal(column.encode(single[:, 0]), [[1.0, 0.0], [1.0, 0.0]])
    fitted = LevelsColumn((float(np.float32(0.1)), 0.5), (0.5, 0.5), "one-hot")
    assert fitted.supports(np.array([0.1]), "float32").all()
    assert not fitted.supports(np.array([0.1]), "float64").any()


def test_atoms_are_the_same_in_float32():
    """Also one that float32 cannot hold, beside which nothing is large enough to be its rounding."""
    codec = Codec((AtomsColumn(NumberColumn(0.0, 1.0), (0.1, 1e300), (0.3, 0.1, 0.6)),))
    values = np.array([[0.1], [float(np.float32(0.1))], [1e300], [0.11]])
    np.testing.assert_array_equal(codec.encode(values)[:, :3], np.eye(3)[[0, 0, 1, 2]])
    np.testing.assert_array_equal(codec.decode(codec.encode(values))[:3, 0], [0.1, 0.1, 1e300])


def test_repeats_of_levels_and_atoms_need_no_warning():
    assert repeated_values(MIXED, np.repeat(ROWS[:1], 100, axis=0), 0.002).keys() == {1}
    gaps = np.full((100, 8), NAN)
    assert repeated_values(MIXED, gaps, 0.002) == {}


def test_many_columns_and_many_levels_are_mapped():
    flags = Codec((LevelsColumn((0.0, 1.0), (0.5, 0.5), "one-hot"),) * 10_000)
    rows = (Stream(2).uniform(0, 20, 10_000).numpy() < 0.5).astype(float)
    z = flags.encode(rows)
    np.testing.assert_array_equal(z[:, 1::2], rows)
    np.testing.assert_array_equal(flags.decode(z), rows)
    n = 20_000
    ids = Codec((LevelsColumn(tuple(map(float, range(n))), (1.0 / n,) * n, "random"),))
    rows = np.arange(0.0, n)[:, None]
    assert ids.n_encoded == 16
    np.testing.assert_array_equal(ids.decode(ids.encode(rows)), rows)


def test_a_codec_with_levels_survives_json_exactly():
    text = json.dumps(MIXED.to_dict(), allow_nan=False)
    assert Codec.from_dict(json.loads(text)) == MIXED
    assert hash(Codec.from_dict(json.loads(text))) == hash(MIXED)


def test_columns_with_levels_describe_themselves():
    assert (SITE.kind_name, SITE.cell_width, SITE.cosine_weight, SITE.asinh) == ("levels", 0.0, None, None)
    assert (RAIN.kind_name, RAIN.asinh, VISITS.cell_width, VISITS.cosine_weight) == ("atoms", Asinh(0.0, 0.5), 1.0, 0.0)
    assert SITE.description == "3 levels, one-hot codes"
