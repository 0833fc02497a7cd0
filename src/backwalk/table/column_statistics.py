"""Moments of columns, and random rows to choose encodings by; missing values do not count."""

from __future__ import annotations

import numpy as np

from backwalk.streams import Stream
from backwalk.table.schema import FloatArray

_ROWS_LOOKED_AT = 10_000


def rows_looked_at(x: FloatArray, purpose: str, weights: FloatArray | None = None) -> FloatArray:
    """Return the rows of x, (n, d), or 10,000 of them at random; with `weights`, (n,), 10,000 drawn by these."""
    if weights is not None:
        v = np.sort(Stream(0).child(purpose).uniform(0, _ROWS_LOOKED_AT, 1).numpy()[:, 0])
        return np.asarray(x[np.searchsorted(np.cumsum(weights) / weights.sum(), v).clip(max=len(x) - 1)])
    if len(x) <= _ROWS_LOOKED_AT:
        return x
    return np.asarray(x[Stream(0).child(purpose).generator().integers(len(x), size=_ROWS_LOOKED_AT)])


def some_rows(x: FloatArray, purpose: str) -> FloatArray:
    """Return the rows of x, (n, d), or 10,000 different ones of them at random."""
    if len(x) <= _ROWS_LOOKED_AT:
        return x
    return np.asarray(x[Stream(0).child(purpose).generator().choice(len(x), _ROWS_LOOKED_AT, replace=False)])


def moments(x: FloatArray, of_cells: float, weights: FloatArray | None = None) -> tuple[float, float]:
    """Return the mean and the standard deviation of numbers x, (n,), with the variance `of_cells` added.

    `weights`, (n,), are those of rows. Missing values do not count. Numbers are first multiplied by a power of two,
    which is exact, so that squares do not overflow or underflow.
    """
    missing = np.isnan(x)
    if weights is None and not missing.any():
        exponent = int(np.frexp(np.abs(x).max())[1])
        unit = np.ldexp(x, -exponent)
        mean = unit.mean()
        variance = np.square(unit - mean).mean()
    else:
        filled = np.where(missing, 0.0, x)
        share = np.where(missing, 0.0, 1.0 if weights is None else weights)
        share /= share.sum()
        exponent = int(np.frexp(np.abs(filled).max())[1])
        unit = np.ldexp(filled, -exponent)
        mean = (share * unit).sum()
        variance = (share * np.square(unit - mean)).sum()
    variance += np.ldexp(of_cells, -2 * exponent)
    return float(np.ldexp(mean, exponent)), float(np.ldexp(np.sqrt(variance), exponent))
