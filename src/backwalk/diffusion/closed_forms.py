"""Denoisers in closed form: the posterior mean E[x_0 | x_t] of data whose distribution is known.

They stand where a trained network would, so everything built on a `Denoiser` (samplers, bound, likelihood) can be
checked against exact answers, and a reader can watch a perfect denoiser at work. For Gaussian data the posterior
mean is linear; for a mixture it is the components' posterior means weighted by how well each explains x_t; for a
finite set of points, which is the mixture's limit, it is what a network that memorises its training rows would learn.

All of them compute in float64, return the dtype of x_t, and hold at every log-SNR, infinite ones included.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property

import torch
from torch import Tensor

from backwalk.diffusion.precision import in_float64
from backwalk.errors import InvalidInput

_ENTRIES_AT_ONCE = 2**22  # of the (rows, components, d) intermediates: 32 MiB in float64


@dataclass(frozen=True, eq=False)
class GaussianDenoiser:
    """E[x_0 | x_t] for data N(mean, covariance), with mean (d,) and covariance (d, d), which may be singular.

    x_0_hat = m + sqrt(alpha_bar) S [alpha_bar S + (1 - alpha_bar) I]^-1 (x_t - sqrt(alpha_bar) m).

    >>> denoiser = GaussianDenoiser(torch.zeros(1), torch.eye(1))
    >>> denoiser(torch.tensor([[2.0]]), torch.tensor(0.0))
    tensor([[1.4142]])
    """

    mean: Tensor
    covariance: Tensor

    def __post_init__(self) -> None:
        _ = self._as_mixture  # so that a bad covariance is refused at once

    @property
    def log_snr_range(self) -> tuple[float, float]:
        """Every log-SNR."""
        return -math.inf, math.inf

    def __call__(self, x_t: Tensor, log_snr: Tensor) -> Tensor:
        """Return E[x_0 | x_t], (n, d), for x_t (n, d) and log_snr () or (n,)."""
        return self._as_mixture(x_t, log_snr)

    @cached_property
    def _as_mixture(self) -> GaussianMixtureDenoiser:
        return GaussianMixtureDenoiser(torch.ones(1), self.mean[None], self.covariance[None])


@dataclass(frozen=True, eq=False)
class GaussianMixtureDenoiser:
    """E[x_0 | x_t] for a mixture of k Gaussians: weights (k,), means (k, d), covariances (k, d, d).

    The weights are >= 0 and are scaled to sum to 1. Covariances may be singular.
    """

    weights: Tensor
    means: Tensor
    covariances: Tensor

    def __post_init__(self) -> None:
        k, d = self.means.shape
        if self.weights.shape != (k,) or self.covariances.shape != (k, d, d):
            raise InvalidInput(
                f"weights and covariances should be ({k},) and ({k}, {d}, {d}) to go with the means, but got "
                f"{tuple(self.weights.shape)} and {tuple(self.covariances.shape)}: give one of each a component."
            )
        if not bool((self.weights >= 0).all()) or not bool(self.weights.sum() > 0):
            raise InvalidInput(
                f"weights should be >= 0 and not all 0, but got {self.weights.tolist()}: drop or raise them."
            )
        tolerance = 1e-6 * in_float64(self.covariances).abs().amax(dim=(1, 2))  # what float32 may have rounded
        skew = in_float64(self.covariances - self.covariances.mT).abs().amax(dim=(1, 2))
        if not bool((skew <= tolerance).all()):
            raise InvalidInput(
                f"covariances should be symmetric, but entries differ by {skew.max():g}: symmetrise them."
            )
        least = torch.linalg.eigvalsh(self._symmetric_covariances)[:, 0]
        if bool((least < -tolerance).any()):
            raise InvalidInput(
                f"covariances should have eigenvalues >= 0, but the least is {least.min():g}: add a multiple of I."
            )

    @property
    def log_snr_range(self) -> tuple[float, float]:
        """Every log-SNR."""
        return -math.inf, math.inf

    def __call__(self, x_t: Tensor, log_snr: Tensor) -> Tensor:
        """Return E[x_0 | x_t], (n, d), for x_t (n, d) and log_snr () or (n,)."""
        return _tile_by_tile(self._posterior_mean, x_t, log_snr, entries_a_row=self.means.numel())

    def _posterior_mean(self, x: Tensor, log_snr: Tensor) -> Tensor:
        alpha_bar = torch.sigmoid(log_snr)[:, None, None]
        noise = torch.sigmoid(-log_snr)[:, None, None]
        variances, axes, means = self._principal_axes
        # The variance of x_t along each component's axes, (n, k, d), kept off the 0 of a flat component without noise,
        # but not so little that the squares over it overflow, which would make the components alike.
        marginal = (alpha_bar * variances + noise).clamp(min=self._least_variance)
        offset = torch.einsum("nkd,kde->nke", x[:, None] - alpha_bar.sqrt() * means, axes)
        gain = alpha_bar.sqrt() * variances / marginal
        component_mean = means + torch.einsum("nke,kde->nkd", gain * offset, axes)
        log_density = -0.5 * (offset.square() / marginal + marginal.log()).sum(-1)
        log_density = log_density.clamp(min=torch.finfo(torch.float64).min)  # where no component can explain x_t
        return torch.einsum("nk,nkd->nd", torch.softmax(self._log_weights + log_density, dim=1), component_mean)

    @cached_property
    def _principal_axes(self) -> tuple[Tensor, Tensor, Tensor]:
        variances, axes = torch.linalg.eigh(self._symmetric_covariances)
        return variances.clamp(min=0.0), axes, in_float64(self.means)

    @cached_property
    def _symmetric_covariances(self) -> Tensor:
        covariances = in_float64(self.covariances)
        return 0.5 * (covariances + covariances.mT)

    @cached_property
    def _least_variance(self) -> float:
        variances, _, means = self._principal_axes
        return max(1e-30 * float(max(variances.max(), means.square().max())), torch.finfo(torch.float64).tiny)

    @cached_property
    def _log_weights(self) -> Tensor:
        weights = in_float64(self.weights)
        return torch.log(weights / weights.sum())


@dataclass(frozen=True, eq=False)
class EmpiricalDenoiser:
    """E[x_0 | x_t] for data that are exactly these points, (m, d), each equally probable.

    x_0_hat = sum_i x_i softmax_i(-|x_t - sqrt(alpha_bar) x_i|^2 / (2 (1 - alpha_bar))). Without noise it is the
    nearest point.
    """

    points: Tensor

    def __post_init__(self) -> None:
        if self.points.ndim != 2 or not len(self.points):
            raise InvalidInput(
                f"points should be (m, d) with m >= 1, but got {tuple(self.points.shape)}: pass the rows."
            )

    @property
    def log_snr_range(self) -> tuple[float, float]:
        """Every log-SNR."""
        return -math.inf, math.inf

    def __call__(self, x_t: Tensor, log_snr: Tensor) -> Tensor:
        """Return E[x_0 | x_t], (n, d), for x_t (n, d) and log_snr () or (n,)."""
        return _tile_by_tile(self._posterior_mean, x_t, log_snr, entries_a_row=len(self.points))

    def _posterior_mean(self, x: Tensor, log_snr: Tensor) -> Tensor:
        given = in_float64(self.points)
        centre = given.mean(0)  # wherever the points lie, what counts is how far they are from each other
        alpha_bar, noise = torch.sigmoid(log_snr)[:, None], torch.sigmoid(-log_snr)[:, None]
        points, x = given - centre, x - alpha_bar.sqrt() * centre
        # -|x - a p|^2 / 2 but for |x|^2 / 2, which is the same for all points and cancels in the softmax.
        closeness = alpha_bar.sqrt() * (x @ points.T) - 0.5 * alpha_bar * points.square().sum(1)
        behind_best = closeness - closeness.amax(dim=1, keepdim=True)
        tiny = torch.finfo(torch.float64).tiny  # without noise: 0 for the nearest point, -inf for the others
        return torch.softmax(behind_best / noise.clamp(min=tiny), dim=1) @ given


def _tile_by_tile(
    posterior_mean: Callable[[Tensor, Tensor], Tensor], x_t: Tensor, log_snr: Tensor, *, entries_a_row: int
) -> Tensor:
    """Return posterior_mean(x_t, log_snr) in the dtype of x_t, with float64 within and bounded memory."""
    rows = max(1, _ENTRIES_AT_ONCE // entries_a_row)
    x, levels = in_float64(x_t), in_float64(log_snr).expand(len(x_t))
    tiles = [posterior_mean(x[i : i + rows], levels[i : i + rows]) for i in range(0, max(1, len(x)), rows)]
    return torch.cat(tiles).to(x_t)
