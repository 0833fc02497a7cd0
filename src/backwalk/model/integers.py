"""Probabilities of integers from a density of dequantised rows.

A model's density p is one of dequantised rows. The probability of a row x of integers is the integral of p over the
joint cell of its integer columns,

    P(x) = integral of p(x + u) du = E_{u ~ r} [p(x + u) / r(u)],

estimated by the mean of p / r at a few places: Sobol's points, shifted at random, the shift seeded by the row's own
content, so that equal rows have equal places. In each column r is the density 1 + c cos(2 pi u) with half of the c by
which the column was dequantised. With the whole c, r would be 0 at the edges of a cell, where a model has some density
of the next integer, and p / r would be unbounded. Columns on a continuous scale keep their density.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from functools import cache

import numpy as np
import torch
from numpy.typing import NDArray
from scipy.stats import qmc
from torch import Tensor

from backwalk.streams import Stream
from backwalk.table import Codec

N_PLACES = 16  # in the joint cell of a row of integers
_WEIGHT = 0.5  # of the cosine, in r
_MOST_SOBOL_COLUMNS = qmc.Sobol.MAXDIM


def places_in_cells(
    codec: Codec, values: NDArray[np.float64], n_places: int, *, stream: Stream
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Return rows (n, d) at `n_places` places in their cells, (n, n_places, d), and ln r there, (n, n_places)."""
    shifts, points = stream.child("places"), _points(codec.n_uniforms, n_places)

    @cache  # equal rows have equal places
    def shift_of(bits: bytes) -> NDArray[np.float64]:
        return shifts.child(bits.hex()).uniform(0, 1, codec.n_uniforms).numpy()

    n, d = values.shape
    shift = np.concatenate([shift_of(row.tobytes()) for row in values + 0.0])  # -0 becomes 0, the same number
    v = (points + shift[:, None]) % 1.0
    v = np.clip(v, 2.0**-53, 1.0 - 2.0**-53)  # the quantiles at 0 and 1 lie at the cell's edges
    rows = codec.dequantised_at(np.repeat(values, n_places, axis=0), v.reshape(n * n_places, -1), weight=_WEIGHT)
    return rows.reshape(n, n_places, d), codec.log_dequantisation(rows, weight=_WEIGHT).reshape(n, n_places)


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
    if not codec.n_uniforms:
        return log_density(values)
    places, log_r = places_in_cells(codec, values, N_PLACES, stream=stream)
    at_places = log_density(places.reshape(-1, values.shape[1])).reshape(log_r.shape)
    return np.asarray(log_mean(torch.from_numpy(at_places - log_r))[0])


def log_mean(log_ratio: Tensor) -> tuple[Tensor, Tensor]:
    """Return the logarithm of the mean of exp(log_ratio), (n, k), over the k places, and its standard error: (n,) each.

    The error is that of independent places, an upper bound for stratified ones; it is NaN for one place.
    """
    k = log_ratio.shape[1]
    most = log_ratio.max(dim=1, keepdim=True).values
    ratio = (log_ratio - most).exp()
    mean = ratio.mean(dim=1)
    log_p = most[:, 0] + mean.log()
    if k == 1:
        return log_p, torch.full_like(log_p, math.nan)
    return log_p, ratio.std(dim=1) / mean / math.sqrt(k)


def _points(d: int, n: int) -> NDArray[np.float64]:
    """Return n points of low discrepancy, (n, d): Sobol's sequence; columns repeat beyond its largest dimension."""
    sobol = min(d, _MOST_SOBOL_COLUMNS)
    points = qmc.Sobol(sobol, scramble=False).random_base2(max(n - 1, 0).bit_length())[:n]
    return np.asarray(points[:, np.arange(d) % sobol])
