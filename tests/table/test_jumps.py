"""Shares that jump along a grid are found, rarely where none do, and numbers are drawn with these shares."""

import numpy as np
import pandas as pd
from scipy import stats

from backwalk.streams import Stream
from backwalk.table import Grid, as_table, fit_codec
from backwalk.table.jumps import edges_of_cells


def carats(n, rng):
    """Return numbers in steps of .01, nine in ten of them within .05 above a tenth."""
    place = rng.integers(0, 5, n) + 5 * (rng.random(n) < 0.1)
    return np.round(np.floor(rng.gamma(4.0, 1.5, n)) / 10.0 + 0.3 + 0.01 * place, 2)


def test_edges_lie_at_jumps_and_around_cells_of_many_rows():
    rows = [100, 20, 20, 900, 100, 0, 100, 100, 10, 20]
    x = np.repeat(np.arange(10.0), rows)
    assert edges_of_cells(x, Grid()).tolist() == [0.5, 2.5, 3.5, 4.5, 5.5, 6.5, 7.5]
    assert edges_of_cells(x / 4.0, Grid(per=4.0)).tolist() == [0.125, 0.625, 0.875, 1.125, 1.375, 1.625, 1.875]
    assert edges_of_cells(np.where(x == 3.0, np.nan, x), Grid(), (3.0,)).tolist() == [0.5, 3.0, 4.5, 5.5, 6.5, 7.5]


def test_smooth_shares_have_no_jumps():
    """1e-6 a column by chance: one among 200 columns with a probability of 2e-4."""
    rng = np.random.default_rng(0)
    for _ in range(50):
        for x in (rng.normal(size=4000) * 20.0, rng.uniform(0.0, 90.0, 4000), rng.gamma(3.0, 9.0, 4000)):
            assert not len(edges_of_cells(np.rint(x), Grid()))
        assert not len(edges_of_cells(np.rint(rng.normal(size=9_000) * 30.0), Grid()))


def test_numbers_whose_shares_jump_are_drawn_with_them():
    """Found by review: boosted trees told drawn carats from real ones by this column alone."""
    rng = np.random.default_rng(1)
    x = carats(20_000, rng)
    codec = fit_codec(as_table(pd.DataFrame({"x": x})))
    assert codec.columns[0].dequantisation == "uniform"
    z = stats.norm.ppf((np.arange(50_000) + 0.5) / 50_000)[:, None]
    drawn, others = codec.within_range(codec.decode(z))[:, 0], carats(20_000, rng)
    values = np.unique(np.concatenate([x, drawn]))
    real, new, unseen = ((each[:, None] == values).mean(axis=0) for each in (x, drawn, others))
    # Twice the distance of other rows is that of a map without jumps.
    assert np.abs(real - new).sum() < 1.3 * np.abs(real - unseen).sum()
    # Kolmogorov's distance of 20,000 rows exceeds .023 with a probability of 1e-9; that of a fit to them is smaller.
    assert stats.kstest(codec.encode(x[:, None], stream=Stream(0))[:, 0], "norm").statistic < 0.023
