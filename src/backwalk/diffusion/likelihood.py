"""The log-density of the probability-flow ODE's model, exact up to a reported solver error.

The ODE carries x at the least noise level s_min to x_N at the greatest, s_max, which may be infinite (theta = pi / 2).
Volumes change on the way by the divergence of the flow, so with theta = arctan s and v the prediction of `ode`,

    log p(x) = log N(x_N; 0, I) + integral from theta_min to theta_max of tr dv/dx_t d theta - (d/2) ln(1 + s_min^2),

where the last term is the scaling x_t = x / sqrt(1 + s_min^2) at the start.
For a perfect denoiser and a large s_max this is the density of the data blurred by noise of standard deviation s_min.
x is scored without added noise, which would bias the mean. The ODE defines another model than the chain of
`variational_bound`: for an imperfect denoiser the two densities differ, and neither is always the larger. The
log-density of a conditional or a marginal is that of a `ConditionalDenoiser` on the free coordinates.

Source: Song et al. 2021 (SDE); Grathwohl et al. 2019 for the trace by random probes.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor

from backwalk.diffusion.derivatives import value_and_trace
from backwalk.diffusion.ode import State, angle_grid, check_grid, dormand_prince, log_snr_at_angle
from backwalk.diffusion.parameterization import Denoiser
from backwalk.diffusion.precision import in_float64
from backwalk.errors import InvalidInput


@dataclass(frozen=True, eq=False)
class LogDensity:
    """Log-densities with their two errors, each (n,), float64, nats per row.

    `solver_error` is the change that halving the number of intervals makes. `standard_error` is that of the random
    probes, 0 with the exact divergence and NaN with a single probe; of a model's rows of integers it is that of probes
    and of places in their cells. The density is that of data blurred by the least noise level; `DiffusionModel.blur`
    says how much that is in the user's units.
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
) -> LogDensity:
    """Return the log-density of each row of x, (n, d), under the probability-flow ODE: nats per row.

    `divergence` is "exact" (d forward-mode passes per evaluation), or probes, (k, n, d), of random signs for
    Hutchinson's estimate of the trace; the same probes serve the whole path, so that it stays smooth. `n_intervals` is
    even; there are 9 n_intervals evaluations, a third of them for the error estimate. A row's result does not depend on
    the other rows; memory grows with n times d (or k), so pass many rows in tiles. The integral is summed in float64
    whatever the dtype of x.

    >>> from backwalk.diffusion.closed_forms import GaussianDenoiser
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

    def slope_at(angle: float, state: State) -> State:
        a, b = math.cos(angle), math.sin(angle)
        x_0_hat, trace = value_and_trace(denoiser, state[0], log_snr_at_angle(angle, state[0], level_max), probes)
        return (a * state[0] - x_0_hat) / b, (d * a - in_float64(trace)) / b

    log_scale = 0.5 * math.log1p(level_min**2)

    def log_prob_by_probe(n_intervals: int) -> Tensor:
        start: State = (x * math.exp(-log_scale), torch.zeros(1 if probes is None else len(probes), n).double())
        x_N, volume = dormand_prince(slope_at, start, angle_grid(level_min, level_max, n_intervals))
        return volume - 0.5 * (in_float64(x_N).square().sum(-1) + d * math.log(2.0 * math.pi)) - d * log_scale

    with torch.no_grad():
        fine, coarse = log_prob_by_probe(n_intervals), log_prob_by_probe(n_intervals // 2)
    log_prob = fine.mean(0)
    return LogDensity(log_prob, (log_prob - coarse.mean(0)).abs(), _probe_error(fine, exact=probes is None))


def _probe_error(log_prob: Tensor, *, exact: bool) -> Tensor:
    k, n = log_prob.shape
    if exact:
        return torch.zeros(n, dtype=torch.float64)
    if k == 1:
        return torch.full((n,), math.nan, dtype=torch.float64)
    return log_prob.std(0) / math.sqrt(k)
