"""Probabilities of integers from a density of dequantised rows, by importance sampling.

A model's density p is one of dequantised rows. The probability of a row x of integers is the integral of p over the
joint cell of its integer columns,

    P(x) = integral of p(x + u) du,

estimated by the mean of p / r at places drawn from a mixture of product densities over the columns,

    r(u) = sum over w of a_w prod_j (1 + w c_j cos(2 pi u_j)),    w in {1, 0.8, 0.5, 0},

where a_w is the share of the places drawn from component w, and c_j is 1 for a column dequantised by the cosine, 0 for
the uniform density. The cells at the ends of a range have tails beyond it (`table/dequantisation.py`), longer ones for
smaller w. Component 1 is the dequantisation density q itself. Every place is weighted by the whole mixture (the balance
heuristic), so p / r <= 1 / a_1 for a model of p = P q, in any number of columns. The wider components cover what a
model spreads towards the edges of the cells, where p / q has no bound.

The places of a component are consecutive points of Sobol's sequence, shifted at random. The row's own content seeds the
shift, so that equal rows have equal places. Columns on a continuous scale keep their density.

Source: Veach & Guibas 1995; Hesterberg 1995; Owen & Zhou 2000.
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
from scipy.special import logsumexp
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
_FEW_NUMBERS = 8  # whose divergence is exact at all places
_CHECKED, _SAME_CHANGE = 3, 0.02  # places in a cell, and by how many nats their changes may differ as the same
_SHARPNESSES = (1.0, 0.8, 0.5, 0.0)  # w of the components of the mixture
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
    places, parts = np.empty((n, n_places, d)), _components(n_places)
    for part, sharpness in zip(parts, _SHARPNESSES, strict=True):
        copies, of_part = np.repeat(values, _length(part), axis=0), v[:, part].reshape(-1, codec.n_uniforms)
        places[:, part] = codec.dequantised_at(copies, of_part, sharpness=sharpness).reshape(n, -1, d)
    rows, shares = places.reshape(-1, d), np.array([_length(part) for part in parts]) / n_places
    used = [(share, factor) for share, factor in zip(shares, _SHARPNESSES, strict=True) if share]
    of_rows = np.repeat(values, n_places, axis=0)
    of_components = [
        np.log(share) + codec.log_dequantisation(rows, of_rows, sharpness=factor) for share, factor in used
    ]
    log_r = logsumexp(of_components, axis=0)
    return places, np.asarray(log_r).reshape(n, n_places)


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
    """Return the log-probabilities of n rows from places in their cells, (n, m, D), drawn from the density r, (n, m).

    Of many places, a rough computation tells the differences: on a quarter of the grid, and with one probe for many
    numbers. Three places, that do not depend on the rough results, are computed by `ode`. Where these change by the
    same there, as in narrow cells, the mean change is added at all places. Other rows are computed by `ode` at all.
    """
    n, m = log_r.shape

    def score_at(ode: Ode, rows: NDArray[np.intp], which: Tensor) -> LogDensity:
        """Return the log-densities of rows, (k,), at the places `which`, (k, p): (k p,)."""
        centres = given.take(np.repeat(rows, which.shape[1]))
        at_places = centres.at(places[rows[:, None], which.numpy()].reshape(-1, places.shape[2]))
        return log_prob_of_numbers(at_places, ode, seeds=centres.rows)

    every, all_places, fine = np.arange(n), torch.arange(m).expand(n, m), replace(ode, with_error=False)
    first = score_at(ode, every, all_places[:, :1])
    if m <= _CHECKED:
        others = score_at(fine, every, all_places[:, 1:]).log_prob.view(n, m - 1)
        log_p = torch.cat([first.log_prob[:, None], others], dim=1)
    else:
        numbers = torch.from_numpy(given.model.codec.numbers).to(given.rows.device)
        is_few = int(given.is_free[:, numbers].any(dim=0).sum()) <= _FEW_NUMBERS
        n_probes = ode.n_probes if is_few else 1
        rough = replace(fine, n_intervals=max(ode.n_intervals // 8, 1) * 2, n_probes=n_probes)
        log_p = score_at(rough, every, all_places).log_prob.view(n, m)
        checked = all_places[:, [i * m // _CHECKED for i in range(_CHECKED)]]
        others = score_at(fine, every, checked[:, 1:]).log_prob.view(n, _CHECKED - 1)
        change = torch.cat([first.log_prob[:, None], others], dim=1) - log_p.gather(1, checked)
        is_same = change.amax(dim=1) - change.amin(dim=1) <= _SAME_CHANGE  # not where one is NaN
        log_p += change.mean(dim=1, keepdim=True)
        again = (~is_same).nonzero().flatten()
        log_p[again] = score_at(fine, again.numpy(), all_places[again]).log_prob.view(-1, m)
    log_prob, standard_error = log_mean(log_p - log_r)
    # The errors of probes are nearly the same at all places, which share them.
    return LogDensity(log_prob, first.solver_error, standard_error.hypot(first.standard_error))


def log_mean(log_ratio: Tensor) -> tuple[Tensor, Tensor]:
    """Return the logarithm of the mean of exp(log_ratio), (n, k), over a row's k places, and its standard error.

    Both are (n,). The standard error is s sqrt(1 + g^2). s is the standard error of the mean relative to the mean, from
    the variances within the components of the mixture. It treats the places of a component as independent, an upper
    bound for stratified ones, and is at most about 1 even if a few places dominate and the estimate is far too low. So
    g adds the unevenness of the weights: it is ln mean - mean ln (Jensen's gap) within the component that contributes
    most, near 0 for even weights and about the bias for very uneven ones. Fewer than 8 places count as one component.
    If all places have -inf, the result is -inf with an error of NaN. The error is also NaN for one place.
    """
    k = log_ratio.shape[1]
    most = log_ratio.max(dim=1, keepdim=True).values.clamp(min=torch.finfo(log_ratio.dtype).min)
    ratio = (log_ratio - most).exp()
    mean = ratio.mean(dim=1)
    log_p = most[:, 0] + mean.log()
    if k == 1:
        return log_p, torch.full_like(log_p, math.nan)
    parts = _components(k) if k >= 2 * len(_SHARPNESSES) else [slice(0, k)]
    variance = sum(_length(part) * ratio[:, part].var(dim=1) for part in parts) / k**2
    contribution = torch.stack([ratio[:, part].sum(dim=1) for part in parts])
    gap = torch.stack([_jensen_gap(log_ratio[:, part]) for part in parts])
    gap = gap.gather(0, contribution.argmax(dim=0, keepdim=True))[0]
    return log_p, torch.as_tensor(variance).sqrt() / mean * (1.0 + gap.square()).sqrt()


def _jensen_gap(log_ratio: Tensor) -> Tensor:
    """Return ln mean - mean ln of the ratios above 0, (n,), from their logarithms, (n, m)."""
    above = log_ratio.isfinite()
    n_above = above.sum(dim=1)
    mean_log = log_ratio.where(above, 0.0).sum(dim=1) / n_above
    return log_ratio.logsumexp(dim=1) - n_above.log() - mean_log


def _components(n: int) -> list[slice]:
    """Return which of n places are drawn from each component: equal shares, where n allows it."""
    m = len(_SHARPNESSES)
    return [slice(-(-i * n // m), -(-(i + 1) * n // m)) for i in range(m)]


def _length(part: slice) -> int:
    return int(part.stop - part.start)


def _points(d: int, n: int) -> NDArray[np.float64]:
    """Return n points of low discrepancy, (n, d): Sobol's sequence; columns repeat beyond its largest dimension."""
    sobol = min(d, _MOST_SOBOL_COLUMNS)
    points = qmc.Sobol(sobol, scramble=False).random_base2(max(n - 1, 0).bit_length())[:n]
    return np.asarray(points[:, np.arange(d) % sobol])
