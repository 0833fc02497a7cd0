"""The probability-flow ODE: a deterministic path between data and noise with the marginals of the diffusion.

At noise level s let theta = arctan s, so that sqrt(alpha_bar) = cos theta and sqrt(1 - alpha_bar) = sin theta. Along
the path x_t = cos(theta) x_0 + sin(theta) eps the ODE is simply

    dx_t / d theta = v(x_t, theta) = (cos(theta) x_t - x_0_hat) / sin(theta),

the prediction v of Salimans & Ho 2022. At theta = pi / 2, an infinite noise level (zero terminal SNR), v is -x_0_hat.
For standard normal data v is 0, and the ODE leaves them unchanged, without error. A method of order 5 needs few
evaluations on a grid that is even in ln(theta + 0.1): in ln s, it is finest where the noise is of the size of the data.
Transport and likelihood use the same stepper.

The error estimate is the change from halving the number of intervals. This is about the error of the coarser grid, so
it is nearly always larger than that of the result. It adds half of the cost. (The estimate embedded in the method costs
nothing, but is local to each interval, and misses errors many times its size where the grid is too coarse.)

Source: Song et al. 2021 (SDE); the form in the angle follows from Salimans & Ho 2022, Appendix D.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from itertools import pairwise

import torch
from torch import Tensor

from backwalk.diffusion.parameterization import Denoiser, check_log_snr_range
from backwalk.errors import InvalidInput
from backwalk.limits import is_whole

State = tuple[Tensor, ...]

# Dormand & Prince 1980: the stages' nodes in the interval, their coefficients, and the weights of order 5.
_NODES = (1 / 5, 3 / 10, 4 / 5, 8 / 9, 1.0)
_STAGES: tuple[tuple[float, ...], ...] = (
    (1 / 5,),
    (3 / 40, 9 / 40),
    (44 / 45, -56 / 15, 32 / 9),
    (19372 / 6561, -25360 / 2187, 64448 / 6561, -212 / 729),
    (9017 / 3168, -355 / 33, 46732 / 5247, 49 / 176, -5103 / 18656),
)
_WEIGHTS = (35 / 384, 0.0, 500 / 1113, 125 / 192, -2187 / 6784, 11 / 84)


def dormand_prince(slope_at: Callable[[float, State], State], state: State, grid: Sequence[float]) -> State:
    """Integrate d state / du = slope_at(u, state) along a grid of u, and return the final state.

    The state is a tuple of tensors, each of which keeps its dtype. There are 6 evaluations per interval.
    """
    for u, next_u in pairwise(grid):
        h = next_u - u
        slopes = [slope_at(u, state)]
        for node, weights in zip(_NODES, _STAGES, strict=True):
            slopes.append(slope_at(u + node * h, _advance(state, h, weights, slopes)))
        state = _advance(state, h, _WEIGHTS, slopes)
    return state


def angle_grid(level_from: float, level_to: float, n_intervals: int) -> list[float]:
    """Return n_intervals + 1 angles theta = arctan s from one noise level to another, even in ln(theta + 0.1)."""
    offset, first, last = 0.1, math.atan(level_from), math.atan(level_to)
    ratio = (last + offset) / (first + offset)
    inner = [(first + offset) * ratio ** (i / n_intervals) - offset for i in range(1, n_intervals)]
    return [first, *inner, last]


def log_snr_at_angle(angle: float, x_t: Tensor, level_max: float) -> Tensor:
    """Return the log-SNR -2 ln tan(theta), () with the dtype and device of x_t: -inf at pi / 2, noise alone.

    It is at least that of `level_max`, as the angles of levels beyond 6e15 round to pi / 2.
    """
    log_snr = -math.inf if angle == 0.5 * math.pi else -2.0 * math.log(math.tan(angle))
    log_snr = max(log_snr, -2.0 * math.log(level_max))
    return torch.tensor(log_snr, dtype=x_t.dtype, device=x_t.device)


def integrate_ode(
    denoiser: Denoiser, x_t: Tensor, level_from: float, level_to: float, n_intervals: int
) -> tuple[Tensor, Tensor]:
    """Return the points that the probability-flow ODE carries x_t to, (n, d), and the size of their error, (n, d).

    x_t is (n, d), at noise level `level_from`, in the variance-preserving scaling, and so is the result at `level_to`;
    from a large level to a small one this samples, the other way it finds latents. `n_intervals` is even; there are
    9 n_intervals evaluations, a third of them for the error estimate.

    >>> from backwalk.diffusion.closed_forms import GaussianDenoiser
    >>> narrow = GaussianDenoiser(torch.zeros(1), 0.25 * torch.eye(1))
    >>> x, error = integrate_ode(narrow, torch.ones(1, 1, dtype=torch.float64), 1e-3, 20.0, 20)
    >>> round(float(x), 3)  # sqrt((0.25 + 20^2) / 0.25 / (1 + 20^2))
    1.998
    """
    check_grid(denoiser, level_from, level_to, n_intervals)

    def slope_at(angle: float, state: State) -> State:
        x_0_hat = denoiser(state[0], log_snr_at_angle(angle, state[0], max(level_from, level_to)))
        return ((math.cos(angle) * state[0] - x_0_hat) / math.sin(angle),)

    with torch.no_grad():
        fine, coarse = (
            dormand_prince(slope_at, (x_t,), angle_grid(level_from, level_to, n))[0]
            for n in (n_intervals, n_intervals // 2)
        )
    return fine, (fine - coarse).abs()


def check_grid(denoiser: Denoiser, level_from: float, level_to: float, n_intervals: int) -> None:
    """Raise InvalidInput unless the denoiser can be integrated between these two noise levels on this grid."""
    for level in (level_from, level_to):
        if not level > 0.0:
            raise InvalidInput(f"noise levels should be > 0, but got {level:g}: 0.002 and 20 are usual.")
    if not is_whole(n_intervals) or n_intervals < 2 or n_intervals % 2:
        raise InvalidInput(
            f"n_intervals should be even and at least 2, as the error estimate halves it, but got {n_intervals!r}: "
            "32 is usual."
        )
    low, high = sorted((level_from, level_to))
    check_log_snr_range(denoiser, -2.0 * math.log(high), -2.0 * math.log(low))


def _advance(state: State, h: float, weights: Sequence[float], slopes: list[State]) -> State:
    for weight, slope in zip(weights, slopes, strict=True):
        state = tuple(y + (h * weight) * k for y, k in zip(state, slope, strict=True))
    return state
