"""Columns by their kinds. False-alarm rate 1e-8 for each statistical test, where no other is stated."""

import numpy as np
import pytest
from numpy.testing import assert_allclose
from scipy import stats

from backwalk.assess.statistics.columns import atom_shares, column_distance, level_bands, level_counts
from backwalk.assess.statistics.kinds import ColumnKind, level_index
from backwalk.errors import InvalidInput
from backwalk.streams import Stream

NAN = np.nan
LEVELS = (0.0, 1.5, 4.0)


def test_levels_are_compared_by_total_variation():
    x, y = np.array([0.0, 0.0, 1.5, 4.0, NAN]), np.array([0.0, 1.5, 1.5, 1.5])
    # 0.5, 0.25, 0.25 against 0.25, 0.75, 0: the differences sum to 1.
    assert column_distance(x, y, ColumnKind(LEVELS)) == 0.5
    # With gaps: 0.4, 0.2, 0.2 and 0.2 missing.
    assert column_distance(x, y, ColumnKind(LEVELS, generates_gaps=True)) == pytest.approx(0.55)


def test_numbers_are_compared_by_their_distribution_functions():
    x, y = np.array([0.0, 0.0, 0.0, 1.0, 2.0, NAN]), np.array([0.0, 1.0, 2.0, 3.0, 4.0])
    assert column_distance(x, y, ColumnKind()) == pytest.approx(stats.ks_2samp(x[:5], y).statistic)
    # With gaps as the largest numbers F_x is 1/2, 4/6, 5/6 where F_y is 1/5, 2/5, 3/5.
    assert column_distance(x, y, ColumnKind(generates_gaps=True)) == pytest.approx(0.5 - 0.2)
    assert column_distance(x[5:], y, ColumnKind()) == 1.0
    assert column_distance(x[5:], x[5:], ColumnKind()) == 0.0


def test_unknown_values_of_levels_are_named():
    with pytest.raises(InvalidInput, match=r"3 levels .* holds 2"):
        level_index(np.array([0.0, NAN, 2.0]), LEVELS)
    assert level_counts(np.array([4.0, NAN, 0.0, 4.0]), LEVELS).tolist() == [1, 0, 2]
    assert_allclose(atom_shares(np.array([0.0, 1.0, NAN, 0.0]), (0.0, 7.0)), [2 / 3, 0.0])


def test_bands_hold_all_shares_of_a_faithful_column_as_often_as_stated():
    """Of 400 columns of four levels 5 % or less leave a band: 48 or more has probability 2e-8 at 5 %."""
    shares, levels = np.cumsum([0.6, 0.3, 0.09, 0.01]), (0.0, 1.0, 2.0, 3.0)
    draws = np.searchsorted(shares, Stream(0).uniform(0, 400, 500).numpy()).astype(float)
    outside = [level_bands(x[:200], x[200:], levels).is_outside.any() for x in draws]
    assert sum(outside) < 48
    moved = level_bands(draws[0, :200], np.where(draws[0] == 0.0, 2.0, draws[0])[200:], levels)
    assert moved.is_outside[[0, 2]].all()
    assert_allclose(moved.real.sum(), 1.0)
