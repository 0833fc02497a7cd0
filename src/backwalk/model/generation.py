"""Generate rows: the steps that a sampler visits, the reverse chain, and ranges of rows.

A row is a function of the model, the stream and its row number. All generation is by `sample_rows(model, start, stop)`
or its pieces.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator
from dataclasses import replace
from threading import Lock
from typing import NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from backwalk.diffusion import Denoiser, NoiseSchedule
from backwalk.errors import InvalidInput, SamplingDiverged
from backwalk.model.conditions import Encoded, numbers_given
from backwalk.model.fitted import DiffusionModel, reverse_variances
from backwalk.model.levels import draw_levels
from backwalk.sampling import (
    N_PILOT,
    ChainState,
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

_FITTING = Lock()


def sample_rows(
    model: DiffusionModel,
    start: int,
    stop: int,
    *,
    stream: Stream,
    sampler: Sampler | str | None = None,
    given: Encoded | None = None,
) -> NDArray[np.float64]:
    """Return rows start..stop-1 of the sample of a stream: (stop - start, d), in the user's units.

    A row does not depend on the range. `sampler` is a `Sampler` or a solver's name; None is the model's own. `given`
    holds known columns, of one row for all or of each row. Raises InvalidInput for more rows than memory can hold.
    """
    pieces = sample_pieces(model, start, stop, stream=stream, sampler=sampler, given=given)
    return gathered(pieces, stop - start, model.codec.n_columns)


def gathered(pieces: Iterable[NDArray[np.float64]], n: int, d: int) -> NDArray[np.float64]:
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
def sample_pieces(
    model: DiffusionModel,
    start: int,
    stop: int,
    *,
    stream: Stream,
    sampler: Sampler | str | None = None,
    given: Encoded | None = None,
) -> Iterator[NDArray[np.float64]]:
    """Return an iterator over the rows of `sample_rows`, in pieces of at most 2,048 rows.

    Raises InvalidInput at once for a sampler that the model does not have, or that does not take conditions. The
    iterator raises SamplingDiverged if rows
    are not finite.
    """
    chain = _chain(model, sampler)
    if given is not None and chain.denoiser is not model.denoiser:
        raise InvalidInput(
            'The sampler "distilled" draws whole rows alone, but columns are given: choose another, such as '
            '"multistep".'
        )
    return _pieces(model, chain, start, stop, stream, given)


@in_initial_torch_state
def _pieces(
    model: DiffusionModel, chain: _Chain, start: int, stop: int, stream: Stream, given: Encoded | None
) -> Iterator[NDArray[np.float64]]:
    whole = given is None and not model.codec.blocks

    @torch.inference_mode()
    def tile(first: int, last: int) -> Tensor:
        if whole:
            return last_state(_walk(model, chain, first, last, stream)).x_t.double()
        return _completed(model, chain, _tile_of(model, given, first - start, last - start), first, stream).double()

    first = start
    for piece in over_tiles(tile, start, stop, n_columns=model.codec.n_encoded, device=model.denoiser.device):
        z = piece.cpu().numpy()
        broken = np.flatnonzero(~np.isfinite(z).all(axis=1))
        if len(broken):
            raise SamplingDiverged(
                f"Samples should be finite, but row {first + broken[0]} (rows count from 0) is not: take more "
                "evaluations or another sampler; if that does not help, fit again with a `training` of lower "
                "learning_rate."
            )
        rows = in_user_units(model, z, new=True)
        if given is not None:
            own = given.values[np.arange(first - start, first - start + len(z)).clip(0, len(given.values) - 1)]
            rows = np.where(np.isnan(own), rows, own)  # as they were, not decoded
        first += len(z)
        yield rows


def _tile_of(model: DiffusionModel, given: Encoded | None, first: int, last: int) -> tuple[Tensor, Tensor]:
    """Return rows first..last-1 of `given` and which of their coordinates are known; rows beyond its ends repeat."""
    if given is None:
        shape = last - first, model.codec.n_encoded
        return torch.full(shape, math.nan), torch.zeros(shape, dtype=torch.bool)
    rows = torch.arange(first, last).clamp(0, len(given.rows) - 1)
    return given.rows[rows], given.given[rows]


def _completed(model: DiffusionModel, chain: _Chain, tile: tuple[Tensor, Tensor], first: int, stream: Stream) -> Tensor:
    """Return encoded rows from number `first` on with everything drawn that is not known."""
    rows, known = draw_levels(model.denoiser, model.codec.blocks, *tile, first_row=first, stream=stream)
    numbers = torch.from_numpy(model.codec.numbers).to(rows.device)
    fixed = known[:, numbers]
    if not bool(fixed.all()):
        of_numbers = chain._replace(denoiser=numbers_given(model, rows, known))
        x = last_state(_walk(model, of_numbers, first, first + len(rows), stream, len(numbers))).x_t
        rows[:, numbers] = torch.where(fixed, rows[:, numbers], x)
    return rows.nan_to_num()


def in_user_units(model: DiffusionModel, z: NDArray[np.float64], *, new: bool = False) -> NDArray[np.float64]:
    """Decode rows, (n, k), into the user's units, (n, d); `new` rows are kept within their columns' ranges."""
    rows = model.codec.decode(z)
    return model.schema.clipped(model.codec.within_range(rows)) if new else rows


@in_initial_torch_state
@torch.no_grad()  # not a `with` block, which would stay in force in the caller between two states
def walk(
    model: DiffusionModel, start: int, stop: int, *, stream: Stream, sampler: Sampler | str | None = None
) -> Iterator[ChainState]:
    """Yield the states of rows start..stop-1 of a sample, from x_N to x_0, in encoded units.

    `t` counts the steps of the model's chain, also if the sampler visits only some of them. Levels are drawn before the
    chain, which is that of the numbers given these. Raises InvalidInput where all columns have levels.
    """
    chain = _chain(model, sampler)
    if not model.codec.blocks:
        for state in _walk(model, chain, start, stop, stream):
            yield replace(state, t=chain.times[state.t])
        return
    numbers = torch.from_numpy(model.codec.numbers)
    if not len(numbers):
        raise InvalidInput("A chain should have numbers, but all columns have levels: sample() draws them at once.")
    tile = _tile_of(model, None, 0, stop - start)
    rows, known = draw_levels(model.denoiser, model.codec.blocks, *tile, first_row=start, stream=stream)
    chain = chain._replace(denoiser=numbers_given(model, rows, known))

    def whole(x: Tensor | None, others: Tensor = rows) -> Tensor | None:
        if x is None:
            return None
        z = others.clone()
        z[:, numbers.to(z.device)] = x.to(z)
        return z

    for state in _walk(model, chain, start, stop, stream, len(numbers)):
        x_t, x_0_hat, eps = whole(state.x_t), whole(state.x_0_hat), whole(state.eps, torch.zeros_like(rows))
        assert x_t is not None
        yield replace(state, t=chain.times[state.t], x_t=x_t, x_0_hat=x_0_hat, eps=eps)


def visited_times(model: DiffusionModel, sampler: Sampler) -> list[int]:
    """Return the steps of the model's chain that a sampler visits: increasing, ending at n_steps.

    For solvers with fitted times, such as "multistep", they are fitted to the denoiser at first use. They depend only
    on the model.
    """
    k, schedule = sampler.n_evaluations, model.schedule
    fits = sampler.solver_class.fits_times and len(model.codec.numbers) > 0
    if not fits or k is None or not 1 < k < schedule.n_steps:
        return sampler.times(schedule)
    key = (sampler.solver, k)
    with _FITTING:  # several threads may ask for the same times
        if key not in model._fitted_times:
            denoiser, width = _pilot(model)
            x_N = Stream(0).child("pilot").normal(0, N_PILOT, width, torch.float32)
            solver = _solver(model, sampler, [schedule.n_steps])
            times = fit_times(denoiser, schedule, solver, k, x_N.to(denoiser.device))
            model._fitted_times[key] = tuple(times)
        return list(model._fitted_times[key])


def _pilot(model: DiffusionModel) -> tuple[Denoiser, int]:
    """Return the denoiser to which times are fitted, that of numbers given drawn levels, and its width."""
    if not model.codec.blocks:
        return model.denoiser, model.codec.n_encoded
    stream = Stream(0).child("pilot levels")
    tile = _tile_of(model, None, 0, N_PILOT)
    rows, known = draw_levels(model.denoiser, model.codec.blocks, *tile, first_row=0, stream=stream)
    return numbers_given(model, rows, known), len(model.codec.numbers)


class _Chain(NamedTuple):
    """The parts of a reverse chain; `times` are the visited steps of the model's chain, including 0."""

    denoiser: Denoiser
    schedule: NoiseSchedule
    solver: Solver
    times: list[int]


def _chain(model: DiffusionModel, sampler: Sampler | str | None) -> _Chain:
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
    return _Chain(denoiser, model.schedule.respace(times), _solver(model, chosen, times), [0, *times])


def _solver(model: DiffusionModel, sampler: Sampler, times: list[int]) -> Solver:
    return sampler.solver_class.make(reverse_variances(model, times), sampler.eta)


def _walk(
    model: DiffusionModel, chain: _Chain, start: int, stop: int, stream: Stream, width: int | None = None
) -> Iterator[ChainState]:
    """Yield the states of a chain of `width` coordinates, by default all of an encoded row."""
    d = width or model.codec.n_encoded
    return walk_rows(chain.denoiser, chain.schedule, chain.solver, start, stop, d, stream=stream)
