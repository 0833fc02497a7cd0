"""Default network, training and patterns: they follow from the rows, within their ranges, and the patterns' shares."""

from itertools import pairwise

import pytest
import torch

from backwalk.fit import (
    default_architecture,
    default_evaluations,
    default_shares,
    default_training,
    default_validation_fraction,
)
from backwalk.table import AtomsColumn, Codec, LevelsColumn, NumberColumn

SIZES = (2, 20, 100, 450, 1299, 2200, 5_000, 10**5, 10**7)
LEVELS = LevelsColumn((0.0, 1.0), (0.5, 0.5), "one-hot")
NUMBER = NumberColumn(0.0, 1.0)
NUMBERS, MIXED, CATEGORIES = (
    Codec(columns) for columns in ((NUMBER,) * 4, (LEVELS, LEVELS, NUMBER, NUMBER), (LEVELS,) * 3)
)


@pytest.mark.parametrize("n_columns", [1, 3, 40, 2000])
def test_more_rows_take_wider_networks_larger_batches_less_decay_and_a_smaller_share_held_out(n_columns):
    codec = Codec((LEVELS,) + (NUMBER,) * n_columns)
    trainings = [default_training(n, codec=codec, n_held_out=10) for n in SIZES]
    for name, grows in (("batch_size", 1), ("weight_decay", -1), ("outer_decay", -1), ("embedding_decay", -1)):
        for fewer, more in pairwise(getattr(training, name) for training in trainings):
            assert grows * (more - fewer) >= 0
    widths = [default_architecture(n, n_columns).width for n in SIZES]
    assert widths == sorted(widths)
    held_out = [default_validation_fraction(n) * n for n in SIZES]
    assert held_out == sorted(held_out)
    assert (held_out[0], max(held_out)) == (0.0, 1000.0)


def test_a_network_has_no_more_weights_in_its_hidden_layers_than_the_rows_have_numbers():
    for n, n_columns, width in ((150, 5, 64), (10_000, 2, 64), (11_000, 18, 160), (27_000, 24, 320), (10**7, 30, 512)):
        network = default_architecture(n, n_columns)
        assert network.width == width
        assert width == 64 or 2 * network.n_blocks * width**2 <= n * n_columns
        assert width == 512 or 2 * network.n_blocks * (width + 32) ** 2 > n * n_columns


def test_a_fit_ends_by_patience_where_rows_are_held_out_and_else_after_some_steps():
    patient = default_training(100, n_held_out=10)
    assert (patient.patience is None, patient.max_steps) == (False, None)
    assert default_training(100, n_held_out=10, max_steps=50).max_steps == 50
    blind = default_training(100)
    assert (blind.patience, blind.max_steps) == (None, 1000)
    module = default_training(100, n_held_out=10, architecture=torch.nn.Linear(2, 2))
    assert module.patience == patient.patience
    assert module.hidden_rate is None


def test_noise_levels_are_balanced_where_whole_rows_are_modelled():
    assert default_training(100).levels == default_training(100, codec=MIXED).levels == "balanced"
    assert default_training(100, codec=NUMBERS, of_whole_rows=False).levels == "log_normal"


def test_rates_fall_from_the_start_in_tables_but_not_for_conditionals_of_numbers_alone():
    whole = [default_training(100, codec=codec).decay for codec in (None, NUMBERS, MIXED, CATEGORIES)]
    assert whole == ["linear", "root", "root", "root"]
    given = [default_training(100, codec=codec, of_whole_rows=False).decay for codec in (NUMBERS, MIXED, CATEGORIES)]
    assert given == ["linear", "root", "root"]


def test_conditionals_of_numbers_are_drawn_by_more_evaluations():
    assert default_evaluations(NUMBERS, ((2, 3),)) > default_evaluations(NUMBERS, "any")


@pytest.mark.parametrize(
    "codec", [NUMBERS, MIXED, CATEGORIES, Codec((AtomsColumn(NUMBER, (0.0,), (0.3, 0.7)), NUMBER))]
)
@pytest.mark.parametrize("conditions", [None, "any", ((1,),), ((0, 1), (1,))])
def test_shares_of_patterns_sum_to_1_and_train_what_the_table_has(codec, conditions):
    shares = default_shares(codec, conditions)
    assert sum(shares.in_order) == pytest.approx(1.0)
    assert min(shares.in_order) >= 0.0
    assert shares.joint > 0.0
    assert (shares.mixed + shares.regression > 0.0) == (conditions is not None)
    if not codec.blocks:
        assert shares.numbers == shares.chain == 0.0
