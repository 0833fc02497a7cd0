"""Which columns of a training row are given, absent or noisy, and what counts in its loss."""

import math

import numpy as np
import pytest
import torch

from backwalk.streams import Stream
from backwalk.table import AtomsColumn, Codec, LevelsColumn, NumberColumn
from backwalk.training import Patterns, Shares
from backwalk.training.patterns import ABSENT, GIVEN, NOISY

NUMBER = NumberColumn(0.0, 1.0)
LEVELS = LevelsColumn((0.0, 1.0), (0.5, 0.5), "one-hot")
CODEC = Codec((LEVELS, NUMBER, AtomsColumn(NUMBER, (0.0,), (0.3, 0.7)), LEVELS, NUMBER))
HAS_LEVELS = [True, False, True, True, False]


def drawn(shares, n=600, **options):
    return Patterns.of(CODEC, Shares(*shares), **options).draw(n, stream=Stream(0)).numpy()


def test_each_pattern_is_what_it_says():
    assert (drawn((1, 0, 0)) == NOISY).all()
    numbers = drawn((0, 1, 0))
    assert (numbers == np.where(HAS_LEVELS, GIVEN, NOISY)).all()
    chain = drawn((0, 0, 1))
    given = (chain[:, HAS_LEVELS] == GIVEN).astype(int)
    assert (np.diff(given, axis=1) <= 0).all()  # a prefix
    assert set(given.sum(axis=1)) == {0, 1, 2}
    assert ((chain == ABSENT) == (chain != GIVEN)).all()
    regression = drawn((0, 0, 0, 0, 1))
    assert set(np.unique(regression)) == {GIVEN, ABSENT}
    assert set(np.unique(drawn((0, 0, 0, 1, 0)))) == {NOISY, GIVEN, ABSENT}


def test_shares_hold_in_every_batch():
    states = drawn((0.5, 0.0, 0.5), n=100)
    assert abs((states == NOISY).all(axis=1).mean() - 0.5) <= 0.02


def test_any_column_is_given_as_often_as_any_other():
    """Binomial, within 6 standard deviations: a false alarm of 2e-9 for each column."""
    given = drawn((0, 0, 0, 0, 1), n=4000) == GIVEN
    np.testing.assert_allclose(given.mean(axis=0), 0.5, atol=6.0 * 0.5 / math.sqrt(4000))
    assert set(given.sum(axis=1)) == set(range(6))


@pytest.mark.parametrize("kind", [3, 4])
def test_with_sets_of_columns_one_of_them_is_given_whole(kind):
    shares = [0.0] * 5
    shares[kind] = 1.0
    states = drawn(shares, given=[[0], [1, 3]])
    assert {tuple(np.flatnonzero(row == GIVEN)) for row in states} == {(0,), (1, 3)}


def test_log_snrs_and_weights_follow_the_states():
    patterns = Patterns.of(CODEC, Shares(1, 0, 0))
    x_0 = torch.zeros(1, 4, CODEC.n_encoded)
    x_0[0, 3, 5] = math.nan  # the number of an atom
    x_0[0, 3, 8] = math.nan  # a missing cell
    states = torch.tensor([[[NOISY] * 5, [GIVEN] * 5, [ABSENT] * 5, [NOISY] * 5]], dtype=torch.int8)
    log_snr, weight = patterns.by_coordinate(x_0, torch.full((1, 4), 0.7), torch.full((1, 4), 3.0), states)
    assert log_snr[0, 0].unique().tolist() == [pytest.approx(0.7)]
    assert bool(log_snr[0, 1].isposinf().all())
    assert bool(log_snr[0, 2].isneginf().all())
    assert bool(log_snr[0, 3, 8].isneginf())
    assert float(log_snr[0, 3, 5]) == pytest.approx(0.7)
    is_number = ~torch.tensor(patterns.is_code)
    assert weight[0, 0, is_number].tolist() == [3.0] * 3
    assert weight[0, 0, ~is_number].tolist() == [1.0] * 6
    assert not bool(weight[0, 1].any())
    assert weight[0, 2].tolist() == [1.0] * 9  # the v-loss's weight at zero SNR
    assert weight[0, 3, [5, 8]].tolist() == [0.0, 0.0]


def test_the_next_column_of_a_chain_is_the_first_that_is_absent():
    patterns = Patterns.of(CODEC, Shares(0, 0, 1))
    states = patterns.chain(torch.tensor([0.0, 1.0, 2.0]))
    columns = [torch.tensor(patterns.column)[row].unique().tolist() for row in patterns.is_next(states)]
    assert columns == [[0], [2], [3]]
