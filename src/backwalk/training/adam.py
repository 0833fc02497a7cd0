"""Adam: steps by the gradient's running mean over the root of its running mean square.

`torch.optim.Adam` does the same with the same fused operation. But making one imports PyTorch's compiler, which took
1.2 s of the first fit in a process, longer than a small fit itself; and its bookkeeping took 0.15 ms of every step.

Source: Kingma & Ba 2015, "Adam: a method for stochastic optimization".
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import nn


class Adam:
    """Steps for a list of parameters, all in one call; `mean` and `mean_square` are what is remembered."""

    _EPSILON = 1e-8

    def __init__(self, parameters: Sequence[nn.Parameter], *, betas: tuple[float, float]) -> None:
        self._parameters, self._betas = list(parameters), betas
        self.mean = [torch.zeros_like(parameter, requires_grad=False) for parameter in self._parameters]
        self.mean_square = [torch.zeros_like(mean) for mean in self.mean]

    @torch.no_grad()
    def step(self, rate: float, number: int) -> None:
        """Move every parameter by its gradient; `number` counts the steps from 1, for the means' start at 0."""
        if not self._parameters:
            return
        # The fused operation goes through memory: a gradient that lies there column by column would move other weights.
        gradients = [parameter.grad.contiguous() for parameter in self._parameters if parameter.grad is not None]
        count = torch.tensor(float(number), device=self._parameters[0].device)
        torch.ops.aten._fused_adam_(
            self._parameters,
            gradients,
            self.mean,
            self.mean_square,
            [],
            [count] * len(gradients),
            lr=rate,
            beta1=self._betas[0],
            beta2=self._betas[1],
            weight_decay=0.0,
            eps=self._EPSILON,
            amsgrad=False,
            maximize=False,
        )
