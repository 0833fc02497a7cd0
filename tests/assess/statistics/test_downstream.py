import numpy as np
import pytest
from numpy.testing import assert_allclose

from backwalk.assess.statistics.columns import ColumnKind
from backwalk.assess.statistics.downstream import frequency_probabilities, level_probabilities, utility
from backwalk.errors import InvalidInput
from backwalk.streams import Stream

KINDS = (ColumnKind((0.0, 1.0, 2.0)), ColumnKind(), ColumnKind((0.0, 1.0)))


def table(n, seed):
    u, noise = Stream(seed).uniform(0, n, 2).numpy(), Stream(seed).child("noise").normal(0, n, 1).numpy()[:, 0]
    level = np.floor(3 * u[:, 0])
    return np.column_stack([level, (level - 1.0) ** 2 + 0.3 * noise, u[:, 1] < np.where(level == 1.0, 0.9, 0.2)])


REAL, UNSEEN = table(300, 0), table(200, 1)


@pytest.mark.parametrize("target", [1, 2])
def test_rows_of_the_truth_teach_as_much_as_real_rows(target):
    found = utility(table(300, 2), REAL, UNSEEN, KINDS, target, stream=Stream(0))
    shuffled = np.column_stack([column[Stream(5).child(j).permutation(300)] for j, column in enumerate(REAL.T)])
    useless = utility(shuffled, REAL, UNSEEN, KINDS, target, stream=Stream(0))
    assert found.is_level == (target == 2)
    assert found.excess.value == pytest.approx(found.generated.value - found.real.value)
    assert abs(found.excess.value) < 5.7 * found.excess.standard_error + 0.05
    assert useless.excess.value > 4.0 * useless.excess.standard_error
    assert found.real.value < 0.9 * found.constant.value
    assert found.n_training == 300


def test_a_rare_level_has_its_frequency():
    rows = REAL.copy()
    rows[:3, 0] = 7.0
    kinds = (ColumnKind((0.0, 1.0, 2.0, 7.0)), *KINDS[1:])
    p = level_probabilities(rows, UNSEEN, kinds, 0, stream=Stream(0))
    assert_allclose(p.sum(axis=1), 1.0)
    assert_allclose(p[:, 3], (3 + 0.25) / 301)
    assert_allclose(frequency_probabilities(rows, 2, kinds[0], 0)[1, 3], (3 + 0.25) / 301)


def test_gaps_in_other_columns_are_taken_and_those_of_the_target_left_out():
    gaps = REAL.copy()
    gaps[::4, 0], gaps[1::4, 2] = np.nan, np.nan
    found = utility(gaps, REAL, UNSEEN, KINDS, 2, stream=Stream(0))
    assert found.n_training == 225
    assert found.generated.n == 200
    with pytest.raises(InvalidInput, match="20 rows"):
        utility(REAL[:10], REAL, UNSEEN, KINDS, 2, stream=Stream(0))
