"""Score rows by a model: the bound on -log p term by term, the log-density, and the denoising errors.

Rows and results are in the user's units.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import replace
from functools import cache, partial
from typing import Literal

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from backwalk import diffusion
from backwalk.diffusion import (
    BoundTerms,
    Denoiser,
    Linearizable,
    LogDensity,
    NoiseSchedule,
    best_steps,
    denoising_error,
    full_covariance_bound,
    merged_terms,
    variational_bound,
)
from backwalk.errors import InvalidInput, SamplingDiverged
from backwalk.limits import BOUND_VARIANCES, FARTHEST_TO_SCORE, GREATEST_LEVEL, is_whole
from backwalk.model.fitted import (
    DiffusionModel,
    check_reverse_variance,
    reverse_variances,
)
from backwalk.model.integers import N_PLACES, log_mean, places_in_cells
from backwalk.sampling import TILE_ROWS, over_tiles, padded_tile, spread_times
from backwalk.streams import Stream
from backwalk.table import Table, complete
from backwalk.threads import on_one_thread, single_threads
from backwalk.torch_state import in_initial_torch_state

MOST_EXACT_COLUMNS, DEFAULT_PROBES = 32, 16  # how the divergence of a log-density is found
N_MEASURED_LEVELS = 64  # noise levels at which a fit measures its denoising error
_ROWS_AT_ONCE = 2**15  # places of rows of integers whose log-densities are computed before the next ones
_FEWEST_ROWS, _MOST_ROWS = 128, 512  # of a bound's piece on a CPU, so that few rows occupy two threads as well
MOST_FULL_COLUMNS = 64  # of a full covariance: 2,048 rows' take 32 MiB, and their eigenvectors seconds per step


@in_initial_torch_state
@on_one_thread
def bound(
    model: DiffusionModel,
    values: NDArray[np.float64],
    *,
    stream: Stream,
    reverse_variance: str | None = None,
    steps: int | Sequence[int] | None = None,
    decoder_variance: float | None = None,
    n_draws: int = 1,
    watch: Callable[[int], object] = lambda _: None,
) -> BoundTerms:
    """Return the bound on -log p of a chain, term by term, for rows in the user's units: nats per row.

    By default the chain is the model's own. `reverse_variance` is one of `BOUND_VARIANCES`; `steps` are the visited
    times, or their number (see `chosen_times`); `decoder_variance`, in squared encoded units, defaults as in
    `reverse_variances`, or with "full" to the covariance from the denoiser's Jacobian. Integers are dequantised by the
    stream, row by row, and the bound is on -log (p / q): its mean over the places in the cells lies above the negative
    log-probability (Jensen). The codec's log |det J| is part of the reconstruction term, and of every row's total. Rows
    are processed in pieces, to save memory. Raises InvalidInput for rows that the model cannot make
    (`refuse_impossible`), and SamplingDiverged if the network returns NaN.
    """
    kind = model.reverse_variance if reverse_variance is None else reverse_variance
    check_reverse_variance(kind, BOUND_VARIANCES)
    if kind == "full" and model.codec.n_encoded > MOST_FULL_COLUMNS:
        raise InvalidInput(
            f'reverse_variance="full" takes at most {MOST_FULL_COLUMNS} columns, but the model has '
            f'{model.codec.n_encoded}: use "optimal".'
        )
    refuse_impossible(model, values)
    codec = model.codec
    rows = codec.dequantise(values, stream=stream.child("dequantisation"))
    volume = torch.from_numpy(codec.log_abs_det_jacobian(rows) - codec.log_dequantisation(rows))
    z = encode_for_scoring(model, rows).float()
    times = chosen_times(model, steps, decoder_variance=decoder_variance)
    schedule = model.schedule.respace(times)
    bound_of: Callable[..., BoundTerms]  # size=1: the fit has checked the scale of its rows
    if kind == "full":
        bound_of = partial(full_covariance_bound, schedule=schedule, decoder_variance=decoder_variance, size=1.0)
    else:
        sigma_sq = reverse_variances(model, times, reverse_variance=kind, decoder_variance=decoder_variance)
        bound_of = partial(variational_bound, schedule=schedule, sigma_sq=sigma_sq, size=1.0)

    piece_rows = min(max(-(-len(z) // 2), _FEWEST_ROWS), _MOST_ROWS) if z.device.type == "cpu" else TILE_ROWS

    def of_piece(first: int) -> BoundTerms:
        piece = slice(first, first + piece_rows)
        return bound_of(
            model.denoiser, z[piece], stream=stream, n_draws=n_draws, first_row=first, log_volume=-volume[piece]
        )

    with single_threads(z.device.type == "cpu") as parallel_map:
        pieces = []
        for piece in parallel_map(of_piece, range(0, len(z), piece_rows)):
            pieces.append(piece)
            watch(piece.n_rows)
        terms = merged_terms(pieces)
    _refuse_no_numbers(terms.per_row, "Bounds")
    return terms


def chosen_times(
    model: DiffusionModel, steps: int | Sequence[int] | None, *, decoder_variance: float | None = None
) -> list[int]:
    """Return the times of the chain for the argument `steps` of `bound`, increasing and ending at n_steps.

    None gives the whole chain. A number K gives the K steps whose bound with optimal scalar variances is least, by the
    measured denoising errors and, if given, the decoder's variance. These steps serve all kinds of reverse variance,
    although others may be slightly better for kinds other than "optimal". A list of times is returned unchanged. Raises
    InvalidInput for anything else.
    """
    n_steps = model.schedule.n_steps
    if steps is None:
        return list(range(1, n_steps + 1))
    if is_whole(steps):
        if not 1 <= steps <= n_steps:
            raise InvalidInput(f"steps should lie in 1..{n_steps}, but got {steps}: the chain has no more.")
        return best_steps(model.schedule, model.denoising_error, int(steps), decoder_variance=decoder_variance)
    if isinstance(steps, np.ndarray) and steps.ndim == 1:
        steps = steps.tolist()
    if isinstance(steps, Sequence) and all(map(is_whole, steps)):
        return [int(t) for t in steps]
    raise InvalidInput(f"steps should be a number of steps, a list of times or None, but got {steps!r}.")


@in_initial_torch_state
@on_one_thread
def log_density(
    model: DiffusionModel,
    values: NDArray[np.float64],
    *,
    n_intervals: int = 16,
    n_probes: int | None = None,
    n_places: int = N_PLACES,
    stream: Stream | None = None,
    watch: Callable[[int], object] = lambda _: None,
) -> LogDensity:
    """Return the log-density of rows under the probability-flow ODE, in the user's units: nats per row.

    In columns of integers it is the log-probability, estimated from p at `n_places` places in the joint cell
    (`integers.py`). The estimate is biased downwards by about half of its squared standard error where that is well
    below 1. Where it is 1 or more, a few places dominate, and the bias is about as large as the standard error.

    The divergence is exact up to 32 encoded columns, at the cost of d + 1 evaluations each time. Beyond, or if
    `n_probes` is given, it is estimated by that many random sign vectors per row (by default 16). All places of a row
    share these: their error is then nearly the same at all places, and the mean of exp(log p) does not turn it into a
    bias. Probes and places depend only on `stream` (by default a fixed one) and the row's content: a row's result does
    not depend on the other rows, and equal rows have equal results. Draws of different rows are independent, so that
    their errors average out. `standard_error` is that of places and probes together.

    Rows are integrated in tiles; `watch` is called with the number of rows of each. The density is blurred by
    `model.blur`. Rows that the model cannot make have -inf (`Codec.supports`). Raises SamplingDiverged if the network
    returns NaN.
    """
    if n_probes is None and model.codec.n_encoded > MOST_EXACT_COLUMNS:
        n_probes = DEFAULT_PROBES
    if n_probes is not None and (not is_whole(n_probes) or n_probes < 1):
        raise InvalidInput(f"n_probes should be an integer >= 1 or None, but got {n_probes!r}: 16 is usual.")
    if not is_whole(n_places) or n_places < 1:
        raise InvalidInput(f"n_places should be an integer >= 1, but got {n_places!r}: {N_PLACES} is usual.")
    seed = Stream(0) if stream is None else stream
    of_places = partial(_log_density_of, model, n_intervals=n_intervals, n_probes=n_probes, stream=seed)
    own = encode_for_scoring(model, values).float()
    if not model.codec.n_uniforms:
        result = of_places(values, own, watch=watch)
    else:
        rows_at_once = max(_ROWS_AT_ONCE // n_places, 1)
        pieces = [LogDensity(*[torch.empty(0, dtype=torch.float64)] * 3)]
        for first in range(0, len(values), rows_at_once):
            piece = slice(first, first + rows_at_once)
            places, log_r = places_in_cells(model.codec, values[piece], n_places, stream=seed)
            at_places = of_places(places.reshape(-1, values.shape[1]), own[piece])
            pieces.append(_mean_over_places(at_places, torch.from_numpy(log_r)))
            watch(len(log_r))
        names = ("log_prob", "solver_error", "standard_error")
        result = LogDensity(*(torch.cat([getattr(piece, name) for piece in pieces]) for name in names))
    possible = torch.from_numpy(possible_rows(model, values))
    return replace(result, log_prob=result.log_prob.where(possible, -torch.inf))


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
    own: Tensor,
    *,
    n_intervals: int,
    n_probes: int | None,
    stream: Stream,
    watch: Callable[[int], object] = lambda _: None,
) -> LogDensity:
    """Return the log-density at the places of rows, (n k, d), k consecutive ones of each row.

    `own`, (n, n_encoded), are the rows, encoded. They seed the probes, which are the same at all places of a row.
    """
    z, n_places = encode_for_scoring(model, places).float(), len(places) // max(len(own), 1)
    level = model.schedule.noise_level
    cut = z.device.type == "cpu" and isinstance(model.denoiser, Linearizable)
    tile_rows = rows_scored_at_once(z.shape[1] if n_probes is None else int(n_probes)) if cut else TILE_ROWS

    def signs(first: int, last: int) -> Tensor | Literal["exact"]:
        if n_probes is None:
            return "exact"
        rows = own[torch.arange(first, min(last, len(z)), device=own.device) // n_places]
        return _signs(stream, padded_tile(rows, tile_rows), int(n_probes))

    def tile(first: int, last: int) -> Tensor:
        result = diffusion.log_density(
            model.denoiser,
            padded_tile(z[first:last], tile_rows),
            level_min=float(level[1]),
            level_max=float(level[-1]),
            n_intervals=n_intervals,
            divergence=signs(first, last),
        )
        return torch.stack([result.log_prob, result.solver_error, result.standard_error], dim=1)

    pieces = []
    for piece in over_tiles(tile, 0, len(z), tile_rows, n_columns=3, device=z.device):
        pieces.append(piece)
        watch(len(piece))
    log_prob, solver_error, standard_error = torch.cat([torch.empty(0, 3, dtype=torch.float64), *pieces]).unbind(dim=1)
    _refuse_no_numbers(log_prob, "Log-densities")
    volume = torch.from_numpy(model.codec.log_abs_det_jacobian(places))
    return LogDensity(log_prob + volume, solver_error, standard_error)


def rows_scored_at_once(n_tangents: int) -> int:
    """Return the rows of a tile in which a CPU computes log-densities: fewer, the more tangents each row has.

    A single row costs a whole tile, so that tiles should be small, but large enough for the cost of calls not to
    matter: 512 rows in the plane, 256 in 8 dimensions and 128 from 16 on. The number is a power of two, because matrix
    products treat a remainder differently, so that its rows would have other bits.
    """
    most = max(2048 // max(n_tangents, 1), 1)
    return min(max(1 << (most.bit_length() - 1), 128), 512)


def _refuse_no_numbers(of_rows: Tensor, what: str) -> None:
    broken = of_rows.isnan().nonzero().flatten()
    if len(broken):
        raise SamplingDiverged(
            f"{what} should be numbers, but row {int(broken[0])} (rows count from 0) has none: "
            "fit again with a `training` of lower learning_rate."
        )


def ranks(scores: NDArray[np.float64], reference: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return, for each score, (n,), the share of the reference scores, (m,), that are no higher."""
    places = np.searchsorted(np.sort(reference), scores, side="right")
    return np.asarray(places / max(len(reference), 1))


