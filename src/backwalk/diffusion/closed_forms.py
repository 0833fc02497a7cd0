"""Denoisers in closed form: the posterior mean E[x_0 | x_t] of data whose distribution is known.

They take the place of a trained network, so that samplers, bound and likelihood can be checked against exact answers.
For Gaussian data the posterior mean is linear. For a mixture it is the mean of the components' posterior means,
weighted by how well each explains x_t.

With a log-SNR for each coordinate, A = diag(a) and B = diag(b), the posterior mean of Gaussian data N(m, S) is

    E[x_0 | x_t] = m + S A u,    u = M^-1 (x_t - A m),    M = A S A + B^2,

and, as A S A u = (x_t - A m) - B^2 u, also (x_t - b^2 u) / a in every coordinate with a > 0. The first form is used
where the noise prevails, the second where the signal does. So an absent coordinate (a = 0, b = 1) gets its regression
m + S A u on the others, and a known one (a = 1, b = 0) is returned exactly. M is singular where known coordinates
determine each other; its null space then holds no possible x_t and is left out.

All denoisers compute in float64 on the CPU, return the dtype of x_t, and are valid at every log-SNR, infinite ones
included.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property

import torch
from torch import Tensor

from backwalk.diffusion.derivatives import Push
from backwalk.diffusion.schedule import in_float64, refuse_steps
from backwalk.errors import InvalidInput

ENTRIES_AT_ONCE = 2**22  # of the (rows, components, d) intermediates: 32 MiB in float64
_NULL = 1e-13  # up to here, an eigenvalue of a matrix with entries up to 1 counts as 0


class ClosedForm:
    """Base class of the denoisers in closed form."""

    @property
    def log_snr_range(self) -> tuple[float, float]:
        """Every log-SNR."""
        return -math.inf, math.inf

    @property
    def device(self) -> torch.device:
        """The CPU, as some accelerators have no float64; points on others are moved there and back."""
        return torch.device("cpu")


@dataclass(frozen=True, eq=False)
class GaussianDenoiser(ClosedForm):
    """The exact denoiser of Gaussian data.

    It takes the place of a trained network where results are checked against exact answers. It computes in float64 on
    the CPU and is valid at every log-SNR.

    Parameters
    ----------
    mean : Tensor of shape (d,)
        The mean of the data.
    covariance : Tensor of shape (d, d)
        Their covariance, which may be singular.

    Raises
    ------
    InvalidInput
        If the covariance is not symmetric or has negative eigenvalues.

    See Also
    --------
    GaussianMixtureDenoiser : The exact denoiser of a mixture.
    Denoiser : The interface.

    Notes
    -----
    `x_0_hat = m + sqrt(alpha_bar) S [alpha_bar S + (1 - alpha_bar) I]^-1 (x_t - sqrt(alpha_bar) m)` for the mean m and
    the covariance S.

    Examples
    --------
    >>> import torch
    >>> from backwalk.diffusion import GaussianDenoiser
    >>> denoiser = GaussianDenoiser(torch.zeros(1), torch.eye(1))
    >>> denoiser(torch.tensor([[2.0]]), torch.tensor(0.0))
    tensor([[1.4142]])
    """

    mean: Tensor
    covariance: Tensor

    def __post_init__(self) -> None:
        _ = self._as_mixture  # so that a bad covariance is refused at once

    def __call__(self, x_t: Tensor, log_snr: Tensor) -> Tensor:
        """Return E[x_0 | x_t], (n, d), for x_t (n, d) and log_snr (), (n,), (1, d) or (n, d)."""
        return self._as_mixture(x_t, log_snr)

    def linearize(self, x_t: Tensor, log_snr: Tensor) -> tuple[Tensor, Push]:
        """Return the estimates of x_0 and their derivative by x_t.

        Parameters
        ----------
        x_t : Tensor of shape (n, d)
            The noisy points.
        log_snr : Tensor of shape (), (n,), (1, d) or (n, d)
            The log-SNR.

        Returns
        -------
        x_0_hat : Tensor of shape (n, d)
            E[x_0 | x_t].
        push : callable
            The map from tangents of shape (k, n, d) to directional derivatives of that shape.
        """
        return self._as_mixture.linearize(x_t, log_snr)

    @cached_property
    def _as_mixture(self) -> GaussianMixtureDenoiser:
        return GaussianMixtureDenoiser(torch.ones(1), self.mean[None], self.covariance[None])


@dataclass(frozen=True, eq=False)
class GaussianMixtureDenoiser(ClosedForm):
    """The exact denoiser of a mixture of k Gaussians.

    It computes in float64 on the CPU and is valid at every log-SNR.

    Parameters
    ----------
    weights : Tensor of shape (k,)
        The weights of the components, >= 0. They are scaled to sum to 1.
    means : Tensor of shape (k, d)
        Their means.
    covariances : Tensor of shape (k, d, d)
        Their covariances, which may be singular.

    Raises
    ------
    InvalidInput
        If shapes do not go together, a weight is negative, or a covariance is not symmetric or has negative
        eigenvalues.

    See Also
    --------
    GaussianDenoiser : The exact denoiser of a single Gaussian.

    Notes
    -----
    x_0_hat is the mean of the components' posterior means, weighted by their probabilities given x_t.

    Examples
    --------
    >>> import torch
    >>> from backwalk.diffusion import GaussianMixtureDenoiser
    >>> means = torch.tensor([[-1.0], [1.0]])
    >>> denoiser = GaussianMixtureDenoiser(torch.ones(2), means, torch.zeros(2, 1, 1))
    >>> denoiser(torch.tensor([[0.0], [0.5]]), torch.tensor(0.0))
    tensor([[0.0000],
            [0.6089]])
    """

    weights: Tensor
    means: Tensor
    covariances: Tensor

    def __post_init__(self) -> None:
        k, d = self.means.shape
        if self.weights.shape != (k,) or self.covariances.shape != (k, d, d):
            raise InvalidInput(
                f"weights and covariances should be ({k},) and ({k}, {d}, {d}) to go with the means, but got "
                f"{tuple(self.weights.shape)} and {tuple(self.covariances.shape)}: give one of each per component."
            )
        if not bool((self.weights >= 0).all()) or not bool(self.weights.sum() > 0):
            raise InvalidInput(
                f"weights should be >= 0 and not all 0, but got {self.weights.tolist()}: drop or raise them."
            )
        tolerance = 1e-6 * in_float64(self.covariances).abs().amax(dim=(1, 2))  # the rounding of float32
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

    def __call__(self, x_t: Tensor, log_snr: Tensor) -> Tensor:
        """Return E[x_0 | x_t], (n, d), for x_t (n, d) and log_snr (), (n,), (1, d) or (n, d)."""
        refuse_steps(log_snr)
        k, d = self.means.shape
        entries = k * d * d if log_snr.ndim == 2 else k * d
        return tile_by_tile(lambda x, levels: self._posterior(x, levels)[0], x_t, log_snr, entries_a_row=entries)

    def linearize(self, x_t: Tensor, log_snr: Tensor) -> tuple[Tensor, Push]:
        """Return the estimates of x_0 and their derivative by x_t.

        Parameters
        ----------
        x_t : Tensor of shape (n, d)
            The noisy points.
        log_snr : Tensor of shape (), (n,), (1, d) or (n, d)
            The log-SNR.

        Returns
        -------
        x_0_hat : Tensor of shape (n, d)
            E[x_0 | x_t].
        push : callable
            The map from tangents of shape (k, n, d) to directional derivatives of that shape.
        """
        value, push = self._posterior(*_in_float64(x_t, log_snr))
        return value.to(x_t), lambda tangents: push(in_float64(tangents)).to(tangents)

    def _posterior(self, x: Tensor, log_snr: Tensor) -> tuple[Tensor, Push]:
        """Return the posterior mean and its derivative for log_snr (n,) or (n, d)."""
        return self._at_levels_of_coordinates(x, log_snr) if log_snr.ndim == 2 else self._at_levels_of_rows(x, log_snr)

    def _at_levels_of_rows(self, x: Tensor, log_snr: Tensor) -> tuple[Tensor, Push]:
        """Return `_posterior` for log_snr (n,), where M has the axes of S at every level."""
        alpha_bar = torch.sigmoid(log_snr)[:, None, None]
        noise = torch.sigmoid(-log_snr)[:, None, None]
        variances, axes, means = self._principal_axes
        # The variance of x_t along each component's axes, (n, k, d). Without noise it is 0 for a singular component:
        # the floor is so large that squares divided by it do not overflow.
        marginal = (alpha_bar * variances + noise).clamp(min=self._least_variance)
        offset = torch.einsum("nkd,kde->nke", x[:, None] - alpha_bar.sqrt() * means, axes)
        gain = alpha_bar.sqrt() * variances / marginal
        component_mean = means + torch.einsum("nke,kde->nkd", gain * offset, axes)
        log_density = -0.5 * (offset.square() / marginal + marginal.log()).sum(-1)
        weight = self._responsibilities(log_density)

        def push(tangents: Tensor) -> Tensor:
            along = torch.einsum("tnd,kde->tnke", tangents, axes)
            slope = torch.einsum("tnke,kde->tnkd", gain * along, axes)
            return softmax_mean_slope(component_mean, slope, weight, -(offset / marginal * along).sum(-1))

        return torch.einsum("nk,nkd->nd", weight, component_mean), push

    def _at_levels_of_coordinates(self, x: Tensor, log_snr: Tensor) -> tuple[Tensor, Push]:
        """Return `_posterior` for log_snr (n, d). M is decomposed once for each distinct row of log_snr.

        M is scaled by the standard deviations of x_t, the largest among the components, so that its eigenvalues do not
        lose their digits to coordinates of other scales.
        """
        means, covariances = in_float64(self.means), self._symmetric_covariances
        levels, row = torch.unique(log_snr, dim=0, return_inverse=True)
        a, variance = (part[:, None] for part in signal_and_noise(levels))  # (levels, 1, d)
        scale = (a.square() * covariances.diagonal(dim1=1, dim2=2).amax(0) + variance).sqrt()
        scale = scale.where(scale > 0, 1.0)
        signal = (a / scale)[..., None] * covariances * (a / scale)[..., None, :]
        marginal, axes = torch.linalg.eigh(signal + torch.diag_embed(variance / scale.square()))
        inverse = (1.0 / marginal).where(marginal > _NULL, 0.0)[row]
        marginal, axes, scale, a = marginal.clamp(min=_NULL)[row], axes[row], scale[row], a[row]

        def solve(along: Tensor) -> tuple[Tensor, Tensor]:
            """Return u and S A u, each (..., n, k, d), from M's scaled argument along its axes."""
            u = torch.einsum("...nke,nkde->...nkd", along * inverse, axes) / scale
            return u, torch.einsum("...nke,kde->...nkd", a * u, covariances)

        mostly_signal, (b_sq, divisor) = log_snr > 0, (variance[row, 0], a[:, 0].where(log_snr > 0, 1.0))

        def combined(point: Tensor, u: Tensor, regressed: Tensor) -> Tensor:
            return torch.where(mostly_signal, (point - b_sq * u) / divisor, regressed)

        along = torch.einsum("nkd,nkde->nke", (x[:, None] - a * means) / scale, axes)
        weight = self._responsibilities(-0.5 * (along.square() / marginal + marginal.log()).sum(-1))
        u, regressed = solve(along)
        regressed = means + regressed

        def push(tangents: Tensor) -> Tensor:
            slope_u, slope_regressed = solve(torch.einsum("tnkd,nkde->tnke", tangents[:, :, None] / scale, axes))
            log_slope = -(tangents[:, :, None] * u).sum(-1)
            slopes = (
                softmax_mean_slope(u, slope_u, weight, log_slope),
                softmax_mean_slope(regressed, slope_regressed, weight, log_slope),
            )
            return combined(tangents, *slopes)

        return combined(x, *(torch.einsum("nk,nkd->nd", weight, part) for part in (u, regressed))), push

    def _responsibilities(self, log_density: Tensor) -> Tensor:
        """Return the components' posterior probabilities from their log-densities of x_t, (n, k)."""
        log_density = log_density.clamp(min=torch.finfo(torch.float64).min)  # -inf for all would give NaN
        return torch.softmax(self._log_weights + log_density, dim=1)

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


