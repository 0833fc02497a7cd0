"""The maps of rounded numbers, and the densities by which these are dequantised.

Integers, and other rounded numbers, have no density, and spikes on the integers would make the likelihood of a model
infinite. So an integer is dequantised before it is encoded: x + h u, with h the step of the numbers, and u in
(-1/2, 1/2) drawn from the density

    q(u) = 1 (uniform), or, where cells are wide, q(u) = 2 cos^2(pi u) (cosine),

and rounded after it is decoded. The density p of x + h u, integrated over a cell, is the probability P of the integer.
The cosine density is 0 at the edges of a cell, so that little of a model's blur is rounded to the next integer, and it
is easier to learn than a step.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from scipy import stats

from backwalk.table.maps import LARGEST, BoolArray, BoundedMaps, Maps, reflected, same_numbers
from backwalk.table.schema import FloatArray

UNIFORM_VARIANCE, COSINE_VARIANCE = 1.0 / 12.0, 1.0 / 12.0 - 0.5 / math.pi**2  # of u
_NEWTON_STEPS = 8  # from c = 1/2 downwards they reach the precision of float64


def place_in_cell(v: FloatArray, cosine: FloatArray) -> FloatArray:
    """Return u in (-1/2, 1/2), the quantile at v in (0, 1) of the density 1 + c cos(2 pi u).

    v is (n, k); `cosine`, (k,), is c: 0 for the uniform density, 1 for 2 cos^2(pi u), or between.
    """
    u = v - 0.5
    whole, partial = cosine == 1.0, (cosine > 0.0) & (cosine < 1.0)
    u[:, whole] = stats.cosine.ppf(v[:, whole]) / (2.0 * np.pi)
    if partial.any():
        c, distribution = cosine[partial], u[:, partial]
        place = distribution.copy()
        for _ in range(_NEWTON_STEPS):  # Kepler's equation
            off = place + c * np.sin(2.0 * np.pi * place) / (2.0 * np.pi) - distribution
            place -= off / (1.0 + c * np.cos(2.0 * np.pi * place))
        u[:, partial] = place
    return u


def log_cell_density(u: FloatArray, cosine: FloatArray) -> FloatArray:
    """Return ln (1 + c cos(2 pi u)), (n, k), for c = `cosine`, (k,).

    If c is 1, the density is 0 at the edges; places within 0.01 of an edge have the density at 0.49.
    """
    edge = np.where(cosine == 1.0, 0.49, 0.5)
    density: FloatArray = np.log1p(cosine * np.cos(2.0 * np.pi * np.clip(u, -edge, edge)))
    return density


@dataclass(frozen=True, eq=False)
class RoundedMaps(BoundedMaps):
    """Columns of the numbers (offset + step k) / per, (m,) each, mapped by `number` and rounded when decoded."""

    number: Maps
    step: FloatArray
    offset: FloatArray
    per: FloatArray

    def encode(self, x: FloatArray, v: FloatArray | None = None) -> FloatArray:
        return self.number.encode(x)

    def decode(self, z: FloatArray) -> FloatArray:
        return self._rounded(self.number.decode(z))

    def log_slope(self, x: FloatArray) -> FloatArray:
        return self.number.log_slope(x)

    def in_user_units(self, deviation: FloatArray, z: FloatArray) -> FloatArray:
        return self.number.in_user_units(deviation, z)

    def within_range(self, x: FloatArray) -> FloatArray:
        """Return new values within the range of the fitted ones: (n, m).

        Values beyond are reflected at the edge of the last cell, because clipping would make the last value too
        frequent.
        """
        least, largest = (self._places(bound) for bound in (self.least, self.largest))
        return self._values(reflected(np.rint(self._places(x)), np.rint(least), np.rint(largest), edge=0.5))

    def _places(self, x: FloatArray) -> FloatArray:
        """Return k, not rounded: (n, m)."""
        with np.errstate(over="ignore"):
            return np.asarray((x * self.per - self.offset) / self.step)

    def _values(self, k: FloatArray) -> FloatArray:
        with np.errstate(over="ignore"):
            return np.asarray(np.clip((self.offset + self.step * k) / self.per, -LARGEST, LARGEST))

    def _rounded(self, x: FloatArray) -> FloatArray:
        return self._values(np.rint(self._places(x)))


@dataclass(frozen=True, eq=False)
class IntegerMaps(RoundedMaps):
    """Rounded numbers that are dequantised before they are encoded."""

    cosine: FloatArray  # the weight c of the dequantisation density 1 + c cos(2 pi u)

    def encode(self, x: FloatArray, v: FloatArray | None = None) -> FloatArray:
        return self.number.encode(x if v is None else self.dequantise(x, v))

    def dequantise(self, x: FloatArray, v: FloatArray, weight: float = 1.0) -> FloatArray:
        return x + self.step / self.per * place_in_cell(v, weight * self.cosine)

    def log_dequantisation(self, x: FloatArray, weight: float = 1.0) -> FloatArray:
        log_q, drawn = np.broadcast_to(-np.log(self.step / self.per), x.shape).copy(), self.cosine > 0.0
        place = self._places(x)[:, drawn]
        log_q[:, drawn] += log_cell_density(place - np.rint(place), weight * self.cosine[drawn])
        return log_q

    def supports(self, x: FloatArray, dtypes: Sequence[str] | None) -> BoolArray:
        return same_numbers(x, self._rounded(x), dtypes)
