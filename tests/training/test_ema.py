"""The power average against the sum that it stands for."""

import math

import pytest
import torch

from backwalk.training.ema import PowerAverage, average_step


def averaged(width, n_steps):
    """The weight that each of n_steps past values has: fed with unit vectors, the average is just that."""
    parameter = torch.zeros(n_steps, dtype=torch.float64)
    average = PowerAverage([parameter], width)
    for step in range(1, n_steps + 1):
        parameter.zero_()[step - 1] = 1.0
        average_step(average.at(step))
    return average.average[0]


@pytest.mark.parametrize("width", [0.05, 0.1, 0.25])
def test_average_is_the_weighted_sum(width):
    weights, place = averaged(width, 400), torch.arange(1, 401, dtype=torch.float64) / 400
    assert float(weights.sum()) == pytest.approx(1.0)
    # (j / k)^(gamma + 1) less the same at j - 1, with the gamma that the first two of the weights imply.
    gamma = math.log(float(weights[:200].sum())) / math.log(0.5) - 1
    expected = place ** (gamma + 1) - (place - 1 / 400) ** (gamma + 1)
    torch.testing.assert_close(weights, expected, rtol=1e-9, atol=1e-14)


@pytest.mark.parametrize("width", [0.05, 0.1, 0.25])
def test_width_is_the_standard_deviation_of_the_window(width):
    weights, place = averaged(width, 2000), torch.arange(2000, dtype=torch.float64) / 2000
    mean = (weights * place).sum()
    assert float((weights * (place - mean).square()).sum().sqrt()) == pytest.approx(width, rel=1e-2)


def test_average_forgets_where_it_started():
    parameter = torch.ones(2)
    average = PowerAverage([parameter], 0.05)
    parameter.zero_()
    average_step(average.at(1))
    assert not average.average[0].any()
