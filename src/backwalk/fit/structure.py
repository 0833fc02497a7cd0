"""Default noise levels: the finest scale of the rows, and a schedule that covers it."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from sklearn.neighbors import NearestNeighbors
from threadpoolctl import threadpool_limits
from torch import Tensor

from backwalk.diffusion import NoiseSchedule, mismatch_along_axes
from backwalk.streams import Stream


@dataclass(frozen=True, kw_only=True)
class StructureRules:
    """The numbers behind `finest_scale` and `default_schedule`, in encoded units.

    The finest scale lies in `finest`..`coarsest`. The chain has `n_steps` steps, begins at the finest scale over
    `levels_below`, and ends at `last_level` or at more noise, until the prior mismatch is at most `most_mismatch` nats
    a row. `most_searched` rows take part in the search for neighbours, `most_products` multiplications go into
    covariances, and `numbers_at_once` numbers are in memory at a time.
    """

    finest: float = 0.016
    coarsest: float = 0.5
    levels_below: float = 8.0  # so small a blur costs a Gaussian of that thickness 6e-5 nats
    n_steps: int = 1000  # a tight bound wants many
    last_level: float = 20.0
    most_mismatch: float = 1e-4
    most_searched: int = 10**6  # in more rows the search takes longer than training
    most_products: int = 2 * 10**10  # some seconds
    numbers_at_once: int = 2**22  # 32 MiB


STRUCTURE = StructureRules()


def finest_scale(z: NDArray[np.float64], *, stream: Stream) -> float:
    """Return the finest scale of rows (n, d), as a standard deviation in encoded units.

    At a random row, the square root of the least eigenvalue of the covariance of its max(sqrt(n), 2 d + 2) nearest
    neighbours measures the thickness of the data; if nothing is thinner, it is the spread of the neighbours. The result
    is the median over up to 300 rows (for wide tables at least 3), clipped to 0.016..0.5. Of more than a million rows,
    a random million is searched for proportionally fewer neighbours.
    """
    n, d = z.shape
    if not d:
        return STRUCTURE.coarsest  # no numbers
    if n <= d:
        return STRUCTURE.finest  # the covariance of n <= d rows is singular
    k = min(n, max(2 * d + 2, math.isqrt(n)))
    if n > STRUCTURE.most_searched:
        z = z[stream.child("searched").permutation(n)[: STRUCTURE.most_searched]]
        n, k = STRUCTURE.most_searched, max(2 * d + 2, k * STRUCTURE.most_searched // n)
    # Where all rows are neighbours, every probe has the same ones.
    n_probes = 1 if k == n else int(np.clip(STRUCTURE.most_products // (d * d * k), 3, 300))
    probes = z[stream.child("probes").permutation(n)[:n_probes]]
    n_pieces = -(-len(probes) * d * max(k, d) // STRUCTURE.numbers_at_once)
    with threadpool_limits(1):  # so that the bits do not depend on the number of threads
        neighbours = NearestNeighbors(n_neighbors=k).fit(z).kneighbors(probes, return_distance=False)
        least = np.concatenate([_least_variance(z[rows]) for rows in np.array_split(neighbours, n_pieces)])
    return float(np.clip(math.sqrt(max(float(np.median(least)), 0.0)), STRUCTURE.finest, STRUCTURE.coarsest))


def _least_variance(groups: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return the least eigenvalue of the covariance of each group of rows: groups is (p, k, d)."""
    around = groups - groups.mean(axis=1, keepdims=True)
    least: NDArray[np.float64] = np.linalg.eigvalsh(around.swapaxes(1, 2) @ around / groups.shape[1])[:, 0]
    return least


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
    level_max = STRUCTURE.last_level
    while True:
        schedule = NoiseSchedule.log_snr_uniform(
            n_steps or STRUCTURE.n_steps,
            log_snr_max=-2.0 * math.log(floor / STRUCTURE.levels_below),
            log_snr_min=-2.0 * math.log(level_max),
        )
        if mismatch_along_axes(mean, variances, schedule) <= STRUCTURE.most_mismatch:
            return schedule
        level_max *= math.sqrt(2.0)
