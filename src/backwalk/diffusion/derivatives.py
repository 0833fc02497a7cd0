"""Derivatives of a denoiser by its point, by forward mode.

A denoiser treats every row on its own, so one tangent vector per row gives a directional derivative of all n rows at
once. The d unit vectors give the whole Jacobian; random sign vectors give its trace without bias, at a cost that does
not grow with d.

A denoiser that can say its own linear part (`linearize`) is asked; any other goes through PyTorch's forward mode, which
costs two to three times as much.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable
from functools import cache
from threading import Lock
from typing import Any, Protocol, runtime_checkable

import torch
from torch import Tensor
from torch.func import jvp, vmap

from backwalk.diffusion.parameterization import Denoiser

Push = Callable[[Tensor], Tensor]

# More only fill the cache: half the speed, with 16 times as many of four members of width 128.
_TANGENT_ROWS_AT_ONCE = 1024
_TANGENT_ROWS_OF_A_GPU = 2**15
_TANGENTS_AT_ONCE = 8  # by forward mode, which holds what a denoiser computes on its way so many times over
_FORWARD_MODE = Lock()  # PyTorch keeps one state of it for all threads of the process


@runtime_checkable
class Linearizable(Protocol):
    """A denoiser that knows its own derivative."""

    def linearize(self, x_t: Tensor, log_snr: Tensor, /) -> tuple[Tensor, Push]:
        """Return x_0_hat, (n, d), and the map from tangents, (k, n, d), to directional derivatives, (k, n, d)."""
        ...


def value_and_jacobian(denoiser: Denoiser, x_t: Tensor, log_snr: Tensor) -> tuple[Tensor, Tensor]:
    """Return x_0_hat, (n, d), and the Jacobian of each row, (n, d, d), entry [row, i, j] = d x_0_hat_i / d x_t_j.

    >>> from backwalk.diffusion.closed_forms import GaussianDenoiser
    >>> standard = GaussianDenoiser(torch.zeros(2), torch.eye(2))
    >>> value_and_jacobian(standard, torch.ones(1, 2), torch.tensor(0.0))[1]  # sqrt(alpha_bar) I
    tensor([[[0.7071, 0.0000],
             [0.0000, 0.7071]]])
    """
    value, columns = _value_and_directional(denoiser, x_t, log_snr, _unit_vectors(x_t))
    return value, columns.permute(1, 2, 0)


def value_and_trace(
    denoiser: Denoiser, x_t: Tensor, log_snr: Tensor, probes: Tensor | None = None
) -> tuple[Tensor, Tensor]:
    """Return x_0_hat, (n, d), and the trace of each row's Jacobian, (k, n).

    Without probes it is exact, and k = 1. With `probes`, (k, n, d), of mean 0 and covariance I, row k holds the
    estimates v' J v of probe k, and their mean is unbiased (Hutchinson 1989).
    """
    tangents = _unit_vectors(x_t) if probes is None else probes
    value, directional = _value_and_directional(denoiser, x_t, log_snr, tangents)
    products = (tangents * directional).sum(-1)
    return value, products if probes is not None else products.sum(0, keepdim=True)


def _value_and_directional(denoiser: Denoiser, x_t: Tensor, log_snr: Tensor, tangents: Tensor) -> tuple[Tensor, Tensor]:
    if isinstance(denoiser, Linearizable):
        value, push = denoiser.linearize(x_t, log_snr)
        rows = _TANGENT_ROWS_AT_ONCE if x_t.device.type == "cpu" else _TANGENT_ROWS_OF_A_GPU
        at_once = max(1, rows // max(len(x_t), 1))
        return value, torch.cat([push(some) for some in torch.split(tangents, at_once)])
    with _FORWARD_MODE:
        _load_forward_mode()

        # The value is computed once for some tangents: they alone carry the batch dimension that vmap adds.
        def along(v: Tensor) -> Any:
            return jvp(lambda x: denoiser(x, log_snr), (x_t,), (v,))

        push = vmap(along, out_dims=(None, 0))  # type: ignore[arg-type]
        results: list[Any] = [push(some) for some in torch.split(tangents, _TANGENTS_AT_ONCE)]
        return results[0][0], torch.cat([result[1] for result in results])


@cache
def _load_forward_mode() -> None:
    """Make the first forward-mode call of the process, in which PyTorch warns about code of its own."""
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message=".*torch.jit", category=DeprecationWarning)
        jvp(torch.sin, (torch.zeros(1),), (torch.ones(1),))


def _unit_vectors(x: Tensor) -> Tensor:
    n, d = x.shape
    return torch.eye(d, dtype=x.dtype, device=x.device)[:, None, :].expand(d, n, d)
