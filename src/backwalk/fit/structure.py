"""Default noise levels: a schedule from below the finest scale that a network resolves to pure noise."""

from __future__ import annotations

import math

import torch
from torch import Tensor

from backwalk.diffusion import NoiseSchedule, mismatch_along_axes

# In encoded units, in which a column's standard deviation is about 1.
FINEST = 0.016
"""The floor of networks: no structure is resolved that is finer.

It is the same for all rows: a relation that nearly holds in half of them is finer than any neighbourhood is thick.
What overfits at low noise shows in the held-out loss.
"""
N_STEPS = 1000  # of the chain: a tight bound wants many
LEVELS_BELOW = 8.0  # the chain begins at the finest scale over this: such a blur costs a Gaussian of it 6e-5 nats
LAST_LEVEL = 20.0  # at which the chain ends, or at more noise
MOST_MISMATCH = 1e-4  # nats a row, at the chain's end


def default_schedule(
    mean: Tensor, covariance: Tensor, n_steps: int | None = None, *, floor: float = FINEST
) -> NoiseSchedule:
    """Return a schedule whose log-SNR falls evenly from well below the floor to pure noise.

    The greatest noise level is 20, or more until the data's first two moments, (k,) and (k, k), give a prior mismatch
    of at most 1e-4 nats. The least is an eighth of the floor.
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
