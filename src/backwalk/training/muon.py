"""Muon, the optimiser of the square matrices of residual blocks.

Muon replaces the momentum of each matrix by (about) the nearest orthogonal matrix, so that weak directions of the
gradient move as far as strong ones. For these matrices its loss is lower than Adam's after equally many steps. For W
with gradient G,

    M <- 0.95 M + 0.05 G,   W <- (1 - rate decay) W - rate orthogonal(0.95 M + 0.05 G).

Orthogonal matrices take a large part of a step's time, and the momentum changes little between steps. So each matrix
moves only once in `update_every` steps, by as many times the rate. `torch.optim.Muon` multiplies in bfloat16, which is
slow on most CPUs.

Source: Jordan et al. 2024 for Muon; Amsel et al. 2025, "The Polar Express", for the orthogonal matrices.
"""

from __future__ import annotations

import torch
from torch import Tensor

from backwalk.training.config import MOST_UPDATE_EVERY, Training

_BETA = 0.95
_LARGEST_CHEAP_WIDTH = 64  # up to which orthogonal matrices take a small part of a step's time
_TWO_ROUNDS = [(7.0441, -19.4937, 14.1690), (2.7004, -2.0091, 0.4562)]
_THREE_ROUNDS = [(8.0934, -23.6204, 17.4462), (3.6366, -2.7219, 0.5365), (2.6613, -1.9772, 0.4526)]


class Muon:
    """Muon for some matrices, (members, width, width) each. Matrix i moves with group i mod `n_groups`.

    Of every `update_every` steps, step k moves group k, if k < `n_groups`. A group has at least two matrices, as far as
    there are so many.
    """

    def __init__(self, matrices: list[Tensor], training: Training) -> None:
        width = matrices[0].shape[-1] if matrices else 0
        self.update_every = update_every(width)
        self.n_groups = max(1, min(self.update_every, len(matrices) // 2))
        self.momentum = [torch.zeros_like(matrix) for matrix in matrices]
        self._matrices, self._bfloat16, self._decay = matrices, training.bfloat16, training.weight_decay
        self._rate = (training.hidden_rate or 0.0) * self.update_every

    def step(self, gradients: list[Tensor], number: int, rate_factor: float) -> None:
        """Take step `number`, counted from 0, at `rate_factor` times the full rate."""
        if not self._matrices:
            return
        torch._foreach_lerp_(self.momentum, gradients, 1.0 - _BETA)
        group = number % self.update_every
        if group >= self.n_groups:
            return
        of_group, rate = slice(group, None, self.n_groups), self._rate * rate_factor
        # Nesterov's momentum, which looks one step ahead.
        ahead = torch._foreach_lerp(gradients[of_group], self.momentum[of_group], _BETA)
        moving = self._matrices[of_group]
        directions = orthogonalised(torch.cat(ahead), self._bfloat16).chunk(len(moving))
        torch._foreach_mul_(moving, 1.0 - rate * self._decay)
        torch._foreach_add_(moving, directions, alpha=-rate)


def update_every(width: int) -> int:
    """Return the number of steps in which a matrix of this width moves once: wide ones move less often."""
    return 2 if width <= _LARGEST_CHEAP_WIDTH else MOST_UPDATE_EVERY


def rounds(width: int) -> list[tuple[float, float, float]]:
    """Return the coefficients of the rounds of products by which matrices of this width are made orthogonal."""
    return _THREE_ROUNDS if width <= _LARGEST_CHEAP_WIDTH else _TWO_ROUNDS


def orthogonalised(matrices: Tensor, bfloat16: bool = False) -> Tensor:
    """Return matrices with the singular vectors of these, (k, n, n), and singular values near 1.

    The singular values are divided by 1.01 times the fourth root of the sum of their fourth powers. This is the root of
    the Frobenius norm of X X^T, and at most n^(1/4) times the largest of them (the Frobenius norm of X may be n^(1/2)
    times it). Then each round applies an odd polynomial. Two rounds, for wide matrices, take values above 0.04 to
    0.71..1.29, and multiply smaller ones by up to 19; three rounds take those above 0.01 to 0.73..1.27, and multiply
    smaller ones by up to 78. The three coefficients of a round minimise the maximal error on the range that the
    previous round leaves (a linear program, as in "The Polar Express"). Jordan's coefficients need five rounds.
    """
    # About unit size, as X X^T might overflow or underflow otherwise.
    x: Tensor = matrices / (torch.linalg.matrix_norm(matrices, keepdim=True) + 1e-20)
    if bfloat16:
        x = x.to(torch.bfloat16)
    gram = torch.bmm(x, x.mT)
    # 1.02 = 1.01^2, as bfloat16 may round a single large value above 1, where the polynomials are steep.
    size = 1.02 * torch.linalg.matrix_norm(gram.to(matrices), keepdim=True).to(x) + 1e-20
    x, gram = x * size.rsqrt(), gram / size
    for number, (once, thrice, five_times) in enumerate(rounds(matrices.shape[-1])):
        if number > 0:
            gram = torch.bmm(x, x.mT)
        x = torch.baddbmm(x, torch.baddbmm(gram, gram, gram, beta=thrice, alpha=five_times), x, beta=once)
    return x.to(matrices)
