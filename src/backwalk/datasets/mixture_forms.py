"""Known densities as mixtures of normals, whose denoiser is exact at every noise level.

A mixture is one already; noisy curves are the mixtures of normals at the nodes of their quadrature, whose error is that
of their `log_prob` (1e-8 near the curves); noisy circles likewise, by the trapezoidal rule, which converges fast for
periodic functions.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
import torch
from scipy.special import logsumexp
from torch import Tensor

from backwalk.datasets.curves import NoisyCircles, NoisyCurves
from backwalk.datasets.density import Density
from backwalk.datasets.mixtures import GaussianMixture
from backwalk.diffusion.closed_forms import GaussianMixtureDenoiser
from backwalk.estimates import Rows

_NODES_A_NOISE = 2.0  # nodes of a circle in the length of one noise width


@dataclass(frozen=True, eq=False)
class MixtureForm:
    """A mixture of k Gaussians, with its density and its exact denoiser.

    Known densities in this form are references for a model: at each noise level, for each marginal.

    Parameters
    ----------
    weights : ndarray of shape (k,)
        The weights.
    means : ndarray of shape (k, d)
        The means.
    covariances : ndarray of shape (k, d, d)
        The covariances.

    See Also
    --------
    mixture_form : The form of a known density.
    backwalk.diffusion.GaussianMixtureDenoiser : The denoiser.

    Examples
    --------
    >>> from backwalk.datasets import mixture_form, two_moons
    >>> form = mixture_form(two_moons())
    >>> form.marginal([0]).noisy(log_snr=0.0).means.shape[1]
    1
    """

    weights: Rows
    means: Rows
    covariances: Rows

    def encoded(self, centre: Rows, scale: Rows) -> MixtureForm:
        """Return the mixture of shifted and scaled columns, (x - centre) / scale.

        Parameters
        ----------
        centre : ndarray of shape (d,)
            The centres.
        scale : ndarray of shape (d,)
            The scales.

        Returns
        -------
        MixtureForm
            The mixture in these units.
        """
        return MixtureForm(self.weights, (self.means - centre) / scale, self.covariances / np.outer(scale, scale))

    def noisy(self, log_snr: float) -> MixtureForm:
        """Return the mixture of x_t = a x_0 + b eps.

        Parameters
        ----------
        log_snr : float
            The log-SNR, 2 ln(a / b).

        Returns
        -------
        MixtureForm
            The mixture of noisy points.
        """
        a_sq, b_sq = 1.0 / (1.0 + math.exp(-log_snr)), 1.0 / (1.0 + math.exp(log_snr))
        noise = b_sq * np.eye(self.means.shape[1])
        return MixtureForm(self.weights, math.sqrt(a_sq) * self.means, a_sq * self.covariances + noise)

    def marginal(self, columns: list[int]) -> MixtureForm:
        """Return the mixture of some columns.

        Parameters
        ----------
        columns : list of int
            The columns.

        Returns
        -------
        MixtureForm
            The marginal.
        """
        return MixtureForm(self.weights, self.means[:, columns], self.covariances[:, columns][:, :, columns])

    def log_prob(self, x: Rows) -> Rows:
        """Return the log-density of rows.

        Parameters
        ----------
        x : ndarray of shape (n, d)
            The rows.

        Returns
        -------
        ndarray of shape (n,)
            The log-densities, in nats.
        """
        d = self.means.shape[1]
        inverse, (_, log_det) = np.linalg.inv(self.covariances), np.linalg.slogdet(self.covariances)
        log_weights = np.log(self.weights / self.weights.sum()) - 0.5 * (log_det + d * math.log(2.0 * math.pi))
        log_prob = np.empty(len(x))
        rows = max(1, 2**20 // (len(self.weights) * d))
        for first in range(0, len(x), rows):
            away = x[first : first + rows, None, :] - self.means
            squares = np.einsum("nki,kij,nkj->nk", away, inverse, away, optimize=True)
            log_prob[first : first + rows] = logsumexp(log_weights - 0.5 * squares, axis=1)
        return log_prob

    def denoiser(self) -> GaussianMixtureDenoiser:
        """Return the exact denoiser, E[x_0 | x_t].

        Returns
        -------
        GaussianMixtureDenoiser
            The denoiser.
        """
        parts: list[Tensor] = [torch.from_numpy(each) for each in (self.weights, self.means, self.covariances)]
        return GaussianMixtureDenoiser(*parts)


def mixture_form(density: Density) -> MixtureForm | None:
    """Return a known density as a mixture of Gaussians.

    Mixtures are one already. Noisy curves and circles are mixtures of Gaussians at the nodes of their quadrature.

    Parameters
    ----------
    density : Density
        The density.

    Returns
    -------
    MixtureForm or None
        The mixture; None where the density is none.

    See Also
    --------
    backwalk.diffusion.GaussianMixtureDenoiser : The denoiser of a mixture.

    Examples
    --------
    >>> import numpy as np
    >>> from backwalk.datasets import mixture_form, two_moons
    >>> moons = two_moons()
    >>> x = moons.sample(5, random_state=0)
    >>> bool(np.allclose(mixture_form(moons).log_prob(x), moons.log_prob(x)))
    True
    """
    if isinstance(density, GaussianMixture):
        weights = np.full(len(density.means), 1.0 / len(density.means))
        return MixtureForm(weights, density.means, density.factors @ density.factors.swapaxes(1, 2))
    if isinstance(density, NoisyCurves):
        means, log_weights = density.nodes()
        return _round(np.exp(log_weights), means, density.noise)
    if isinstance(density, NoisyCircles):
        parts = [_circle(radius, density.noise) for radius in density.radii]
        weights = np.concatenate([np.full(len(part), 1.0 / (len(parts) * len(part))) for part in parts])
        return _round(weights, np.concatenate(parts), density.noise)
    return None


def _round(weights: Rows, means: Rows, noise: float) -> MixtureForm:
    return MixtureForm(weights, means, np.broadcast_to(noise**2 * np.eye(2), (len(means), 2, 2)).copy())


def _circle(radius: float, noise: float) -> Rows:
    k = max(16, math.ceil(_NODES_A_NOISE * 2.0 * math.pi * radius / noise))
    angle = 2.0 * math.pi * np.arange(k) / k
    return radius * np.stack([np.cos(angle), np.sin(angle)], axis=1)
