"""Muon: steps for matrices whose singular values are all alike.

Each matrix's momentum is replaced by (about) the nearest orthogonal matrix, so that every direction that the gradient
has seen moves by the same amount, however weak it was. For the square matrices of residual blocks this reaches a lower
loss in the same number of steps than Adam; input and output layers and biases stay with Adam.

Source: Jordan et al. 2024, "Muon: an optimizer for hidden layers in neural networks".
"""

from __future__ import annotations

from collections.abc import Iterable

import torch
from torch import Tensor, nn

from backwalk.threads import Map, without_lock


class Muon:
    """Orthogonalised momentum for a set of equally large square matrices, (members, width, width) each.

    The momentum of all of them is one tensor, `momentum`, so that a step is a handful of batched products, which
    `half_products` makes in bfloat16. Before it moves, a matrix is shrunk by `weight_decay` times the rate.
    """

    _DECAY = 0.95
    _LARGEST_TOGETHER = 64  # matrices so small are not worth the handing over to threads

    def __init__(
        self, parameters: Iterable[nn.Parameter], *, weight_decay: float = 0.0, half_products: bool = False
    ) -> None:
        self._parameters = list(parameters)
        self._weight_decay, self._half_products = weight_decay, half_products
        self.momentum = torch.zeros_like(torch.cat([parameter.detach() for parameter in self._parameters]))

    @torch.no_grad()
    def step(self, rate: float, side_by_side: Map = map) -> None:
        """Move every matrix by `rate` times its orthogonalised (Nesterov) momentum, the parameters side by side."""
        gradient = torch.cat([parameter.grad for parameter in self._parameters if parameter.grad is not None])
        self.momentum.lerp_(gradient, 1.0 - self._DECAY)
        gradient.lerp_(self.momentum, self._DECAY)
        orthogonal = without_lock(orthogonalised)
        n_pieces = len(self._parameters) if gradient.shape[-1] > self._LARGEST_TOGETHER else 1
        pieces = side_by_side(lambda piece: orthogonal(piece, self._half_products), gradient.chunk(n_pieces))
        moves = [move for piece in pieces for move in piece.chunk(len(self._parameters) // n_pieces)]
        if self._weight_decay:
            torch._foreach_mul_(list[Tensor](self._parameters), 1.0 - rate * self._weight_decay)
        torch._foreach_add_(list[Tensor](self._parameters), moves, alpha=-rate)


def orthogonalised(matrices: Tensor, half_products: bool = False) -> Tensor:
    """Return matrices with the singular vectors of these, (k, n, n), and singular values between about 0.7 and 1.2.

    Five steps of an odd polynomial iteration on the singular values, whose coefficients are Jordan's: they grow small
    values fast and give up exactness at 1, which does not matter here.
    """
    x: Tensor = matrices / (torch.linalg.matrix_norm(matrices, keepdim=True) + 1e-20)
    if half_products:
        x = x.to(torch.bfloat16)
    for _ in range(5):
        gram = torch.bmm(x, x.transpose(1, 2))
        x = torch.baddbmm(x, torch.baddbmm(gram, gram, gram, beta=-4.7750, alpha=2.0315), x, beta=3.4445)
    return x.to(matrices)
