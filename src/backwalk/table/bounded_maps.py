"""The map of numbers with known bounds to all numbers, so that a density of the coordinate has no mass beyond a bound.

With both bounds, and u = (x - low) / (high - low), with one bound alone, and with none,

    w = Phi^-1(u),        w = ln(x - low),        w = -ln(high - x),        z = (w - centre) / scale.

Phi is the distribution function of a standard normal: a uniform number has a standard normal w. Numbers at a bound have
finite coordinates, numbers beyond have none.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from scipy import special

from backwalk.table.maps import BoolArray, BoundedMaps
from backwalk.table.schema import FloatArray

_LEAST = 2.0**-53  # the least distance from a bound, over the columns' own
_LOG_ROOT = 0.5 * math.log(2.0 * math.pi)


@dataclass(frozen=True, eq=False)
class BoundaryMaps(BoundedMaps):
    """Columns with known bounds `low` and `high`, (m,), of which one may be infinite, and then shifted and scaled.

    The least distance of a number from its bound is 2^-53 of the range, or of the distance exp(centre) with one bound.
    """

    low: FloatArray
    high: FloatArray
    centre: FloatArray
    scale: FloatArray

    def encode(self, x: FloatArray, v: FloatArray | None = None) -> FloatArray:
        return np.asarray((self.transform(x) - self.centre) / self.scale)

    def transform(self, x: FloatArray) -> FloatArray:
        """Return w, (n, m): infinite beyond a bound."""
        below, above = self._distances(x)
        both = np.where(below < above, special.ndtri(below), -special.ndtri(above))
        with np.errstate(divide="ignore"):
            w = np.where(self._has_both, both, np.where(self._has_low, np.log(below), -np.log(above)))
        beyond = (x < self.low) | (x > self.high)
        return np.where(beyond, np.where(x < self.low, -np.inf, np.inf), w)

    def decode(self, z: FloatArray) -> FloatArray:
        w = self.centre + self.scale * z
        with np.errstate(over="ignore", invalid="ignore"):
            width = self.high - self.low
            both = np.where(w < 0.0, self.low + width * special.ndtr(w), self.high - width * special.ndtr(-w))
            one = np.where(self._has_low, self.low + np.exp(w), self.high - np.exp(-w))
        return np.where(self._has_both, both, one)

    def log_slope(self, x: FloatArray) -> FloatArray:
        below, above = self._distances(x)
        with np.errstate(invalid="ignore"):
            both = _LOG_ROOT + 0.5 * np.square(self.transform(x)) - np.log(self.high - self.low)
        one = -np.log(np.where(self._has_low, below, above))
        return np.where(self._has_both, both, one) - np.log(self.scale)

    def in_user_units(self, deviation: FloatArray, z: FloatArray) -> FloatArray:
        return np.asarray(deviation * np.exp(-self.log_slope(self.decode(z))))

    def supports(self, x: FloatArray, dtypes: Sequence[str] | None) -> BoolArray:
        return np.asarray((x >= self.low) & (x <= self.high))

    @property
    def _has_both(self) -> BoolArray:
        return np.asarray(np.isfinite(self.low) & np.isfinite(self.high))

    @property
    def _has_low(self) -> BoolArray:
        return np.asarray(np.isfinite(self.low))

    def _distances(self, x: FloatArray) -> tuple[FloatArray, FloatArray]:
        """Return the distances from both bounds, (n, m) each: as shares of the range where there are both."""
        both = self._has_both
        unit = np.where(both, self.high - self.low, 1.0)
        least = _LEAST * np.where(both, 1.0, np.exp(np.where(both, 0.0, np.where(self._has_low, 1, -1) * self.centre)))
        return np.maximum((x - self.low) / unit, least), np.maximum((self.high - x) / unit, least)
