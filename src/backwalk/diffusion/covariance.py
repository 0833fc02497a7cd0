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
    """A Gaussian with a full covariance for each of n rows, by the covariance's axes.

    As the functions of this package make it, everything is float64 and on the CPU.

    Parameters
    ----------
    mean : Tensor of shape (n, d)
        The means.
    variances : Tensor of shape (n, d)
        The variances along the axes, > 0.
    axes : Tensor of shape (n, d, d)
        The axes, as orthonormal columns. The covariance is `axes diag(variances) axes'`.

    See Also
    --------
    Gaussian : Gaussians with independent coordinates.
    x_0_posterior : The posterior of x_0 as such a Gaussian.

    Examples
    --------
    >>> import torch
    >>> from backwalk.diffusion import FullGaussian
    >>> FullGaussian(torch.zeros(1, 2), torch.ones(1, 2), torch.eye(2)[None]).log_prob(torch.zeros(1, 2))
    tensor([-1.8379])
    """

    mean: Tensor
    variances: Tensor
    axes: Tensor

    @property
    def covariance(self) -> Tensor:
        """The covariance matrices, (n, d, d)."""
        return (self.axes * self.variances[:, None, :]) @ self.axes.mT

    def log_prob(self, x: Tensor) -> Tensor:
        """Return the log-density of points.

        Parameters
        ----------
        x : Tensor of shape (n, d)
            The points.

        Returns
        -------
        Tensor of shape (n,)
            The log-densities, in nats.
        """
        squares = self.along_axes(x - self.mean).square() / self.variances
        return -0.5 * (squares + torch.log(2.0 * math.pi * self.variances)).sum(-1)

    def sample(self, eps: Tensor) -> Tensor:
        """Return the points that standard normal noise stands for.

        Parameters
        ----------
        eps : Tensor of shape (n, d)
            Standard normal noise.

        Returns
        -------
        Tensor of shape (n, d)
            A draw of each row.
        """
        return self.mean + torch.einsum("nij,nj->ni", self.axes, self.variances.sqrt() * eps)

    def along_axes(self, vectors: Tensor) -> Tensor:
        """Return the coordinates of vectors along the axes.

        Parameters
        ----------
        vectors : Tensor of shape (n, d)
            The vectors.

        Returns
        -------
        Tensor of shape (n, d)
            Their coordinates.
        """
        return torch.einsum("nij,ni->nj", self.axes, vectors)


