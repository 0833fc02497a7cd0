"""Gaussians with independent coordinates, for the forward process and for reverse steps with scalar variances.

Densities are with respect to Lebesgue measure, logarithms are natural, and every result is summed over the d
coordinates: nats per row. A variance of 0 is a point mass, the exact limit: its density is infinite at its mean and
zero elsewhere.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor


@dataclass(frozen=True, eq=False)
class Gaussian:
    """N(mean, diag(variance)) for each of n rows.

    `mean` is (n, d); `variance` is >= 0 and broadcasts against it: () or (n, 1) is isotropic, (d,) or (n, d) diagonal.

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


def _ratio(numerator: Tensor, denominator: Tensor) -> Tensor:
    return torch.where(numerator == 0, 0.0, numerator / denominator)
