"""Latents: the noise that the probability-flow ODE maps a row to.

The ODE is a one-to-one map between rows of the model, blurred by the least noise level s_min, and x_N at the greatest
noise level. x_N is the latent of a row, with the k encoded coordinates. For a perfect model latents follow N(0, I), and
the ODE maps a draw of N(0, I) back to a new row.

Points are float64 whatever the network's precision, as the ODE can stretch a thin direction of the data a thousandfold,
and rounding errors with it.

Source: Song et al. 2021 (SDE), "Score-based generative modeling through stochastic differential equations".
"""

from __future__ import annotations

import math

import numpy as np
import torch
from numpy.typing import ArrayLike, NDArray
from torch import Tensor

from backwalk.diffusion import WrappedDenoiser, integrate_ode
from backwalk.errors import InvalidInput, SamplingDiverged
from backwalk.formatting import listed
from backwalk.model.diffusion_model import DiffusionModel
from backwalk.model.given import encode_complete
from backwalk.model.possible import refuse_impossible
from backwalk.model.tiles import map_tiles
from backwalk.table import as_table, complete, only_numbers
from backwalk.torch_state import in_initial_torch_state

N_INTERVALS = 16
_MOST_ROWS = 256  # of a tile on a CPU
_FARTHEST = 1e6  # the largest coordinate of a latent: float32 does not resolve the rows of larger ones


@in_initial_torch_state
def to_latent(
    model: DiffusionModel, values: NDArray[np.float64], *, n_intervals: int = N_INTERVALS
) -> NDArray[np.float64]:
    """Return the latents, (n, k), of rows, (n, d) in the user's units. k is the number of encoded coordinates.

    Integers are not dequantised. `n_intervals` is even. A row's latent does not depend on the other rows. Raises
    InvalidInput for rows outside the network's range and for rows that the model cannot generate, and SamplingDiverged
    where a latent is not finite.
    """
    _refuse_levels(model)
    refuse_impossible(model, values)
    low, high = _ends(model)
    return _transport(model, encode_complete(model, values) / math.hypot(1.0, low), low, high, n_intervals)


@in_initial_torch_state
def from_latent(model: DiffusionModel, latents: ArrayLike, *, n_intervals: int = N_INTERVALS) -> NDArray[np.float64]:
    """Return the rows, (n, d) in the user's units, of latents, (n, k); integers are rounded.

    Raises InvalidInput for latents of another shape or with coordinates beyond 1e6, and SamplingDiverged where a row is
    not finite.
    """
    _refuse_levels(model)
    x_N = np.array(complete(only_numbers(as_table(latents, name="Z"), name="Z"), name="Z").values)
    if x_N.shape[1] != model.codec.n_encoded:
        raise InvalidInput(
            f"Latents should have shape (n, {model.codec.n_encoded}), a number for each encoded coordinate, but got "
            f"{x_N.shape}: make them by to_latent, or draw them from N(0, I)."
        )
    if np.abs(x_N).max() > _FARTHEST:
        raise InvalidInput(
            f"Latents should lie within {_FARTHEST:g}, but the farthest is {np.abs(x_N).max():g}: draw from N(0, I)."
        )
    low, high = _ends(model)
    x_t = _transport(model, torch.from_numpy(x_N).to(model.denoiser.device), high, low, n_intervals)
    return model.codec.decode(math.hypot(1.0, low) * x_t)


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


def _ends(model: DiffusionModel) -> tuple[float, float]:
    """Return the least and the greatest noise level."""
    return float(model.schedule.noise_level[1]), float(model.schedule.noise_level[-1])


def _transport(
    model: DiffusionModel, start: Tensor, noise_level_from: float, noise_level_to: float, n_intervals: int
) -> NDArray[np.float64]:
    """Return to where the ODE carries points, (n, k)."""
    denoiser = _InFloat64(model.denoiser)

    def tile(places: NDArray[np.intp]) -> Tensor:
        return integrate_ode(denoiser, start[places], noise_level_from, noise_level_to, n_intervals)[0]

    n, k = start.shape
    points: NDArray[np.float64] = map_tiles(tile, n, width=k, device=start.device, most_rows=_MOST_ROWS).numpy()
    broken = np.flatnonzero(~np.isfinite(points).all(axis=1))
    if len(broken):
        raise SamplingDiverged(
            f"The ODE should give finite numbers, but does not for row {broken[0]} (rows count from 0): "
            "fit again with a `training` of lower learning_rate."
        )
    return points
