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


def test_rates_warm_up_and_fall_along_a_half_cosine():
    rates = np.array([plan().rate_at(step, step / 1000) for step in range(1001)])
    assert rates[0] < 0.03
    assert rates.argmax() == 49
    assert rates[500] == pytest.approx(0.5)
    assert rates[1000] == pytest.approx(0.0, abs=1e-12)
    assert (np.diff(rates[50:]) < 0).all()
    assert rates[250] == pytest.approx(0.5 * (1 + math.cos(math.pi / 4)))
    assert {plan(decay=False).rate_at(step, step / 1000) for step in range(1001)} == {1.0}


@pytest.mark.parametrize("n_steps", [25, 200, 999])
def test_short_runs_warm_up_over_a_twentieth_of_their_steps(n_steps):
    rates = np.array([plan().rate_at(step, step / n_steps) for step in range(n_steps)])
    assert rates.argmax() == min(math.ceil(0.05 * n_steps), 49)
    assert rates.max() > 0.98
    assert plan().rate_at(3, 0.5) == pytest.approx(0.5)  # by a clock that went on without steps


@pytest.mark.parametrize(
    "changes",
    [
        {"batch_size": 0},
        {"learning_rate": 0.0},
        {"learning_rate": math.nan},
        {"hidden_rate": -0.1},
        {"weight_decay": -0.1},
        {"hidden_rate": 0.1, "weight_decay": 5.0},
        {"input_ridge": -0.1},
        {"bfloat16": 1},
        {"ema_width": 0.3},
        {"max_steps": 0},
        {"max_steps": None},
        {"n_epochs": 5},
        {"levels": "uniform"},
    ],
    ids=str,
)
def test_refused(changes):
    with pytest.raises(InvalidInput):
        plan(**changes)
