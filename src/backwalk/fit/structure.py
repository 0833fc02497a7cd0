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

# In encoded units, in which a column's standard deviation is about 1.
FINEST, COARSEST = 1 / 256, 1 / 16  # between which the finest scale lies
NEIGHBOURS = 8
MOST_ROWS, FEWEST_ROWS, MOST_PROBES = 2**16, 2**12, 500  # of the search for neighbours
_MOST_SEARCHED = 2**24  # rows times the square of the columns: the search then takes some seconds
N_STEPS = 1000  # of the chain: a tight bound wants many
LEVELS_BELOW = 8.0  # the chain begins at the finest scale over this: such a blur costs a Gaussian of it 6e-5 nats
LAST_LEVEL = 20.0  # at which the chain ends, or at more noise
MOST_MISMATCH = 1e-4  # nats a row, at the chain's end


def finest_scale(z: NDArray[np.float64], *, stream: Stream) -> float:
    """Return the finest scale of rows (n, d), in encoded units, which is the floor of networks.

    It is that of what is left of a number given the others. For each coordinate, the eight rows that are nearest in the
    others are draws given about the same others. The least difference to one of them is about a tenth of the spread of
    what is left, and finer where there are several modes. The scale is the median over up to 500 rows, as half of the
    rows may lie far closer than the variance says, of the finest coordinate that is present in half of the rows,
    clipped to 1/256..1/16. Missing coordinates count as 0 among the others.
    """
    n, d = z.shape
    if not d or n <= NEIGHBOURS:
        return COARSEST
    most = min(MOST_ROWS, max(FEWEST_ROWS, _MOST_SEARCHED // d**2))
    z = z[stream.child("searched").permutation(n)[:most]]
    scales = []
    with threadpool_limits(1):  # so that the bits do not depend on the number of threads
        for j in range(d):
            rows = z[~np.isnan(z[:, j])]
            if len(rows) <= max(NEIGHBOURS, len(z) / 2):
                continue
            others, probes = np.nan_to_num(np.delete(rows, j, axis=1)), min(len(rows), MOST_PROBES)
            if d > 1:
                search = NearestNeighbors(n_neighbors=NEIGHBOURS + 1).fit(others)
                nearest = search.kneighbors(others[:probes], return_distance=False)
            else:  # any rows, which are in random order
                nearest = (np.arange(probes)[:, None] + np.arange(NEIGHBOURS + 1)) % len(rows)
            differences = np.abs(rows[nearest, j] - rows[:probes, j, None])
            differences[nearest == np.arange(probes)[:, None]] = np.inf  # the row itself
            scales.append(np.median(differences.min(axis=1)))
    return float(np.clip(min(scales, default=COARSEST), FINEST, COARSEST))


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
