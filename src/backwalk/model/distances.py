"""How far given values lie from those of the fitted rows, and how often unseen rows lie as far.

For Gaussian rows without noise, x_0_hat - z = -s^2 (S + s^2)^-1 (z - m) at the noise level s, so that

    D = 2 integral of |x_0_hat - z|^2 / s^2 d ln s = (z - m)' S^-1 (z - m)

is the squared Mahalanobis distance. For other rows D is a distance that follows their curves: it is large where the
denoiser moves a row far at a small s. The cells that are not given take their estimates given the others.

A fit keeps the distances of its held-out rows. Beyond the tenth of largest ones, the probability of larger distances is
that of a generalised Pareto distribution, fitted by its probability-weighted moments.

Source: Hosking & Wallis 1987 for the tail.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import replace

import numpy as np
import torch
from numpy.typing import ArrayLike, NDArray
from torch import Tensor

from backwalk.errors import UnseenValuesWarning, warn_caller
from backwalk.model.diffusion_model import DiffusionModel
from backwalk.model.given import Given
from backwalk.model.levels import probabilities_of_levels
from backwalk.model.numbers import denoiser_of_numbers, estimate_given
from backwalk.model.tiles import map_tiles
from backwalk.threads import on_one_thread
from backwalk.torch_state import in_initial_torch_state

Array = NDArray[np.float64]
MOST_HELD_OUT = 1000  # rows whose distances a model keeps
RARE = 1e-3  # the probability below which warnings are given
_N_NOISE_LEVELS, _GREATEST = 14, 30.0  # of the integral, and the largest of them
FEWEST_UNSEEN = 50  # rows whose distances tell of the others
_TAIL = 0.1  # the share of the distances that the tail is fitted to
_MOST_SHAPE = 0.9  # of the tail, whose mean is finite below 1


@in_initial_torch_state
@on_one_thread
def measure_distances(model: DiffusionModel, values: Array, given: Sequence[int]) -> Array:
    """Return D of rows, (n, d), of which the columns `given` are given where they are not NaN: (n,).

    It is 0 where no number is given. Raises InvalidInput for cells that may not be given without the others.
    """
    codec = model.codec
    given_rows = Given.to_draw(model, np.where(np.isin(np.arange(codec.n_columns), given), values, np.nan))
    is_given, is_free = given_rows.is_given, given_rows.is_free
    numbers = torch.from_numpy(codec.numbers).to(is_given.device)
    if not bool(is_given[:, numbers].any()):
        return np.zeros(len(values))

    estimates = estimate_given(given_rows).to(given_rows.rows)
    for i, block in enumerate(codec.blocks):
        if bool(is_free[:, block.coordinates.start].any()):
            level = probabilities_of_levels(given_rows, i).argmax(axis=1)
            estimates[:, block.coordinates] = torch.from_numpy(block.codes[level]).to(estimates)
            if block.number is not None:
                is_free[:, block.number] &= torch.from_numpy(level == block.other).to(is_free.device)
    rows = torch.where(is_given, given_rows.rows.nan_to_num(), estimates)
    whole = replace(
        given_rows, rows=rows, is_given=torch.zeros_like(is_given), is_free=is_given | is_free
    ).then_levels()
    low, high = (float(model.schedule.noise_level[t]) for t in (1, -1))
    noise_levels = torch.linspace(
        math.log(low), math.log(min(high, _GREATEST)), _N_NOISE_LEVELS, dtype=torch.float64
    ).exp()

    def distance(places: NDArray[np.intp]) -> Tensor:
        part = whole.take(places)
        denoiser, z = denoiser_of_numbers(part), part.rows[:, numbers]
        moved = [
            ((denoiser(z / math.hypot(1.0, s), torch.tensor(-2.0 * math.log(s)).to(z)) - z) / s).square()
            for s in noise_levels.tolist()
        ]
        parts = torch.stack(moved).masked_fill(~part.is_free[:, numbers], 0.0).sum(dim=2).double()
        return 2.0 * torch.trapezoid(parts, noise_levels.log().to(parts.device), dim=0)[:, None]

    distances = map_tiles(distance, whole.n_rows, width=1, device=rows.device)[:, 0].numpy()
    return np.where(np.isnan(distances), np.inf, distances)


def rarity(distances: Array, held_out: ArrayLike) -> Array:
    """Return the probability that an unseen row lies at least as far, (n,), by the distances of held-out rows, (m,).

    It is 1 for all with less than 50 held-out rows. The shape of the tail is half a standard error above the fitted
    one, so that few held-out rows seldom give a false alarm.
    """
    reference: Array = np.sort(np.asarray(held_out, dtype=np.float64))
    m = len(reference)
    if m < FEWEST_UNSEEN:
        return np.ones(len(distances))
    n_tail = int(_TAIL * m)
    rank = (1.0 + m - np.searchsorted(reference, distances, side="left")) / (m + 1.0)
    threshold, tail = reference[-n_tail - 1], reference[-n_tail:] - reference[-n_tail - 1]
    mean = float(tail.mean())
    if mean == 0.0:
        return np.asarray(rank, dtype=np.float64)
    smaller = float((tail * (1.0 - (np.arange(n_tail) + 0.65) / n_tail)).mean())
    shape = 2.0 - mean / (mean - 2.0 * smaller) if mean > 2.0 * smaller else 0.0
    shape = min(max(shape, 0.0), _MOST_SHAPE)
    scale, shape = mean * (1.0 - shape), shape + 0.5 / math.sqrt(n_tail)
    excess = np.maximum(distances - threshold, 0.0)
    beyond = n_tail / m * (1.0 + shape * excess / scale) ** (-1.0 / shape)
    return np.asarray(np.where(distances > threshold, beyond, rank))


def held_out_given(model: DiffusionModel, given: Sequence[int]) -> tuple[float, ...]:
    """Return the distances of held-out rows by the columns `given`, or none if the model has none for these."""
    sets = model.conditions if isinstance(model.conditions, tuple) else ()
    of_sets = zip(sets, model.held_out_distances, strict=False)
    return next((held_out for columns, held_out in of_sets if set(columns) == set(given)), ())


def find_rarity(model: DiffusionModel, values: Array, given: Sequence[int]) -> Array:
    """Return `rarity` of rows, (n, d), in the columns `given`, (n,).

    It is 1 for rows with missing values there, and where there are no held-out rows for these columns.
    """
    held_out, found = held_out_given(model, given), np.ones(len(values))
    is_complete = ~np.isnan(values[:, list(given)]).any(axis=1)
    if held_out and is_complete.any():
        found[is_complete] = rarity(measure_distances(model, values[is_complete], given), held_out)
    return found


def warn_of_far(model: DiffusionModel, values: Array, given: Sequence[int], name: str) -> None:
    """Warn if one of rows, (n, d), which are called `name`, lies far from the fitted rows in the columns `given`.

    That is, less than 1 in 1,000 n unseen rows do. Models without distances of held-out rows do not warn.
    """
    least = float(find_rarity(model, values, given).min(initial=1.0)) * len(values)
    if least < RARE:
        warn_caller(
            f"{name} lies far from the fitted rows: an unseen row lies as far with a probability of {least:.1g}. The "
            "model extrapolates: check the units, and whether the simulator can make such data.",
            UnseenValuesWarning,
        )
