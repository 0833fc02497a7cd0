"""The variational bound of a fitted model, and the denoising errors that it needs, for rows in the user's units."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from backwalk.diffusion import (
    BoundTerms,
    Denoiser,
    NoiseSchedule,
    add_levels,
    collect_terms,
    denoising_error,
    merge_terms,
    variational_bound,
)
from backwalk.limits import GREATEST_LEVEL
from backwalk.model.copies import log_prob_of_copies
from backwalk.model.diffusion_model import DiffusionModel, check_reverse_variance, reverse_variances
from backwalk.model.given import Given
from backwalk.model.levels import log_prob_of_levels
from backwalk.model.numbers import denoiser_of_numbers
from backwalk.model.possible import refuse_impossible
from backwalk.model.tiles import refuse_nan
from backwalk.sampling import TILE_ROWS, spread_times
from backwalk.streams import Stream
from backwalk.threads import on_one_thread, single_threads
from backwalk.torch_state import in_initial_torch_state

N_MEASURED_LEVELS = 64  # noise levels at which a fit measures its denoising error
_FEWEST_ROWS, _MOST_ROWS = 128, 512  # of a bound's piece on a CPU, so that few rows occupy two threads as well


@in_initial_torch_state
@on_one_thread
def bound(
    model: DiffusionModel,
    values: NDArray[np.float64],
    *,
    stream: Stream,
    reverse_variance: str | None = None,
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
        The reverse variances: "beta", "beta_tilde" or "optimal". The model's own by default.
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
    check_reverse_variance(kind)
    values = np.asarray(values)
    refuse_impossible(model, values)
    codec = model.codec
    rows = Given.to_score(model, values)
    places = codec.dequantise(rows.cells, stream=stream.child("dequantisation"))
    log_volume = torch.from_numpy(codec.log_dequantisation(places, rows.cells) - codec.log_abs_det_jacobian(places))
    rows = rows.at(places)
    of_numbers = rows.then_levels()
    times = list(range(1, model.schedule.n_steps + 1))
    sigma_sq = reverse_variances(model, times, reverse_variance=kind, decoder_variance=decoder_variance)
    options = {"sigma_sq": sigma_sq, "stream": stream, "n_draws": n_draws}
    if bool(of_numbers.is_free[:, codec.numbers].any()):
        terms = _bound_numbers(of_numbers, log_volume, options, watch=watch)
    else:
        nothing = torch.zeros(rows.n_rows, dtype=torch.float64)
        terms = collect_terms(nothing, nothing, [nothing.expand(model.schedule.n_steps - 1, -1)])
        watch(rows.n_rows)
    if codec.blocks:
        terms = add_levels(terms, -log_prob_of_levels(rows) - log_prob_of_copies(rows))
    refuse_nan(terms.per_row, "Bounds")
    return terms


def _bound_numbers(
    given: Given,
    log_volume: Tensor,
    options: dict[str, Any],
    *,
    watch: Callable[[int], object],
) -> BoundTerms:
    """Return the bound of the numbers of rows given their levels, in pieces; each row has its own noise.

    Where rows have different free numbers, these are counted.
    """
    n_rows, device = given.n_rows, given.rows.device
    numbers = torch.from_numpy(given.model.codec.numbers).to(device)
    numbers = numbers[given.is_free[:, numbers].any(dim=0)]
    piece_rows = min(max(-(-n_rows // 2), _FEWEST_ROWS), _MOST_ROWS) if device.type == "cpu" else TILE_ROWS

    def bound_piece(first: int) -> BoundTerms:
        piece = given.take(np.arange(first, min(first + piece_rows, n_rows)))
        is_counted = piece.is_free[:, numbers]
        return variational_bound(
            denoiser_of_numbers(piece, numbers),
            piece.rows[:, numbers].masked_fill(~is_counted, 0.0),
            given.model.schedule,
            first_row=first,
            log_volume=log_volume[first : first + piece_rows],
            counted=None if bool(is_counted.all()) else is_counted,
            size=1.0,  # the fit has checked the scale of its rows
            **options,
        )

    with single_threads(device.type == "cpu") as parallel_map:
        pieces = []
        for piece in parallel_map(bound_piece, range(0, n_rows, piece_rows)):
            pieces.append(piece)
            watch(piece.n_rows)
    return merge_terms(pieces)


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
    if not z.shape[1] or (is_free is not None and not is_free.any()):  # no numbers: as if standard normal
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
