"""Draw rows: dates first, then levels one column after the other, then the other numbers together by the reverse chain.

Seasons are fine structure of a date. If numbers were drawn with it they would be settled before its phase is, so that
rows would hardly follow the seasons. Given a date they do.

A row is a function of the model, the stream, its number and the cells that are given. The order is that in which the
probability of a row is computed (`levels.py`, `score.py`). `known`, (n, k), marks the coordinates that are given or
drawn already. `in_initial_torch_state` makes a function, or each step of a generator, independent of the caller's
settings of torch.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, replace

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from backwalk.diffusion import Denoiser, NoiseSchedule
from backwalk.errors import InvalidInput, SamplingDiverged
from backwalk.model.diffusion_model import DiffusionModel, reverse_variances
from backwalk.model.levels import draw_levels
from backwalk.model.rows import EncodedRows, encode_given, numbers_given
from backwalk.sampling import (
    ChainState,
    RowNoise,
    Sampler,
    Solver,
    choose_sampler,
    last_state,
    over_tiles,
    walk_rows,
)
from backwalk.streams import Stream
from backwalk.table.codec_rules import breaks_rules
from backwalk.torch_state import in_initial_torch_state

_MOST_ATTEMPTS, _REDRAWN_AT_ONCE = 1_000, 256  # for rows that break a rule
_MOST_FOR_ORDERS, _MOST_FOR_RANGES = 8, 30  # attempts, before orders are mended, and for computed values within ranges


@in_initial_torch_state
def draw_tiles(
    model: DiffusionModel,
    chain: ReverseChain,
    start: int,
    stop: int,
    noise_of: Callable[[NDArray[np.intp]], RowNoise],
    given: EncodedRows,
    tile_rows: int | None = None,
) -> Iterator[NDArray[np.float64]]:
    """Yield rows start..stop-1, in the user's units, tile by tile: see `over_tiles`.

    `noise_of` returns the noise of rows by their numbers, of which some are outside start..stop-1, as tiles are drawn
    whole. `given` has the known cells: of one row for all, or of each. Raises SamplingDiverged if rows are not finite.
    """

    @torch.inference_mode()
    def tile(first: int, last: int) -> Tensor:
        row_numbers = np.arange(first, last)
        of_tile, noise = given.take(row_numbers - start), noise_of(row_numbers)
        z = draw_encoded(model, chain, noise, of_tile).double()
        return z if model.codec.rules is None else _redraw_broken(model, chain, noise, of_tile, z)

    first = start
    for piece in over_tiles(tile, start, stop, tile_rows, width=model.codec.n_encoded, device=model.denoiser.device):
        of_piece = given.take(np.arange(first, first + len(piece)) - start)
        yield _decode_new(model, piece, of_piece, first)
        first += len(piece)


def _redraw_broken(
    model: DiffusionModel, chain: ReverseChain, noise: RowNoise, given: EncodedRows, z: Tensor
) -> Tensor:
    """Return encoded rows of a tile, (n, k), of which those that break a rule are drawn again until they do not.

    So are, 30 times at most, rows in which a computed value lies beyond the range of its column. Rows whose given
    values alone break a rule stay as they are. After 8 times broken orders are mended (`put_in_order`): a greatest of
    several columns may be hard to meet by chance. Raises InvalidInput where a row breaks rules 1,000 times.
    """
    codec = model.codec
    assert codec.rules is not None
    known, rows = codec.cells(given.values)[:, : codec.n_columns], _decode_new(model, z, given)
    pending = np.flatnonzero(breaks_rules(codec, rows, known) & ~breaks_rules(codec, known))
    for attempt in range(1, _MOST_ATTEMPTS):
        if not len(pending):
            return z
        for some in np.split(pending, range(_REDRAWN_AT_ONCE, len(pending), _REDRAWN_AT_ONCE)):
            at = np.resize(some, _REDRAWN_AT_ONCE)  # products of one shape
            candidates = None if noise.candidates is None else noise.candidates[at]
            again = RowNoise(noise.stream.child("again", attempt), noise.numbers[at], candidates)
            z[some] = draw_encoded(model, chain, again, given.take(at)).double()[: len(some)]
            rows[some] = _decode_new(model, z[some], given.take(some))
        if attempt == _MOST_FOR_ORDERS:
            at_fault = pending[breaks_rules(codec, rows[pending])]
            of_rows = given.take(at_fault)
            in_order = codec.encode(codec.rules.put_in_order(rows[at_fault], ~np.isnan(known[at_fault])))
            is_new = of_rows.in_question & torch.from_numpy(~np.isnan(in_order)).to(of_rows.in_question.device)
            z[at_fault] = torch.where(is_new, torch.from_numpy(in_order).to(z), z[at_fault])
            rows[at_fault] = _decode_new(model, z[at_fault], of_rows)
        within = known[pending] if attempt < _MOST_FOR_RANGES else None
        pending = pending[breaks_rules(codec, rows[pending], within)]
    broken = int(codec.rules.is_broken(rows[pending[:1]])[0].argmax())
    raise InvalidInput(
        f"Draws should obey the rule {codec.rules.stated(model.schema.names)[broken]}, but none of "
        f"{_MOST_ATTEMPTS:,} for row {noise.numbers[pending[0]]} does: check the given values, or fit with rules=None."
    )


def _decode_new(model: DiffusionModel, z: Tensor, given: EncodedRows, first_row: int = 0) -> NDArray[np.float64]:
    """Return new rows, (n, d), of encoded ones, (n, k), with their given values. Raises SamplingDiverged."""
    encoded = z.cpu().numpy()
    broken = np.flatnonzero(~(np.isfinite(encoded) | given.absent.cpu().numpy()).all(axis=1))
    if len(broken):
        raise SamplingDiverged(
            f"Samples should be finite, but row {first_row + broken[0]} (rows count from 0) is not: take more "
            "evaluations or another sampler; if that does not help, fit again with a `training` of lower "
            "learning_rate."
        )
    return np.where(np.isnan(given.values), decode_rows(model, encoded, new=True, given=given.values), given.values)


def draw_encoded(model: DiffusionModel, chain: ReverseChain, noise: RowNoise, given: EncodedRows) -> Tensor:
    """Return encoded rows, (n, k): the levels drawn one after the other, then the numbers by the chain.

    Coordinates that are neither known nor in question are NaN.
    """
    rows, known = _draw_dates(model, chain, noise, given)
    asked, absent = given.in_question, given.absent
    rows, known = draw_levels(model.denoiser, model.codec, rows, known, noise=noise, asked=asked)
    rows = rows.where(~(known & rows.isnan()), 0.0)  # a known number at one of its atoms has no coordinate
    numbers = torch.from_numpy(model.codec.numbers).to(rows.device)
    is_known = (known | absent)[:, numbers]
    if not bool(is_known.all()):
        denoiser = numbers_given(chain.denoiser, model.codec, rows, known, absent)
        x_0 = last_state(walk_rows(denoiser, chain.schedule, chain.solver, len(numbers), noise=noise)).x_t
        rows[:, numbers] = torch.where(is_known, rows[:, numbers], x_0)
    return rows.masked_fill(absent, math.nan)


def _draw_dates(
    model: DiffusionModel, chain: ReverseChain, noise: RowNoise, given: EncodedRows
) -> tuple[Tensor, Tensor]:
    """Return encoded rows, (n, k), with dates drawn that are in question, rounded to their grids; and what is known."""
    codec, rows, known = model.codec, given.rows, given.known
    coordinates = torch.from_numpy(codec.dates).to(rows.device)
    asked = given.in_question[:, coordinates]
    is_known = ~asked
    if not bool(asked.any()):
        return rows, known
    absent = ~known
    absent[:, coordinates] &= ~asked
    denoiser = numbers_given(chain.denoiser, codec, rows, known, absent, coordinates)
    of_dates = replace(noise, stream=noise.stream.child("dates"))
    x_0 = last_state(walk_rows(denoiser, chain.schedule, chain.solver, len(coordinates), noise=of_dates)).x_t
    rows, known = rows.clone(), known.clone()
    for x, coordinate, is_kept in zip(x_0.T, codec.dates.tolist(), is_known.T, strict=True):
        column = codec.columns[codec.column_of(coordinate)]
        z = column.encode(column.within_range(column.decode(x.double().cpu().numpy()[:, None])))[:, 0]
        rows[:, coordinate] = torch.where(is_kept, rows[:, coordinate], torch.from_numpy(z).to(rows))
    known[:, coordinates] |= asked
    return rows, known


def decode_rows(
    model: DiffusionModel, z: NDArray[np.float64], *, new: bool = False, given: NDArray[np.float64] | None = None
) -> NDArray[np.float64]:
    """Decode rows, (n, k), into the user's units, (n, d).

    `new` rows are kept within their columns' ranges. What rules determine of them follows from `given` values, (n, d),
    where these are not NaN.
    """
    if not new:
        return model.codec.decode(z)
    given = np.full((len(z), model.codec.n_columns), np.nan) if given is None else given
    return model.schema.clipped(model.codec.decode_new(z, given))


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
    """Yield the states of rows of a sample, from x_N to x_0.

    Dates and levels are drawn before the chain, which is that of the other numbers given these.

    Parameters
    ----------
    model : DiffusionModel
        The model, `model_` of an estimator.
    start : int
        The number of the first row.
    stop : int
        The number after the last one.
    stream : Stream
        The random numbers of the sample.
    sampler : Sampler or str, optional
        The sampler, or a solver's name: the model's own by default.

    Yields
    ------
    ChainState
        The states, in encoded units. Their `t` counts the steps of the model's chain, also if the sampler visits only
        some of them.

    Raises
    ------
    InvalidInput
        If all columns have levels.

    See Also
    --------
    sample_rows : The rows at the end.
    backwalk.sampling.walk_back : The chain of any denoiser.

    Examples
    --------
    >>> from backwalk import Diffusion
    >>> from backwalk.datasets import two_moons
    >>> from backwalk.model import walk
    >>> from backwalk.streams import Stream
    >>> model = Diffusion(max_steps=20, random_state=0, verbose=False).fit(two_moons().sample(100, random_state=0))
    >>> [state.t for state in walk(model.model_, 0, 5, stream=Stream(0))][-1]
    0
    """
    chain, noise = make_chain(model, sampler), RowNoise(stream, np.arange(start, stop))
    numbers = torch.from_numpy(model.codec.numbers).to(model.denoiser.device)
    if not len(numbers):
        raise InvalidInput("A chain should have numbers, but all columns have levels: sample() draws them at once.")
    nothing = _nothing_known(model, len(noise.numbers))
    rows, known = _draw_before_numbers(model, chain, noise, nothing)
    absent = nothing.absent
    is_known = (known | absent)[:, numbers]

    def with_numbers(others: Tensor, x: Tensor) -> Tensor:
        """Return `others`, (n, k), with the numbers x of the chain in their places."""
        z = others.clone()
        z[:, numbers] = torch.where(is_known, z[:, numbers], x.to(z))
        return z.masked_fill(absent, math.nan)

    denoiser = numbers_given(chain.denoiser, model.codec, rows, known, absent)
    for state in walk_rows(denoiser, chain.schedule, chain.solver, len(numbers), noise=noise):
        yield replace(
            state,
            t=chain.times[state.t],
            x_t=with_numbers(rows, state.x_t),
            x_0_hat=None if state.x_0_hat is None else with_numbers(rows, state.x_0_hat),
            eps=None if state.eps is None else with_numbers(torch.zeros_like(rows), state.eps),
        )


def _draw_before_numbers(
    model: DiffusionModel, chain: ReverseChain, noise: RowNoise, nothing: EncodedRows
) -> tuple[Tensor, Tensor]:
    """Return encoded rows, (n, k), with dates and all levels drawn, and their mask `known`."""
    rows, known = _draw_dates(model, chain, noise, nothing)
    asked = nothing.in_question
    return draw_levels(model.denoiser, model.codec, rows, known, noise=noise, asked=asked)


def _nothing_known(model: DiffusionModel, n: int) -> EncodedRows:
    """Return encoded rows, (n, k), of which nothing is known."""
    return encode_given(model, np.full((1, model.codec.n_columns), np.nan)).take(np.zeros(n, dtype=np.intp))


@dataclass(frozen=True, eq=False)
class ReverseChain:
    """The chain that a sampler walks, on some of the steps of the model's chain.

    - `denoiser`: the model's.
    - `schedule`: the respaced schedule, whose steps are the visited ones.
    - `times`: the visited steps of the model's chain, increasing, after a 0: `times[t]` is step t of `schedule`.
    """

    denoiser: Denoiser
    schedule: NoiseSchedule
    solver: Solver
    times: list[int]


@in_initial_torch_state
def make_chain(model: DiffusionModel, sampler: Sampler | str | None) -> ReverseChain:
    """Return the chain of a sampler, which may be given by its solver's name; None is the model's default sampler.

    Raises InvalidInput for a solver that does not exist.
    """
    chosen = choose_sampler(model.sampler, model.schedule, sampler, None)
    times = chosen.times(model.schedule)
    return ReverseChain(model.denoiser, model.schedule.respace(times), make_solver(model, chosen, times), [0, *times])


def make_solver(model: DiffusionModel, sampler: Sampler, times: list[int]) -> Solver:
    """Return a sampler's solver on the chain that visits these times."""
    return sampler.solver_class.make(reverse_variances(model, times), sampler.eta)
