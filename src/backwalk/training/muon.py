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

from backwalk.training.config import MOST_TURNS
from backwalk.training.step_numbers import numbers_beside

_LARGEST_CHEAP, _LEAST_DEAR = 64, 256  # widths up to and from which orthogonal matrices are a small and a large part


class Turns(NamedTuple):
    """Every matrix moves once in `every` steps, in one of the first `busy` of them; in the others none does."""

    every: int
    busy: int


class MuonStep(NamedTuple):
    """What a step of Muon wants beside the gradients: all momentum, the matrices whose turn it is, and its numbers.

    Those are the matrices first, first + stride, ...: none, where `first` is beyond the last.
    """

    momentum: list[Tensor]
    moving: list[Tensor]
    first: int
    stride: int
    rate: Tensor
    kept: Tensor
    decays: bool
    n_rounds: int
    bfloat16: bool


class Muon:
    """What Muon remembers of equally large square matrices, (members, width, width) each: their `momentum`.

    The matrices take `turns`, each then by as many times the rate. Orthogonal matrices are a dear part of a step
    (without turns a third of its operations at width 512), and the momentum, which takes in every gradient, changes
    little from one step to the next. `bfloat16` makes the products in bfloat16. Before it moves, a matrix shrinks
    by `weight_decay` times the rate.
    """

    def __init__(
        self, parameters: Iterable[Tensor], turns: Turns, *, weight_decay: float = 0.0, bfloat16: bool = False
    ) -> None:
        self._parameters, self._turns = list(parameters), turns
        self._weight_decay, self._bfloat16 = weight_decay, bfloat16
        self._n_rounds = rounds_for(self._parameters[0].shape[-1]) if self._parameters else 0
        self.momentum = [torch.zeros_like(parameter) for parameter in self._parameters]
        self._rate, self._kept = numbers_beside(self._parameters, 2)

    def at(self, rate: float, number: int) -> MuonStep:
        """Return the step of this number, from 0, from which the turn follows. It holds until the next is asked."""
        (every, busy), decay = self._turns, self._weight_decay
        rate, turn = every * rate, number % every
        self._rate.fill_(rate)
        self._kept.fill_(1.0 - rate * decay)
        first = turn if turn < busy else len(self._parameters)
        return MuonStep(
            self.momentum,
            self._parameters[first::busy],
            first,
            busy,
            self._rate,
            self._kept,
            decay > 0.0,
            self._n_rounds,
            self._bfloat16,
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
    ahead = torch._foreach_lerp(gradients[step.first :: step.stride], step.momentum[step.first :: step.stride], decay)
    directions = orthogonalised(torch.cat(ahead), step.n_rounds, step.bfloat16).chunk(n)
    if step.decays:
        torch._foreach_mul_(step.moving, step.kept)
    torch._foreach_addcmul_(step.moving, directions, [step.rate] * n, value=-1.0)


def turns_for(width: int, n_matrices: int) -> Turns:
    """Return the turns in which matrices of this width move: where they are dear, in more.

    In a busy turn two move at least, one on each of two threads.

    In 900 steps at width 128 three turns cost 0.0015 nats on average in eight to sixteen columns, where gaps are 0.17
    to 0.4 and a fit's own error is 0.005; six turns cost 0.01. At width 48 orthogonal matrices are a tenth of a step,
    and in 811 steps in the plane three turns cost more than they save: four rings end at 0.078 for 0.056 and 0.047 nats
    with two and one, two moons at 0.0136 for 0.0122 and 0.0123.
    At width 512 four turns, and two rounds of products for three, make 1.09 times as many steps in 40 s, which end
    0.010 +- 0.007 nats lower (five pairs, on densities in 8 and 12 columns).
    """
    every = 2 if width <= _LARGEST_CHEAP else 3 if width < _LEAST_DEAR else MOST_TURNS
    return Turns(every, max(1, min(every, n_matrices // 2)))


def rounds_for(width: int) -> int:
    """Return in how many rounds of products matrices of this width are made orthogonal.

    At width 48 two rounds cost four densities in the plane 0.005 +- 0.005 nats, most of it four rings in one of four
    fits. At width 128 they are within 0.001 +- 0.004 of three (four densities in 8 to 16 columns, at equal steps).
    """
    return 3 if width <= _LARGEST_CHEAP else 2


def orthogonalised(matrices: Tensor, n_rounds: int, bfloat16: bool = False) -> Tensor:
    """Return matrices with the singular vectors of these, (k, n, n), and singular values that are nearly alike.

    Two or three rounds of an odd polynomial of the singular values, as shares of 1.01 times the fourth root of the sum
    of their fourth powers: the root of the norm of X X^T, which is at hand, and at most n^(1/4) times the largest of
    them, where Frobenius' norm may be n^(1/2) times it. Shares above 0.04 become 0.71 to 1.29 in two rounds, and
    smaller ones up to 19 times as large; above 0.01, 0.73 to 1.27 in three, and up to 78 times. Of all such polynomials
    each round's has the least maximal error on the range that the round before leaves (a linear program for its three
    coefficients, as in Amsel et al. 2025, "The Polar Express"). Jordan's coefficients take five rounds, by Frobenius'
    norm.
    """
    # Of about unit size, or X X^T would leave the range of its numbers.
    x: Tensor = matrices / (torch.linalg.matrix_norm(matrices, keepdim=True) + 1e-20)
    if bfloat16:
        x = x.to(torch.bfloat16)
    assert n_rounds in (2, 3)
    if n_rounds == 2:
        rounds = [(7.0441, -19.4937, 14.1690), (2.7004, -2.0091, 0.4562)]
    else:
        rounds = [(8.0934, -23.6204, 17.4462), (3.6366, -2.7219, 0.5365), (2.6613, -1.9772, 0.4526)]
    gram = torch.bmm(x, x.transpose(1, 2))
    # The polynomials are steep at 1, above which rounding to bfloat16 may bring a single large value: so 1.01 times.
    size = 1.02 * torch.linalg.matrix_norm(gram.to(matrices), keepdim=True).to(x) + 1e-20
    x, gram = x * size.rsqrt(), gram / size
    for k, (once, thrice, five_times) in enumerate(rounds):
        if k > 0:
            gram = torch.bmm(x, x.transpose(1, 2))
        x = torch.baddbmm(x, torch.baddbmm(gram, gram, gram, beta=thrice, alpha=five_times), x, beta=once)
    return x.to(matrices)
