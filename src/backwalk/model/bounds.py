"""The variational bound of a fitted model, and the denoising errors that it needs, for rows in the user's units."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import replace
from functools import partial

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from backwalk.diffusion import (
    BoundTerms,
    Denoiser,
    NoiseSchedule,
    add_levels,
    best_steps,
    collect_terms,
    denoising_error,
    full_covariance_bound,
    merge_terms,
    variational_bound,
)
from backwalk.errors import InvalidInput
from backwalk.limits import BOUND_VARIANCES, GREATEST_LEVEL, is_whole
from backwalk.model.diffusion_model import DiffusionModel, check_reverse_variance, reverse_variances
from backwalk.model.given import Given
from backwalk.model.levels import log_prob_of_levels
from backwalk.model.numbers import denoiser_of_numbers
from backwalk.model.possible import refuse_impossible
from backwalk.model.tiles import refuse_no_numbers
from backwalk.sampling import TILE_ROWS, spread_times
from backwalk.streams import Stream
from backwalk.threads import on_one_thread, single_threads
from backwalk.torch_state import in_initial_torch_state

N_MEASURED_LEVELS = 64  # noise levels at which a fit measures its denoising error
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
    """Return the bound on -log p of a model's chain, term by term.

    The chain is that of all numbers, dates among them, given all levels.

    Parameters
    ----------
    model : DiffusionModel
        The model, `model_` of an estimator.
    values : ndarray of shape (n, d)
        The rows, in the user's units.
    stream : Stream
        The random noise, and the places of dequantised integers.
    reverse_variance : str, optional
        The reverse variances: "beta", "beta_tilde", "optimal" or "full", the covariance from the denoiser's Jacobian.
        The model's own by default.
    steps : int or sequence of int, optional
        The number of visited steps, or the steps themselves: all by default.
    decoder_variance : float, optional
        The variance of p_theta(x_0 | x_1), in squared encoded units.
    n_draws : int, default=1
        The number of draws of noise for each row and step.
    watch : callable, optional
        Called with the number of rows of each piece.

    Returns
    -------
    BoundTerms
        The terms, in nats per row and the user's units.

    Raises
    ------
    InvalidInput
        For rows that the model cannot make.
    SamplingDiverged
        If the network returns NaN.

    See Also
    --------
    backwalk.Diffusion.bound : The method of the estimator.
    log_density : The log-probability of rows.
    backwalk.diffusion.variational_bound : The bound of any denoiser.

    Notes
    -----
    Of integers the bound is on `-log (p / q)`: its mean over the places in the cells lies above the negative
    log-probability (Jensen). The codec's `log |det J|` is part of the reconstruction term, and of each row's total.

    Examples
    --------
    >>> from backwalk import Diffusion
    >>> from backwalk.datasets import two_moons
    >>> from backwalk.model import bound
    >>> from backwalk.streams import Stream
    >>> X = two_moons().sample(100, random_state=0)
    >>> model = Diffusion(n_steps=20, max_steps=20, random_state=0, verbose=False).fit(X)
    >>> bound(model.model_, X, stream=Stream(0)).n_rows
    100
    """
    kind = model.reverse_variance if reverse_variance is None else reverse_variance
    check_reverse_variance(kind, BOUND_VARIANCES)
    if kind == "full" and model.codec.n_encoded > MOST_FULL_COLUMNS:
        raise InvalidInput(
            f'reverse_variance="full" takes at most {MOST_FULL_COLUMNS} columns, but the model has '
            f'{model.codec.n_encoded}: use "optimal".'
        )
    values = np.asarray(values)
    refuse_impossible(model, values)
    codec = model.codec
    rows = Given.to_score(model, values)
    places = codec.dequantise(rows.cells, stream=stream.child("dequantisation"))
    log_volume = torch.from_numpy(codec.log_dequantisation(places, rows.cells) - codec.log_abs_det_jacobian(places))
    rows = rows.at(places)
    of_numbers = rows.then_levels()
    times = choose_times(model, steps, decoder_variance=decoder_variance)
    schedule = model.schedule.respace(times)
    bound_of: Callable[..., BoundTerms]  # size=1: the fit has checked the scale of its rows
    if kind == "full":
        bound_of = partial(full_covariance_bound, schedule=schedule, decoder_variance=decoder_variance, size=1.0)
    else:
        sigma_sq = reverse_variances(model, times, reverse_variance=kind, decoder_variance=decoder_variance)
        bound_of = partial(variational_bound, schedule=schedule, sigma_sq=sigma_sq, size=1.0)
    bound_of = partial(bound_of, stream=stream, n_draws=n_draws)
    is_free = of_numbers.is_free[:, codec.numbers].cpu()
    groups = [torch.arange(rows.n_rows)]
    if kind == "full" and len(codec.numbers):  # the rows of a full covariance have the same numbers
        groups = [(is_free == pattern).all(dim=1).nonzero().flatten() for pattern in torch.unique(is_free, dim=0)]
    pieces, first_row = list[BoundTerms](), 0
    for group in groups:
        if bool(is_free[group].any()):
            of_group = of_numbers.take(group.numpy())
            pieces += _bound_numbers(of_group, log_volume[group], bound_of, first_row=first_row, watch=watch)
        else:
            nothing = torch.zeros(len(group), dtype=torch.float64)
            pieces.append(collect_terms(nothing, nothing, [nothing.expand(schedule.n_steps - 1, -1)]))
            watch(len(group))
        first_row += len(group)
    terms = merge_terms(pieces)
    terms = replace(terms, per_row=terms.per_row[torch.cat(groups).argsort()])
    if codec.blocks:
        terms = add_levels(terms, -log_prob_of_levels(rows))
    refuse_no_numbers(terms.per_row, "Bounds")
    return terms


def _bound_numbers(
    given: Given,
    log_volume: Tensor,
    bound_of: Callable[..., BoundTerms],
    *,
    first_row: int,
    watch: Callable[[int], object],
) -> list[BoundTerms]:
    """Return the bounds of the numbers of rows given their levels, in pieces; each row has its own noise.

    `first_row` is the number of the first row in the streams of noise. Where rows have different free numbers, these
    are counted.
    """
    n_rows, device = given.n_rows, given.rows.device
    numbers = torch.from_numpy(given.model.codec.numbers).to(device)
    numbers = numbers[given.is_free[:, numbers].any(dim=0)]
    piece_rows = min(max(-(-n_rows // 2), _FEWEST_ROWS), _MOST_ROWS) if device.type == "cpu" else TILE_ROWS

    def bound_piece(first: int) -> BoundTerms:
        piece = given.take(np.arange(first, min(first + piece_rows, n_rows)))
        options = {"first_row": first_row + first, "log_volume": log_volume[first : first + piece_rows]}
        is_counted = piece.is_free[:, numbers]
        if not bool(is_counted.all()):
            options["counted"] = is_counted
        return bound_of(
            denoiser_of_numbers(piece, numbers), piece.rows[:, numbers].masked_fill(~is_counted, 0.0), **options
        )

    with single_threads(device.type == "cpu") as parallel_map:
        pieces = []
        for piece in parallel_map(bound_piece, range(0, n_rows, piece_rows)):
            pieces.append(piece)
            watch(piece.n_rows)
    return pieces


def choose_times(
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


@on_one_thread
def measure_denoising_error(
    denoiser: Denoiser,
    z: Tensor,
    schedule: NoiseSchedule,
    *,
    stream: Stream,
    n_levels: int = N_MEASURED_LEVELS,
    is_free: Tensor | None = None,
) -> Tensor:
    """Return m_t for every step of a chain, from about `n_levels` of its steps: (n_steps + 1,), float64.

    Of the coordinates of z, (n, i), those that are free count, by default all. The measured steps are spread evenly in
    the log-SNR, including the first and the last one. Between them ln m_t, which is smooth in the log-SNR for any
    schedule, is interpolated.
    """
    # Increasing. The last levels of a chain that ends in pure noise are clamped to one.
    place = -schedule.log_snr[1:].clamp(min=-2.0 * math.log(GREATEST_LEVEL)).numpy()
    times = sorted({1, *spread_times(place, min(n_levels, schedule.n_steps))})
    if not z.shape[1]:  # levels alone: nothing is denoised
        return schedule.one_minus_alpha_bar
    with single_threads(z.device.type == "cpu") as parallel_map:
        copies = -(-2048 // len(z))  # of few rows are faster than many draws
        rows, counted = (
            z.repeat(copies, 1),
            None if is_free is None or bool(is_free.all()) else is_free.repeat(copies, 1),
        )
        chain = schedule.respace(times)
        measured = denoising_error(denoiser, rows, chain, stream=stream, counted=counted, parallel_map=parallel_map)[1:]
    at = place[np.array(times) - 1]
    return torch.from_numpy(np.concatenate([[0.0], np.exp(np.interp(place, at, measured.clamp(min=1e-30).log()))]))
