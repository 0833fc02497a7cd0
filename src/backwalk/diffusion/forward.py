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
    """N(mean, diag(variance)) for each of n rows.

    `mean` is (n, d); `variance` is >= 0 and broadcasts against it: () or (n, 1) is isotropic, (d,) or (n, d) diagonal.

    >>> import torch
    >>> from backwalk.diffusion import Gaussian
    >>> standard = Gaussian(torch.zeros(1, 2), torch.tensor(1.0))
    >>> standard.log_prob(torch.zeros(1, 2))
    tensor([-1.8379])
    """

    mean: Tensor
    variance: Tensor

    def log_prob(self, x: Tensor) -> Tensor:
        """Return the log-density at x, (n, d): (n,), nats."""
        squares = _ratio((x - self.mean) ** 2, self.variance)
        log_normalizer = torch.log(2.0 * math.pi * self.variance)
        impossible = (squares == math.inf).any(-1)  # x differs from a point mass: inf - inf would be NaN
        return torch.where(impossible, -math.inf, -0.5 * (squares + log_normalizer).sum(-1))

    def kl_divergence(self, other: Gaussian) -> Tensor:
        """Return KL(self || other) = sum over d of (v/w - 1 - ln(v/w) + (m - k)^2 / w) / 2: (n,), nats.

        v, m are the variance and mean of this Gaussian, w, k those of the other.
        """
        gap = _ratio(self.variance - other.variance, other.variance)
        squares = _ratio((self.mean - other.mean) ** 2, other.variance)
        log_ratio = torch.log(self.variance) - torch.log(other.variance)
        return (variance_cost(gap, log_ratio) + 0.5 * squares).sum(-1)

    def sample(self, eps: Tensor) -> Tensor:
        """Return mean + sqrt(variance) eps, for standard normal eps, (n, d)."""
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
    >>> from backwalk import NoiseSchedule
    >>> from backwalk.diffusion import q_sample
    >>> schedule = NoiseSchedule.from_noise_levels([0.75])
    >>> q_sample(torch.tensor([[1.0, 2.0]]), 1, torch.tensor([[0.0, 1.0]]), schedule)
    tensor([[0.8000, 2.2000]])
    """
    return q_marginal(x_0, t, schedule).sample(eps)


def q_sample_at(x_0: Tensor, log_snr: Tensor, eps: Tensor) -> Tensor:
    """Return x_t = a x_0 + b eps at given log-SNRs, with x_0 and the noise eps of shape (n, d).

    >>> import torch
    >>> from backwalk.diffusion import q_sample_at
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


def _ratio(numerator: Tensor, denominator: Tensor) -> Tensor:
    return torch.where(numerator == 0, 0.0, numerator / denominator)
