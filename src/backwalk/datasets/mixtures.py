"""Gaussian mixtures, and their images under volume-preserving maps: a pinwheel, a warped mixture.

The entropy of a mixture is H(x) = H(x | k) + H(k) - H(k | x), with k the component. The first two terms are known.
H(k | x), the uncertainty about a point's component, is estimated by sampling: the mean of a quantity between 0 and
log K, whose standard deviation is far below that of log p.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike
from scipy.spatial import cKDTree
from scipy.special import entr, logsumexp, softmax

from backwalk.datasets.density import Density, check_at_least, in_chunks, normal_rows, transform, uniform_rows
from backwalk.datasets.warps import Rotation, Shear, Twist, Warped, random_rotation
from backwalk.errors import InvalidInput
from backwalk.estimates import Estimate, Rows, as_rows, mean_estimate
from backwalk.streams import Stream

_N_ENTROPY = 2**21  # numbers drawn to estimate an entropy
_MOST_ENTROPY = 2**24  # numbers times components


@dataclass(frozen=True, eq=False)
class GaussianMixture(Density):
    """The mixture of K equally probable components N(means[k], factors[k] factors[k]^T).

    means (K, d); factors (K, d, d), invertible.
    """

    means: Rows
    factors: Rows

    def _draw(self, start: int, stop: int, stream: Stream) -> Rows:
        which = (uniform_rows(start, stop, 1, stream.child("component"))[:, 0] * len(self.means)).astype(int)
        x = normal_rows(start, stop, self.d, stream.child("normal"))
        for k, (mean, factor) in enumerate(zip(self.means, self.factors, strict=True)):
            x[which == k] = mean + transform(x[which == k], factor)
        return x

    def _log_prob(self, x: Rows) -> Rows:
        return np.asarray(logsumexp(self._log_joint(x), axis=1))

    def _log_joint(self, x: Rows) -> Rows:
        """Return log p(k, x) of each component: (n, K)."""
        log_det = np.linalg.slogdet(self.factors)[1]
        whitened = (
            (x - mean) @ inverse.T for mean, inverse in zip(self.means, np.linalg.inv(self.factors), strict=True)
        )
        squares = np.stack([(z**2).sum(axis=1) for z in whitened], axis=1)
        constant = -math.log(len(self.means)) - 0.5 * self.d * math.log(2.0 * math.pi)
        return np.asarray(constant - 0.5 * squares - log_det)

    def _find_entropy(self) -> Estimate:
        n = min(_N_ENTROPY // self.d, max(1000, _MOST_ENTROPY // (self.d * len(self.means))))
        x = self._draw(0, n, Stream(0).child("entropy"))
        left_open = mean_estimate(
            in_chunks(lambda rows: entr(softmax(self._log_joint(rows), axis=1)).sum(axis=1), x, 4 * self.d)
        )
        of_component = 0.5 * self.d * math.log(2.0 * math.pi * math.e) + float(
            np.linalg.slogdet(self.factors)[1].mean()
        )
        value = of_component + math.log(len(self.means)) - left_open.value
        return Estimate(value, left_open.standard_error, left_open.n)


def gaussian_mixture(d: int = 2, n_components: int = 8, *, seed: int = 0) -> Density:
    """Return a mixture of Gaussians at random places, in any number of dimensions.

    Parameters
    ----------
    d : int, default=2
        The number of columns.
    n_components : int, default=8
        The number of components, equally probable.
    seed : int, default=0
        The seed of the mixture; `random_state` of `sample` is that of the rows.

    Returns
    -------
    Density
        The density. Means are drawn from N(0, (18/d) I), so that two of them are about 6 apart; standard deviations of
        0.2 to 1 lie along random axes.

    See Also
    --------
    around_points : A mixture of equal Gaussians around given points.
    warped_mixture : A mixture that is bent.

    Examples
    --------
    >>> from backwalk.datasets import gaussian_mixture
    >>> gaussian_mixture(d=5).d
    5
    """
    check_at_least(1, d=d, n_components=n_components)
    stream = Stream(seed).child("datasets", "gaussian_mixture", d)
    means = math.sqrt(18.0 / d) * normal_rows(0, n_components, d, stream.child("means"))
    spreads = 0.2 + 0.8 * uniform_rows(0, n_components, d, stream.child("spreads"))
    axes = np.stack([random_rotation(d, stream.child("axes", k)) for k in range(n_components)])
    return GaussianMixture("gaussian_mixture", d, means, axes * spreads[:, None, :])


def pinwheel(n_arms: int = 5) -> Density:
    """Return long Gaussians around the origin, twisted into arms, in the plane.

    Parameters
    ----------
    n_arms : int, default=5
        The number of arms.

    Returns
    -------
    Density
        The density.

    See Also
    --------
    spirals : Two arms along curves.

    Notes
    -----
    The twist turns a point by an angle that grows with its distance from the origin. It preserves volume, so the
    entropy is that of the Gaussians.

    Examples
    --------
    >>> from backwalk.datasets import pinwheel
    >>> pinwheel().sample(3, random_state=0).shape
    (3, 2)
    """
    check_at_least(1, n_arms=n_arms)
    angles = 2.0 * math.pi * np.arange(n_arms) / n_arms
    turns = np.stack([np.cos(angles), -np.sin(angles), np.sin(angles), np.cos(angles)], axis=1).reshape(-1, 2, 2)
    base = GaussianMixture("pinwheel", 2, 1.4 * turns[:, :, 0], turns * np.array([0.4, 0.12]))
    return Warped("pinwheel", 2, base, (Twist(0.6),))


def warped_mixture(d: int = 32, n_components: int = 6, n_layers: int = 2, *, seed: int = 0) -> Density:
    """Return a Gaussian mixture bent by layers of rotations and shears.

    Parameters
    ----------
    d : int, default=32
        The number of columns, at least 2.
    n_components : int, default=6
        The number of components.
    n_layers : int, default=2
        The number of layers.
    seed : int, default=0
        The seed of the mixture and the layers.

    Returns
    -------
    Density
        The density.

    See Also
    --------
    gaussian_mixture : The mixture itself.

    Notes
    -----
    A shear adds sines of one half of the columns to the other half. Every layer preserves volume, so log p(x) is the
    mixture's at the preimage of x, and the entropy is the mixture's.

    Examples
    --------
    >>> from backwalk.datasets import warped_mixture
    >>> warped_mixture().sample(3, random_state=0).shape
    (3, 32)
    """
    check_at_least(2, d=d)
    base = gaussian_mixture(d, n_components, seed=seed)
    stream = Stream(seed).child("datasets", "warped_mixture", d)
    half = d // 2
    layers: list[Rotation | Shear] = []
    for layer in range(n_layers):
        layers.append(Rotation(random_rotation(d, stream.child("rotation", layer))))
        directions = normal_rows(0, d - half, half, stream.child("directions", layer)) / math.sqrt(half)
        phases = 2.0 * math.pi * uniform_rows(0, 1, d - half, stream.child("phases", layer))[0]
        layers.append(Shear(directions, phases))
    return Warped("warped_mixture", d, base, tuple(layers))


def around_points(points: ArrayLike, noise: float | None = None) -> Density:
    """Return the mixture of equal Gaussians around points.

    Parameters
    ----------
    points : array-like of shape (k, d)
        The points, two at least.
    noise : float, optional
        The standard deviation of the Gaussians. By default the mean distance of a point to its nearest neighbour, and
        at least a hundredth of the points' spread.

    Returns
    -------
    Density
        The density.

    Raises
    ------
    InvalidInput
        For fewer than two points, and for points that all coincide.

    See Also
    --------
    backwalk.diffusion.GaussianMixtureDenoiser : The exact denoiser of a mixture.
    gaussian_mixture : Gaussians at random places.

    Examples
    --------
    >>> from backwalk.datasets import around_points
    >>> around_points([[0.0, 0.0], [1.0, 0.0], [1.0, 1.0]], noise=0.1).sample(4, random_state=0).shape
    (4, 2)
    """
    means = as_rows(points, "points")
    if len(means) < 2:
        raise InvalidInput(f"points should be two at least, but got {len(means)}: add some.")
    spread = float(means.std(axis=0).max())
    if noise is None:
        distance, _ = cKDTree(means).query(means, k=2)
        noise = max(float(distance[:, 1].mean()), 0.01 * spread)
    check_at_least(0.0, noise=noise)
    if not noise > 0.0:
        raise InvalidInput("points should differ, or noise be above 0, but all points coincide: add others.")
    k, d = means.shape
    return GaussianMixture("around_points", d, means, np.broadcast_to(noise * np.eye(d), (k, d, d)))