def signal_and_noise(log_snr: Tensor) -> tuple[Tensor, Tensor]:
    """Return a and b^2."""
    return torch.sigmoid(log_snr).sqrt(), torch.sigmoid(-log_snr)


def softmax_mean_slope(values: Tensor, slopes: Tensor, weight: Tensor, log_slopes: Tensor) -> Tensor:
    """Return the derivatives of sum_k weight_k values_k, (t, n, d), for weights that are a softmax.

    `values` is (n, k, d) and `weight` (n, k); `slopes`, (t, n, k, d), are the derivatives of the values, `log_slopes`,
    (t, n, k), those of the logarithms of the weights before they are normalised.
    """
    of_weights = weight * (log_slopes - (weight * log_slopes).sum(-1, keepdim=True))
    return torch.einsum("nk,tnkd->tnd", weight, slopes) + torch.einsum("tnk,nkd->tnd", of_weights, values)


def _in_float64(x_t: Tensor, log_snr: Tensor) -> tuple[Tensor, Tensor]:
    """Return the points and their levels, (n,) or (n, d)."""
    levels = in_float64(log_snr)
    return in_float64(x_t), levels.expand(len(x_t), -1) if levels.ndim == 2 else levels.expand(len(x_t))


def tile_by_tile(
    function: Callable[[Tensor, Tensor], Tensor], x_t: Tensor, log_snr: Tensor, *, entries_a_row: int
) -> Tensor:
    """Return function(x_t, log_snr) in the dtype of x_t, with float64 within and bounded memory."""
    rows = max(1, ENTRIES_AT_ONCE // entries_a_row)
    x, levels = _in_float64(x_t, log_snr)
    tiles = [function(x[i : i + rows], levels[i : i + rows]) for i in range(0, max(1, len(x)), rows)]
    return torch.cat(tiles).to(x_t)
