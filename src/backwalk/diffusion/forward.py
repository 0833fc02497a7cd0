"""The forward process q: Gaussian noise is added step by step until only noise is left.

One step scales the point by sqrt(1 - beta_t) and adds noise of variance beta_t. Because sums of Gaussians are Gaussian,
x_t can be drawn from x_0 directly, and given x_0 the step can be inverted exactly: this is the posterior
q(x_{t-1} | x_t, x_0), which the reverse process approximates. `t` is an integer or a LongTensor (n,) within 0..n_steps.
`q_marginal_at` and `q_sample_at` take log-SNRs in place of steps: (), (n,) or (n, d), one for each coordinate.
"""

from __future__ import annotations

from torch import Tensor

from backwalk.diffusion.gaussian import Gaussian
from backwalk.diffusion.schedule import NoiseSchedule, at_time, scales


def q_step(x_s: Tensor, t: int | Tensor, schedule: NoiseSchedule) -> Gaussian:
    """Return q(x_t | x_{t-1}) = N(sqrt(1 - beta_t) x_{t-1}, beta_t I), with x_s = x_{t-1} of shape (n, d).

    Source: Ho et al. 2020, Eq. 2.
    """
    return Gaussian(at_time(schedule.alpha, t, x_s).sqrt() * x_s, at_time(schedule.beta, t, x_s))


def q_marginal(x_0: Tensor, t: int | Tensor, schedule: NoiseSchedule) -> Gaussian:
    """Return q(x_t | x_0) = N(sqrt(alpha_bar_t) x_0, (1 - alpha_bar_t) I), with x_0 of shape (n, d).

    Source: Ho et al. 2020, Eq. 4.
    """
    mean = at_time(schedule.alpha_bar, t, x_0).sqrt() * x_0
    return Gaussian(mean, at_time(schedule.one_minus_alpha_bar, t, x_0))


def q_sample(x_0: Tensor, t: int | Tensor, eps: Tensor, schedule: NoiseSchedule) -> Tensor:
    """Return x_t = sqrt(alpha_bar_t) x_0 + sqrt(1 - alpha_bar_t) eps, with x_0 and the noise eps of shape (n, d).

    >>> import torch
    >>> schedule = NoiseSchedule.from_noise_levels([0.75])
    >>> q_sample(torch.tensor([[1.0, 2.0]]), 1, torch.tensor([[0.0, 1.0]]), schedule)
    tensor([[0.8000, 2.2000]])
    """
    return q_marginal(x_0, t, schedule).sample(eps)


def q_marginal_at(x_0: Tensor, log_snr: Tensor) -> Gaussian:
    """Return q(x_t | x_0) = N(a x_0, b^2) at given log-SNRs, with x_0 of shape (n, d).

    A known coordinate, +inf, is the point mass at x_0; an absent one, -inf, is standard normal.
    """
    a, b = scales(log_snr, x_0)
    return Gaussian(a * x_0, b**2)


def q_sample_at(x_0: Tensor, log_snr: Tensor, eps: Tensor) -> Tensor:
    """Return x_t = a x_0 + b eps at given log-SNRs, with x_0 and the noise eps of shape (n, d).

    >>> import torch
    >>> q_sample_at(torch.tensor([[1.0, 2.0]]), torch.tensor([[torch.inf, -torch.inf]]), torch.tensor([[7.0, 8.0]]))
    tensor([[1., 8.]])
    """
    a, b = scales(log_snr, x_0)
    return a * x_0 + b * eps


def q_posterior(x_t: Tensor, x_0: Tensor, t: int | Tensor, schedule: NoiseSchedule) -> Gaussian:
    """Return q(x_{t-1} | x_t, x_0) = N(mu_tilde, beta_tilde_t I), with x_t and x_0 of shape (n, d).

    mu_tilde = [sqrt(alpha_bar_{t-1}) beta_t x_0 + sqrt(alpha_t) (1 - alpha_bar_{t-1}) x_t] / (1 - alpha_bar_t). At
    t = 1 this is the point mass at x_0.

    Source: Ho et al. 2020, Eq. 6 and 7.
    """
    mu_tilde = at_time(schedule.x_0_weight, t, x_t) * x_0 + at_time(schedule.x_t_weight, t, x_t) * x_t
    return Gaussian(mu_tilde, at_time(schedule.beta_tilde, t, x_t))
