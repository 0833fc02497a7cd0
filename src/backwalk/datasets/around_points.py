"""The density of points blurred by noise, for points that a user draws by hand."""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike
from scipy.spatial import cKDTree

from backwalk.datasets.density import Density, check_at_least
from backwalk.datasets.mixtures import GaussianMixture
from backwalk.errors import InvalidInput
from backwalk.estimates import as_rows


def around_points(points: ArrayLike, noise: float | None = None) -> Density:
    """Return the mixture of equal normals N(point, noise^2 I) around points, (k, d).

    Its log-density, entropy and denoiser are known, like those of other mixtures. Without `noise`, it is the mean
    distance of a point to its nearest neighbour, and at least a hundredth of the points' spread. Raises InvalidInput
    for fewer than two points, and for points that all coincide.

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
