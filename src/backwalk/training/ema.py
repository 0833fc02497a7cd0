"""Averages of the weights along the training: smoother than the last iterate, and better at the same step."""

from __future__ import annotations

import math
from collections.abc import Iterable
from typing import NamedTuple

import torch
from torch import Tensor

from backwalk.training.step_numbers import numbers_beside


class AverageStep(NamedTuple):
    """What an average wants to take weights in: itself, these weights, and the share that they get."""

    average: list[Tensor]
    parameters: list[Tensor]
    share: Tensor


class PowerAverage:
    """The mean of all past weights w_1..w_k with density proportional to (j / k)^gamma.

    Its window grows with training, so that it forgets the start whatever the number of steps (a constant decay of
    0.9999 still holds nine tenths of the first weights after 1,000 steps). `width` is the window's standard deviation
    as a share of the steps so far.

    Source: Karras et al. 2024, "Analyzing and improving the training dynamics of diffusion models".
    """

    def __init__(self, parameters: Iterable[Tensor], width: float) -> None:
        self._parameters = list(parameters)
        self.average = [parameter.detach().clone() for parameter in self._parameters]
        self._gamma = _gamma(width)
        (self._share,) = numbers_beside(self._parameters, 1)

    def at(self, number: int) -> AverageStep:
        """Return what takes in the weights after step `number`, counted from 1. It holds until the next is asked."""
        self._share.fill_(1.0 - (1.0 - 1.0 / number) ** (self._gamma + 1.0))
        return AverageStep(self.average, self._parameters, self._share)


def average_step(step: AverageStep) -> None:
    """Take the weights in: average <- average + share (weights - average). For TorchScript too."""
    if len(step.average) > 0:
        torch._foreach_lerp_(step.average, step.parameters, [step.share] * len(step.average))


def _gamma(width: float) -> float:
    """Return the gamma with (gamma + 1) / ((gamma + 2)^2 (gamma + 3)) = width^2, by bisection in ln gamma."""
    low, high = 1e-3, 1e6
    for _ in range(60):
        middle = math.sqrt(low * high)
        if (middle + 1.0) / ((middle + 2.0) ** 2 * (middle + 3.0)) > width**2:
            low = middle
        else:
            high = middle
    return low
