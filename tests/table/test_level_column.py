"""Columns with levels: codes, atoms, blocks, and a codec that keeps its laws beside them."""

import math

import numpy as np
import pytest

from backwalk.errors import InvalidInput
from backwalk.streams import Stream
from backwalk.table import Codec, LevelsColumn, NumberColumn, repeated_values
from tests.table.tables import CITY, COLUMNS, GAIN, GRADE, ROWS, SITE


def codes_of(column):
    return column.encode(np.array(column.values))


def test_decode_undoes_encode():
    z = COLUMNS.encode(ROWS, stream=Stream(0))
    assert z.shape == (3, COLUMNS.n_encoded) == (3, 3 + 1 + 1 + 4 + 0 + 16 + 3 + 1)
    np.testing.assert_allclose(COLUMNS.decode(z), ROWS, rtol=1e-12)
    np.testing.assert_allclose(COLUMNS.decode(COLUMNS.encode(ROWS)), ROWS, rtol=1e-12)


def test_missing_values_are_missing_in_all_coordinates_unless_they_are_an_atom():
    z = COLUMNS.encode(np.full((1, 8), np.nan))
    of_rain = np.zeros(COLUMNS.n_encoded, dtype=bool)
    of_rain[COLUMNS.slices[3]] = [True, True, True, False]
    np.testing.assert_array_equal(np.isnan(z[0]), ~of_rain)
    np.testing.assert_array_equal(COLUMNS.decode(z), [[np.nan, np.nan, np.nan, np.nan, 7.0, np.nan, np.nan, np.nan]])
    assert COLUMNS.supports(np.full((1, 8), np.nan)).all()


def test_the_nearest_code_is_decoded():
    stream = Stream(1)
    z = COLUMNS.encode(np.repeat(ROWS, 200, axis=0), stream=stream.child("places"))
    noise = 0.2 * stream.child("noise").uniform(0, len(z), COLUMNS.n_encoded).numpy()
    decoded = COLUMNS.decode(z + np.where(np.isin(np.arange(z.shape[1]), COLUMNS.numbers), 0.0, noise))
    np.testing.assert_allclose(decoded[:, [0, 3, 5, 6]], np.repeat(ROWS, 200, axis=0)[:, [0, 3, 5, 6]], rtol=1e-12)
    for column in (SITE, GRADE, GAIN, CITY):  # by distances to all codes
        points = 2.0 * stream.child(column.coding).normal(0, 300, column.width).numpy()
        distance = np.linalg.norm(points[:, None] - codes_of(column), axis=2)
        np.testing.assert_array_equal(column.decode(points), np.array(column.values)[distance.argmin(axis=1)])


def test_codes_of_numbers_have_mean_zero_and_variance_one_and_others_length_one():
    for column in (GRADE, GAIN):
        assert column.frequencies @ codes_of(column)[:, 0] == pytest.approx(0.0, abs=1e-15)
        assert column.frequencies @ codes_of(column)[:, 0] ** 2 == pytest.approx(1.0)
        assert (np.diff(codes_of(column)[:, 0]) > 0.0).all()
    wide = LevelsColumn((-1.7e308, 0.0, 1.7e308), (0.25, 0.5, 0.25), "ordered")
    np.testing.assert_allclose(codes_of(wide)[:, 0], [-(2.0**0.5), 0.0, 2.0**0.5])
    np.testing.assert_array_equal(codes_of(SITE), np.eye(3))
    np.testing.assert_allclose(np.linalg.norm(codes_of(CITY), axis=1), 1.0)
    assert codes_of(CITY).shape == (100, 16)


def test_blocks_hold_the_codes_and_the_numbers_are_the_rest():
    site, grade, rain, city, visits, gain = COLUMNS.blocks
    assert [block.column for block in COLUMNS.blocks] == [0, 2, 3, 5, 6, 7]
    assert [COLUMNS.slices[block.column].start for block in COLUMNS.blocks] == [
        b.coordinates.start for b in COLUMNS.blocks
    ]
    z = COLUMNS.encode(ROWS)
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
    np.testing.assert_array_equal(rain.values, [0.0, np.nan, np.nan])
    np.testing.assert_array_equal(COLUMNS.numbers, [3, rain.number, visits.number])
    assert (rain.number, visits.number) == (COLUMNS.slices[3].stop - 1, COLUMNS.slices[6].stop - 1)
    plain = Codec((NumberColumn(0.0, 1.0), NumberColumn(0.0, 1.0)))
    assert (plain.blocks, plain.numbers.tolist()) == ((), [0, 1])


def test_levels_have_no_volume_and_a_number_has_its_own_off_its_atoms():
    number, rain, visits = (COLUMNS.columns[j].chain.log_slope(ROWS[:, j]) for j in (1, 3, 6))
    found = COLUMNS.log_abs_det_jacobian(ROWS)
    np.testing.assert_allclose(found, [number[0], number[1] + visits[1], number[2] + rain[2] + visits[2]])
    assert COLUMNS.log_abs_det_jacobian(np.full((1, 8), np.nan)).tolist() == [0.0]
    # Central differences of the coordinate of rain.
    at, step = COLUMNS.slices[3].stop - 1, 1e-6
    moved = [COLUMNS.encode(ROWS + shift * np.eye(8)[3])[2, at] for shift in (step, -step)]
    assert rain[2] == pytest.approx(math.log((moved[0] - moved[1]) / (2.0 * step)), abs=1e-6)
    units = COLUMNS.deviation_in_user_units(np.ones((3, COLUMNS.n_encoded)), COLUMNS.encode(ROWS))
    np.testing.assert_array_equal(units[:, [0, 2, 4, 5, 7]], 0.0)
    np.testing.assert_allclose(units[:, 3], [0.0, 0.0, math.exp(-rain[2])])
    np.testing.assert_allclose(units[:, 6], [0.0, 5.0, 5.0])


def test_a_value_that_is_no_level_is_refused_by_row_column_and_levels():
    for j, value, words in (
        (0, 3.0, "3 fitted levels, 0, 1, 2"),
        (5, 0.5, "100 fitted levels"),
        (2, 3.0, "4 fitted"),
    ):
        rows = ROWS.copy()
        rows[1, j] = value
        with pytest.raises(InvalidInput, match=f"{words}.*got {value} at row 1, column {j}"):
            COLUMNS.encode(rows)
        held = COLUMNS.supports(rows)
        assert np.argwhere(~held).tolist() == [[1, j]]
    rows = ROWS.copy()
    rows[1, 6] = 17.5
    assert np.argwhere(~COLUMNS.supports(rows)).tolist() == [[1, 6]]


def test_levels_are_the_same_in_float32():
    column = LevelsColumn((0.1, 0.2), (0.5, 0.5), "one-hot")
    single = np.array([[np.float32(0.1)], [0.1]], dtype=np.float64)
    np.testing.assert_array_equal(column.encode(single[:, 0]), [[1.0, 0.0], [1.0, 0.0]])
    fitted = LevelsColumn((float(np.float32(0.1)), 0.5), (0.5, 0.5), "one-hot")
    assert fitted.supports(np.array([0.1]), "float32").all()
    assert not fitted.supports(np.array([0.1]), "float64").any()


def test_repeats_of_levels_and_atoms_need_no_warning():
    assert repeated_values(COLUMNS, np.repeat(ROWS[:1], 100, axis=0), 0.002).keys() == {1}
    gaps = np.full((100, 8), np.nan)
    assert repeated_values(COLUMNS, gaps, 0.002) == {}
