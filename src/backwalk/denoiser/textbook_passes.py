"""Loss and gradients of the course notebook's network, without autograd.

    h_0 = (x_t, t/N),  h <- tanh(h W + w) for each layer but the last,  eps_theta = h W + w.

Parameters and TorchScript are as in `passes.py`. Autograd takes about 1.25 times as long for a whole fit of `ddpm()`.
"""

from __future__ import annotations

import torch
from torch import Tensor

from backwalk.denoiser.passes import affine, product


def noise_loss_and_gradients(
    eps: Tensor, x_t: Tensor, time: Tensor, ratio: Tensor, weight: Tensor, parameters: list[Tensor]
) -> list[Tensor]:
    """Return the sum over rows of weight |x_0 - x_0_hat|^2 for a network that predicts eps, and its gradients.

    eps and x_t are (members, rows, d); t/N, the noise level b / a and the weight are (members, rows, 1).
    """
    h = torch.cat([x_t, time], dim=-1)
    n = len(parameters)
    activations = [h]
    for k in range(0, n - 2, 2):
        h = torch.baddbmm(parameters[k + 1], h, parameters[k]).tanh_()
        activations.append(h)
    error = ratio * (affine(h, parameters[n - 2], parameters[n - 1]) - eps)  # x_0 - x_0_hat
    weighted = weight * error
    loss = (weighted * error).sum()

    by_layer = 2.0 * ratio * weighted
    gradients: list[Tensor] = []
    for k in range(n - 2, -1, -2):
        h = activations[k // 2]
        own = [product(h.transpose(1, 2), by_layer), by_layer.sum([1], keepdim=True)]
        gradients = own + gradients
        if k > 0:
            by_h = torch.bmm(by_layer, parameters[k].transpose(1, 2))
            by_layer = by_h.addcmul_(by_h * h, h, value=-1.0)  # the derivative of tanh is 1 - tanh^2
    return [loss] + gradients  # noqa: RUF005 - TorchScript has no unpacking
