"""The end of the chain: the bound's prior term, and the part of it that no network can remove.

The prior term of a row is the divergence of q(x_N | x_0) from N(0, I), where sampling starts. Averaged over the data
it is the mutual information of x_0 and x_N plus the prior mismatch, the divergence of the aggregate q(x_N) from
N(0, I). Only the mismatch is a loss.
"""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn.functional import logsigmoid

from backwalk.diffusion.gaussian import variance_cost
from backwalk.diffusion.precision import in_float64
from backwalk.diffusion.schedule import NoiseSchedule
from backwalk.errors import InvalidInput


def prior_term(x_0: Tensor, schedule: NoiseSchedule, counted: Tensor | None = None) -> Tensor:
    """Return L_N = KL(q(x_N | x_0) || N(0, I)) of each row of x_0, (n, d): (n,), nats, float64.

    L_N = (alpha_bar_N |x_0|^2 - d alpha_bar_N - d ln(1 - alpha_bar_N)) / 2. No training lowers it. With `counted`,
    (n, d), it is that of the coordinates that are marked.
    """
    alpha_bar = schedule.alpha_bar[-1]
    log_noise = logsigmoid(-schedule.log_snr[-1])  # ln(1 - alpha_bar_N), exact at both ends
    squares, d = in_float64(x_0.detach()).square(), torch.tensor(x_0.shape[1])
    if counted is not None:
        squares, d = squares.masked_fill(~counted, 0.0), counted.sum(-1).cpu()
    return 0.5 * (alpha_bar * squares.sum(-1) - d * (alpha_bar + log_noise))


def moments(x_0: Tensor) -> tuple[Tensor, Tensor]:
    """Return the mean, (d,), and the covariance, (d, d), of rows, (n, d), for `prior_mismatch`.

    >>> moments(torch.tensor([[0.0, 1.0], [2.0, 1.0]]))
    (tensor([1., 1.]), tensor([[1., 0.],
            [0., 0.]]))
    """
    mean = x_0.mean(dim=0)
    around = x_0 - mean
    return mean, around.T @ around / len(x_0)


def prior_mismatch(mean: Tensor, covariance: Tensor, schedule: NoiseSchedule) -> float:
    """Return KL(N(sqrt(alpha_bar_N) m, alpha_bar_N S + (1 - alpha_bar_N) I) || N(0, I)), nats per row.

    For data with mean m, (d,), and covariance S, (d, d), the bound exceeds the entropy by at least this much, whatever
    the network, as the divergence of whole paths is at least that of their ends. So does the mean -log p of a perfect
    denoiser's probability-flow ODE. It can be computed before training. (The mean of `prior_term` is larger by the
    mutual information of x_0 and x_N. Samples of a chain start from the wrong distribution too, but the noise of later
    steps reduces their error.)
    """
    mean, covariance = in_float64(mean.detach()), in_float64(covariance.detach())
    if mean.ndim != 1 or covariance.shape != (len(mean), len(mean)):
        raise InvalidInput(
            f"mean and covariance should be (d,) and (d, d), but got {tuple(mean.shape)} and "
            f"{tuple(covariance.shape)}: pass the moments of the encoded data."
        )
    return mismatch_along_axes(mean, torch.linalg.eigvalsh(covariance), schedule)


def mismatch_along_axes(mean: Tensor, variances: Tensor, schedule: NoiseSchedule) -> float:
    """Return `prior_mismatch` from the covariance's eigenvalues, (d,); only the mean's length matters."""
    alpha_bar = schedule.alpha_bar[-1]
    gap = alpha_bar * (variances - 1.0)
    log_ratio = torch.log(alpha_bar * variances.clamp(min=0.0) + schedule.one_minus_alpha_bar[-1])
    return float(variance_cost(gap, log_ratio).sum() + 0.5 * alpha_bar * mean.square().sum())
