"""Numbers with atoms: what is decoded to a value is what its probability counts."""

import numpy as np
import pandas as pd
import pytest
from scipy import stats

from backwalk.streams import Stream
from backwalk.table import AtomsColumn, Codec, Grid, Number, NumberColumn, as_table, fit_codec
from tests.table.tables import COLUMNS, ROWS, VISITS


def test_the_coordinate_of_a_number_is_missing_at_its_atoms_alone():
    z = COLUMNS.encode(ROWS)
    rain, visits = COLUMNS.slices[3], COLUMNS.slices[6]
    np.testing.assert_array_equal(z[:, rain][:, :3], np.eye(3))
    assert np.isnan(z[:, rain][:, 3]).tolist() == [True, True, False]
    assert z[2, rain][3] == pytest.approx((np.arcsinh(4.5) - 1.0) / 0.5)
    np.testing.assert_array_equal(z[:, visits][:, :2], [[1.0, 0.0], [0.0, 1.0], [0.0, 1.0]])
    np.testing.assert_array_equal(z[:, visits][:, 2], [np.nan, -0.6, 2.0])


def test_integers_beside_atoms_are_dequantised_anew_and_kept_in_their_range():
    values = np.repeat(ROWS, 50, axis=0)
    redraw = COLUMNS.redraw(values)
    assert COLUMNS.n_uniforms == redraw.n_uniforms == 1
    v = Stream(5).uniform(0, 150, 1).numpy()
    z = COLUMNS.encode(values)
    z[:, redraw.coordinates] = redraw(np.arange(150), v)
    moved = z[:, COLUMNS.slices[6].stop - 1] * 5.0 + 20.0 - values[:, 6]
    assert np.isnan(moved[:50]).all()
    np.testing.assert_allclose(moved[50:], v[50:, 0] - 0.5, atol=1e-9)
    np.testing.assert_allclose(COLUMNS.decode(z), values, rtol=1e-12)
    rows = COLUMNS.dequantise(values, stream=Stream(6))
    np.testing.assert_array_equal(np.rint(rows[:, 6]), values[:, 6])
    assert (rows[:50, 6] == 0.0).all()
    assert (rows[50:, 6] != values[50:, 6]).all()
    np.testing.assert_array_equal(np.delete(rows, 6, axis=1), np.delete(values, 6, axis=1))
    assert (COLUMNS.log_dequantisation(rows, rows) == 0.0).all()  # uniform
    new = ROWS.copy()
    new[:, 6] = [0.0, 4.0, 41.0]
    assert COLUMNS.within_range(new)[:, 6].tolist() == [0.0, 5.0, 40.0]


@pytest.mark.parametrize("c", [0.0, 0.9])
@pytest.mark.parametrize("atoms", [(7.0,), (6.5, 7.0, 7.5), (-3.0, 4.0, 4.5, 9.0, 11.5)])
def test_a_number_beside_atoms_has_the_probability_with_which_it_is_drawn(c, atoms):
    """Found by review: draws that rounded to an atom were not counted in its probability.

    The numbers k / 2 from -1 to 11 have the coordinate z ~ N(0, 1). P is the share of z that is decoded to a number,
    and what scoring integrates: E[p / q] over q, the density of dequantisation. Numbers near the bounds are not
    compared, as what lies beyond is reflected.
    """
    grid = {"grid": Grid(per=2.0), "dequantisation": c}
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
        places = codec.dequantised_at(np.full((len(v), 1), x), v[:, None])
        p = stats.norm.pdf(codec.encode(places)[:, -1]) * np.exp(codec.log_abs_det_jacobian(places))
        scored = np.mean(p / np.exp(codec.log_dequantisation(places, np.full_like(places, x))))
        assert scored == pytest.approx((drawn == x).mean(), abs=2e-4)
        np.testing.assert_array_equal(codec.decode(codec.encode(places)), x)


def test_a_number_beyond_its_bounds_is_not_decoded_to_an_atom_there():
    codec = Codec((VISITS,))
    z = np.array([[0.0, 1.0, -4.0], [1.0, 0.0, np.nan]])
    assert codec.decode(z)[:, 0].tolist() == [9.0, 0.0]  # -4 is 0, reflected at 4.5


def test_atoms_are_the_same_in_float32():
    """Also one that float32 cannot hold, beside which nothing is large enough to be its rounding."""
    codec = Codec((AtomsColumn(NumberColumn(0.0, 1.0), (0.1, 1e300), (0.3, 0.1, 0.6)),))
    values = np.array([[0.1], [float(np.float32(0.1))], [1e300], [0.11]])
    np.testing.assert_array_equal(codec.encode(values)[:, :3], np.eye(3)[[0, 0, 1, 2]])
    np.testing.assert_array_equal(codec.decode(codec.encode(values))[:3, 0], [0.1, 0.1, 1e300])


def test_the_nearest_value_is_an_atom_or_a_number_of_the_grid():
    """Found by review: means of up to a half were filled as 1, where a count is 0 or at least 1."""
    grid = {"grid": Grid(), "dequantisation": 0.0}
    number = NumberColumn(20.0, 5.0, 1.0, 40.0, **grid)
    count, inside = AtomsColumn(number, (0.0,), (0.6, 0.4)), AtomsColumn(number, (-3.0, 5.0), (0.3, 0.3, 0.4))
    means = np.array([[0.2, -2.9], [0.49, -0.9], [0.51, 5.3], [1.4, 4.4], [7.7, 60.0]])
    expected = [[0.0, -3.0], [0.0, 1.0], [1.0, 5.0], [1.0, 4.0], [8.0, 40.0]]
    nearest = [column.nearest(x) for column, x in zip((count, inside), means.T, strict=True)]
    np.testing.assert_array_equal(np.column_stack(nearest), expected)
    assert np.isnan(inside.nearest(np.array([4.4, np.nan]))).tolist() == [False, True]
    x = np.array([0.2, 0.74])
    assert NumberColumn(0.0, 1.0).nearest(x).tolist() == x.tolist()
    assert NumberColumn(0.0, 1.0, grid=Grid(per=2.0)).nearest(x).tolist() == [0.0, 0.5]


def test_gaps_of_bounded_numbers_can_be_generated():
    """Found by review: a generated gap beside known bounds was refused as a record that is no number."""
    rng = np.random.default_rng(0)
    rows = pd.DataFrame({"u": np.where(rng.random(400) < 0.2, np.nan, rng.random(400))})
    codec = fit_codec(as_table(rows), columns={"u": Number(bounds=(0.0, 1.0))}, missing="generate")
    np.testing.assert_allclose(codec.decode(codec.encode(rows.to_numpy())), rows, atol=1e-9)
    assert codec.columns[0].number.bounds is not None
    assert codec.missing_levels == (0,)


def test_atoms_of_many_rows_have_a_function_each_and_others_share_a_basis():
    number, atoms, shares = NumberColumn(0.0, 1.0), tuple(np.sqrt(np.arange(30.0)).tolist()), (*[0.03] * 30, 0.1)
    few, many = (AtomsColumn(number, atoms, shares, n_rows).block(0, slice(0, 3)) for n_rows in (3_099, 3_100))
    assert (many.basis, many.n_features) == (None, 31)
    assert few.n_features == few.basis.shape[1] < 31
