"""Derivatives of a map of points that treats every row on its own, by forward mode.

One forward-mode pass with one tangent vector a row gives a directional derivative of all n rows at once. The d unit
vectors give the whole Jacobian; random sign vectors give its trace without bias, at a cost that does not grow with d.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable
from functools import cache

import torch
from torch import Tensor
from torch.func import jvp, vmap


def value_and_jacobian(f: Callable[[Tensor], Tensor], x: Tensor) -> tuple[Tensor, Tensor]:
    """Return f(x), (n, d), and the Jacobian of each row, (n, d, d) with entry [row, i, j] = d f_i / d x_j.

    >>> value_and_jacobian(lambda x: x**2, torch.tensor([[1.0, 3.0]]))[1]
    tensor([[[2., 0.],
             [0., 6.]]])
    """
    value, columns = _value_and_directional(f, x, _unit_vectors(x))
    return value, columns.permute(1, 2, 0)


def value_and_trace(f: Callable[[Tensor], Tensor], x: Tensor, probes: Tensor | None = None) -> tuple[Tensor, Tensor]:
    """Return f(x), (n, d), and the trace of each row's Jacobian, (k, n).

    Without probes it is exact, and k = 1. With `probes`, (k, n, d), of mean 0 and covariance I, row k holds the
    estimates v' J v of probe k, and their mean is unbiased (Hutchinson 1989).
    """
    tangents = _unit_vectors(x) if probes is None else probes
    value, directional = _value_and_directional(f, x, tangents)
    products = (tangents * directional).sum(-1)
    return value, products if probes is not None else products.sum(0, keepdim=True)


def _value_and_directional(f: Callable[[Tensor], Tensor], x: Tensor, tangents: Tensor) -> tuple[Tensor, Tensor]:
    _load_forward_mode()
    # f itself is evaluated once: only the tangents carry the batch dimension that vmap adds.
    result = vmap(lambda v: jvp(f, (x,), (v,)), out_dims=(None, 0))(tangents)  # type: ignore[arg-type]
    return result[0], result[1]


@cache
def _load_forward_mode() -> None:
    """Make the first forward-mode call of the process, in which PyTorch warns about code of its own."""
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message=".*torch.jit", category=DeprecationWarning)
        jvp(torch.sin, (torch.zeros(1),), (torch.ones(1),))


def _unit_vectors(x: Tensor) -> Tensor:
    n, d = x.shape
    return torch.eye(d, dtype=x.dtype, device=x.device)[:, None, :].expand(d, n, d)
