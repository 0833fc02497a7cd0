"""Muon: steps for matrices whose singular values are all alike.

Each matrix's momentum is replaced by (about) the nearest orthogonal matrix, so that every direction that the gradient
has seen moves by the same amount, however weak it was. For the square matrices of residual blocks this reaches a lower
loss in the same number of steps than Adam; input and output layers and biases stay with Adam.

Source: Jordan et al. 2024, "Muon: an optimizer for hidden layers in neural networks".
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import NamedTuple

import torch
from torch import Tensor

from backwalk.training.numbers import numbers_beside

_LARGEST_CHEAP = 64  # the width up to which orthogonal matrices are a small part of a step


class MuonStep(NamedTuple):
    """What a step of Muon wants beside the gradients: all momentum, the matrices whose turn it is, and its numbers."""

    momentum: list[Tensor]
    moving: list[Tensor]
    turn: int
    turns: int
    rate: Tensor
    kept: Tensor
    decays: bool
    half_products: bool


class Muon:
    """What Muon remembers of equally large square matrices, (members, width, width) each: their `momentum`.

    The matrices take turns: every step moves one in `turns` of them, by as many times the rate. Orthogonal matrices are
    a dear part of a step (without turns half of it at width 512), and the momentum, which takes in every gradient,
    changes little from one step to the next.
    `half_products` makes the products in bfloat16. Before it moves, a matrix shrinks by `weight_decay` times the rate.
    """

    def __init__(self, parameters: Iterable[Tensor], *, weight_decay: float = 0.0, half_products: bool = False) -> None:
        self._parameters = list(parameters)
        self._weight_decay, self._half_products = weight_decay, half_products
        self.turns = turns_for(self._parameters[0].shape[-1]) if self._parameters else 1
        self.momentum = [torch.zeros_like(parameter) for parameter in self._parameters]
        self._rate, self._kept = numbers_beside(self._parameters, 2)

    def at(self, rate: float, number: int) -> MuonStep:
        """Return the step of this number, from 0, from which the turn follows. It holds until the next is asked."""
        rate, turn, decay = self.turns * rate, number % self.turns, self._weight_decay
        self._rate.fill_(rate)
        self._kept.fill_(1.0 - rate * decay)
        moving = self._parameters[turn :: self.turns]
        return MuonStep(
            self.momentum, moving, turn, self.turns, self._rate, self._kept, decay > 0.0, self._half_products
        )


def muon_step(gradients: list[Tensor], step: MuonStep) -> None:
    """Take every gradient G in, M <- 0.95 M + 0.05 G, and move the matrices W whose turn it is.

    W <- kept W - rate orthogonalised(0.95 M + 0.05 G): the momentum is looked at ahead, which is Nesterov's. For
    TorchScript too, which takes a slice of a list for new tensors, and leaves out what changes these.
    """
    if len(step.momentum) == 0:
        return
    decay = 0.95
    torch._foreach_lerp_(step.momentum, gradients, 1.0 - decay)
    n = len(step.moving)
    if n == 0:
        return
    ahead = torch._foreach_lerp(gradients[step.turn :: step.turns], step.momentum[step.turn :: step.turns], decay)
    directions = orthogonalised(torch.cat(ahead), step.half_products).chunk(n)
    if step.decays:
        torch._foreach_mul_(step.moving, step.kept)
    torch._foreach_addcmul_(step.moving, directions, [step.rate] * n, value=-1.0)


def turns_for(width: int) -> int:
    """Return in how many turns matrices of this width move: where they are dear, one turn more.

    In 900 steps at width 128 three turns cost 0.0015 nats on average in eight to sixteen columns, where gaps are 0.17
    to 0.4 and a fit's own error is 0.005; six turns cost 0.01. At width 48 orthogonal matrices are a tenth of a step,
    and in 811 steps in the plane three turns cost more than they save: four rings end at 0.078 for 0.056 and 0.047 nats
    with two and one, two moons at 0.0136 for 0.0122 and 0.0123.
    """
    return 2 if width <= _LARGEST_CHEAP else 3


def orthogonalised(matrices: Tensor, half_products: bool = False) -> Tensor:
    """Return matrices with the singular vectors of these, (k, n, n), and singular values between 0.73 and 1.27.

    Three rounds of an odd polynomial of the singular values; those above a hundredth of the matrix's norm end in that
    range, smaller ones become 78 times as large. Of all such polynomials each round's has the least maximal error on
    the range that the round before leaves (a linear program for its three coefficients, as in Amsel et al. 2025, "The
    Polar Express"). Jordan's coefficients take five rounds to the same range.
    """
    x: Tensor = matrices / (torch.linalg.matrix_norm(matrices, keepdim=True) + 1e-20)
    if half_products:
        x = x.to(torch.bfloat16)
    for once, thrice, five_times in (
        (8.0934, -23.6204, 17.4462),
        (3.6366, -2.7219, 0.5365),
        (2.6613, -1.9772, 0.4526),
    ):
        gram = torch.bmm(x, x.transpose(1, 2))
        x = torch.baddbmm(x, torch.baddbmm(gram, gram, gram, beta=thrice, alpha=five_times), x, beta=once)
    return x.to(matrices)
