"""The forward process q: Gaussian noise is added step by step until only noise is left.

One step scales the point by sqrt(1 - beta_t) and adds noise of variance beta_t. Because sums of Gaussians are Gaussian,
x_t can be drawn from x_0 directly, and given x_0 the step can be inverted exactly: this is the posterior
q(x_{t-1} | x_t, x_0), which the reverse process approximates. `t` is an integer or a LongTensor (n,) within 0..n_steps.
`q_sample_at` takes log-SNRs in place of steps: (), (n,) or (n, d), one for each coordinate.

Each q is a `Gaussian` with independent coordinates. Its densities are with respect to Lebesgue measure, logarithms are
natural, and every result is summed over the d coordinates: nats per row. A variance of 0 is a point mass, the exact
limit: its density is infinite at its mean and zero elsewhere.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor

from backwalk.diffusion.schedule import NoiseSchedule, at_time, scales


@dataclass(frozen=True, eq=False)
class Gaussian:
    """A Gaussian with independent coordinates for each of n rows.

    Each q of the forward process is one. Densities are with respect to Lebesgue measure and summed over the d
    coordinates.

    Parameters
    ----------
    mean : Tensor of shape (n, d)
        The means.
    variance : Tensor of shape (), (n, 1), (d,) or (n, d)
        The variances, >= 0. A variance of 0 is a point mass: its density is infinite at the mean and 0 elsewhere.

    See Also
    --------
    q_posterior : A function that returns one.

    Examples
    --------
    >>> import torch
    >>> from backwalk.diffusion import Gaussian
    >>> standard = Gaussian(torch.zeros(1, 2), torch.tensor(1.0))
    >>> standard.log_prob(torch.zeros(1, 2))
    tensor([-1.8379])
    """

    mean: Tensor
    variance: Tensor

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
        squares = _ratio((x - self.mean) ** 2, self.variance)
        log_normalizer = torch.log(2.0 * math.pi * self.variance)
        impossible = (squares == math.inf).any(-1)  # x differs from a point mass: inf - inf would be NaN
        return torch.where(impossible, -math.inf, -0.5 * (squares + log_normalizer).sum(-1))

    def kl_divergence(self, other: Gaussian) -> Tensor:
        """Return the Kullback-Leibler divergence from this Gaussian to another.

        Parameters
        ----------
        other : Gaussian
            The second argument of KL(self || other).

        Returns
        -------
        Tensor of shape (n,)
            The divergences, in nats.

        Notes
        -----
        With v, m the variance and mean of this Gaussian and w, k those of the other, the divergence is the sum over the
        coordinates of `(v/w - 1 - ln(v/w) + (m - k)^2 / w) / 2`.
        """
        gap = _ratio(self.variance - other.variance, other.variance)
        squares = _ratio((self.mean - other.mean) ** 2, other.variance)
        log_ratio = torch.log(self.variance) - torch.log(other.variance)
        return (variance_cost(gap, log_ratio) + 0.5 * squares).sum(-1)

    def sample(self, eps: Tensor) -> Tensor:
        """Return the points that standard normal noise stands for.

        Parameters
        ----------
        eps : Tensor of shape (n, d)
            Standard normal noise.

        Returns
        -------
        Tensor of shape (n, d)
            `mean + sqrt(variance) eps`.
        """
        return self.mean + self.variance.sqrt() * eps


def variance_cost(gap: Tensor, log_ratio: Tensor) -> Tensor:
    """Return KL(N(0, v) || N(0, w)) = (gap - ln(v/w)) / 2, nats, for gap = v/w - 1: infinite where v or w alone is 0.

    ln(v/w) is log1p(gap) where the two variances are nearly equal, which keeps its digits. Elsewhere it is `log_ratio`,
    ln v - ln w, as the gap of a v far below w rounds to -1.
    """
    near = gap.abs() < 0.5
    log = torch.where(near, torch.log1p(gap.where(near, 0.0)), log_ratio)
    return torch.where(gap == math.inf, math.inf, 0.5 * (gap - log))


def q_step(x_s: Tensor, t: int | Tensor, schedule: NoiseSchedule) -> Gaussian:
    """Return the distribution of x_t given x_{t-1}: one step of the forward process.

    Parameters
    ----------
    x_s : Tensor of shape (n, d)
        The points x_{t-1}.
    t : int or LongTensor of shape (n,)
        The step, of all rows or of each.
    schedule : NoiseSchedule
        The noise levels of the chain.

    Returns
    -------
    Gaussian
        `q(x_t | x_{t-1}) = N(sqrt(1 - beta_t) x_{t-1}, beta_t I)`.

    See Also
    --------
    q_marginal : The distribution of x_t given x_0.
    q_posterior : The distribution of x_{t-1} given x_t and x_0.

    Notes
    -----
    Source: Ho et al. 2020, Eq. 2.

    Examples
    --------
    >>> import torch
    >>> from backwalk import NoiseSchedule
    >>> from backwalk.diffusion import q_step
    >>> q_step(torch.ones(1, 2), 1, NoiseSchedule.from_beta([0.19, 0.5])).mean
    tensor([[0.9000, 0.9000]])
    """
    return Gaussian(at_time(schedule.alpha, t, x_s).sqrt() * x_s, at_time(schedule.beta, t, x_s))


def q_marginal(x_0: Tensor, t: int | Tensor, schedule: NoiseSchedule) -> Gaussian:
    """Return the distribution of x_t given x_0.

    Parameters
    ----------
    x_0 : Tensor of shape (n, d)
        The data points.
    t : int or LongTensor of shape (n,)
        The step, of all rows or of each.
    schedule : NoiseSchedule
        The noise levels of the chain.

    Returns
    -------
    Gaussian
        `q(x_t | x_0) = N(sqrt(alpha_bar_t) x_0, (1 - alpha_bar_t) I)`.

    See Also
    --------
    q_sample : A draw from it.
    q_step : The distribution of x_t given x_{t-1}.

    Notes
    -----
    Source: Ho et al. 2020, Eq. 4.

    Examples
    --------
    >>> import torch
    >>> from backwalk import NoiseSchedule
    >>> from backwalk.diffusion import q_marginal
    >>> q_marginal(torch.ones(1, 2), 2, NoiseSchedule.from_beta([0.19, 0.5])).variance
    tensor(0.5950)
    """
    mean = at_time(schedule.alpha_bar, t, x_0).sqrt() * x_0
    return Gaussian(mean, at_time(schedule.one_minus_alpha_bar, t, x_0))


def q_sample(x_0: Tensor, t: int | Tensor, eps: Tensor, schedule: NoiseSchedule) -> Tensor:
    """Return the noisy points x_t of data points x_0 and noise eps.

    Parameters
    ----------
    x_0 : Tensor of shape (n, d)
        The data points.
    t : int or LongTensor of shape (n,)
        The step, of all rows or of each.
    eps : Tensor of shape (n, d)
        Standard normal noise.
    schedule : NoiseSchedule
        The noise levels of the chain.

    Returns
    -------
    Tensor of shape (n, d)
        `x_t = sqrt(alpha_bar_t) x_0 + sqrt(1 - alpha_bar_t) eps`.

    See Also
    --------
    q_sample_at : The same at given log-SNRs.
    q_marginal : The distribution of x_t given x_0.

    Examples
    --------
    >>> import torch
    >>> from backwalk import NoiseSchedule
    >>> from backwalk.diffusion import q_sample
    >>> schedule = NoiseSchedule.from_noise_levels([0.75])
    >>> q_sample(torch.tensor([[1.0, 2.0]]), 1, torch.tensor([[0.0, 1.0]]), schedule)
    tensor([[0.8000, 2.2000]])
    """
    return q_marginal(x_0, t, schedule).sample(eps)


def q_sample_at(x_0: Tensor, log_snr: Tensor, eps: Tensor) -> Tensor:
    """Return the noisy points x_t at given log-SNRs.

    Parameters
    ----------
    x_0 : Tensor of shape (n, d)
        The data points.
    log_snr : Tensor of shape (), (n,) or (n, d)
        The log-SNR of all rows, of each row or of each coordinate.
    eps : Tensor of shape (n, d)
        Standard normal noise.

    Returns
    -------
    Tensor of shape (n, d)
        `x_t = a x_0 + b eps` with a = sqrt(alpha_bar) and b = sqrt(1 - alpha_bar).

    See Also
    --------
    q_sample : The same at the steps of a schedule.

    Examples
    --------
    >>> import torch
    >>> from backwalk.diffusion import q_sample_at
    >>> q_sample_at(torch.tensor([[1.0, 2.0]]), torch.tensor([[torch.inf, -torch.inf]]), torch.tensor([[7.0, 8.0]]))
    tensor([[1., 8.]])
    """
    a, b = scales(log_snr, x_0)
    return a * x_0 + b * eps


def q_posterior(x_t: Tensor, x_0: Tensor, t: int | Tensor, schedule: NoiseSchedule) -> Gaussian:
    """Return the distribution of x_{t-1} given x_t and x_0: the forward step inverted.

    Parameters
    ----------
    x_t : Tensor of shape (n, d)
        The noisy points.
    x_0 : Tensor of shape (n, d)
        The data points.
    t : int or LongTensor of shape (n,)
        The step, of all rows or of each.
    schedule : NoiseSchedule
        The noise levels of the chain.

    Returns
    -------
    Gaussian
        `q(x_{t-1} | x_t, x_0) = N(mu_tilde, beta_tilde_t I)`. At t = 1 it is the point mass at x_0.

    See Also
    --------
    p_transition : The reverse step, which has an estimate of x_0 in its place.
    q_step : The forward step.

    Notes
    -----
    `mu_tilde = [sqrt(alpha_bar_{t-1}) beta_t x_0 + sqrt(alpha_t) (1 - alpha_bar_{t-1}) x_t] / (1 - alpha_bar_t)`.

    Source: Ho et al. 2020, Eq. 6 and 7.

    Examples
    --------
    >>> import torch
    >>> from backwalk import NoiseSchedule
    >>> from backwalk.diffusion import q_posterior
    >>> q_posterior(torch.zeros(1, 2), torch.ones(1, 2), 2, NoiseSchedule.from_beta([0.19, 0.5])).mean
    tensor([[0.7563, 0.7563]])
    """
    mu_tilde = at_time(schedule.x_0_weight, t, x_t) * x_0 + at_time(schedule.x_t_weight, t, x_t) * x_t
    return Gaussian(mu_tilde, at_time(schedule.beta_tilde, t, x_t))


def _ratio(numerator: Tensor, denominator: Tensor) -> Tensor:
    return torch.where(numerator == 0, 0.0, numerator / denominator)
