"""The denoiser and the density of x_t at points, for pictures of the plane."""

from __future__ import annotations

import torch
from torch import Tensor

from backwalk import diffusion
from backwalk.diffusion import LogDensity
from backwalk.errors import InvalidInput
from backwalk.model.fitted import DiffusionModel
from backwalk.sampling import TILE_ROWS, over_tiles, padded_tile
from backwalk.torch_state import in_initial_torch_state


@in_initial_torch_state
def denoised(model: DiffusionModel, x_t: Tensor, log_snr: Tensor) -> Tensor:
    """Return x_0_hat of encoded points, (n, k), at log-SNRs (), (n,) or (n, k), tile by tile.

    Raises InvalidInput for levels of single coordinates where the denoiser does not take them.
    """
    device = model.denoiser.device
    points, levels = x_t.to(device), log_snr.to(x_t).to(device)

    def tile(first: int, last: int) -> Tensor:
        own = levels if levels.ndim == 0 else _padded(levels, first, last)
        return model.denoiser(padded_tile(points[first:last], TILE_ROWS), own)

    return torch.cat(list(over_tiles(tile, 0, len(points), n_columns=points.shape[1], device=device)))


def _padded(levels: Tensor, first: int, last: int) -> Tensor:
    part = levels[first:last]
    return torch.cat([part, part[:1].expand(last - first - len(part), *part.shape[1:])])


@in_initial_torch_state
def log_density_at(model: DiffusionModel, x_t: Tensor, t: int, *, n_intervals: int = 16) -> LogDensity:
    """Return the log-density of encoded points x_t, (n, k), at step t of the chain by the probability-flow ODE.

    It is in nats per row, over encoded coordinates. Raises InvalidInput for models with levels, and for t outside
    1..n_steps.
    """
    schedule, device = model.schedule, model.denoiser.device
    if model.codec.blocks:
        raise InvalidInput("x_t has a density where all columns are numbers: choose a model without levels.")
    if not 1 <= t <= schedule.n_steps:
        raise InvalidInput(f"t should lie in 1..{schedule.n_steps}, but got {t}.")
    log_scale = 0.5 * float(torch.log(schedule.alpha_bar[t]))
    # The ODE's density is that of x_t / a, data with noise added.
    points = (x_t.double() * torch.exp(torch.tensor(-log_scale, dtype=torch.float64))).float().to(device)
    low, high = float(schedule.noise_level[t]), float(schedule.noise_level[-1])

    def tile(first: int, last: int) -> Tensor:
        found = diffusion.log_density(
            model.denoiser,
            padded_tile(points[first:last], TILE_ROWS),
            level_min=low,
            level_max=high,
            n_intervals=n_intervals,
        )
        return torch.stack([found.log_prob, found.solver_error], dim=1)

    both = torch.cat(list(over_tiles(tile, 0, len(points), n_columns=2, device=device))).cpu()
    return LogDensity(
        both[:, 0] - points.shape[1] * log_scale, both[:, 1], torch.zeros(len(points), dtype=torch.float64)
    )
