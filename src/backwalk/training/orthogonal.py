"""Orthogonal matrices near given ones, by a few matrix products. Source: Amsel et al. 2025, "The Polar Express"."""

from __future__ import annotations

import torch
from torch import Tensor

LARGEST_CHEAP_WIDTH = 64  # up to which orthogonal matrices are a small part of a training step


def rounds_for(width: int) -> int:
    """Return the number of rounds of products for matrices of this width; docs/defaults.md has the measurements."""
    return 3 if width <= LARGEST_CHEAP_WIDTH else 2


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
