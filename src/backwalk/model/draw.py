"""Draw rows: levels one column after the other, then the numbers together by the reverse chain, given all levels.

A row is a function of the model, the stream, its number and the cells that are given. The order is that in which the
probability of a row is computed (`levels.py`, `score.py`). Without columns of levels and given columns, the chain draws
whole rows.

Below, `given` are the cells that a user gives, as `EncodedRows`, and `known` are the coordinates, (n, k), that are
given or drawn already. `in_initial_torch_state` makes a function, or each step of a generator, independent of the
caller's settings of torch.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, replace
from threading import Lock

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from backwalk.diffusion import Denoiser, NoiseSchedule
from backwalk.errors import InvalidInput, SamplingDiverged
from backwalk.model.diffusion_model import DiffusionModel, reverse_variances
from backwalk.model.levels import draw_levels
from backwalk.model.rows import EncodedRows, numbers_given
from backwalk.sampling import (
    N_PILOT,
    ChainState,
    RowNoise,
    Sampler,
    Solver,
    choose_sampler,
    fit_times,
    last_state,
    over_tiles,
    walk_rows,
)
from backwalk.streams import Stream
from backwalk.torch_state import in_initial_torch_state

_TIMES_LOCK = Lock()


@in_initial_torch_state
def draw_pieces(
    model: DiffusionModel,
    start: int,
    stop: int,
    noise_of: Callable[[NDArray[np.intp]], RowNoise],
    *,
    sampler: Sampler | str | None,
    known: EncodedRows | None,
) -> Iterator[NDArray[np.float64]]:
    """Return an iterator over rows start..stop-1, in the user's units, in pieces of at most 2,048 rows.

    `noise_of` returns the noise of rows by their numbers, of which some are outside start..stop-1, as tiles are drawn
    whole. `known` are the given cells: one row for all, or one for each. Raises InvalidInput at once for a sampler that
    the model does not have, or that takes no conditions. The iterator raises SamplingDiverged if rows are not finite.
    """
    chain = make_chain(model, sampler)
    if known is not None and chain.denoiser is not model.denoiser:
        raise InvalidInput(
            'The sampler "distilled" draws whole rows alone, but columns are given: choose another, such as '
            '"multistep".'
        )
    return _draw_pieces(model, chain, start, stop, noise_of, known)


@in_initial_torch_state
def _draw_pieces(
    model: DiffusionModel,
    chain: ReverseChain,
    start: int,
    stop: int,
    noise_of: Callable[[NDArray[np.intp]], RowNoise],
    given: EncodedRows | None,
) -> Iterator[NDArray[np.float64]]:
    def given_at(numbers: NDArray[np.intp]) -> EncodedRows | None:
        return None if given is None else given.take(numbers - start)

    @torch.inference_mode()
    def tile(first: int, last: int) -> Tensor:
        numbers = np.arange(first, last)
        noise = noise_of(numbers)
        rows, known = draw_all_levels(model, noise, given_at(numbers))
        return draw_numbers(model, chain, noise, rows, known).double()

    first = start
    for piece in over_tiles(tile, start, stop, n_columns=model.codec.n_encoded, device=model.denoiser.device):
        z = piece.cpu().numpy()
        _refuse_diverged(z, first)
        rows = in_user_units(model, z, new=True)
        given_cells = given_at(np.arange(first, first + len(z)))
        if given_cells is not None:  # given cells are returned as they were given, not decoded
            rows = np.where(np.isnan(given_cells.values), rows, given_cells.values)
        first += len(z)
        yield rows


def draw_all_levels(
    model: DiffusionModel, noise: RowNoise, given: EncodedRows | None = None
) -> tuple[Tensor, Tensor | None]:
    """Draw the levels that are not given. Return encoded rows, (n, k), and which of their coordinates are known now.

    Coordinates that are not known are NaN. Without levels and given cells, None stands for no known coordinates.
    """
    shape, device = (len(noise.numbers), model.codec.n_encoded), model.denoiser.device
    if given is None:
        rows, known = torch.full(shape, math.nan, device=device), torch.zeros(shape, dtype=torch.bool, device=device)
        if not model.codec.blocks:
            return rows, None
    else:
        rows, known = given.rows, given.known
    return draw_levels(model.denoiser, model.codec.blocks, rows, known, noise=noise)


def draw_numbers(
    model: DiffusionModel, chain: ReverseChain, noise: RowNoise, rows: Tensor, known: Tensor | None
) -> Tensor:
    """Return encoded rows, (n, k), with the numbers that are not known drawn by the chain: all if `known` is None."""
    if known is None:
        return last_state(chain.walk(chain.denoiser, noise, model.codec.n_encoded)).x_t
    numbers = torch.from_numpy(model.codec.numbers).to(rows.device)
    rows = rows.where(~(known & rows.isnan()), 0.0)  # a given number at one of its atoms has no coordinate
    is_known = known[:, numbers]
    if not bool(is_known.all()):
        denoiser = numbers_given(chain.denoiser, model.codec, rows, known)
        x_0 = last_state(chain.walk(denoiser, noise, len(numbers))).x_t
        rows[:, numbers] = torch.where(is_known, rows[:, numbers], x_0)
    return rows


def _refuse_diverged(z: NDArray[np.float64], first_row: int) -> None:
    broken = np.flatnonzero(~np.isfinite(z).all(axis=1))
    if len(broken):
        raise SamplingDiverged(
            f"Samples should be finite, but row {first_row + broken[0]} (rows count from 0) is not: take more "
            "evaluations or another sampler; if that does not help, fit again with a `training` of lower "
            "learning_rate."
        )


def in_user_units(model: DiffusionModel, z: NDArray[np.float64], *, new: bool = False) -> NDArray[np.float64]:
    """Decode rows, (n, k), into the user's units, (n, d); `new` rows are kept within their columns' ranges."""
    rows = model.codec.decode(z)
    return model.schema.clipped(model.codec.within_range(rows)) if new else rows


def gather_rows(pieces: Iterable[NDArray[np.float64]], n: int, d: int) -> NDArray[np.float64]:
    """Concatenate pieces of rows into one array, (n, d).

    Raises InvalidInput, before the first piece is made, if n rows do not fit into memory.
    """
    try:
        rows = np.empty((n, d))
    except (MemoryError, ValueError) as error:
        raise InvalidInput(
            f"Samples should fit into memory, but {n:,} rows of {d} columns take {8 * n * d / 2**30:,.0f} GiB: draw "
            "them in pieces, or into a file by `backwalk sample`."
        ) from error
    first = 0
    for piece in pieces:
        rows[first : first + len(piece)] = piece
        first += len(piece)
    return rows


@in_initial_torch_state
@torch.no_grad()  # as a decorator: a `with` block would hold for the caller, too, between two states
def walk(
    model: DiffusionModel, start: int, stop: int, *, stream: Stream, sampler: Sampler | str | None = None
) -> Iterator[ChainState]:
    """Yield the states of rows start..stop-1 of a sample, from x_N to x_0, in encoded units.

    `t` counts the steps of the model's chain, also if the sampler visits only some of them. Levels are drawn before the
    chain; the chain is that of the numbers given these levels. Raises InvalidInput where all columns have levels.
    """
    chain, noise = make_chain(model, sampler), RowNoise(stream, np.arange(start, stop))
    numbers = torch.from_numpy(model.codec.numbers).to(model.denoiser.device)
    if not len(numbers):
        raise InvalidInput("A chain should have numbers, but all columns have levels: sample() draws them at once.")
    rows, known = draw_all_levels(model, noise)
    denoiser = chain.denoiser
    if known is not None:
        denoiser = numbers_given(denoiser, model.codec, rows, known)

    def with_numbers(others: Tensor, x: Tensor | None) -> Tensor | None:
        """Return `others`, (n, k), with the numbers x of the chain in their places."""
        if x is None or known is None:
            return x
        z = others.clone()
        z[:, numbers] = x.to(z)
        return z

    for state in chain.walk(denoiser, noise, len(numbers)):
        x_t, x_0_hat = with_numbers(rows, state.x_t), with_numbers(rows, state.x_0_hat)
        assert x_t is not None
        eps = with_numbers(torch.zeros_like(rows), state.eps)
        yield replace(state, t=chain.times[state.t], x_t=x_t, x_0_hat=x_0_hat, eps=eps)


@dataclass(frozen=True, eq=False)
class ReverseChain:
    """The chain that a sampler walks, on some of the steps of the model's chain.

    - `denoiser`: the model's, or that of its student.
    - `schedule`: the respaced schedule, whose steps are the visited ones.
    - `times`: the visited steps of the model's chain, increasing, after a 0: `times[t]` is step t of `schedule`.
    """

    denoiser: Denoiser
    schedule: NoiseSchedule
    solver: Solver
    times: list[int]

    def walk(self, denoiser: Denoiser, noise: RowNoise, width: int) -> Iterator[ChainState]:
        """Yield the states of rows of `width` coordinates, from x_N to x_0, by a denoiser of these coordinates."""
        return walk_rows(denoiser, self.schedule, self.solver, width, noise=noise)


def make_chain(model: DiffusionModel, sampler: Sampler | str | None) -> ReverseChain:
    """Return the chain of a sampler, which may be given by its solver's name; None is the model's default sampler."""
    chosen = choose_sampler(model.sampler, model.schedule, sampler, None)
    times = visited_times(model, chosen)
    denoiser = model.denoiser
    if chosen.solver_class.needs_student:
        if model.student is None:
            raise InvalidInput(
                'The sampler "distilled" needs a student, but the model has none: call distil() or `backwalk distil` '
                "first."
            )
        denoiser = model.student.denoiser
    return ReverseChain(denoiser, model.schedule.respace(times), make_solver(model, chosen, times), [0, *times])


def make_solver(model: DiffusionModel, sampler: Sampler, times: list[int]) -> Solver:
    """Return a sampler's solver on the chain that visits these times."""
    return sampler.solver_class.make(reverse_variances(model, times), sampler.eta)


