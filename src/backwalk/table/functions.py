"""The functions by which one column may be computed from another, and their inverses."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from backwalk.table.schema import FloatArray

Map = Callable[[FloatArray], FloatArray]


@dataclass(frozen=True)
class Function:
    """A function y = f(x), its inverse, or None where it has none, and ln |dy/dx|."""

    of: Map
    inverse: Map | None
    log_slope: Map


def _quiet(function: Map) -> Map:
    """Return a function that is NaN where it is not defined, or not finite, without a warning."""

    def quiet(x: FloatArray) -> FloatArray:
        with np.errstate(all="ignore"):
            y = np.asarray(function(x), dtype=np.float64)
        return np.where(np.isfinite(y), y, np.nan)

    return quiet


def _function(of: Map, inverse: Map | None, slope: Map) -> Function:
    return Function(
        _quiet(of), None if inverse is None else _quiet(inverse), _quiet(lambda x: np.log(np.abs(slope(x))))
    )


FUNCTIONS: dict[str, Function] = {
    "log": _function(np.log, np.exp, lambda x: 1.0 / x),
    "log1p": _function(np.log1p, np.expm1, lambda x: 1.0 / (1.0 + x)),
    "log10": _function(np.log10, lambda y: 10.0**y, lambda x: 1.0 / (x * np.log(10.0))),
    "exp": _function(np.exp, np.log, np.exp),
    "sqrt": _function(np.sqrt, np.square, lambda x: 0.5 / np.sqrt(x)),
    "square": _function(lambda x: np.where(x >= 0.0, np.square(x), np.nan), np.sqrt, lambda x: 2.0 * x),
    "reciprocal": _function(np.reciprocal, np.reciprocal, lambda x: 1.0 / np.square(x)),
    "round": _function(np.rint, None, np.ones_like),
}
"""By name. A square is that of numbers of 0 or more, which have an inverse; round is to a whole number."""
