"""Orthogonal matrices near given ones, by a few matrix products. Source: Amsel et al. 2025, "The Polar Express"."""

from __future__ import annotations

import torch
from torch import Tensor

LARGEST_CHEAP_WIDTH = 64  # up to which orthogonal matrices take a small part of a step's time


def rounds_for(width: int) -> int:
    """Return the number of rounds of products for matrices of this width; docs/defaults.md has the measurements."""
    return 3 if width <= LARGEST_CHEAP_WIDTH else 2


def orthogonalised(matrices: Tensor, n_rounds: int, bfloat16: bool = False) -> Tensor:
    """Return matrices with the singular vectors of these, (k, n, n), and singular values near 1.

    The singular values are divided by 1.01 times the fourth root of the sum of their fourth powers. This is the root of
    the Frobenius norm of X X^T, and at most n^(1/4) times the largest of them (the Frobenius norm of X may be n^(1/2)
    times it). Then each round applies an odd polynomial. Two rounds take values above 0.04 to 0.71..1.29, and multiply
    smaller ones by up to 19; three rounds take those above 0.01 to 0.73..1.27, and multiply smaller ones by up to 78.
    The three coefficients of a round minimise the maximal error on the range that the previous round leaves (a linear
    program, as in Amsel et al. 2025, "The Polar Express"). Jordan's coefficients need five rounds.
    """
    # About unit size, as X X^T might overflow or underflow otherwise.
    x: Tensor = matrices / (torch.linalg.matrix_norm(matrices, keepdim=True) + 1e-20)
    if bfloat16:
        x = x.to(torch.bfloat16)
    assert n_rounds in (2, 3)
    if n_rounds == 2:
        rounds = [(7.0441, -19.4937, 14.1690), (2.7004, -2.0091, 0.4562)]
    else:
        rounds = [(8.0934, -23.6204, 17.4462), (3.6366, -2.7219, 0.5365), (2.6613, -1.9772, 0.4526)]
    gram = torch.bmm(x, x.transpose(1, 2))
    # 1.02 = 1.01^2, as bfloat16 may round a single large value above 1, where the polynomials are steep.
    size = 1.02 * torch.linalg.matrix_norm(gram.to(matrices), keepdim=True).to(x) + 1e-20
    x, gram = x * size.rsqrt(), gram / size
    for k, (once, thrice, five_times) in enumerate(rounds):
        if k > 0:
            gram = torch.bmm(x, x.transpose(1, 2))
        x = torch.baddbmm(x, torch.baddbmm(gram, gram, gram, beta=thrice, alpha=five_times), x, beta=once)
    return x.to(matrices)
