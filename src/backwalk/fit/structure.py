"""Default noise levels: the finest scale of the rows, and a schedule that covers it."""

from __future__ import annotations

import math

import numpy as np
import torch
from numpy.typing import NDArray
from sklearn.neighbors import NearestNeighbors
from threadpoolctl import threadpool_limits
from torch import Tensor

from backwalk.diffusion import NoiseSchedule, mismatch_along_axes
from backwalk.streams import Stream

# In encoded units.
FINEST, COARSEST = 0.016, 0.5  # between which the finest scale lies
N_STEPS = 1000  # of the chain: a tight bound wants many
LEVELS_BELOW = 8.0  # the chain begins at the finest scale over this: such a blur costs a Gaussian of it 6e-5 nats
LAST_LEVEL = 20.0  # at which the chain ends, or at more noise
MOST_MISMATCH = 1e-4  # nats a row, at the chain's end
MOST_SEARCHED = 10**6  # rows: in more the search for neighbours takes longer than training
MOST_PRODUCTS = 2 * 10**10  # multiplications for covariances, which take some seconds


def finest_scale(z: NDArray[np.float64], *, stream: Stream) -> float:
    """Return the finest scale of rows (n, d), as a standard deviation in encoded units.

    At a random row, the square root of the least eigenvalue of the covariance of its max(sqrt(n), 2 d + 2) nearest
    neighbours measures the thickness of the data; if nothing is thinner, it is the spread of the neighbours. The result
    is the median over up to 300 rows (for wide tables at least 3), clipped to 0.016..0.5. Of more than a million rows,
    a random million is searched for proportionally fewer neighbours.
    """
    n, d = z.shape
    if not d:
        return COARSEST  # no numbers
    if n <= d:
        return FINEST  # the covariance of n <= d rows is singular
    k = min(n, max(2 * d + 2, math.isqrt(n)))
    if n > MOST_SEARCHED:
        z = z[stream.child("searched").permutation(n)[:MOST_SEARCHED]]
        n, k = MOST_SEARCHED, max(2 * d + 2, k * MOST_SEARCHED // n)
    # Where all rows are neighbours, every probe has the same ones.
    n_probes = 1 if k == n else int(np.clip(MOST_PRODUCTS // (d * d * k), 3, 300))
    probes = z[stream.child("probes").permutation(n)[:n_probes]]
    with threadpool_limits(1):  # so that the bits do not depend on the number of threads
        neighbours = NearestNeighbors(n_neighbors=k).fit(z).kneighbors(probes, return_distance=False)
        covariances = (np.cov(z[rows], rowvar=False, bias=True).reshape(d, d) for rows in neighbours)
        least = [float(np.linalg.eigvalsh(covariance)[0]) for covariance in covariances]
    return float(np.clip(math.sqrt(max(float(np.median(least)), 0.0)), FINEST, COARSEST))


def complete_cases(z: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return the rows of z, (n, k), without missing coordinates.

    Where they are too few to show structure, missing coordinates are filled by those of other rows instead, which
    leaves each coordinate its distribution.
    """
    gaps = np.isnan(z)
    whole = ~gaps.any(axis=1)
    if whole.sum() >= min(len(z), 2 * (z.shape[1] + 1) ** 2):
        return z[whole]
    filled = z.copy()
    for i in np.flatnonzero(gaps.any(axis=0)):
        seen = z[~gaps[:, i], i]
        missing = np.flatnonzero(gaps[:, i])
        filled[missing, i] = seen[np.arange(len(missing)) % len(seen)] if len(seen) else 0.0
    return filled


def default_schedule(mean: Tensor, covariance: Tensor, floor: float, n_steps: int | None = None) -> NoiseSchedule:
    """Return a schedule whose log-SNR falls evenly from well below the data's finest scale to pure noise.

    The greatest noise level is 20, or more until the data's first two moments, (k,) and (k, k), give a prior mismatch
    of at most 1e-4 nats. The least is an eighth of the finest scale.
    """
    variances = torch.linalg.eigvalsh(covariance)
    level_max = LAST_LEVEL
    while True:
        schedule = NoiseSchedule.log_snr_uniform(
            n_steps or N_STEPS,
            log_snr_max=-2.0 * math.log(floor / LEVELS_BELOW),
            log_snr_min=-2.0 * math.log(level_max),
        )
        if mismatch_along_axes(mean, variances, schedule) <= MOST_MISMATCH:
            return schedule
        level_max *= math.sqrt(2.0)
