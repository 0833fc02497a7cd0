"""Derivatives of a denoiser by x_t, in forward mode.

A denoiser treats every row independently, so one tangent vector per row gives a directional derivative of all n rows at
once. The d unit vectors give the whole Jacobian. Random sign vectors give an unbiased estimate of its trace, at a cost
that does not grow with d.

A denoiser with a method `linearize` computes its own directional derivatives. The others are differentiated by
PyTorch's forward mode, which is slower. The log-SNR, of any of its three shapes, is held constant.
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

_TANGENT_ROWS_AT_ONCE = 1024  # on a CPU, whose cache holds their activations
_TANGENT_ROWS_OF_A_GPU = 2**15
_TANGENTS_AT_ONCE = 8  # in forward mode, with the memory of 8 evaluations
_FORWARD_MODE = Lock()  # PyTorch has one state of forward mode for all threads of the process


@runtime_checkable
class Linearizable(Protocol):
    """A denoiser that computes its own directional derivatives."""

    def linearize(self, x_t: Tensor, log_snr: Tensor, /) -> tuple[Tensor, Push]:
        """Return x_0_hat, (n, d), and the map from tangents, (k, n, d), to directional derivatives, (k, n, d)."""
        ...


def linearize(denoiser: Denoiser, x_t: Tensor, log_snr: Tensor) -> tuple[Tensor, Push]:
    """Return x_0_hat, (n, d), and the map from tangents, (k, n, d), to directional derivatives, (k, n, d).

    Tangents go through in groups, so memory does not grow with k.
    """
    if isinstance(denoiser, Linearizable):
        value, push = denoiser.linearize(x_t, log_snr)
        rows = _TANGENT_ROWS_AT_ONCE if x_t.device.type == "cpu" else _TANGENT_ROWS_OF_A_GPU
        return value, _in_groups(push, max(1, rows // max(len(x_t), 1)))

    def push_forward(tangents: Tensor) -> Tensor:
        def along(v: Tensor) -> Any:
            return jvp(lambda x: denoiser(x, log_snr), (x_t,), (v,))[1]

        with _FORWARD_MODE:
            _load_forward_mode()
            result: Tensor = vmap(along)(tangents)
            return result

    return denoiser(x_t, log_snr), _in_groups(push_forward, _TANGENTS_AT_ONCE)


def value_and_jacobian(denoiser: Denoiser, x_t: Tensor, log_snr: Tensor) -> tuple[Tensor, Tensor]:
    """Return x_0_hat, (n, d), and the Jacobian of each row, (n, d, d), entry [row, i, j] = d x_0_hat_i / d x_t_j.

    >>> from backwalk.diffusion.closed_forms import GaussianDenoiser
    >>> standard = GaussianDenoiser(torch.zeros(2), torch.eye(2))
    >>> value_and_jacobian(standard, torch.ones(1, 2), torch.tensor(0.0))[1]  # sqrt(alpha_bar) I
    tensor([[[0.7071, 0.0000],
             [0.0000, 0.7071]]])
    """
    value, push = linearize(denoiser, x_t, log_snr)
    return value, push(_unit_vectors(x_t)).permute(1, 2, 0)


def value_and_trace(
    denoiser: Denoiser, x_t: Tensor, log_snr: Tensor, probes: Tensor | None = None
) -> tuple[Tensor, Tensor]:
    """Return x_0_hat, (n, d), and the trace of each row's Jacobian, (k, n).

    Without probes it is exact, and k = 1. With `probes`, (k, n, d), of mean 0 and covariance I, row k holds the
    estimates v' J v of probe k, and their mean is unbiased (Hutchinson 1989).
    """
    tangents = _unit_vectors(x_t) if probes is None else probes
    value, push = linearize(denoiser, x_t, log_snr)
    products = (tangents * push(tangents)).sum(-1)
    return value, products if probes is not None else products.sum(0, keepdim=True)


def _in_groups(push: Push, at_once: int) -> Push:
    return lambda tangents: torch.cat([push(some) for some in torch.split(tangents, at_once)])


@cache
def _load_forward_mode() -> None:
    """Make the process's first forward-mode call without the warning that PyTorch gives about its own code."""
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message=".*torch.jit")
        jvp(torch.sin, (torch.zeros(1),), (torch.ones(1),))


def _unit_vectors(x: Tensor) -> Tensor:
    n, d = x.shape
    return torch.eye(d, dtype=x.dtype, device=x.device)[:, None, :].expand(d, n, d)
