"""The choice of the k steps of a chain with which a deterministic solver is most accurate for a given denoiser.

The curvature of the ODE's paths depends on the data, so no rule in the noise level alone is good for all of them.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor

from backwalk.diffusion import Denoiser, NoiseSchedule
from backwalk.sampling.chain import last_state, walk_back
from backwalk.sampling.solvers import Solver
from backwalk.sampling.times import angle_places, spread_times
from backwalk.threads import single_threads

N_PILOT = 256  # rows on which a choice of times is tried
_FINE = 100  # steps of the chain that stands for the ODE
_POWERS = (0.2, 0.3, 0.4, 0.5, 0.6)  # of the angle
_MOST_MOVED = 16  # times that are moved one by one; with more the error is small, and moving takes seconds
_STRIDES = (0.5, 0.3, 0.2)  # the moves of each round, as shares of the distance to the next time
_LEAST_ERROR = 1e-7  # the rounding of float32


def fit_times(denoiser: Denoiser, schedule: NoiseSchedule, solver: Solver, k: int, x_N: Tensor) -> list[int]:
    """Return the k times with which a deterministic solver comes nearest to the ODE's x_0: increasing, ending at N.

    The times are even in arctan(s)^p of the noise level s, for the best of a few p. Up to 16 of them are then moved
    towards their neighbours where this helps, in three rounds of decreasing moves. The objective is the geometric mean
    over the rows of `x_N`, (n, d), of the distance to the x_0 of 100 steps: a mean of squares would be dominated by the
    rows between two modes, whose error is large on every grid. 100 times and more are not fitted: they are even with
    p = 0.4.

    Everything is computed on one thread, so that the times do not depend on the number of threads.
    """
    if k >= _FINE:
        return spread_times(angle_places(schedule), k)

    @torch.inference_mode()
    def landing(times: Sequence[int]) -> Tensor:
        """Return the x_0 to which the chain of these times leads."""
        return last_state(walk_back(denoiser, schedule.respace(times), solver, x_N, noise=_refuse_noise)).x_t

    def mean_log_distance(times: Sequence[int]) -> float:
        distance = (landing(times) - target).norm(dim=1)
        return float(distance.clamp(min=_LEAST_ERROR).log().mean())

    with single_threads():
        target = landing(spread_times(angle_places(schedule), min(_FINE, schedule.n_steps)))
        places = [angle_places(schedule, power) for power in _POWERS]
        errors = [mean_log_distance(spread_times(place, k)) for place in places]
        least, place = min(zip(errors, places, strict=True), key=lambda pair: pair[0])
        times = spread_times(place, k)
        for stride in _STRIDES if k <= _MOST_MOVED else ():
            for i in range(k - 1):
                for moved in _moves(times, i, stride, place):
                    error = mean_log_distance(moved)
                    if error < least:
                        least, times = error, moved
                        break
    return times


def _moves(times: list[int], i: int, stride: float, place: np.ndarray) -> list[list[int]]:
    """Return the times with the i-th moved up, and moved down, by a share of the distance to its neighbour.

    `place`, (n_steps,), is the scale in which times are even.
    """
    below, above = times[i - 1] if i else 0, times[i + 1]
    here = place[times[i] - 1]
    moved = []
    for neighbour in (above, max(below, 1)):
        target = here + stride * (place[neighbour - 1] - here)
        time = int(np.clip(1 + np.abs(place - target).argmin(), below + 1, above - 1))
        if time != times[i]:
            moved.append([*times[:i], time, *times[i + 1 :]])
    return moved


def _refuse_noise(t: int) -> Tensor:
    raise AssertionError(f"a deterministic solver asked for noise at step {t}")
