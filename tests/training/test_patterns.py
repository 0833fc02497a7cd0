"""Which parts of a training row are given, absent or noisy, and what counts in its loss."""

import math

import numpy as np
import pandas as pd
import pytest
import torch

from backwalk.denoiser import Residual, TableLayout, build_denoiser
from backwalk.diffusion import NoiseSchedule
from backwalk.streams import Stream
from backwalk.table import AtomsColumn, Codec, Copy, LevelsColumn, NumberColumn, as_table, fit_codec, parse_rule
from backwalk.training import Patterns, Shares
from backwalk.training.patterns import ABSENT, GIVEN, NOISY
from backwalk.training.validation import Validation

NUMBER = NumberColumn(0.0, 1.0)
LEVELS = LevelsColumn((0.0, 1.0), (0.5, 0.5), "one-hot")
CODEC = Codec((LEVELS, NUMBER, AtomsColumn(NUMBER, (0.0,), (0.3, 0.7)), LEVELS, NUMBER))
HAS_LEVELS = [True, False, True, False, True, False]  # of the six parts; 2 and 3 are the number with atoms


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


def test_dates_are_given_where_levels_and_numbers_are_trained_and_alone_in_a_third_of_the_joint_rows():
    codec = Codec((LEVELS, NumberColumn(0.0, 1.0, periods=(0.1,)), NUMBER))
    states = [Patterns.of(codec, shares).draw(3000, stream=Stream(0)).numpy() for shares in map(one_hot, range(3))]
    joint, numbers, chain = states
    alone = (joint == [ABSENT, NOISY, ABSENT]).all(axis=1)
    assert ((joint == NOISY).all(axis=1) | alone).all()
    assert abs(alone.mean() - 1.0 / 3.0) <= 6.0 * 0.48 / math.sqrt(3000)  # binomial: a false alarm of 2e-9
    assert (numbers == [GIVEN, GIVEN, NOISY]).all()
    assert (chain[:, 1] == GIVEN).all()
    assert (chain[:, 2] == ABSENT).all()


def one_hot(k):
    return Shares(*(float(i == k) for i in range(5)))


def test_shares_hold_in_every_batch():
    states = drawn((0.5, 0.0, 0.5), n=100)
    assert abs((states == NOISY).all(axis=1).mean() - 0.5) <= 0.02


def test_any_part_is_given_as_often_as_any_other():
    """Binomial, within 6 standard deviations: a false alarm of 2e-9 for each part.

    A number with atoms needs its level: E[p^2] = 1/3 for uniform p.
    """
    given = drawn((0, 0, 0, 0, 1), n=2000) == GIVEN
    expected = [0.5, 0.5, 0.5, 1.0 / 3.0, 0.5, 0.5]
    np.testing.assert_allclose(given.mean(axis=0), expected, atol=6.0 * 0.5 / math.sqrt(2000))
    assert set(given.sum(axis=1)) == set(range(7))


def test_rows_of_a_set_have_the_same_states_but_for_the_prefixes_of_a_chain():
    patterns = Patterns.of(CODEC, Shares(0.2, 0.2, 0.2, 0.2, 0.2))
    states = patterns.draw(1000, stream=Stream(0), together=16).numpy()
    sets = [states[i : i + 16] for i in range(0, 1000, 16)]
    assert len(sets[-1]) == 8
    differ = np.array([(rows != rows[0]).any() for rows in sets])
    is_chain = np.array(
        [
            ((rows == ABSENT) | (rows == GIVEN)).all() and not (rows[:, ~np.array(HAS_LEVELS)] == GIVEN).any()
            for rows in sets
        ]
    )
    assert is_chain[differ].all()
    assert 0.15 <= differ.mean() <= 0.25  # the share of "chain"


def test_a_number_with_atoms_follows_its_level_unless_that_is_given():
    """Its level is drawn first, and then the number given the level: training meets these states and no others."""
    level, number = drawn((0.2, 0.2, 0.2, 0.2, 0.2), n=4000)[:, 2:4].T
    given = level == GIVEN
    np.testing.assert_array_equal(number[~given], level[~given])
    assert set(number[given]) == {NOISY, GIVEN, ABSENT}
    level, number = drawn((0, 1, 0))[:, 2:4].T
    assert (level == GIVEN).all()
    assert (number == NOISY).all()


@pytest.mark.parametrize("kind", [3, 4])
def test_with_sets_of_columns_one_of_them_is_given_whole(kind):
    shares = [0.0] * 5
    shares[kind] = 1.0
    states = drawn(shares, given=[[0], [1, 3]])
    assert {tuple(np.flatnonzero(row)) for row in states == GIVEN} == {(0,), (1, 4)}


def test_a_set_with_a_number_with_atoms_gives_its_level_and_the_number():
    states = drawn((0, 0, 0, 0, 1), given=[[2]])
    assert (states == np.where([False, False, True, True, False, False], GIVEN, ABSENT)).all()


def test_log_snrs_and_weights_follow_the_states():
    patterns = Patterns.of(CODEC, Shares(1, 0, 0))
    x_0 = torch.zeros(1, 4, CODEC.n_encoded)
    x_0[0, 3, 5] = math.nan  # the number of an atom
    x_0[0, 3, 8] = math.nan  # a missing cell
    states = torch.tensor([[[NOISY] * 6, [GIVEN] * 6, [ABSENT] * 6, [NOISY] * 6]], dtype=torch.int8)
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
    columns = [torch.tensor(patterns.part)[row].unique().tolist() for row in patterns.is_next(states)]
    assert columns == [[0], [2], [4]]


