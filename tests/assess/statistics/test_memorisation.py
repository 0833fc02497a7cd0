"""The share of generated rows that lie nearest to a training row, and its error. False alarms: 1e-8 each."""

import numpy as np
import pytest
from scipy import stats

from backwalk.assess.statistics.memorisation import nearest_row_share, rare_copies
from backwalk.errors import InvalidInput
from backwalk.streams import Stream

Z = stats.norm.isf(0.5e-8)


def normal(seed, n, d=2):
    return Stream(seed).normal(0, n, d).numpy()


def test_copies_are_found():
    training = normal(0, 60)
    copies = training[:40] + 1e-9
    assert nearest_row_share(copies, training, normal(1, 500), stream=Stream(0)).value == 1.0
    assert nearest_row_share(copies, normal(1, 60), training, stream=Stream(0)).value == 0.0


def test_rows_in_both_sets_count_half():
    rows = normal(0, 30)
    study = nearest_row_share(normal(1, 100), rows, rows[::-1], stream=Stream(0))
    assert (study.value, study.standard_error) == (0.5, 0.0)  # whatever the labels


def test_ties_hide_no_copies():
    """Found by review: half of all rows are one row, and the others copies, of which the ties' error said nothing."""
    training, unseen = normal(0, 400), normal(1, 400)
    training[:200] = unseen[:200] = 0.0
    study = nearest_row_share(training, training, unseen, stream=Stream(0))
    assert study.value == 0.75
    assert study.standard_error < 0.03


def test_error_is_that_of_repeating_the_study_where_a_binomial_is_not():
    """600 generated rows, 20 + 20 real ones: which real rows lie where decides, not the number of generated rows."""
    studies = [
        nearest_row_share(normal(3 * k, 600), normal(3 * k + 1, 20), normal(3 * k + 2, 25), stream=Stream(k))
        for k in range(200)
    ]
    deviation = np.array([study.value - 0.5 for study in studies])
    error = np.array([study.standard_error for study in studies])
    assert abs(deviation.mean()) < Z * deviation.std() / 200**0.5
    assert abs(np.mean((deviation / error) ** 2) - 1.0) < Z * (2.0 / 200) ** 0.5
    assert np.mean(deviation**2) > 5.0 * 0.25 / 600


def test_many_training_rows_are_no_memory():
    """Rows of a density lie nearest to the larger of two sets of it: here in some ten of eleven cases."""
    study = nearest_row_share(normal(0, 500), normal(1, 5000), normal(2, 500), stream=Stream(0))
    assert abs(study.value - 0.5) < Z * study.standard_error


def test_error_is_binomial_for_few_generated_rows_among_many():
    study = nearest_row_share(normal(0, 20), normal(1, 4_000), normal(2, 4_000), stream=Stream(0))
    assert study.standard_error == pytest.approx(0.5 / 20**0.5, rel=0.1)
    assert study.n == 20


def test_wrong_input_is_refused():
    with pytest.raises(InvalidInput, match="unseen should have 2 columns"):
        nearest_row_share(normal(0, 5), normal(1, 5), normal(2, 5, 3), stream=Stream(0))
    with pytest.raises(InvalidInput, match="training should have at least 1 rows"):
        nearest_row_share(normal(0, 5), normal(1, 5)[:0], normal(2, 5), stream=Stream(0))


def levels(seed, n):
    """Four columns of levels, of which many combinations are rare; every ninth cell of the last is missing."""
    rows = np.floor(8 * Stream(seed).uniform(0, n, 4).numpy() ** 1.5)
    rows[::9, 3] = np.nan
    return rows


def test_rare_rows_that_are_repeated_are_found():
    training, unseen, fresh = levels(0, 800), levels(1, 900), levels(2, 700)
    found = rare_copies(np.concatenate([fresh, training[:300]]), training, unseen, stream=Stream(0))
    alone = rare_copies(fresh, training, unseen, stream=Stream(0))
    assert found.excess.value > 4.0 * alone.excess.standard_error
    assert abs(alone.excess.value) < Z * alone.excess.standard_error
    assert found.of_training - found.of_unseen == pytest.approx(found.excess.value)
    assert rare_copies(training[:50], training, unseen, stream=Stream(0)).of_training > 0.1


def test_the_error_of_rare_copies_is_that_of_repetitions():
    """Over 60 tables the excess over its error has a standard deviation near 1: within 5.7 / sqrt(120) of it."""
    ratios = []
    for seed in range(60):
        sets = levels(100 + seed, 900)
        found = rare_copies(sets[:300], sets[300:600], sets[600:], stream=Stream(0))
        ratios.append(found.excess.value / found.excess.standard_error)
    assert abs(np.std(ratios) - 1.0) < 5.7 / 120**0.5
    assert abs(np.mean(ratios)) < 5.7 / 60**0.5


def test_rare_rows_are_those_of_one_real_row():
    training, unseen = np.array([[0.0, np.nan], [1.0, 1.0], [1.0, 1.0]]), np.array([[2.0, 1.0], [1.0, 1.0], [3.0, 3.0]])
    generated = np.array([[0.0, np.nan], [0.0, np.nan], [1.0, 1.0], [3.0, 3.0]])
    found = rare_copies(generated, training, unseen, stream=Stream(0))
    assert (found.of_training, found.of_unseen, found.n_rare) == (0.5, 0.25, 3)
    assert found.excess.standard_error == pytest.approx((0.5**2 + 0.25**2) ** 0.5)