def possible_rows(model: DiffusionModel, values: NDArray[np.float64]) -> NDArray[np.bool_]:
    """Return which rows (n, d) the model can make: see `Codec.supports`."""
    return np.asarray(model.codec.supports(values, model.schema.dtypes).all(axis=1))


def impossible_words(model: DiffusionModel, values: NDArray[np.float64], name: str = "X") -> str | None:
    """Describe the rows (n, d) that the model cannot make, see `Codec.supports`; None if it can make all.

    Such rows have no finite bound, no latents, and a log-density of -inf.
    """
    held = model.codec.supports(values, model.schema.dtypes)
    differ = np.flatnonzero(~held.all(axis=1))
    if not len(differ):
        return None
    row = int(differ[0])
    j = int(held[row].argmin())
    others = len(differ) - 1
    more = f", and {others:,} more row{' differs' if others == 1 else 's differ'}" if others else ""
    return (
        f"{name} should hold values that the model can make, but got {values[row, j]} at row {row} (rows count from 0) "
        f"in {model.schema.label(j)}, which is {model.codec.columns[j].description}{more}"
    )


def refuse_impossible(model: DiffusionModel, values: NDArray[np.float64], name: str = "X") -> None:
    """Raise InvalidInput for rows (n, d) that the model cannot make: see `impossible_words`."""
    words = impossible_words(model, values, name)
    if words:
        raise InvalidInput(f"{words}: drop such rows, or include some in the fit.")


