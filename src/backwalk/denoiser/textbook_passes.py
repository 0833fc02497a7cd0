"""The passes of training through the course notebook's network, written by hand.

    h_0 = (x_t, t/N),  h <- tanh(h W + w) for each layer but the last,  eps_theta = h W + w.

Parameters come as in `passes.py`, and what is said there of TorchScript holds here.
"""

from __future__ import annotations

import torch
from torch import Tensor

from backwalk.denoiser.passes import affine, product
from backwalk.diffusion import scales


def time_share(log_snr: Tensor, grid: Tensor) -> Tensor:
    """Return t/N of log-SNRs, of their shape; `grid`, (N,), holds those of t = N..1, which increase.

    Between two steps t is interpolated linearly, and beyond the ends it stays.
    """
    n = grid.shape[0]
    position = log_snr.to(grid)
    if n == 1:
        return torch.ones_like(position)
    above = torch.searchsorted(grid, position.contiguous()).clamp(1, n - 1)
    low, high = grid[above - 1], grid[above]
    steps_from_end = above - 1 + ((position - low) / (high - low)).clamp(0.0, 1.0)
    return (n - steps_from_end) / n


def noise_loss_and_gradients(
    x_0: Tensor, eps: Tensor, log_snr: Tensor, weight: Tensor, grid: Tensor, parameters: list[Tensor]
) -> list[Tensor]:
    """Return the sum over rows of weight |x_0 - x_0_hat|^2 for a network that predicts eps, and its gradients.

    x_0 and eps are (members, rows, d), log_snr and weight (members, rows, 1).
    """
    a, b = scales(log_snr, x_0)
    h = torch.cat([a * x_0 + b * eps, time_share(log_snr, grid).to(x_0)], dim=-1)
    n = len(parameters)
    kept = [h]
    for k in range(0, n - 2, 2):
        h = torch.baddbmm(parameters[k + 1], h, parameters[k]).tanh_()
        kept.append(h)
    ratio = b / a  # x_0 - x_0_hat is so many times eps_theta - eps
    error = ratio * (affine(h, parameters[n - 2], parameters[n - 1]) - eps)
    weighted = weight * error
    loss = (weighted * error).sum()

    by_layer = 2.0 * ratio * weighted
    gradients: list[Tensor] = []
    for k in range(n - 2, -1, -2):
        h = kept[k // 2]
        own = [product(h.transpose(1, 2), by_layer), by_layer.sum([1], keepdim=True)]
        gradients = own + gradients
        if k > 0:
            by_h = torch.bmm(by_layer, parameters[k].transpose(1, 2))
            by_layer = by_h.addcmul_(by_h * h, h, value=-1.0)  # the slope of tanh is 1 - tanh^2
    return [loss] + gradients  # noqa: RUF005 - TorchScript knows no stars
