"""Posteriors of levels: which level a noisy code belongs to.

A level l has the code c_l in R^w and the prior probability pi_l. With a = sqrt(alpha_bar), b^2 = 1 - alpha_bar and
x_t = a c_l + b eps,

    q(l | x_t) = softmax_l(ln pi_l - |x_t - a c_l|^2 / (2 b^2)),

which is one-hot where the code is known (a = 1, b = 0) and pi where it is absent (a = 0, b = 1). A denoiser's own
probabilities are p(l | x_t) = softmax_l(ln q(l | x_t) + f_l), and x_0_hat = sum_l p(l | x_t) c_l is E[x_0 | x_t].

Source: Hoogeboom et al. 2022 and Austin et al. 2021 for levels drawn one after another.
"""

from __future__ import annotations

from typing import Protocol, runtime_checkable

import torch
from torch import Tensor

from backwalk.diffusion.parameterization import Denoiser

LEAST_LOG_PROBABILITY = -60.0
LEAST_NOISE_SQ = 1e-14  # of b^2: a known code then tells levels of neighbouring values apart


@runtime_checkable
class LevelsDenoiser(Denoiser, Protocol):
    """A denoiser of rows with levels, which gives their probabilities."""

    def level_log_probs(self, x_t: Tensor, log_snr: Tensor, block: int, /) -> Tensor:
        """Return ln p(l | x_t) of the levels of a block, (n, L): x_t is (n, k), log_snr (), (n,) or (n, k)."""
        ...


def level_log_posterior(x_t: Tensor, a: Tensor, b_sq: Tensor, codes: Tensor | None, log_prior: Tensor) -> Tensor:
    """Return ln q(l | x_t), (..., G, L), of G blocks with L levels each.

    x_t is (..., G, w), a and b_sq are (..., G, 1), codes (G, L, w), or None for one-hot codes, and log_prior (G, L).
    """
    b_sq = b_sq.clamp(min=LEAST_NOISE_SQ)
    if codes is None:
        fit = x_t * (a / b_sq)
    elif codes.shape[-1] == 1:
        # Differences are exact where known values are close to each other.
        fit = (x_t - a * codes[..., 0]).square() / (-2.0 * b_sq)
    else:
        inner = torch.einsum("...gw,glw->...gl", x_t, codes)
        fit = (inner - 0.5 * a * codes.square().sum(-1)) * (a / b_sq)
    # exp is slow where its result underflows.
    return torch.log_softmax(fit + log_prior, dim=-1).clamp(min=LEAST_LOG_PROBABILITY)
