"""The map of numbers with known bounds to all numbers, so that a density of the coordinate has no mass beyond a bound.

A number is first scaled, or transformed by asinh. Within a margin m of a bound L of this coordinate y, the map goes to
infinity as y goes to the bound; elsewhere it changes nothing:

    z = L + m + m ln((y - L) / m)   for L < y < L + m,        z = y   for y > L + m.

Its slope is continuous, and 1 in the middle: structure of the data there keeps its size. Nearer to a bound than 1e-14
of the margin the map ends, so that a number at a bound has a finite coordinate. Numbers beyond have none.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from backwalk.table.maps import BoolArray, Maps
from backwalk.table.schema import FloatArray

_LEAST = 1e-14  # of the margin: float64 resolves no less
_NEAREST = 0.3  # of the margin: nearer to a bound, learnt densities are rough (docs/defaults.md, *Known bounds*)
_ROUNDING = 1e-9  # of the margin, by which a decoded number may lie beyond a bound


@dataclass(frozen=True, eq=False)
class BoundaryMaps(Maps):
    """Columns that are mapped by `number`, and then such that the bounds of its coordinate are at infinity.

    `low` and `high`, (m,), are these bounds, infinite where there is none; `margin` is (m,).
    """

    number: Maps
    low: FloatArray
    high: FloatArray
    margin: FloatArray

    def encode(self, x: FloatArray, v: FloatArray | None = None) -> FloatArray:
        y = self.number.encode(x)
        below, above = self._shares(y)
        z = y + self.margin * (np.log(below) + 1.0 - below) - self.margin * (np.log(above) + 1.0 - above)
        slack = _ROUNDING * self.margin
        z = np.where(y < self.low - slack, -np.inf, z)
        return np.where(y > self.high + slack, np.inf, z)

    def decode(self, z: FloatArray) -> FloatArray:
        first, last = self.low + self.margin, self.high - self.margin
        with np.errstate(over="ignore", invalid="ignore"):
            y = np.where(z < first, self.low + self.margin * np.exp((z - first) / self.margin), z)
            y = np.where(z > last, self.high - self.margin * np.exp((last - z) / self.margin), y)
        return self.number.decode(y)

    def log_slope(self, x: FloatArray) -> FloatArray:
        below, above = self._shares(self.number.encode(x))
        return np.asarray(self.number.log_slope(x) - np.log(below) - np.log(above))

    def in_user_units(self, deviation: FloatArray, z: FloatArray) -> FloatArray:
        y = self.number.encode(self.decode(z))
        below, above = self._shares(y)
        return self.number.in_user_units(deviation * below * above, y)

    def supports(self, x: FloatArray, dtypes: Sequence[str] | None) -> BoolArray:
        return np.asarray(~np.isinf(self.encode(x)))

    def off_bounds(self, x: FloatArray) -> FloatArray:
        y = self.number.encode(x)
        first, last = self.low + _NEAREST * self.margin, self.high - _NEAREST * self.margin
        held = self.number.decode(np.clip(y, first, last))
        is_near = self.supports(x, None) & ((y < first) | (y > last))
        return np.where(is_near, held, x)

    def within_range(self, x: FloatArray) -> FloatArray:
        return self.number.within_range(x)

    def _shares(self, y: FloatArray) -> tuple[FloatArray, FloatArray]:
        """Return the distances from both bounds as shares of the margin, at most 1: (n, m) each."""
        return (
            np.clip((y - self.low) / self.margin, _LEAST, 1.0),
            np.clip((self.high - y) / self.margin, _LEAST, 1.0),
        )
