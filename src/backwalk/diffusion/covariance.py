"""Reverse steps with a full covariance, for small d.

The denoiser's Jacobian gives the posterior covariance of x_0 (Tweedie's formula, second order):

    Cov(x_0 | x_t) = (1 - alpha_bar_t) / sqrt(alpha_bar_t) * d x_0_hat / d x_t.

So p_theta(x_{t-1} | x_t) = N(mu_theta, beta_tilde_t I + c_t^2 Cov(x_0 | x_t)). For a perfect denoiser of Gaussian
data this is the true reverse step, and the bound exceeds the entropy by the prior mismatch alone, for any number of
steps. A learned Jacobian need not be symmetric or positive: it is symmetrised, its eigenvalues are floored, and the KL
divergence is that of the resulting covariance, not the simpler form that holds for the exact one. So the bound remains
a bound.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from backwalk.diffusion.bound import NoiseDraws, prior_term, refuse_lost_noise
from backwalk.diffusion.derivatives import value_and_jacobian
from backwalk.diffusion.forward import q_sample
from backwalk.diffusion.parameterization import Denoiser, check_schedule
from backwalk.diffusion.reverse import mu_from_x_0
from backwalk.diffusion.schedule import NoiseSchedule, at_time, in_float64, scales
from backwalk.diffusion.terms import BoundTerms, collect_terms
from backwalk.errors import InvalidInput
from backwalk.streams import Stream


@dataclass(frozen=True, eq=False)
class FullGaussian:
    """N(mean, axes diag(variances) axes') for each of n rows: mean (n, d), variances (n, d) > 0, axes (n, d, d).

    The columns of `axes` are orthonormal. As made by this module, everything is float64 and on the CPU.
    """

    mean: Tensor
    variances: Tensor
    axes: Tensor

    @property
    def covariance(self) -> Tensor:
        """The covariance matrices, (n, d, d)."""
        return (self.axes * self.variances[:, None, :]) @ self.axes.mT

    def log_prob(self, x: Tensor) -> Tensor:
        """Return the log-density at x, (n, d): (n,), nats."""
        squares = self.along_axes(x - self.mean).square() / self.variances
        return -0.5 * (squares + torch.log(2.0 * math.pi * self.variances)).sum(-1)

    def sample(self, eps: Tensor) -> Tensor:
        """Return a draw for standard normal eps, (n, d)."""
        return self.mean + torch.einsum("nij,nj->ni", self.axes, self.variances.sqrt() * eps)

    def along_axes(self, vectors: Tensor) -> Tensor:
        """Return the coordinates of vectors, (n, d), along the axes."""
        return torch.einsum("nij,ni->nj", self.axes, vectors)


def x_0_posterior(denoiser: Denoiser, x_t: Tensor, log_snr: Tensor, *, least_variance: float = 0.0) -> FullGaussian:
    """Return N(E[x_0 | x_t], Cov(x_0 | x_t)) as the denoiser and its Jacobian give it, for x_t of shape (n, d).

    `log_snr` is () and finite; eigenvalues of the symmetrised covariance below `least_variance` are raised to it.
    """
    with torch.no_grad():
        x_0_hat, jacobian = value_and_jacobian(denoiser, x_t, log_snr)
    mean, jacobian = in_float64(x_0_hat), in_float64(jacobian)
    a, b = scales(in_float64(log_snr), mean)
    covariance = (b**2 / a) * 0.5 * (jacobian + jacobian.mT)
    variances, axes = torch.linalg.eigh(covariance)
    return FullGaussian(mean, variances.clamp(min=least_variance), axes)


def full_covariance_transition(
    denoiser: Denoiser, x_t: Tensor, t: int, schedule: NoiseSchedule, *, least_decoder_variance: float | None = None
) -> FullGaussian:
    """Return p_theta(x_{t-1} | x_t) = N(mu_theta, beta_tilde_t I + c_t^2 Cov(x_0 | x_t)), for x_t of shape (n, d).

    `least_decoder_variance` is the floor of the covariance at t = 1, as in `full_covariance_bound`.
    """
    posterior = _x_0_posterior_at(denoiser, x_t, t, schedule, least_decoder_variance)
    variances = schedule.beta_tilde[t] + schedule.x_0_weight[t] ** 2 * posterior.variances
    return FullGaussian(mu_from_x_0(in_float64(x_t), posterior.mean, t, schedule), variances, posterior.axes)


def full_covariance_bound(
    denoiser: Denoiser,
    x_0: Tensor,
    schedule: NoiseSchedule,
    *,
    least_decoder_variance: float | None = None,
    decoder_variance: float | None = None,
    stream: Stream | None = None,
    eps: Tensor | None = None,
    n_draws: int = 1,
    first_row: int = 0,
    log_volume: Tensor | None = None,
    size: float | None = None,
) -> BoundTerms:
    """Return the bound L for the chain with full reverse covariances: nats per row, for the rows of x_0, (n, d).

    With w the eigenvalues of Cov(x_0 | x_t), e the components of x_0 - x_0_hat along its axes, D = SNR_{t-1} - SNR_t,

        L_{t-1} = E sum_i [1 / (1 + D w_i) - 1 + ln(1 + D w_i) + D e_i^2 / (1 + D w_i)] / 2.

    For an exact denoiser this is the best possible, E ln det(I + D Cov) / 2.

    `least_decoder_variance` is the least eigenvalue of the covariance of p_theta(x_0 | x_1), as beta_tilde is 0 there;
    the default is 0.01 / SNR_1. `decoder_variance`, where given, replaces this covariance by a multiple of I. The other
    arguments are those of `variational_bound`. An evaluation takes d forward-mode passes and memory for n d^2 numbers.

    Raises InvalidInput at zero terminal SNR, where x_N has no information about x_0 and Tweedie's formula is 0/0, and
    as `variational_bound` does.
    """
    if decoder_variance is not None and not decoder_variance > 0:
        raise InvalidInput(f"decoder_variance should be > 0, but got {decoder_variance:g}: 1 / SNR_1 is a usual size.")
    noise = NoiseDraws(None if stream is None else stream.child("bound"), eps, n_draws, first_row)
    check_schedule(denoiser, schedule)
    refuse_lost_noise(x_0, schedule, size)
    _refuse_pure_noise(schedule.n_steps, schedule)
    x_0 = x_0.detach()
    clean = in_float64(x_0)

    def mean_cost(t: int) -> Tensor:
        costs = []
        for draw in noise.at(t, x_0):
            x_t = q_sample(x_0, t, draw, schedule)
            posterior = _x_0_posterior_at(denoiser, x_t, t, schedule, least_decoder_variance)
            if t == 1 and decoder_variance is not None:
                posterior = replace(posterior, variances=torch.full_like(posterior.variances, decoder_variance))
            costs.append(
                -posterior.log_prob(clean) if t == 1 else _transition_cost(posterior, clean, schedule.snr_drop[t])
            )
        return torch.stack(costs).mean(0)

    transitions = (mean_cost(t).unsqueeze(0) for t in range(2, schedule.n_steps + 1))
    return collect_terms(prior_term(x_0, schedule), mean_cost(1), transitions, log_volume)


def _x_0_posterior_at(
    denoiser: Denoiser, x_t: Tensor, t: int, schedule: NoiseSchedule, least_decoder_variance: float | None
) -> FullGaussian:
    _refuse_pure_noise(t, schedule)
    least = 0.0
    if t == 1:
        least = 0.01 / float(schedule.snr[1]) if least_decoder_variance is None else least_decoder_variance
        if not least > 0:
            raise InvalidInput(f"least_decoder_variance should be > 0, but got {least:g}: 0.01 / SNR_1 is the default.")
    return x_0_posterior(denoiser, x_t, at_time(schedule.log_snr, t, x_t), least_variance=least)


def _refuse_pure_noise(t: int, schedule: NoiseSchedule) -> None:
    if schedule.log_snr[t] == -math.inf:
        raise InvalidInput(
            f"log-SNR should be finite for a full reverse covariance, but got -inf at t = {t}: "
            "end the schedule at a finite log-SNR, or use a scalar reverse variance."
        )


def _transition_cost(posterior: FullGaussian, x_0: Tensor, snr_drop: Tensor) -> Tensor:
    growth = snr_drop * posterior.variances  # the true variance / beta_tilde - 1
    error = posterior.along_axes(x_0 - posterior.mean)
    spread = torch.log1p(growth) - growth / (1.0 + growth)
    return 0.5 * (spread + snr_drop * error.square() / (1.0 + growth)).sum(-1)
