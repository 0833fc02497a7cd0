"""The numbers of rows: their denoiser given what is given, their draws by the chain, and their density by the ODE.

The denoiser of whole rows, with given coordinates at log-SNR +inf and absent ones at -inf, is the denoiser of the free
numbers (`ConditionalDenoiser`). All levels are given or absent.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field, replace
from functools import cache
from typing import TYPE_CHECKING

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from backwalk.denoiser import EmbeddingDenoiser, TableDenoiser
from backwalk.diffusion import ConditionalDenoiser, Denoiser, LogDensity, log_density, log_snr_by_coordinate
from backwalk.model.chain import ReverseChain
from backwalk.model.tiles import map_tiles, refuse_nan
from backwalk.sampling import ChainState, RowNoise, last_state, walk_rows
from backwalk.streams import Stream
from backwalk.table import Codec

if TYPE_CHECKING:
    from backwalk.model.given import Given

MOST_EXACT_COLUMNS, DEFAULT_PROBES = 32, 16  # how the divergence of a log-density is found
_MOST_ROWS = 512  # of a tile on a CPU, whose cache holds the slopes of all layers
_MOST_ROWS_WITH_GRADIENT = 64  # of which autograd keeps the activations of all evaluations
_FEWEST_ROWS = 20  # to which all numbers apply


def denoiser_of_numbers(given: Given, coordinates: Tensor | None = None) -> Denoiser:
    """Return the denoiser of numbers of rows, (n, k), whose levels are given or absent.

    `coordinates` are those of the numbers, all by default; the others are not free.
    """
    model = given.model
    return _conditional(model.denoiser, model.codec, given.rows, given.is_given, given.is_absent, coordinates)


def estimate_given(given: Given) -> Tensor:
    """Return E[x_0 | given] of encoded rows, (n, k), with all else absent, in one evaluation: float64."""
    model, device = given.model, given.rows.device

    def tile(places: NDArray[np.intp]) -> Tensor:
        part = given.take(places)
        log_snr = log_snr_by_coordinate(torch.tensor(-torch.inf, device=device), part.is_given).to(part.rows)
        denoiser = _at_levels(model.denoiser, model.codec, part.rows, part.is_given)
        return denoiser(part.rows.nan_to_num().masked_fill(~part.is_given, 0.0), log_snr).double()

    return map_tiles(tile, given.n_rows, width=model.codec.n_encoded, device=device)


def given_all_levels(denoiser: Denoiser, codec: Codec, z: Tensor) -> tuple[Denoiser, Tensor, Tensor]:
    """Return the denoiser of the numbers of encoded rows, (n, k), given all levels; the numbers; and which are free.

    The last two are (n, i). Rows to which all numbers apply are taken, if there are 20; of others, numbers that do not
    apply are absent. Data that an embedding reads are given as well, and are not among the numbers.
    """
    numbers = torch.from_numpy(codec.drawn_numbers).to(z.device)
    z = z.masked_fill(torch.from_numpy(codec.copied(z.cpu().numpy())).to(z.device), torch.nan)
    if isinstance(denoiser, EmbeddingDenoiser):
        numbers = numbers[torch.isin(numbers, denoiser.kept)]
    with_all_numbers = z[~z[:, numbers].isnan().any(dim=1)]
    rows = (with_all_numbers if len(with_all_numbers) >= _FEWEST_ROWS else z).clone()
    rows[:, ~torch.from_numpy(codec.drawn_coordinates)] = torch.nan
    is_absent = rows.isnan()
    is_given = ~is_absent
    is_given[:, torch.from_numpy(codec.numbers).to(z.device)] = False
    if isinstance(denoiser, EmbeddingDenoiser):
        is_given[:, denoiser.coordinates] = True
    is_free = ~is_absent[:, numbers]
    return _conditional(denoiser, codec, rows, is_given, is_absent, numbers), rows[:, numbers].nan_to_num(), is_free


def draw_dates(given: Given, chain: ReverseChain, noise: RowNoise) -> Given:
    """Return rows with free dates drawn, rounded to their grids, and then given."""
    codec = given.model.codec
    dates, columns = torch.from_numpy(codec.dates).to(given.rows.device), codec.date_columns
    if not bool(given.is_free[:, dates].any()):
        return given
    of_dates = replace(noise, stream=noise.stream.child("dates"))
    rows = draw_numbers(given.only(columns), chain, of_dates, dates)
    for j, coordinate in zip(columns, codec.dates.tolist(), strict=True):
        x, column = rows[:, coordinate, None].double().cpu().numpy(), codec.columns[j]
        z = torch.from_numpy(column.encode(column.within_range(column.decode(x)))[:, 0]).to(rows)
        rows[:, coordinate] = torch.where(given.is_free[:, coordinate], z, rows[:, coordinate])
    return replace(given, rows=rows).then(columns)


def draw_numbers(given: Given, chain: ReverseChain, noise: RowNoise, coordinates: Tensor | None = None) -> Tensor:
    """Return encoded rows, (n, k), with free numbers drawn by the chain, those of some coordinates or all."""
    if coordinates is None:
        coordinates = torch.from_numpy(given.model.codec.numbers).to(given.rows.device)
    if not bool(given.is_free[:, coordinates].any()):
        return given.rows
    x_0 = last_state(walk_numbers(given, chain, noise, coordinates)).x_t
    return with_numbers(given, x_0, given.rows, coordinates)


def walk_numbers(given: Given, chain: ReverseChain, noise: RowNoise, coordinates: Tensor) -> Iterator[ChainState]:
    """Yield the states of the chain of the numbers at some coordinates, (n, i)."""
    denoiser = denoiser_of_numbers(given, coordinates)
    return walk_rows(denoiser, chain.schedule, chain.solver, len(coordinates), noise=noise)


def with_numbers(given: Given, x: Tensor, rows: Tensor, coordinates: Tensor) -> Tensor:
    """Return `rows`, (n, k), with numbers x, (n, i), at those of some coordinates that are free."""
    rows = rows.clone()
    rows[:, coordinates] = torch.where(given.is_free[:, coordinates], x.to(rows), rows[:, coordinates])
    return rows


@dataclass(frozen=True, eq=False)
class Ode:
    """How the log-density of numbers is computed by the probability-flow ODE, on a grid of `n_intervals`.

    The divergence is exact, or estimated by `n_probes` random sign vectors of the stream.
    """

    n_intervals: int = 16
    n_probes: int | None = None
    stream: Stream = field(default_factory=lambda: Stream(0))
    with_error: bool = True


def log_prob_of_numbers(
    given: Given,
    ode: Ode,
    *,
    seeds: Tensor | None = None,
    watch: Callable[[int], object] = lambda _: None,
) -> LogDensity:
    """Return the log-density of the free numbers of rows in the user's units, given the other numbers and the levels.

    `seeds`, (n, k), are the encoded rows that seed the probes, by default the rows themselves.
    """
    return _log_prob(given, ode, seeds, watch)[0]


def log_prob_and_gradient(given: Given, ode: Ode) -> tuple[LogDensity, Tensor]:
    """Return `log_prob_of_numbers`, and the gradient of the density in encoded units by encoded rows, (n, k)."""
    return _log_prob(given, ode, with_gradient=True)


def _log_prob(
    given: Given,
    ode: Ode,
    seeds: Tensor | None = None,
    watch: Callable[[int], object] = lambda _: None,
    *,
    with_gradient: bool = False,
) -> tuple[LogDensity, Tensor]:
    schedule, codec, n_encoded = given.model.schedule, given.model.codec, given.rows.shape[1]
    low, high = float(schedule.noise_level[1]), float(schedule.noise_level[-1])
    numbers = torch.from_numpy(codec.numbers).to(given.rows.device)
    numbers = numbers[given.is_free[:, numbers].any(dim=0)]  # others take no part in the divergence
    seeds, width = given.rows if seeds is None else seeds, 3 + with_gradient * n_encoded

    def tile(places: NDArray[np.intp]) -> Tensor:
        """Return the log-density in encoded units, the errors of solver and probes, and the gradient by rows."""
        part = given.take(places)
        is_free = part.is_free[:, numbers]
        if not bool(is_free.any()):
            return torch.zeros(len(places), width, dtype=torch.float64)
        denoiser = denoiser_of_numbers(part, numbers)
        signs = None if ode.n_probes is None else _draw_signs(ode.stream, seeds[places].nan_to_num(), ode.n_probes)
        points = part.rows[:, numbers].masked_fill(~is_free, 0.0).requires_grad_(with_gradient)
        with torch.set_grad_enabled(with_gradient):
            result = log_density(
                denoiser,
                points,
                level_min=low,
                level_max=high,
                n_intervals=ode.n_intervals,
                divergence="exact" if signs is None else signs[..., numbers],
                with_error=ode.with_error and not with_gradient,
            )
        # Other numbers are independent draws of N(0, 1): see ConditionalDenoiser.
        rest = denoiser.log_prob_of_rest(low) if isinstance(denoiser, ConditionalDenoiser) else 0.0
        scores = torch.stack([result.log_prob.detach() - rest, result.solver_error, result.standard_error], dim=1)
        if not with_gradient:
            return scores
        gradient = torch.zeros(len(places), n_encoded, dtype=torch.float64)
        gradient[:, numbers] = (
            torch.autograd.grad(result.log_prob, points, torch.ones_like(result.log_prob))[0].double().cpu()
        )
        return torch.cat([scores, gradient.masked_fill(~part.is_free.cpu(), 0.0)], dim=1)

    most_rows = _MOST_ROWS_WITH_GRADIENT if with_gradient else _MOST_ROWS
    device = given.rows.device
    result = map_tiles(tile, given.n_rows, width=width, device=device, most_rows=most_rows, watch=watch)
    refuse_nan(result[:, 0], "Log-densities")
    log_volume = torch.from_numpy(codec.log_abs_det_jacobian(given.cells))
    return LogDensity(result[:, 0] + log_volume, result[:, 1], result[:, 2]), result[:, 3:]


def _draw_signs(stream: Stream, z: Tensor, n_probes: int) -> Tensor:
    """Return random signs for rows z, (n, k): (n_probes, n, k), float32.

    A row's signs come from a stream that is named by its bits and not by its number, because the same row may occur
    anywhere in a table.
    """
    probes = stream.child("probes")

    @cache  # the places of a row share its signs, and the last tile is padded with copies
    def uniforms_of(bits: bytes) -> Tensor:
        return probes.child(bits.hex()).uniform(0, n_probes, z.shape[1])

    rows = (z + 0.0).cpu().numpy()  # -0 becomes 0, the same number
    draws = torch.stack([uniforms_of(row.tobytes()) for row in rows], dim=1)
    return torch.where(draws < 0.5, -1.0, 1.0).to(z.device)


def _conditional(
    denoiser: Denoiser,
    codec: Codec,
    rows: Tensor,
    is_given: Tensor,
    is_absent: Tensor,
    coordinates: Tensor | None = None,
) -> Denoiser:
    """Return the denoiser of numbers of encoded rows; it is `denoiser` where that is of numbers without conditions."""
    if not codec.blocks and not isinstance(denoiser, TableDenoiser) and not bool((is_given | is_absent).any()):
        return denoiser
    if coordinates is None:
        coordinates = torch.from_numpy(codec.numbers).to(rows.device)
    return ConditionalDenoiser(_at_levels(denoiser, codec, rows, is_given), rows, is_given, is_absent, coordinates)


def _at_levels(denoiser: Denoiser, codec: Codec, rows: Tensor, is_given: Tensor) -> Denoiser:
    """Return the denoiser of numbers at rows, (n, k), whose levels are given or absent.

    It agrees with `denoiser` at such rows, but may leave out what concerns levels alone.
    """
    if not isinstance(denoiser, TableDenoiser):
        return denoiser
    is_given = is_given.clone()
    is_given[:, codec.numbers] = False
    return denoiser.given_levels(rows, is_given)
