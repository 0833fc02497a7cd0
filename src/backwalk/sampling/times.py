"""Which steps of a chain a solver visits: spread evenly in some function of the noise level."""

from __future__ import annotations

import numpy as np

from backwalk.diffusion import NoiseSchedule

_EVEN_POWER = 0.4  # of the angle, in which few steps are even
_FARTHEST_LEVEL = 80.0  # where Karras et al. 2022 begin: at higher levels x_0_hat is nearly the data's mean


def karras_times(schedule: NoiseSchedule, k: int) -> list[int]:
    """Return k times even in s^(1/7) of the noise level s, up to s = 80, and from there to the last in one step.

    Source: Karras et al. 2022, for the power.
    """
    return spread_times(schedule.noise_level[1:].clamp(max=_FARTHEST_LEVEL).numpy() ** (1 / 7), k)


def angle_places(schedule: NoiseSchedule, power: float = _EVEN_POWER) -> np.ndarray:
    """Return arctan(s)^power of the noise level s at a chain's steps, (n_steps,)."""
    place: np.ndarray = np.arctan(schedule.noise_level[1:].numpy()) ** power
    return place


def spread_times(place: np.ndarray, k: int) -> list[int]:
    """Return k times of a chain that are spread evenly in a function of the noise level.

    Parameters
    ----------
    place : ndarray of shape (n_steps,)
        The function at t = 1..n_steps. It does not fall.
    k : int
        The number of times.

    Returns
    -------
    list of int
        The times, increasing and ending at n_steps.

    See Also
    --------
    Solver.few_times : Where a solver of your own uses it.
    backwalk.diffusion.evenly_spaced : Times that are even in t.

    Examples
    --------
    >>> from backwalk import NoiseSchedule
    >>> from backwalk.sampling import spread_times
    >>> spread_times(NoiseSchedule.linear(100).noise_level[1:].numpy(), 4)
    [1, 42, 75, 100]
    """
    targets = np.linspace(place[0], place[-1], k) if k > 1 else place[-1:]
    above = np.searchsorted(place, targets).clip(max=len(place) - 1)
    below = np.maximum(above - 1, 0)
    nearest = np.where(targets - place[below] <= place[above] - targets, below, above)
    return _made_distinct(1 + nearest, len(place))


def _made_distinct(times: np.ndarray, n_steps: int) -> list[int]:
    """Make increasing times distinct, with the last at n_steps, by lowering them as little as possible."""
    distinct = [n_steps]
    for time in reversed(times[:-1].tolist()):
        distinct.append(min(time, distinct[-1] - 1))
    # Some may have been pushed below the first step: the i-th visited is at least i.
    return [max(time, i) for i, time in enumerate(reversed(distinct), start=1)]
