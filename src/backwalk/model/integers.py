"""Probabilities of integers from a density of dequantised rows, by importance sampling.

A model's density p is one of dequantised rows. The probability of a row x of integers is the integral of p over the
joint cell of its integer columns,

    P(x) = integral of p(x + u) du,

estimated by the mean of p / q at places drawn from q, the density of dequantisation: uniform in a cell, and with a tail
beyond the range at its ends (`table/dequantisation.py`). So p / q = P(x) for a model of p = P q.

The places are consecutive points of Sobol's sequence, shifted at random. The row's own content seeds the shift, so that
equal rows have equal places. Columns on a continuous scale keep their density.

Source: Sobol 1967; Cranley & Patterson 1976.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import fields, replace
from functools import cache
from typing import TYPE_CHECKING

import numpy as np
import torch
from numpy.typing import NDArray
from scipy.stats import qmc
from torch import Tensor

from backwalk.diffusion import LogDensity
from backwalk.model.numbers import Ode, log_prob_of_numbers
from backwalk.streams import Stream
from backwalk.table import Codec

if TYPE_CHECKING:
    from backwalk.model.given import Given

N_PLACES = 16  # in the joint cell of a row of integers
_PLACES_AT_ONCE = 2**15  # in the cells of integers, scored together
_MOST_SOBOL_COLUMNS = qmc.Sobol.MAXDIM


def places_in_cells(
    codec: Codec, values: NDArray[np.float64], n_places: int, *, stream: Stream
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Return rows (n, D) at `n_places` places in their cells, (n, n_places, D), and ln q there, (n, n_places)."""
    shifts, points = stream.child("places"), _points(codec.n_uniforms, n_places)

    @cache  # equal rows have equal places
    def shift_of(bits: bytes) -> NDArray[np.float64]:
        return shifts.child(bits.hex()).uniform(0, 1, codec.n_uniforms).numpy()

    n, d = values.shape
    shift = np.concatenate([shift_of(row.tobytes()) for row in values + 0.0])  # -0 becomes 0, the same number
    v = (points + shift[:, None]) % 1.0
    v = np.clip(v, 2.0**-53, 1.0 - 2.0**-53)  # the quantiles at 0 and 1 lie at the cell's edges
    of_rows = np.repeat(values, n_places, axis=0)
    places = codec.dequantised_at(of_rows, v.reshape(-1, codec.n_uniforms))
    return places.reshape(n, n_places, d), codec.log_dequantisation(places, of_rows).reshape(n, n_places)


def log_prob_of_rows(
    log_density: Callable[[NDArray[np.float64]], NDArray[np.float64]],
    codec: Codec,
    values: NDArray[np.float64],
    *,
    stream: Stream,
) -> NDArray[np.float64]:
    """Return the log-density of rows (n, d), with the log-probability of integers: (n,), nats.

    `log_density` is a model's log-density of dequantised rows, in the user's units.
    """
    cells = np.where(codec.drawn_cells, codec.cells(values), np.nan)
    if not codec.n_uniforms:
        return log_density(cells)
    places, log_q = places_in_cells(codec, cells, N_PLACES, stream=stream)
    at_places = log_density(places.reshape(-1, cells.shape[1])).reshape(log_q.shape)
    return np.asarray(log_mean(torch.from_numpy(at_places - log_q))[0])


def log_prob_of_integers(given: Given, ode: Ode, n_places: int, watch: Callable[[int], object]) -> LogDensity:
    """Return `log_prob_of_numbers` of rows with integers, from places in their cells."""
    pieces, n_rows = [LogDensity(*[torch.empty(0, dtype=torch.float64)] * 3)], max(_PLACES_AT_ONCE // n_places, 1)
    for first in range(0, given.n_rows, n_rows):
        piece = given.take(np.arange(first, min(first + n_rows, given.n_rows))).then_levels()
        places, log_q = places_in_cells(given.model.codec, piece.cells, n_places, stream=ode.stream)
        pieces.append(_score_places(piece, ode, places, torch.from_numpy(log_q)))
        watch(piece.n_rows)
    return LogDensity(*(torch.cat([getattr(piece, part.name) for piece in pieces]) for part in fields(LogDensity)))


def _score_places(given: Given, ode: Ode, places: NDArray[np.float64], log_q: Tensor) -> LogDensity:
    """Return the log-probabilities of n rows from places in their cells, (n, m, D), and ln q there, (n, m).

    The places of a cell lie close together: half of the grid gives their differences from the first, which alone is
    computed by `ode`.
    """
    n, m = log_q.shape
    coarse = replace(ode, with_error=False, n_intervals=max(ode.n_intervals // 4, 1) * 2)

    def score_at(which: range, ode: Ode) -> LogDensity:
        at_places = places[:, which].reshape(-1, places.shape[2])
        centres = given.take(np.repeat(np.arange(n), len(which)))
        return log_prob_of_numbers(centres.at(at_places), ode, seeds=centres.rows)

    first, every = score_at(range(1), ode), score_at(range(m), coarse).log_prob.view(n, m)
    log_p = every + (first.log_prob[:, None] - every[:, :1])
    log_prob, standard_error = log_mean(log_p - log_q)
    # The errors of probes are nearly the same at all places, which share them.
    return LogDensity(log_prob, first.solver_error, standard_error.hypot(first.standard_error))


def log_mean(log_ratio: Tensor) -> tuple[Tensor, Tensor]:
    """Return the logarithm of the mean of exp(log_ratio), (n, k), over a row's k places, and its standard error.

    Both are (n,). The standard error is s sqrt(1 + g^2). s is the standard error of the mean relative to the mean. It
    treats places as independent, an upper bound for stratified ones, and is at most about 1 even if a few places
    dominate and the estimate is far too low. So g adds the unevenness of the ratios: it is ln mean - mean ln (Jensen's
    gap), near 0 for even ratios and about the bias for very uneven ones.
    If all places have -inf, the result is -inf with an error of NaN. The error is also NaN for one place.
    """
    k = log_ratio.shape[1]
    most = log_ratio.max(dim=1, keepdim=True).values.clamp(min=torch.finfo(log_ratio.dtype).min)
    ratio = (log_ratio - most).exp()
    mean = ratio.mean(dim=1)
    log_p = most[:, 0] + mean.log()
    if k == 1:
        return log_p, torch.full_like(log_p, math.nan)
    above = log_ratio.isfinite()
    n_above = above.sum(dim=1)
    gap = log_ratio.logsumexp(dim=1) - n_above.log() - log_ratio.where(above, 0.0).sum(dim=1) / n_above
    return log_p, ratio.std(dim=1) / k**0.5 / mean * (1.0 + gap.square()).sqrt()


def _points(d: int, n: int) -> NDArray[np.float64]:
    """Return n points of low discrepancy, (n, d): Sobol's sequence; columns repeat beyond its largest dimension."""
    sobol = min(d, _MOST_SOBOL_COLUMNS)
    points = qmc.Sobol(sobol, scramble=False).random_base2(max(n - 1, 0).bit_length())[:n]
    return np.asarray(points[:, np.arange(d) % sobol])
