"""The probability-flow ODE: a deterministic path between data and noise with the marginals of the diffusion.

At noise level s let theta = arctan s, so that sqrt(alpha_bar) = cos theta and sqrt(1 - alpha_bar) = sin theta. Along
the path x_t = cos(theta) x_0 + sin(theta) eps the ODE is simply

    dx_t / d theta = v(x_t, theta) = (cos(theta) x_t - x_0_hat) / sin(theta),

the prediction v of Salimans & Ho 2022. At theta = pi / 2, an infinite noise level (zero terminal SNR), v is -x_0_hat.
For standard normal data v is 0, and the ODE leaves them unchanged, without error. A method of order 5 needs few
evaluations on a grid that is even in ln(theta + 0.05): in ln s, it is finest where the noise is of the size of the
data.

The error estimate is the change from halving the number of intervals. This is about the error of the coarser grid, so
it is nearly always larger than that of the result. It adds half of the cost. (The estimate embedded in the method costs
nothing, but is local to each interval, and misses errors many times its size where the grid is too coarse.)

The ODE also has a log-density. Volumes change along the path by the divergence of the flow, so from the least noise
level s_min to the greatest, s_max, which may be infinite,

    log p(x) = log N(x_N; 0, I) + integral from theta_min to theta_max of tr dv/dx_t d theta - (d/2) ln(1 + s_min^2),

where the last term is the scaling x_t = x / sqrt(1 + s_min^2) at the start. For a perfect denoiser and a large s_max
this is the density of the data blurred by noise of standard deviation s_min. x is scored without added noise, which
would bias the mean. The ODE defines another model than the chain of `variational_bound`: for an imperfect denoiser the
two densities differ, and neither is always the larger. The log-density of a conditional or a marginal is that of a
`ConditionalDenoiser` on the free coordinates.

A divergence takes d evaluations or more, a step of the path six. So the divergence is computed at Gauss-Legendre nodes
in ln(theta + 0.05) alone, between which the path takes one step each: the integrand is smooth, and n nodes integrate
polynomials of degree 2n - 1 exactly.

Source: Song et al. 2021 (SDE); the form in the angle follows from Salimans & Ho 2022, Appendix D; Grathwohl et al. 2019
for the trace by random probes.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Literal

import numpy as np
import torch
from torch import Tensor

from backwalk.diffusion.derivatives import value_and_trace
from backwalk.diffusion.parameterization import Denoiser, check_log_snr_range
from backwalk.diffusion.schedule import in_float64
from backwalk.errors import InvalidInput
from backwalk.limits import is_whole

Slope = Callable[[float, Tensor], Tensor]

_OFFSET = 0.05  # of the angle in the variable of grids and quadrature

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


def integrate_ode(
    denoiser: Denoiser, x_t: Tensor, level_from: float, level_to: float, n_intervals: int
) -> tuple[Tensor, Tensor]:
    """Return the points to which the probability-flow ODE carries x_t.

    From a large noise level to a small one this samples; the other way it finds latents. There are 9 n_intervals
    evaluations, a third of them for the error estimate.

    Parameters
    ----------
    denoiser : Denoiser
        The denoiser.
    x_t : Tensor of shape (n, d)
        Points at noise level `level_from`, in the scaling sqrt(alpha_bar) x_0 + sqrt(1 - alpha_bar) eps.
    level_from : float
        The noise level at which the path begins, > 0.
    level_to : float
        The noise level at which it ends, > 0.
    n_intervals : int
        The number of intervals of the grid, even; 32 is usual.

    Returns
    -------
    x : Tensor of shape (n, d)
        The points at `level_to`, in the same scaling.
    error : Tensor of shape (n, d)
        The size of their error: the change that halving the number of intervals makes.

    Raises
    ------
    InvalidInput
        If the denoiser is not valid at these levels, or `n_intervals` is odd.

    See Also
    --------
    log_density : The log-density of the ODE.
    backwalk.sampling.walk_back : Sampling in few steps.

    Notes
    -----
    With theta = arctan s of the noise level s, the ODE is `dx_t / d theta = (cos(theta) x_t - x_0_hat) / sin(theta)`.
    It is solved by the method of Dormand & Prince, of order 5.

    Source: Song et al. 2021 (SDE); Salimans & Ho 2022, Appendix D, for the angle.

    Examples
    --------
    >>> import torch
    >>> from backwalk.diffusion import GaussianDenoiser, integrate_ode
    >>> narrow = GaussianDenoiser(torch.zeros(1), 0.25 * torch.eye(1))
    >>> x, error = integrate_ode(narrow, torch.ones(1, 1, dtype=torch.float64), 1e-3, 20.0, 20)
    >>> round(float(x), 3)  # sqrt((0.25 + 20^2) / 0.25 / (1 + 20^2))
    1.998
    """
    check_grid(denoiser, level_from, level_to, n_intervals)

    slope_at = _velocity(denoiser, max(level_from, level_to))
    with torch.no_grad():
        fine, coarse = (
            dormand_prince(slope_at, x_t, angle_grid(level_from, level_to, n)) for n in (n_intervals, n_intervals // 2)
        )
    return fine, (fine - coarse).abs()


@dataclass(frozen=True, eq=False)
class LogDensity:
    """Log-densities of rows under the probability-flow ODE, with their two errors.

    The density is that of data blurred by the least noise level.

    Parameters
    ----------
    log_prob : Tensor of shape (n,)
        The log-densities, in nats, float64.
    solver_error : Tensor of shape (n,)
        The change that halving the number of intervals makes.
    standard_error : Tensor of shape (n,)
        The standard error of the random probes: 0 with the exact divergence, NaN with a single probe. For a model's
        rows of integers it includes that of the places in their cells.

    See Also
    --------
    log_density : The function that computes them.

    Examples
    --------
    >>> import torch
    >>> from backwalk.diffusion import GaussianDenoiser, log_density
    >>> standard = GaussianDenoiser(torch.zeros(2), torch.eye(2))
    >>> log_density(standard, torch.zeros(3, 2), level_min=1e-3, level_max=20.0, n_intervals=32).log_prob.shape
    torch.Size([3])
    """

    log_prob: Tensor
    solver_error: Tensor
    standard_error: Tensor

    def __repr__(self) -> str:
        """Return the means over the rows in one line."""
        means = (float(values.mean()) for values in (self.log_prob, self.solver_error, self.standard_error))
        log_prob, solver_error, standard_error = means
        return (
            f"LogDensity({log_prob:.4f} nats on average over {len(self.log_prob):,} rows; solver_error "
            f"{solver_error:.1e}, standard_error of a row {standard_error:.1e})"
        )


def log_density(
    denoiser: Denoiser,
    x: Tensor,
    *,
    level_min: float,
    level_max: float,
    n_intervals: int,
    divergence: Literal["exact"] | Tensor = "exact",
    with_error: bool = True,
) -> LogDensity:
    """Return the log-density of each row under the probability-flow ODE.

    There are 1.5 n_intervals divergences, a third of them for the error estimate, and about 9 n_intervals evaluations.
    A row's result does not depend on the other rows. Memory grows with n times d (or k), so pass many rows in tiles.

    Parameters
    ----------
    denoiser : Denoiser
        The denoiser.
    x : Tensor of shape (n, d)
        The rows. Where x asks for a gradient, autograd follows `log_prob`.
    level_min : float
        The least noise level, > 0, at which the path begins.
    level_max : float
        The greatest noise level, at which it ends. It may be infinite.
    n_intervals : int
        The number of intervals, even, with a node of the quadrature in each; 32 is usual.
    divergence : "exact" or Tensor of shape (k, n, d), default="exact"
        "exact" takes d forward-mode passes at each node. Probes of random signs give Hutchinson's estimate of the
        trace; the same probes serve the whole path.
    with_error : bool, default=True
        Whether to estimate the solver's error. Without, `solver_error` is NaN.

    Returns
    -------
    LogDensity
        The log-densities with their errors, in nats per row.

    Raises
    ------
    InvalidInput
        If the denoiser is not valid at these levels, `n_intervals` is odd, or probes have another shape.

    See Also
    --------
    integrate_ode : The path alone.
    variational_bound : The bound on -log p of the chain, another model.

    Notes
    -----
    With v the right-hand side of the ODE, `log p(x) = log N(x_N; 0, I) + integral of tr dv/dx_t d theta -
    (d/2) ln(1 + s_min^2)`, from theta = arctan s_min to arctan s_max.

    Source: Song et al. 2021 (SDE); Grathwohl et al. 2019 for the trace by random probes.

    Examples
    --------
    >>> import torch
    >>> from backwalk.diffusion import GaussianDenoiser, log_density
    >>> standard = GaussianDenoiser(torch.zeros(2), torch.eye(2))
    >>> x = torch.zeros(1, 2, dtype=torch.float64)
    >>> result = log_density(standard, x, level_min=1e-3, level_max=20.0, n_intervals=32)
    >>> round(float(result.log_prob), 4)  # -ln(2 pi)
    -1.8379
    """
    n, d = x.shape
    probes = None if isinstance(divergence, str) else divergence.to(x)
    if isinstance(divergence, str) and divergence != "exact":
        raise InvalidInput(f'divergence should be "exact" or a tensor of probes, but got "{divergence}": use "exact".')
    if probes is not None and (probes.ndim != 3 or probes.shape[1:] != x.shape):
        raise InvalidInput(
            f"probes should be (k, {n}, {d}) for these rows, but got {tuple(probes.shape)}: draw k random signs for "
            "each coordinate."
        )
    if not level_min <= level_max:
        raise InvalidInput(
            f"level_min should not lie above level_max, but got {level_min:g} and {level_max:g}: swap them."
        )
    check_grid(denoiser, level_min, level_max, n_intervals)

    slope_at, log_scale = _velocity(denoiser, level_max), 0.5 * math.log1p(level_min**2)

    def log_prob_by_probe(n_intervals: int) -> Tensor:
        x_t, angle, slope = x * math.exp(-log_scale), math.atan(level_min), None
        volume = torch.zeros(1 if probes is None else len(probes), n, dtype=torch.float64)
        for node, weight in gauss_legendre(level_min, level_max, n_intervals):
            x_t = dormand_prince(slope_at, x_t, [angle, node], slope)
            a, b = math.cos(node), math.sin(node)
            x_0_hat, trace = value_and_trace(denoiser, x_t, log_snr_at_angle(node, x_t, level_max), probes)
            volume += weight * (d * a - in_float64(trace)) / b
            angle, slope = node, (a * x_t - x_0_hat) / b
        x_N = dormand_prince(slope_at, x_t, [angle, math.atan(level_max)], slope)
        return volume - 0.5 * (in_float64(x_N).square().sum(-1) + d * math.log(2.0 * math.pi)) - d * log_scale

    with torch.set_grad_enabled(torch.is_grad_enabled() and x.requires_grad):
        fine = log_prob_by_probe(n_intervals)
        log_prob = fine.mean(0)
    with torch.no_grad():
        coarse = log_prob_by_probe(n_intervals // 2).mean(0) if with_error else log_prob.new_tensor(math.nan)
        return LogDensity(log_prob, (log_prob - coarse).abs(), _probe_error(fine, exact=probes is None))


def dormand_prince(slope_at: Slope, x: Tensor, grid: Sequence[float], slope: Tensor | None = None) -> Tensor:
    """Integrate dx / du = slope_at(u, x) along a grid of u, and return the final x, of the same dtype.

    There are 6 evaluations per interval, one less if `slope`, that at the start, is known.
    """
    for u, next_u in pairwise(grid):
        h = next_u - u
        slopes = [slope_at(u, x) if slope is None else slope]
        for node, weights in zip(_NODES, _STAGES, strict=True):
            slopes.append(slope_at(u + node * h, _advance(x, h, weights, slopes)))
        x, slope = _advance(x, h, _WEIGHTS, slopes), None
    return x


def angle_grid(level_from: float, level_to: float, n_intervals: int) -> list[float]:
    """Return n_intervals + 1 angles theta = arctan s from one noise level to another, even in ln(theta + 0.05)."""
    first, last = math.atan(level_from), math.atan(level_to)
    ratio = (last + _OFFSET) / (first + _OFFSET)
    inner = [(first + _OFFSET) * ratio ** (i / n_intervals) - _OFFSET for i in range(1, n_intervals)]
    return [first, *inner, last]


def gauss_legendre(level_from: float, level_to: float, n: int) -> list[tuple[float, float]]:
    """Return n angles and weights that integrate functions of the angle between two noise levels.

    The nodes are those of Gauss and Legendre in ln(theta + 0.05).

    >>> import math
    >>> from backwalk.diffusion.ode import gauss_legendre
    >>> nodes = gauss_legendre(0.01, 20.0, 8)
    >>> round(sum(weight * math.cos(angle) for angle, weight in nodes), 4)  # sin(arctan 20) - sin(arctan 0.01)
    0.9888
    """
    low, high = (math.log(math.atan(level) + _OFFSET) for level in (level_from, level_to))
    nodes, weights = np.polynomial.legendre.leggauss(n)
    shifted = np.exp(0.5 * (low + high) + 0.5 * (high - low) * nodes)  # theta + 0.05
    return list(zip((shifted - _OFFSET).tolist(), (0.5 * (high - low) * weights * shifted).tolist(), strict=True))


def log_snr_at_angle(angle: float, x_t: Tensor, level_max: float) -> Tensor:
    """Return the log-SNR -2 ln tan(theta), () with the dtype and device of x_t: -inf at pi / 2, noise alone.

    It is at least that of `level_max`, as the angles of levels beyond 6e15 round to pi / 2.
    """
    log_snr = -math.inf if angle == 0.5 * math.pi else -2.0 * math.log(math.tan(angle))
    log_snr = max(log_snr, -2.0 * math.log(level_max))
    return torch.tensor(log_snr, dtype=x_t.dtype, device=x_t.device)


def check_grid(denoiser: Denoiser, level_from: float, level_to: float, n_intervals: int) -> None:
    """Raise InvalidInput unless the denoiser can be integrated between these two noise levels on this grid."""
    for level in (level_from, level_to):
        if not level > 0.0:
            raise InvalidInput(f"noise levels should be > 0, but got {level:g}: 0.002 and 20 are usual.")
    check_intervals(n_intervals)
    low, high = sorted((level_from, level_to))
    check_log_snr_range(denoiser, -2.0 * math.log(high), -2.0 * math.log(low))


def check_intervals(n_intervals: int) -> None:
    """Raise InvalidInput unless a grid can have so many intervals."""
    if not is_whole(n_intervals) or n_intervals < 2 or n_intervals % 2:
        raise InvalidInput(
            f"n_intervals should be even and at least 2, as the error estimate halves it, but got {n_intervals!r}: "
            "32 is usual."
        )


def _velocity(denoiser: Denoiser, level_max: float) -> Slope:
    """Return v as a function of the angle and of x_t, (n, d)."""

    def velocity(angle: float, x_t: Tensor) -> Tensor:
        x_0_hat = denoiser(x_t, log_snr_at_angle(angle, x_t, level_max))
        return (math.cos(angle) * x_t - x_0_hat) / math.sin(angle)

    return velocity


def _advance(x: Tensor, h: float, weights: Sequence[float], slopes: list[Tensor]) -> Tensor:
    for weight, slope in zip(weights, slopes, strict=True):
        x = x + (h * weight) * slope
    return x


def _probe_error(log_prob: Tensor, *, exact: bool) -> Tensor:
    k, n = log_prob.shape
    if exact:
        return torch.zeros(n, dtype=torch.float64)
    if k == 1:
        return torch.full((n,), math.nan, dtype=torch.float64)
    return log_prob.std(0) / math.sqrt(k)
