"""The record of a training run: its length, its rates, and what it refuses."""

import math

import numpy as np
import pytest

from backwalk.errors import InvalidInput
from backwalk.training import Training


def plan(**changes):
    return Training(**{"batch_size": 100, "learning_rate": 1e-3, "max_steps": 10, **changes})


def test_the_last_short_batch_of_an_epoch_is_dropped():
    by_epochs = plan(max_steps=None, n_epochs=3)
    assert [by_epochs.steps_for(n) for n in (99, 100, 250, 1000)] == [3, 3, 6, 30]
    assert plan().steps_for(250) == 10
    assert plan(max_steps=None).steps_for(250) == 20_000


def test_rates_warm_up_and_fall_as_the_inverse_root_of_the_step_whenever_the_run_ends():
    rates = np.array([plan().rate_at(step) for step in range(10_001)])
    assert rates[0] < 0.03
    assert rates.argmax() == 49
    assert (np.diff(rates[50:]) < 0).all()
    assert rates[300] == pytest.approx(0.5)
    assert rates[10_000] * math.sqrt(10_000) == pytest.approx(rates[5_000] * math.sqrt(5_000), rel=0.02)
    assert {plan(decay=None).rate_at(step) for step in range(1001)} == {1.0}


def test_linear_rates_are_full_until_they_fall():
    linear = plan(decay="linear")
    assert linear.rate_at(0) == plan().rate_at(0)
    assert [linear.rate_at(step, left) for step, left in ((50, 1.0), (9_000, 1.0), (9_500, 0.25))] == [1.0, 1.0, 0.25]


@pytest.mark.parametrize(
    "changes",
    [
        {"batch_size": 0},
        {"learning_rate": 0.0},
        {"learning_rate": math.nan},
        {"hidden_rate": -0.1},
        {"weight_decay": -0.1},
        {"decay": "cosine"},
        {"decay": True},
        {"hidden_rate": 0.1, "weight_decay": 5.0},
        {"input_ridge": -0.1},
        {"bfloat16": 1},
        {"ema_width": 0.3},
        {"max_steps": 0},
        {"n_epochs": 5},
        {"levels": "uniform"},
    ],
    ids=str,
)
def test_refused(changes):
    with pytest.raises(InvalidInput):
        plan(**changes)