def visited_times(model: DiffusionModel, sampler: Sampler) -> list[int]:
    """Return the steps of the model's chain that a sampler visits: increasing, ending at n_steps.

    For solvers such as "multistep" they are fitted to the denoiser at first use, and then depend on the model only.
    """
    k, schedule = sampler.n_evaluations, model.schedule
    has_fitted_times = sampler.solver_class.fits_times and len(model.codec.numbers) > 0
    if not has_fitted_times or k is None or not 1 < k < schedule.n_steps:
        return sampler.times(schedule)
    key = (sampler.solver, k)
    with _TIMES_LOCK:  # several threads may ask for the same times
        if key not in model._fitted_times:
            model._fitted_times[key] = tuple(_fit_times(model, sampler, k))
        return list(model._fitted_times[key])


def _fit_times(model: DiffusionModel, sampler: Sampler, k: int) -> list[int]:
    """Fit k times to the denoiser; in a table with levels, to the denoiser of the numbers given drawn levels."""
    denoiser, width = model.denoiser, len(model.codec.numbers)
    rows, known = draw_all_levels(model, RowNoise(Stream(0).child("pilot levels"), np.arange(N_PILOT)))
    if known is not None:
        denoiser = numbers_given(denoiser, model.codec, rows, known)
    x_N = Stream(0).child("pilot").normal(0, N_PILOT, width, torch.float32).to(denoiser.device)
    solver = make_solver(model, sampler, [model.schedule.n_steps])
    return fit_times(denoiser, model.schedule, solver, k, x_N)