def x_0_posterior(denoiser: Denoiser, x_t: Tensor, log_snr: Tensor, *, least_variance: float = 0.0) -> FullGaussian:
    """Return the mean and the covariance of x_0 given x_t, as a denoiser and its Jacobian give them.

    Parameters
    ----------
    denoiser : Denoiser
        The denoiser.
    x_t : Tensor of shape (n, d)
        The noisy points.
    log_snr : Tensor of shape ()
        The log-SNR, finite.
    least_variance : float, default=0.0
        The value to which smaller eigenvalues of the symmetrised covariance are raised.

    Returns
    -------
    FullGaussian
        `N(E[x_0 | x_t], Cov(x_0 | x_t))`.

    See Also
    --------
    full_covariance_transition : The reverse step that follows from it.

    Notes
    -----
    `Cov(x_0 | x_t) = (1 - alpha_bar) / sqrt(alpha_bar) d x_0_hat / d x_t` (Tweedie's formula, second order).

    Examples
    --------
    >>> import torch
    >>> from backwalk.diffusion import GaussianDenoiser, x_0_posterior
    >>> standard = GaussianDenoiser(torch.zeros(1), torch.eye(1))
    >>> x_0_posterior(standard, torch.ones(1, 1), torch.tensor(0.0)).covariance.round(decimals=4)
    tensor([[[0.5000]]], dtype=torch.float64)
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
    """Return the distribution of x_{t-1} given x_t in the reverse process, with a full covariance.

    Parameters
    ----------
    denoiser : Denoiser
        The denoiser.
    x_t : Tensor of shape (n, d)
        The noisy points.
    t : int
        The step.
    schedule : NoiseSchedule
        The noise levels of the chain.
    least_decoder_variance : float, optional
        The least eigenvalue of the covariance at t = 1, as in `full_covariance_bound`.

    Returns
    -------
    FullGaussian
        `p_theta(x_{t-1} | x_t) = N(mu_theta, beta_tilde_t I + c_t^2 Cov(x_0 | x_t))`, with c_t the factor of x_0 in
        mu_tilde.

    Raises
    ------
    InvalidInput
        At zero SNR.

    See Also
    --------
    p_transition : The same with a scalar variance.
    full_covariance_bound : The bound of this chain.

    Examples
    --------
    >>> import torch
    >>> from backwalk import NoiseSchedule
    >>> from backwalk.diffusion import GaussianDenoiser, full_covariance_transition
    >>> standard = GaussianDenoiser(torch.zeros(1), torch.eye(1))
    >>> step = full_covariance_transition(standard, torch.ones(1, 1), 2, NoiseSchedule.from_beta([0.19, 0.5]))
    >>> step.covariance.round(decimals=4)  # beta_2, as data are standard normal
    tensor([[[0.5000]]], dtype=torch.float64)
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
    """Return the bound L of the chain with full reverse covariances, term by term.

    An evaluation takes d forward-mode passes and memory for n d^2 numbers, so this is for small d.

    Parameters
    ----------
    denoiser : Denoiser
        The denoiser.
    x_0 : Tensor of shape (n, d)
        The data points.
    schedule : NoiseSchedule
        The noise levels of the chain, with a finite log-SNR at its end.
    least_decoder_variance : float, optional
        The least eigenvalue of the covariance of p_theta(x_0 | x_1), where beta_tilde is 0: 0.01 / SNR_1 by default.
    decoder_variance : float, optional
        A variance that replaces this covariance by a multiple of I.
    stream : Stream, optional
        The random noise, as in `variational_bound`.
    eps : Tensor of shape (k, d), optional
        Points of equal weight in the place of random noise.
    n_draws : int, default=1
        The number of draws of noise for each row and step.
    first_row : int, default=0
        The number of the first row of a piece.
    log_volume : Tensor of shape (n,), optional
        `ln |det dx/dx_0|` of each row, where x_0 is a point x in other units.
    size : float, optional
        The size of the rows, as in `variational_bound`.

    Returns
    -------
    BoundTerms
        The terms, in nats per row.

    Raises
    ------
    InvalidInput
        At zero terminal SNR, where x_N has no information about x_0, and as `variational_bound` does.

    See Also
    --------
    variational_bound : The bound with scalar reverse variances.

    Notes
    -----
    With w the eigenvalues of Cov(x_0 | x_t), e the components of x_0 - x_0_hat along its axes and
    D = SNR_{t-1} - SNR_t, `L_{t-1} = E sum_i [1 / (1 + D w_i) - 1 + ln(1 + D w_i) + D e_i^2 / (1 + D w_i)] / 2`. For an
    exact denoiser this is the best possible, `E ln det(I + D Cov) / 2`.

    Examples
    --------
    >>> import torch
    >>> from backwalk import NoiseSchedule
    >>> from backwalk.diffusion import GaussianDenoiser, full_covariance_bound
    >>> denoiser, schedule = GaussianDenoiser(torch.zeros(1), torch.eye(1)), NoiseSchedule.linear(10)
    >>> x_0 = torch.tensor([[-1.0], [1.0]], dtype=torch.float64)
    >>> terms = full_covariance_bound(denoiser, x_0, schedule, eps=torch.tensor([[-1.0], [1.0]]))
    >>> round(terms.total, 4)  # the entropy of N(0, 1)
    1.4189
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
