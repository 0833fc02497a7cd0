"""The densities of places in cells."""

import numpy as np
import pytest

from backwalk.table import Grid
from backwalk.table.dequantisation import Cells, place_in_cell


@pytest.mark.parametrize("c", [0.0, 0.5, 0.9])
def test_places_are_quantiles_of_their_density(c):
    v = np.linspace(0.001, 0.999, 999)
    u = place_in_cell(v, c)
    np.testing.assert_allclose(u + 0.5 + c * np.sin(2.0 * np.pi * u) / (2.0 * np.pi), v, atol=1e-6)


@pytest.mark.parametrize("c", [0.0, 0.9])
@pytest.mark.parametrize("atoms", [(), (3.0,), (2.5, 3.0)])
def test_dequantised_densities_integrate_to_one_over_each_cell(c, atoms):
    cells = Cells(0.0, 9.0, Grid(per=2.0), dequantisation=c, left_out=atoms)
    x = np.linspace(0.0, 6.0, 60_001)[:-1] + 5e-5
    number, q = cells.round(x), np.exp(cells.log_density(x, cells.round(x)))
    assert not np.isin(number, atoms).any()
    for each in np.unique(number)[1:-1]:
        assert q[number == each].sum() * 1e-4 == pytest.approx(1.0, abs=2e-3)


def test_numbers_beyond_the_range_are_reflected_at_the_edge_of_the_last_cell():
    cells = Cells(0.0, 9.0, Grid())
    assert cells.reflect(np.array([-2.0, 3.4, 10.0, 12.0, 99.0])).tolist() == [1.0, 3.0, 9.0, 7.0, 9.0]
