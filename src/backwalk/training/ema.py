"""Averages of the weights along the training: smoother than the last iterate, and better at the same step."""

from __future__ import annotations

import math
from collections.abc import Iterable

import torch
from torch import Tensor, nn


class PowerAverage:
    """The mean of all past weights w_1..w_k with density proportional to (j / k)^gamma.

    Its window grows with training, so that it forgets the start whatever the number of steps (a constant decay of
    0.9999 still holds nine tenths of the first weights after 1,000 steps). `width` is the window's standard deviation
    as a share of the steps so far.

    Source: Karras et al. 2024, "Analyzing and improving the training dynamics of diffusion models".
    """

    def __init__(self, parameters: Iterable[nn.Parameter], width: float) -> None:
        self._parameters = list(parameters)
        self.average = [parameter.detach().clone() for parameter in self._parameters]
        self._gamma = _gamma(width)

    @torch.no_grad()
    def update(self, step: int) -> None:
        """Take in the weights as they are after `step` steps, counted from 1."""
        torch._foreach_lerp_(
            self.average, list[Tensor](self._parameters), 1.0 - (1.0 - 1.0 / step) ** (self._gamma + 1.0)
        )


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
