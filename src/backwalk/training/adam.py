"""Adam: steps by the gradient's running mean over the root of its running mean square.

`torch.optim.Adam` does the same with the same fused operation. But making one imports PyTorch's compiler, which took
1.2 s of the first fit in a process, longer than a small fit itself; and its bookkeeping took 0.15 ms of every step.

Source: Kingma & Ba 2015, "Adam: a method for stochastic optimization".
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import NamedTuple

import torch
from torch import Tensor

from backwalk.training.step_numbers import numbers_beside


class AdamStep(NamedTuple):
    """What a step of Adam wants beside the gradients: what it moves, and its numbers."""

    parameters: list[Tensor]
    mean: list[Tensor]
    mean_square: list[Tensor]
    rate: Tensor
    number: Tensor
    beta_1: float
    beta_2: float


class Adam:
    """What Adam remembers of a list of parameters: the running `mean` and `mean_square` of each gradient."""

    def __init__(self, parameters: Iterable[Tensor], *, betas: tuple[float, float]) -> None:
        self._parameters, self._betas = list(parameters), betas
        self.mean = [torch.zeros_like(parameter) for parameter in self._parameters]
        self.mean_square = [torch.zeros_like(mean) for mean in self.mean]
        self._rate, self._number = numbers_beside(self._parameters, 2, torch.float32)  # as the fused operation wants

    def at(self, rate: float, number: int) -> AdamStep:
        """Return the step of this number, from 1, for the means' start at 0. It holds until the next is asked."""
        self._rate.fill_(rate)
        self._number.fill_(number)
        return AdamStep(self._parameters, self.mean, self.mean_square, self._rate, self._number, *self._betas)


def adam_step(gradients: list[Tensor], step: AdamStep) -> None:
    """Move every parameter w by its gradient g: w <- w - rate m' / (sqrt(v') + 1e-8). For TorchScript too.

    m <- beta_1 m + (1 - beta_1) g, v <- beta_2 v + (1 - beta_2) g^2; m' = m / (1 - beta_1^number), v' in the same way.
    """
    if len(step.parameters) == 0:
        return
    # The fused operation goes through memory: a gradient that lies there column by column would move other weights.
    by_rows = [gradient.contiguous() for gradient in gradients]
    nothing: list[Tensor] = []
    torch._fused_adam_(  # not torch.ops.aten's, which would take the rate for a number that the processor reads
        step.parameters,
        by_rows,
        step.mean,
        step.mean_square,
        nothing,
        [step.number] * len(by_rows),
        lr=step.rate,
        beta1=step.beta_1,
        beta2=step.beta_2,
        weight_decay=0.0,
        eps=1e-8,
        amsgrad=False,
        maximize=False,
    )
