"""The exact log-probability of rows under a fitted model, of any of their columns given any others.

    ln p(row) = sum_j ln P(l_j | l_1..l_{j-1}) + ln p(numbers | all levels)

The levels take one evaluation per column (`levels.py`), the numbers the probability-flow ODE with the levels known, and
columns of integers the integral of that density over their cells (`integers.py`). Columns that are neither given nor in
question are absent, and so are missing cells.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from functools import cache, partial
from typing import Literal

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from backwalk import diffusion
from backwalk.diffusion import Linearizable, LogDensity
from backwalk.errors import InvalidInput
from backwalk.limits import is_whole
from backwalk.model.conditions import Encoded, encoded, numbers_given
from backwalk.model.fitted import DiffusionModel
from backwalk.model.integers import N_PLACES, log_mean, places_in_cells
from backwalk.model.levels import levels_log_prob
from backwalk.model.scoring import encode_for_scoring, possible_rows, refuse_no_numbers
from backwalk.sampling import TILE_ROWS, over_tiles, padded_tile
from backwalk.streams import Stream
from backwalk.threads import on_one_thread
from backwalk.torch_state import in_initial_torch_state

MOST_EXACT_COLUMNS, DEFAULT_PROBES = 32, 16  # how the divergence of a log-density is found
_ROWS_AT_ONCE = 2**15  # places of rows of integers whose log-densities are computed before the next ones
_Asked = Callable[[NDArray[np.float64]], Encoded]


@in_initial_torch_state
@on_one_thread
def log_density(
    model: DiffusionModel,
    values: NDArray[np.float64],
    *,
    given: Sequence[int] = (),
    columns: Sequence[int] | None = None,
    order: Sequence[int] | None = None,
    n_intervals: int = 16,
    n_probes: int | None = None,
    n_places: int = N_PLACES,
    stream: Stream | None = None,
    watch: Callable[[int], object] = lambda _: None,
) -> LogDensity:
    """Return the log-probability of columns of rows given other columns, in the user's units: nats per row.

    `given` are the numbers of the columns that are known, and `columns` those in question, by default all others.
    Levels have probabilities, numbers a density under the probability-flow ODE. `order` is that of the blocks of
    levels (`Codec.blocks`), by default the codec's; each order gives a normalised distribution, but not the same one.
    A missing cell (NaN) is integrated out: the result is the marginal of the observed cells.

    In columns of integers it is the log-probability, estimated from p at `n_places` places in the joint cell
    (`integers.py`). The estimate is biased downwards by about half of its squared standard error where that is well
    below 1. Where it is 1 or more, a few places dominate, and the bias is about as large as the standard error.

    The divergence is exact up to 32 numbers, at the cost of one evaluation for each of them and one more each time.
    Beyond, or if `n_probes` is given, it is estimated by that many random sign vectors per row (by default 16). All
    places of a row share these: their error is then nearly the same at all places, and the mean of exp(log p) does not
    turn it into a bias. Probes and places depend only on `stream` (by default a fixed one) and the row's content: a
    row's result does not depend on the other rows, and equal rows have equal results, in tables with levels or gaps up
    to rounding. Draws of different rows are independent, so that their errors average out. `standard_error` is that of
    places and probes together.

    Rows are integrated in tiles; `watch` is called with the number of rows of each. The density is blurred by
    `model.blur`. Rows that the model cannot make have -inf (`Codec.supports`). Raises SamplingDiverged if the network
    returns NaN, and InvalidInput for a pattern for which the model was not trained.
    """
    codec = model.codec
    values = np.asarray(values)
    is_whole_row = not codec.blocks and not len(given) and columns is None and not np.isnan(values).any()
    n_numbers = codec.n_encoded if is_whole_row else len(codec.numbers)
    if n_probes is None and n_numbers > MOST_EXACT_COLUMNS:
        n_probes = DEFAULT_PROBES
    if n_probes is not None and (not is_whole(n_probes) or n_probes < 1):
        raise InvalidInput(f"n_probes should be an integer >= 1 or None, but got {n_probes!r}: 16 is usual.")
    if not is_whole(n_places) or n_places < 1:
        raise InvalidInput(f"n_places should be an integer >= 1, but got {n_places!r}: {N_PLACES} is usual.")
    seed = Stream(0) if stream is None else stream
    asked_of: _Asked | None = None if is_whole_row else partial(encoded, model, given=given, columns=columns)
    in_question = values
    if asked_of is not None:
        absent = np.ones(codec.n_columns, dtype=bool)
        absent[list(range(codec.n_columns)) if columns is None else list(columns)] = False
        absent[list(given)] = True
        in_question = np.where(absent, np.nan, values)
    possible = torch.from_numpy(possible_rows(model, values, given, columns))
    kept = codec.supports(values, model.schema.dtypes)
    kept[:, list(given)] = True
    if not kept.all():  # a value that cannot be made may have no code; such rows have -inf below
        other = codec.decode(np.zeros((1, codec.n_encoded)))
        values = np.where(kept, values, other)
        in_question = np.where(kept | np.isnan(in_question), in_question, other)
    of_places = partial(
        _log_density_of, model, asked_of=asked_of, n_intervals=n_intervals, n_probes=n_probes, stream=seed
    )
    asked = None if asked_of is None else asked_of(values)
    own = encode_for_scoring(model, values).float() if asked is None else asked.rows
    if not codec.n_uniforms:
        result = of_places(values, in_question, own, watch=watch)
    else:
        rows_at_once = max(_ROWS_AT_ONCE // n_places, 1)
        pieces = [LogDensity(*[torch.empty(0, dtype=torch.float64)] * 3)]
        for first in range(0, len(values), rows_at_once):
            piece = slice(first, first + rows_at_once)
            moved, log_r = places_in_cells(codec, in_question[piece], n_places, stream=seed)
            moved = moved.reshape(-1, codec.n_columns)
            places = np.where(np.isnan(moved), np.repeat(values[piece], n_places, axis=0), moved)
            pieces.append(_mean_over_places(of_places(places, moved, own[piece]), torch.from_numpy(log_r)))
            watch(len(log_r))
        names = ("log_prob", "solver_error", "standard_error")
        result = LogDensity(*(torch.cat([getattr(piece, name) for piece in pieces]) for name in names))
    log_prob = result.log_prob
    if asked is not None and codec.blocks:
        log_prob = log_prob + log_prob_of_levels(model, asked, order)
    return replace(result, log_prob=log_prob.where(possible, -torch.inf))


def log_prob_of_levels(model: DiffusionModel, asked: Encoded, order: Sequence[int] | None = None) -> Tensor:
    """Return ln P of the levels in question given the known columns, (n,): see `levels.levels_log_prob`."""

    def tile(first: int, last: int) -> Tensor:
        rows, known, scored = (
            padded_tile(part[first:last], TILE_ROWS) for part in (asked.rows, asked.given, asked.asked)
        )
        log_p = levels_log_prob(model.denoiser, model.codec.blocks, rows, known, scored, order)
        return log_p.sum(dim=1, keepdim=True)

    pieces = over_tiles(tile, 0, len(asked.rows), n_columns=1, device=asked.rows.device)
    log_p = torch.cat([torch.empty(0, 1, dtype=torch.float64), *pieces])[:, 0]
    refuse_no_numbers(log_p, "Log-probabilities")
    return log_p


def _mean_over_places(of_places: LogDensity, log_r: Tensor) -> LogDensity:
    """Return the log-probabilities of rows from the log-densities at their places, (n k,), and ln r there, (n, k).

    The errors of the solver and of the probes are means over the places, weighted as the places contribute. The probes'
    is an upper limit, reached where their errors are the same at all places.
    """
    log_ratio = of_places.log_prob.reshape(log_r.shape) - log_r
    log_prob, standard_error = log_mean(log_ratio)
    share = log_ratio.softmax(dim=1)
    solver_error = (share * of_places.solver_error.reshape(log_r.shape)).sum(dim=1)
    probe_error = (share * of_places.standard_error.reshape(log_r.shape)).sum(dim=1)
    return LogDensity(log_prob, solver_error, standard_error.hypot(probe_error))


def _log_density_of(
    model: DiffusionModel,
    places: NDArray[np.float64],
    in_question: NDArray[np.float64],
    own: Tensor,
    *,
    asked_of: _Asked | None,
    n_intervals: int,
    n_probes: int | None,
    stream: Stream,
    watch: Callable[[int], object] = lambda _: None,
) -> LogDensity:
    """Return the log-density of the numbers at the places of rows, (n k, d), k consecutive ones of each row.

    `own`, (n, n_encoded), are the rows, encoded. They seed the probes, which are the same at all places of a row.
    `in_question` are the places with NaN in columns whose density is not asked for. With `asked_of` the density is that
    of the numbers in question given all levels; without it, that of whole rows of numbers.
    """
    level = model.schedule.noise_level
    low, high = float(level[1]), float(level[-1])
    codec, n_places = model.codec, len(places) // max(len(own), 1)
    asked = None if asked_of is None else asked_of(places)
    z = encode_for_scoring(model, places).float() if asked is None else asked.rows
    numbers = slice(None) if asked is None else torch.from_numpy(codec.numbers).to(z.device)
    width = z.shape[1] if asked is None else len(codec.numbers)
    cut = z.device.type == "cpu" and isinstance(model.denoiser, Linearizable)
    tile_rows = rows_scored_at_once(width if n_probes is None else int(n_probes)) if cut else TILE_ROWS

    def signs(first: int, last: int) -> Tensor | Literal["exact"]:
        if n_probes is None:
            return "exact"
        rows = own[torch.arange(first, min(last, len(z)), device=own.device) // n_places].nan_to_num()
        return _signs(stream, padded_tile(rows, tile_rows), int(n_probes))[..., numbers]

    def tile(first: int, last: int) -> Tensor:
        rows, denoiser, rest = padded_tile(z[first:last], tile_rows), model.denoiser, torch.zeros(tile_rows).double()
        if asked is not None:
            known, in_it = (padded_tile(part[first:last], tile_rows) for part in (asked.given, asked.asked))
            levels = in_it.clone()
            levels[:, numbers] = False
            conditional = numbers_given(model, rows, known | levels, in_it & ~levels)
            rows = rows[:, numbers].masked_fill(conditional.fixed, 0.0)
            if bool(conditional.fixed.all()):
                return torch.zeros(tile_rows, 3, dtype=torch.float64)
            denoiser, rest = conditional, conditional.log_prob_of_rest(low)
        result = diffusion.log_density(
            denoiser, rows, level_min=low, level_max=high, n_intervals=n_intervals, divergence=signs(first, last)
        )
        return torch.stack([result.log_prob - rest, result.solver_error, result.standard_error], dim=1)

    pieces = []
    for piece in over_tiles(tile, 0, len(z), tile_rows, n_columns=3, device=z.device):
        pieces.append(piece)
        watch(len(piece))
    log_prob, solver_error, standard_error = torch.cat([torch.empty(0, 3, dtype=torch.float64), *pieces]).unbind(dim=1)
    refuse_no_numbers(log_prob, "Log-densities")
    volume = torch.from_numpy(codec.log_abs_det_jacobian(in_question))
    return LogDensity(log_prob + volume, solver_error, standard_error)


def rows_scored_at_once(n_tangents: int) -> int:
    """Return the rows of a tile in which a CPU computes log-densities: fewer, the more tangents each row has.

    A single row costs a whole tile, so that tiles should be small, but large enough for the cost of calls not to
    matter: 512 rows in the plane, 256 in 8 dimensions and 128 from 16 on. The number is a power of two, because matrix
    products treat a remainder differently, so that its rows would have other bits.
    """
    most = max(2048 // max(n_tangents, 1), 1)
    return min(max(1 << (most.bit_length() - 1), 128), 512)


def _signs(stream: Stream, z: Tensor, n_probes: int) -> Tensor:
    """Return random signs for rows z, (n, d): (n_probes, n, d), float32.

    A row's signs come from a stream that is named by its bits and not by its number, because the same row may occur
    anywhere in a table.
    """
    d, probes = z.shape[1], stream.child("probes")

    @cache  # the places of a row share its signs, and the last tile is padded with copies
    def of_row(bits: bytes) -> Tensor:
        return probes.child(bits.hex()).uniform(0, n_probes, d)

    rows = (z + 0.0).cpu().numpy()  # -0 becomes 0, the same number
    draws = torch.stack([of_row(row.tobytes()) for row in rows], dim=1)
    return torch.where(draws < 0.5, -1.0, 1.0)
