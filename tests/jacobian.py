"""The whole Jacobian of a denoiser, by its directional derivatives along the unit vectors."""

import torch

from backwalk.diffusion import linearize


def value_and_jacobian(denoiser, x_t, log_snr):
    """Return x_0_hat, (n, d), and the Jacobian of each row, (n, d, d): entry [row, i, j] is d x_0_hat_i / d x_t_j."""
    n, d = x_t.shape
    value, push = linearize(denoiser, x_t, log_snr)
    return value, push(torch.eye(d).to(x_t)[:, None, :].expand(d, n, d)).permute(1, 2, 0)
