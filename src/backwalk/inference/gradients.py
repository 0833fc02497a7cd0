"""Log-densities as tensors of torch with a gradient, and the parameters where the density is largest."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from scipy import optimize
from torch import Tensor

from backwalk.errors import InvalidInput
from backwalk.inference.values import as_tensor
from backwalk.table import Codec

Array = NDArray[np.float64]


def attached(theta: Tensor, log_p: Array, gradient: Array) -> Tensor:
    """Return log-densities, (n,), as a tensor that autograd follows back to theta, (..., k), by its `gradient`, (n, k).

    Autograd differentiates it once. Raises InvalidInput, then, where it is to do so twice.
    """
    shape = gradient.shape
    result: Tensor = _Attached.apply(theta.reshape(shape), as_tensor(log_p), as_tensor(gradient))  # type: ignore[no-untyped-call]
    return result


class _Attached(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, theta: Tensor, log_p: Tensor, gradient: Tensor) -> Tensor:
        ctx.gradient, ctx.like = gradient, theta.detach()
        return log_p

    @staticmethod
    def backward(ctx: Any, by_log_p: Tensor) -> tuple[Tensor | None, ...]:
        if torch.is_grad_enabled():
            raise InvalidInput(
                "Log-densities have no second derivatives, which create_graph=True asks for: leave it out."
            )
        return (by_log_p[:, None] * ctx.gradient).to(ctx.like), None, None


def climb(log_prob_and_gradient: Callable[[Array], tuple[Array, Array]], codec: Codec, theta: Array) -> Array:
    """Return the parameters, (k,), of the largest density near theta, (k,), which is climbed in encoded coordinates.

    The density is that in the units of the parameters. `codec` is that of the parameters alone. The way ends where a
    step raises ln p by less than 1e-5 of its size, about the rounding of float32.
    """
    moving = list(codec.varying)
    low, high = (np.array([codec.columns[j].value_range[end] for j in moving]) for end in (0, 1))

    def encoded(x: Array) -> Array:
        return np.concatenate([codec.columns[j].encode(value[None])[0] for j, value in zip(moving, x, strict=True)])

    def of_z(z: Array) -> tuple[float, Array]:
        x = codec.decode(z[None])
        log_p, gradient = log_prob_and_gradient(x)
        slopes = np.exp([codec.columns[j].log_slope(x[:, j])[0] for j in moving])
        return -float(log_p[0]), -gradient[0, moving] / slopes

    found = optimize.minimize(
        of_z,
        encoded(theta[moving]),
        jac=True,
        method="L-BFGS-B",
        bounds=optimize.Bounds(encoded(low), encoded(high)),
        options={"ftol": 1e-5, "maxiter": 100},
    )
    return np.asarray(codec.decode(found.x[None])[0])
