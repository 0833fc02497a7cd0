"""Derivatives of a denoiser by x_t.

A denoiser treats every row independently, so one tangent vector per row gives a directional derivative of all n rows at
once. The d unit vectors give the whole Jacobian. Random sign vectors give an unbiased estimate of its trace, at a cost
that does not grow with d.

A denoiser with a method `linearize` computes its own directional derivatives. The others are differentiated by
autograd, which is slower. The log-SNR, of any of its three shapes, is held constant.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Protocol, runtime_checkable

import torch
from torch import Tensor

from backwalk.diffusion.parameterization import Denoiser

Push = Callable[[Tensor], Tensor]

_TANGENT_ROWS_AT_ONCE = 1024  # on a CPU, whose cache holds their activations
_TANGENT_ROWS_OF_A_GPU = 2**15


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
    else:
        value, push = _linearize_by_autograd(denoiser, x_t, log_snr)
    rows = _TANGENT_ROWS_AT_ONCE if x_t.device.type == "cpu" else _TANGENT_ROWS_OF_A_GPU
    at_once = max(1, rows // max(len(x_t), 1))
    return value, lambda tangents: torch.cat([push(some) for some in torch.split(tangents, at_once)])


def _linearize_by_autograd(denoiser: Denoiser, x_t: Tensor, log_snr: Tensor) -> tuple[Tensor, Push]:
    """Apply reverse mode twice: u -> u' J is linear, and its derivative along v is J v.

    Unlike forward mode this works for every operation of autograd, and in several threads at once. Where x_t asks for a
    gradient, autograd follows both results.
    """
    is_followed = torch.is_grad_enabled() and x_t.requires_grad
    with torch.inference_mode(False), torch.enable_grad():
        x = x_t if is_followed else x_t.detach().clone().requires_grad_()  # autograd keeps none of inference mode
        value = denoiser(x, log_snr.clone())
        u = torch.zeros_like(value, requires_grad=True)
        (pulled,) = torch.autograd.grad(value, x, u, create_graph=True, materialize_grads=True)

    def push(tangents: Tensor) -> Tensor:
        options = {"retain_graph": True, "create_graph": is_followed}
        along = (torch.autograd.grad(pulled, u, v.clone(), **options)[0] for v in tangents)
        return torch.stack(list(along))

    return value if is_followed else value.detach(), push


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


def _unit_vectors(x: Tensor) -> Tensor:
    n, d = x.shape
    return torch.eye(d, dtype=x.dtype, device=x.device)[:, None, :].expand(d, n, d)