@pytest.mark.parametrize("shares", [(0.4, 0.2, 0.4), (0.2, 0.15, 0.25, 0.1, 0.3)], ids=["whole rows", "conditions"])
def test_a_validation_does_not_depend_on_how_often_each_row_occurs(shares):
    """Found while tuning: rows without noise counted as often as a row occurs. Within 6 standard errors: 2e-9."""
    rows = torch.zeros(400, CODEC.n_encoded)
    rows[:, 0], rows[:, 3], rows[:, 6] = 1.0, 1.0, 1.0
    rows[:, [2, 5, 8]] = Stream(1).normal(0, 400, 3).float()
    rows[:, 5] = math.nan
    schedule = NoiseSchedule.log_snr_uniform(50, log_snr_max=5.0, log_snr_min=-5.0)
    denoiser = build_denoiser(
        Residual(4, 1), CODEC.n_encoded, schedule=schedule, floor=0.1, stream=Stream(0), layout=TableLayout(CODEC)
    )
    patterns = Patterns.of(CODEC, Shares(*shares))
    many, few = (
        Validation(denoiser.log_snr_range, part, Stream(2), patterns).by_row(denoiser) for part in (rows, rows[:40])
    )
    error = math.hypot(float(many.std()) / 20.0, float(few.std()) / math.sqrt(40.0))
    assert abs(float(many.mean() - few.mean())) < 6.0 * error


def test_numbers_are_trained_given_all_levels_and_some_numbers():
    """Found by review: imputation draws from this pattern, which hardly occurred."""
    assert (drawn((0, 1, 0)) == np.where(HAS_LEVELS, GIVEN, NOISY)).all()
    states = drawn((0, 0.999, 0, 0.001, 0), n=1000)
    given = (states[:, ~np.array(HAS_LEVELS)] == GIVEN).sum(axis=1)
    assert 0.2 < ((given > 0) & (given < 3)).mean() < 0.5
    assert (given == 0).mean() > 0.5


def test_a_network_never_sees_a_number_beside_all_that_determine_it():
    """A total with atoms, its parts, an order and a constant column, in any pattern that occurs."""
    rng = np.random.default_rng(0)
    low, some, rest = rng.poisson(20, 400), np.where(rng.random(400) < 0.4, 0, rng.poisson(9, 400)), rng.poisson(9, 400)
    table = {"low": low, "high": low + rng.poisson(3, 400), "some": some, "rest": rest, "all": some + rest}
    frame = pd.DataFrame({**table, "same": 3, "kind": rng.choice(["a", "b"], 400)})
    rules = [parse_rule(text) for text in ("low <= high", "all = some + rest", "same <= high")]
    codec = fit_codec(as_table(frame), rules=rules)
    patterns = Patterns.of(codec, Shares(0.2, 0.2, 0.2, 0.2, 0.2), "any")
    z = torch.from_numpy(codec.encode(frame.assign(kind=(frame["kind"] == "b") * 1.0).to_numpy(dtype=float))).float()
    states = patterns.draw(len(z), stream=Stream(0))
    levels, weight = patterns.by_coordinate(z, torch.zeros(len(z)), torch.ones(len(z)), states)
    seen = np.stack(
        [
            levels[:, s.stop - 1].numpy() > -math.inf if s.stop > s.start else levels[:, 0].numpy() > math.inf
            for s in codec.slices
        ],
        axis=1,
    )
    assert codec.rules is not None
    cells = codec.cells(frame.assign(kind=0.0).to_numpy(dtype=float))
    for j in codec.rules.preference:
        others = np.where(seen & (np.arange(seen.shape[1]) != j), cells, np.nan)
        follows = ~np.isnan(codec.rules.solve(others, lambda _, x: x)[:, j])
        assert not (follows & seen[:, j]).any()
    assert (weight >= 0.0).all()
    assert seen[:, :5].mean(axis=0).min() > 0.05  # each column is sometimes given or noisy


def test_no_network_sees_a_copied_cell_beside_the_one_that_it_equals():
    rng = np.random.default_rng(0)
    price, other = rng.lognormal(size=(2, 400))
    table = as_table(pd.DataFrame({"price": price, "paid": np.where(rng.random(400) < 0.4, price, other)}))
    codec = fit_codec(table, rules=[Copy("paid", of="price")])
    source, target, cell = (codec.slices[j].stop - 1 for j in (0, 1, 2))
    x_0 = torch.from_numpy(codec.encode(table.values))
    patterns = Patterns.of(codec, Shares(0.2, 0.2, 0.2, 0.2, 0.2), "any")
    states = patterns.draw(400, stream=Stream(0))
    log_snr, weight = patterns.by_coordinate(x_0, torch.zeros(400), torch.ones(400), states)
    is_given, is_absent = log_snr == torch.inf, log_snr == -torch.inf
    is_copy = is_given[:, cell] & (x_0[:, cell] == 1.0)
    assert is_copy.any()
    assert (is_absent[:, target] & (weight[:, target] == 0.0))[is_copy].all()
    one_known = is_given[:, source] & ~is_absent[:, target] | is_given[:, target] & ~is_absent[:, source]
    assert one_known.any()
    assert is_given[one_known, cell].all()
