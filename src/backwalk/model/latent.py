"""Latents: the noise that the probability-flow ODE maps a row to, and interpolation between rows.

The ODE is a one-to-one map between rows of the model, blurred by the least noise level s_min, and x_N at the greatest
noise level. x_N is the latent of a row, with the k encoded coordinates. For a perfect model latents follow N(0, I), and
the ODE maps a draw of N(0, I) back to a new row.

Rows are interpolated by mixing their latents with weights cos(phi) and sin(phi), which keeps N(0, I). A plain average
of two independent points of N(0, I) has variance 1/2 and is not a typical latent.

Points are float64 whatever the network's precision, as the ODE can stretch a thin direction of the data a thousandfold,
and rounding errors with it.

Source: Song et al. 2021 (SDE), "Score-based generative modeling through stochastic differential equations".
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import ArrayLike, NDArray
from torch import Tensor

from backwalk.diffusion import WrappedDenoiser, integrate_ode
from backwalk.errors import InvalidInput, SamplingDiverged
from backwalk.formatting import listed
from backwalk.limits import is_whole
from backwalk.model.diffusion_model import DiffusionModel
from backwalk.model.given import encode_complete
from backwalk.model.possible import refuse_impossible
from backwalk.model.tiles import map_tiles
from backwalk.table import as_table, complete, only_numbers
from backwalk.torch_state import in_initial_torch_state

N_INTERVALS = 16
_MOST_ROWS = 256  # of a tile on a CPU
_FARTHEST = 1e6  # the largest coordinate of a latent: float32 does not resolve the rows of larger ones


@dataclass(frozen=True, eq=False)
class Transported:
    """The points that the ODE maps rows or latents to, and the solver's error, of the same shape and in their units.

    The error is the change from halving the number of intervals.
    """

    points: NDArray[np.float64]
    solver_error: NDArray[np.float64]


@in_initial_torch_state
def to_latent(model: DiffusionModel, values: NDArray[np.float64], *, n_intervals: int = N_INTERVALS) -> Transported:
    """Return the latents, (n, k), of rows, (n, d) in the user's units. k is the number of encoded coordinates.

    Integers are not dequantised. `n_intervals` is even. A row's latent does not depend on the other rows. Raises
    InvalidInput for rows outside the network's range and for rows that the model cannot generate, and SamplingDiverged
    where a latent is not finite.
    """
    _refuse_levels(model)
    refuse_impossible(model, values)
    z = encode_complete(model, values)
    low, high = _levels(model)
    return Transported(*_transport(model, z / math.hypot(1.0, low), low, high, n_intervals))


@in_initial_torch_state
def from_latent(model: DiffusionModel, latents: ArrayLike, *, n_intervals: int = N_INTERVALS) -> Transported:
    """Return the rows, (n, d) in the user's units, of latents, (n, k).

    Integers are rounded, which the solver's error does not include; constant columns have no error. Raises InvalidInput
    for latents of another shape or with coordinates beyond 1e6, and SamplingDiverged where a row is not finite.
    """
    _refuse_levels(model)
    codec = model.codec
    x_N = np.array(complete(only_numbers(as_table(latents, name="Z"), name="Z"), name="Z").values)
    if x_N.shape[1] != codec.n_encoded:
        raise InvalidInput(
            f"Latents should have shape (n, {codec.n_encoded}), a number for each encoded coordinate, but got "
            f"{x_N.shape}: make them by to_latent, or draw them from N(0, I)."
        )
    if np.abs(x_N).max() > _FARTHEST:
        raise InvalidInput(
            f"Latents should lie within {_FARTHEST:g}, but the farthest is {np.abs(x_N).max():g}: draw from N(0, I)."
        )
    low, high = _levels(model)
    start = torch.from_numpy(x_N).to(model.denoiser.device)
    x_t, error = _transport(model, start, high, low, n_intervals)
    scale = math.hypot(1.0, low)  # of x_t against the unscaled rows
    return Transported(codec.decode(scale * x_t), codec.deviation_in_user_units(scale * error, scale * x_t))


def interpolated(
    model: DiffusionModel, x_a: NDArray[np.float64], x_b: NDArray[np.float64], n: int
) -> NDArray[np.float64]:
    """Return n rows from each row of x_a to the same row of x_b, both (m, d) and included: (m n, d), path by path.

    Between the ends, integers stay within the fitted range. Raises InvalidInput for different numbers of rows, for
    n < 2, and for rows that the model cannot generate.
    """
    if not is_whole(n) or n < 2:
        raise InvalidInput(f"n should be an integer >= 2, as both ends count, but got {n!r}: 9 is usual.")
    _refuse_levels(model)
    for end, name in ((x_a, "x_a"), (x_b, "x_b")):
        refuse_impossible(model, end, name)
    if len(x_a) != len(x_b):
        raise InvalidInput(
            f"x_a and x_b should have equally many rows, but have {len(x_a)} and {len(x_b)}: give one row of each for "
            "every path."
        )
    latent_a, latent_b = np.split(to_latent(model, np.concatenate([x_a, x_b])).points, 2)
    path = mixed(latent_a, latent_b, int(n))
    rows = from_latent(model, path.reshape(-1, path.shape[-1])).points
    is_between = np.tile(np.arange(n) % (n - 1) > 0, len(path))  # the ends are the caller's own rows
    rows[is_between] = model.codec.within_range(rows[is_between])
    return rows


def mixed(latent_a: NDArray[np.float64], latent_b: NDArray[np.float64], n: int) -> NDArray[np.float64]:
    """Return n latents from each row of one array, (m, k), to the same row of another: (m, n, k).

    They are cos(phi) a + sin(phi) b at n >= 2 even angles from 0 to pi / 2. As cos^2 + sin^2 = 1, the mix of two
    independent points of N(0, I) follows N(0, I).

    >>> import numpy as np
    >>> from backwalk.model.latent import mixed
    >>> mixed(np.array([[1.0, 0.0]]), np.array([[0.0, 1.0]]), 3).round(4)
    array([[[1.    , 0.    ],
            [0.7071, 0.7071],
            [0.    , 1.    ]]])
    """
    phi = np.linspace(0.0, 0.5 * np.pi, n)[:, None]
    weight_a, weight_b = np.cos(phi), np.sin(phi)
    weight_a[-1] = 0.0  # cos(pi / 2) in float64 is 6e-17
    path: NDArray[np.float64] = weight_a * latent_a[:, None] + weight_b * latent_b[:, None]
    return path


class _InFloat64(WrappedDenoiser):
    """A float32 denoiser, for points in float64."""

    def __call__(self, x_t: Tensor, log_snr: Tensor) -> Tensor:
        return self.denoiser(x_t.float(), log_snr.float()).double()


def _refuse_levels(model: DiffusionModel) -> None:
    """Raise InvalidInput for a model with columns of levels, which no ODE maps to noise, of dates, or with rules."""
    if model.codec.date_columns:
        dates = listed(map(model.schema.label, model.codec.date_columns))
        raise InvalidInput(
            f"Latents should be of numbers that are drawn together, but {dates} is drawn first: leave it out of the "
            "fit."
        )
    if model.has_embedding:
        raise InvalidInput("Latents should be of whole rows, but the model has an embedding: fit without one.")
    if model.codec.rules is not None:
        raise InvalidInput("Latents should be of numbers without rules between them: fit with rules=None.")
    if model.codec.blocks:
        columns = listed(model.schema.label(block.column) for block in model.codec.blocks)
        raise InvalidInput(
            f"Latents should be of numbers alone, but {columns} have levels: leave these out of the fit, or fit "
            'numbers with few values by columns={name: "integer"}.'
        )


def _levels(model: DiffusionModel) -> tuple[float, float]:
    return float(model.schedule.noise_level[1]), float(model.schedule.noise_level[-1])


def _transport(
    model: DiffusionModel, start: Tensor, level_from: float, level_to: float, n_intervals: int
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    denoiser = _InFloat64(model.denoiser)

    def tile(places: NDArray[np.intp]) -> Tensor:
        return torch.cat(integrate_ode(denoiser, start[places], level_from, level_to, n_intervals), dim=1)

    n, k = start.shape
    both = map_tiles(tile, n, width=2 * k, device=start.device, most_rows=_MOST_ROWS).numpy()
    broken = np.flatnonzero(~np.isfinite(both).all(axis=1))
    if len(broken):
        raise SamplingDiverged(
            f"The ODE should give finite numbers, but does not for row {broken[0]} (rows count from 0): "
            "fit again with a `training` of lower learning_rate."
        )
    return both[:, : start.shape[1]], both[:, start.shape[1] :]
