"""Probabilities of integers from a density of dequantised rows, by importance sampling.

A model's density p is one of dequantised rows. The probability of a row x of integers is the integral of p over the
joint cell of its integer columns,

    P(x) = integral of p(x + u) du,

estimated by the mean of p / r at places drawn from r, half of them from q, the density of dequantisation, and half
uniform in their cells: r = (q + 1) / 2, with a tail beyond the range at its ends in both (`table/dequantisation.py`).
A model of p = P q has p / r < 2 P, and so has one that is flat in its cells, where q is .1 at the edges of each.

The places are consecutive points of Sobol's sequence, shifted at random. The row's own content seeds the shift, so that
equal rows have equal places. Columns on a continuous scale keep their density.

Source: Sobol 1967; Cranley & Patterson 1976; Hesterberg 1995 for r.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
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
from backwalk.table.dequantisation import place_in_cell

if TYPE_CHECKING:
    from backwalk.model.given import Given

N_PLACES = 16  # in the joint cell of a row of integers
_PLACES_AT_ONCE = 2**15  # in the cells of integers, scored together
_CHECKED = 3  # of a row's places, by which the coarse grid is corrected
_MOST_SOBOL_COLUMNS = qmc.Sobol.MAXDIM


def places_in_cells(
    codec: Codec, values: NDArray[np.float64], n_places: int, *, stream: Stream
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Return rows (n, D) at `n_places` places in their cells, (n, n_places, D), and ln r there, (n, n_places)."""
    shifts, points = stream.child("places"), _points(codec.n_uniforms, n_places)

    @cache  # equal rows have equal places
    def shift_of(bits: bytes) -> NDArray[np.float64]:
        return shifts.child(bits.hex()).uniform(0, 1, codec.n_uniforms).numpy()

    n, d = values.shape
    shift = np.concatenate([shift_of(row.tobytes()) for row in values + 0.0])  # -0 becomes 0, the same number
    v = (points + shift[:, None]) % 1.0
    v = np.clip(v, 2.0**-53, 1.0 - 2.0**-53)  # the quantiles at 0 and 1 lie at the cell's edges
    c, n_of_q = codec.cosines, -(-n_places // 2)
    for j in np.flatnonzero(c):  # places u that are uniform are quantiles of q too
        u = v[:, n_of_q:, j] - 0.5
        v[:, n_of_q:, j] = u + 0.5 + c[j] * np.sin(2.0 * np.pi * u) / (2.0 * np.pi)
    v, of_rows = v.reshape(-1, codec.n_uniforms), np.repeat(values, n_places, axis=0)
    places = codec.dequantised_at(of_rows, v)
    u = np.stack([place_in_cell(of_column, of_c) for of_column, of_c in zip(v.T, c, strict=True)], axis=1)
    share = n_of_q / n_places
    log_r = np.log(share + (1.0 - share) * np.exp(codec.log_uniform(places, of_rows, u)))
    log_r += codec.log_dequantisation(places, of_rows)
    return places.reshape(n, n_places, d), log_r.reshape(n, n_places)


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
    places, log_r = places_in_cells(codec, cells, N_PLACES, stream=stream)
    at_places = log_density(places.reshape(-1, cells.shape[1])).reshape(log_r.shape)
    return np.asarray(log_mean(torch.from_numpy(at_places - log_r))[0])


def log_prob_of_integers(given: Given, ode: Ode, n_places: int, watch: Callable[[int], object]) -> LogDensity:
    """Return `log_prob_of_numbers` of rows with integers, from places in their cells."""
    pieces, n_rows = [LogDensity(*[torch.empty(0, dtype=torch.float64)] * 3)], max(_PLACES_AT_ONCE // n_places, 1)
    for first in range(0, given.n_rows, n_rows):
        piece = given.take(np.arange(first, min(first + n_rows, given.n_rows))).then_levels()
        places, log_r = places_in_cells(given.model.codec, piece.cells, n_places, stream=ode.stream)
        pieces.append(_score_places(piece, ode, places, torch.from_numpy(log_r)))
        watch(piece.n_rows)
    return LogDensity(*(torch.cat([getattr(piece, part.name) for piece in pieces]) for part in fields(LogDensity)))


def _score_places(given: Given, ode: Ode, places: NDArray[np.float64], log_r: Tensor) -> LogDensity:
    """Return the log-probabilities of n rows from places in their cells, (n, m, D), and ln r there, (n, m).

    The places of a cell lie close together: half of the grid gives their differences from a few, which alone are
    computed by `ode`.
    """
    n, m = log_r.shape
    fine, checked = replace(ode, with_error=False), sorted({i * m // _CHECKED for i in range(_CHECKED)})
    coarse = replace(fine, n_intervals=max(ode.n_intervals // 4, 1) * 2)

    def score_at(which: Sequence[int], ode: Ode) -> LogDensity:
        at_places = places[:, which].reshape(-1, places.shape[2])
        centres = given.take(np.repeat(np.arange(n), len(which)))
        return log_prob_of_numbers(centres.at(at_places), ode, seeds=centres.rows)

    first, log_p = score_at(checked[:1], ode), score_at(range(m), coarse).log_prob.view(n, m)
    exact = first.log_prob[:, None]
    if len(checked) > 1:
        exact = torch.cat([exact, score_at(checked[1:], fine).log_prob.view(n, -1)], dim=1)
    log_p = log_p + (exact - log_p[:, checked]).mean(dim=1, keepdim=True)
    log_prob, standard_error = log_mean(log_p - log_r)
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
