"""The densities of places in cells."""

import numpy as np
import pytest

from backwalk.table import Grid
from backwalk.table.dequantisation import Cells, log_cell_density, place_in_cell


@pytest.mark.parametrize("cosine", [0.0, 0.25, 0.5, 1.0])
def test_places_are_quantiles_of_their_density(cosine):
    v = np.linspace(0.001, 0.999, 999)[:, None]
    u = place_in_cell(v.copy(), np.array([cosine]))
    np.testing.assert_allclose(u + 0.5 + cosine * np.sin(2.0 * np.pi * u) / (2.0 * np.pi), v, atol=1e-9)
    middle = (np.arange(4000) + 0.5) / 4000 - 0.5
    assert np.exp(log_cell_density(middle, cosine)).mean() == pytest.approx(1.0, abs=1e-4)


@pytest.mark.parametrize("cosine", [0.0, 0.5, 1.0])
@pytest.mark.parametrize("atoms", [(), (3.0,), (2.5, 3.0)])
def test_dequantised_densities_integrate_to_one_over_each_cell(cosine, atoms):
    cells = Cells(0.0, 9.0, Grid(per=2.0), "uniform" if cosine == 0.0 else "cosine", atoms)
    x = np.linspace(0.0, 6.0, 60_001)[:-1] + 5e-5
    number, q = cells.round(x), np.exp(cells.log_density(x, cells.round(x), cosine))
    assert not np.isin(number, atoms).any()
    for each in np.unique(number)[1:-1]:
        assert q[number == each].sum() * 1e-4 == pytest.approx(1.0, abs=2e-3)


def test_numbers_beyond_the_range_are_reflected_at_the_edge_of_the_last_cell():
    cells = Cells(0.0, 9.0, Grid())
    assert cells.reflect(np.array([-2.0, 3.4, 10.0, 12.0, 99.0])).tolist() == [1.0, 3.0, 9.0, 7.0, 9.0]