def encode_for_scoring(model: DiffusionModel, values: NDArray[np.float64]) -> Tensor:
    """Return encoded rows, not dequantised, in float64 on the network's device.

    Raises InvalidInput for rows beyond the network's range, and for missing values.
    """
    z = model.codec.encode(complete(Table(values, model.schema)).values)
    far = np.flatnonzero(np.abs(z).max(axis=1) > FARTHEST_TO_SCORE)
    if len(far):
        raise InvalidInput(
            f"Rows should lie within {FARTHEST_TO_SCORE:.0e} scales of the fitted ones, but row {far[0]} (rows count "
            "from 0) does not: drop it."
        )
    return torch.from_numpy(z).to(model.denoiser.device)


@on_one_thread
def measured_denoising_error(
    denoiser: Denoiser, z: Tensor, schedule: NoiseSchedule, *, stream: Stream, n_levels: int = N_MEASURED_LEVELS
) -> Tensor:
    """Return m_t for every step of a chain, from about `n_levels` of its steps: (n_steps + 1,), float64.

    The measured steps are spread evenly in the log-SNR, including the first and the last one. Between them ln m_t,
    which is smooth in the log-SNR for any schedule, is interpolated.
    """
    # Increasing. The last levels of a chain that ends in pure noise are clamped to one.
    place = -schedule.log_snr[1:].clamp(min=-2.0 * math.log(GREATEST_LEVEL)).numpy()
    times = sorted({1, *spread_times(place, min(n_levels, schedule.n_steps))})
    with single_threads(z.device.type == "cpu") as parallel_map:
        rows = z.repeat(-(-2048 // len(z)), 1)  # copies of few rows are faster than many draws
        chain = schedule.respace(times)
        measured = denoising_error(denoiser, rows, chain, stream=stream, parallel_map=parallel_map)[1:]
    at = place[np.array(times) - 1]
    return torch.from_numpy(np.concatenate([[0.0], np.exp(np.interp(place, at, measured.clamp(min=1e-30).log()))]))


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
