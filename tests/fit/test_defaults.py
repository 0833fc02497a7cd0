"""Default network, training and patterns: they follow from the rows, within their ranges, and the patterns' shares."""

from itertools import pairwise

import pytest
import torch

from backwalk.denoiser import Residual
from backwalk.fit import (
    default_architecture,
    default_evaluations,
    default_shares,
    default_training,
    default_validation_fraction,
    fit_rules,
    table_rules,
)
from backwalk.fit.defaults import embedding_rules
from backwalk.table import AtomsColumn, Codec, LevelsColumn, NumberColumn

SIZES = (2, 20, 100, 450, 1299, 2200, 5_000, 10**5, 10**7)
LEVELS = LevelsColumn((0.0, 1.0), (0.5, 0.5), "one-hot")
NUMBER = NumberColumn(0.0, 1.0)
NUMBERS, MIXED, CATEGORIES = (
    Codec(columns) for columns in ((NUMBER,) * 4, (LEVELS, LEVELS, NUMBER, NUMBER), (LEVELS,) * 3)
)


@pytest.mark.parametrize("d", [1, 3, 4, 40, 300, 2000])
@pytest.mark.parametrize("table", [False, True])
def test_more_rows_take_more_steps_of_fewer_networks_with_less_decay_and_a_smaller_share_held_out(d, table):
    trainings, members, shares = [], [], []
    for n in SIZES:
        rules = table_rules(Codec((LEVELS,) + (NUMBER,) * d), n) if table else fit_rules(d)
        trainings.append(default_training(n, d, rules=rules))
        members.append(default_architecture(n, d, rules))
        shares.append(default_validation_fraction(n, d))
    for name, grows in (("max_steps", 1), ("batch_size", 1), ("weight_decay", -1), ("outer_decay", -1)):
        for fewer, more in pairwise(getattr(training, name) for training in trainings):
            assert grows * (more - fewer) >= 0
    assert [each.n_members for each in members] == sorted((each.n_members for each in members), reverse=True)
    held_out = [share * n for share, n in zip(shares, SIZES, strict=True)]
    assert held_out == sorted(held_out)
    assert max(held_out) <= 1000.0
    assert shares[0] == 0.0
    assert max(shares) <= 0.1


def test_wider_tables_take_wider_networks():
    widths = [default_architecture(5_000, d).width for d in (2, 4, 64, 129, 300, 4000)]
    assert widths == sorted(widths)
    assert (widths[0], widths[-1]) == (48, 512)


def test_fewer_steps_in_the_plane_are_larger():
    rates = [default_training(10_000, 2, steps).learning_rate for steps in (100, 800, 1600, 5000)]
    assert rates == sorted(rates, reverse=True)
    assert rates[-2:] == [0.005, 0.005]
    assert {default_training(10_000, 8, steps).learning_rate for steps in (100, 5000)} == {0.01}


def test_a_run_whose_length_is_given_has_no_patience():
    rules = table_rules(MIXED, 100)
    assert default_training(100, 6, rules=rules).patience is not None
    assert default_training(100, 6, 50, rules=rules).patience is None
    assert default_training(100, 6, 50, rules=rules).max_steps == 50


def test_conditionals_of_numbers_take_longer_and_more_decay_once_they_overfit():
    declared, anything = (default_training(1000, 4, rules=table_rules(NUMBERS, 1000, c)) for c in (((2, 3),), "any"))
    assert declared.max_steps > anything.max_steps
    assert declared.overfitting_decay > anything.overfitting_decay == 0.0
    assert default_evaluations(NUMBERS, ((2, 3),)) > default_evaluations(NUMBERS, "any")


def test_an_embedding_is_of_one_network_whose_weights_decay_with_few_rows():
    rules = [embedding_rules(fit_rules(8), n) for n in SIZES]
    assert {default_architecture(n, 8, each).n_members for n, each in zip(SIZES, rules, strict=True)} == {1}
    decays = [each.embedding_decay for each in rules]
    assert decays == sorted(decays, reverse=True)
    assert decays[-1] > 0.0


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


@pytest.mark.parametrize(
    ("capabilities", "fast"),
    [
        ({"cpu_name": "AMD EPYC", "avx512_bf16": True, "amx_bf16": False}, True),
        ({"cpu_name": "Intel(R) Xeon(R)", "avx512_bf16": True, "amx_bf16": False}, False),
        ({"cpu_name": "Intel(R) Xeon(R)", "avx512_bf16": True, "amx_bf16": True}, True),
        ({}, False),
    ],
)
def test_wide_networks_are_trained_in_bfloat16_where_the_processor_gains_by_it(monkeypatch, capabilities, fast):
    monkeypatch.setattr(torch.cpu, "get_capabilities", lambda: capabilities, raising=False)
    assert default_training(20_000, 8).bfloat16 is fast
    assert default_training(200, 8, architecture=Residual(width=128)).bfloat16 is fast  # the network counts, not n
    assert not default_training(200, 8).bfloat16
    assert not default_training(20_000, 2).bfloat16
