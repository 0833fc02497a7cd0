"""Chains on Gaussian data with a perfect denoiser, run on moments, against their closed forms."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from backwalk.diffusion import (
    GaussianChain,
    GaussianDenoiser,
    NoiseSchedule,
    beta_tilde_variance,
    beta_variance,
    denoise_at_time,
    eps_from_x_0,
    p_transition,
)
from soak.campaign import outcome_of

_SCHEDULES = [
    NoiseSchedule.linear(60),
    NoiseSchedule.cosine(40),
    NoiseSchedule.log_snr_uniform(50, log_snr_max=9.0, log_snr_min=-9.0),
    NoiseSchedule(torch.tensor([math.inf, 7.0, 3.0, 0.0, -4.0, -math.inf])),
]
_KINDS = ["beta", "beta_tilde", "ddim"]
_Step = Callable[[Tensor, int], tuple[Tensor, float | Tensor]]


def gaussians(n: int, seed: int, _: Path) -> Iterator[str]:
    """Yield outcomes of random Gaussians in 1, 2, 10 and 50 dimensions, four schedules, both variances and DDIM."""
    for i in range(n):
        d, schedule, kind = (1, 2, 10, 50)[i % 4], _SCHEDULES[i // 4 % 4], _KINDS[i // 16 % 3]
        yield outcome_of(partial(_as_in_closed_form, d, schedule, kind, np.random.default_rng([seed, i])))


def _as_in_closed_form(d: int, schedule: NoiseSchedule, kind: str, rng: np.random.Generator) -> None:
    mean = torch.from_numpy(rng.normal(size=d))
    root = torch.from_numpy(rng.normal(size=(d, d)) / math.sqrt(d))
    covariance = root @ root.T + 0.01 * torch.eye(d, dtype=torch.float64)
    denoiser = GaussianDenoiser(mean, covariance)
    sigma_sq = beta_tilde_variance(schedule) if kind == "beta_tilde" else beta_variance(schedule)
    chain = GaussianChain(mean, covariance, schedule, sigma_sq)

    def ancestral(x: Tensor, t: int) -> tuple[Tensor, float | Tensor]:
        transition = p_transition(denoiser, x, t, schedule, sigma_sq)
        return transition.mean, transition.variance if t > 1 else 0.0

    def ddim(x: Tensor, t: int) -> tuple[Tensor, float | Tensor]:
        x_0_hat = denoise_at_time(denoiser, x, t, schedule)
        eps = eps_from_x_0(x, x_0_hat, schedule.log_snr[t])
        return schedule.alpha_bar[t - 1].sqrt() * x_0_hat + schedule.one_minus_alpha_bar[t - 1].sqrt() * eps, 0.0

    found = _run(ddim if kind == "ddim" else ancestral, schedule.n_steps, d)
    expected = chain.ddim_marginal() if kind == "ddim" else chain.generated_marginal()
    for ours, theirs in zip(found, expected, strict=True):
        scale = float(theirs.abs().max())
        torch.testing.assert_close(ours, theirs, rtol=1e-10, atol=1e-10 * scale)


def _run(step: _Step, n_steps: int, d: int) -> tuple[Tensor, Tensor]:
    """Return the moments of x_0 after x_{t-1} = step(x_t, t) + N(0, variance) from N(0, I), for a linear step."""
    corners = torch.cat([torch.zeros(1, d), torch.eye(d)]).double()  # what a linear map does to these tells all
    mean, covariance = torch.zeros(d, dtype=torch.float64), torch.eye(d, dtype=torch.float64)
    for t in range(n_steps, 0, -1):
        images, variance = step(corners, t)
        slope = (images[1:] - images[0]).T
        mean = slope @ mean + images[0]
        covariance = slope @ covariance @ slope.T + variance * torch.eye(d, dtype=torch.float64)
    return mean, covariance
