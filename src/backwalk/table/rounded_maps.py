"""The maps of rounded numbers, and the densities by which these are dequantised.

Integers, and other rounded numbers, have no density, and spikes on the integers would make the likelihood of a model
infinite. So an integer is dequantised before it is encoded: x + h u, with h the step of the numbers, and u in
(-1/2, 1/2) drawn from the density

    q(u) = 1 (uniform), or, where cells are wide, q(u) = 2 cos^2(pi u) (cosine),

and rounded after it is decoded. The density p of x + h u, integrated over a cell, is the probability P of the integer.
The cosine density is 0 at the edges of a cell, so that little of a model's blur is rounded to the next integer, and it
is easier to learn than a step.

Beside the atoms of a column, which have levels of their own, cells are wider: the numbers on either side of an atom
share its cell, so that what is decoded to a number is what its probability counts. Such a cell's half has the width
w / 2 in steps, and the density q(u / w) / w there.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import cached_property

import numpy as np
from scipy import stats

from backwalk.table.maps import LARGEST, BoolArray, BoundedMaps, Maps, reflected, same_numbers
from backwalk.table.schema import FloatArray

UNIFORM_VARIANCE, COSINE_VARIANCE = 1.0 / 12.0, 1.0 / 12.0 - 0.5 / math.pi**2  # of u
_OFF_GRID = 1e-6  # steps, of a number on the grid
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
    """Columns of the numbers (offset + step k) / per, (m,) each, mapped by `number` and rounded when decoded.

    They are rounded to the nearest number that is none of the `atoms`, (m, c), within the bounds.
    """

    number: Maps
    step: FloatArray
    offset: FloatArray
    per: FloatArray
    atoms: FloatArray | None = field(default=None, kw_only=True)

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
        places = reflected(np.rint(self._places(x)), np.rint(least), np.rint(largest), edge=0.5)
        return self._values(self._nearest(places))

    def _places(self, x: FloatArray) -> FloatArray:
        """Return k, not rounded: (n, m)."""
        with np.errstate(over="ignore"):
            return np.asarray((x * self.per - self.offset) / self.step)

    def _values(self, k: FloatArray) -> FloatArray:
        with np.errstate(over="ignore"):
            return np.asarray(np.clip((self.offset + self.step * k) / self.per, -LARGEST, LARGEST))

    def _rounded(self, x: FloatArray) -> FloatArray:
        return self._values(self._nearest(self._places(x)))

    def _nearest(self, places: FloatArray) -> FloatArray:
        """Return k, (n, m), nearest to places, without those of atoms."""
        k = np.rint(places)
        for j, below, above in self._gaps:
            inside = (k[:, j] > below) & (k[:, j] < above)
            k[inside, j] = np.where(places[inside, j] < 0.5 * (below + above), below, above)
        return k

    @cached_property
    def _gaps(self) -> tuple[tuple[int, float, float], ...]:
        """The runs of atoms within the bounds: the column, and the numbers k on either side."""
        if self.atoms is None:
            return ()
        found, (least, largest) = list[tuple[int, float, float]](), map(self._places, (self.least, self.largest))
        for j, places in enumerate(self._places(self.atoms.T).T):
            k = np.rint(places[np.abs(places - np.rint(places)) < _OFF_GRID])
            runs = np.split(k, np.flatnonzero(np.diff(k) > 1.0) + 1)
            ends = [(float(run[0]) - 1.0, float(run[-1]) + 1.0) for run in runs if len(run)]
            found += [(j, *end) for end in ends if end[0] > least[j] - 0.5 and end[1] < largest[j] + 0.5]
        return tuple(found)


@dataclass(frozen=True, eq=False)
class IntegerMaps(RoundedMaps):
    """Rounded numbers that are dequantised before they are encoded."""

    cosine: FloatArray  # the weight c of the dequantisation density 1 + c cos(2 pi u)

    def encode(self, x: FloatArray, v: FloatArray | None = None) -> FloatArray:
        return self.number.encode(x if v is None else self.dequantise(x, v))

    def dequantise(self, x: FloatArray, v: FloatArray, weight: float = 1.0) -> FloatArray:
        u = place_in_cell(v, weight * self.cosine)
        if self._gaps:
            u *= self._widths(np.rint(self._places(x)), u)
        return x + self.step / self.per * u

    def log_dequantisation(self, x: FloatArray, weight: float = 1.0) -> FloatArray:
        log_q, drawn = np.broadcast_to(-np.log(self.step / self.per), x.shape).copy(), self.cosine > 0.0
        places = self._places(x)
        k = self._nearest(places)
        u = places - k
        if self._gaps:
            widths = self._widths(k, u)
            u /= widths
            log_q -= np.log(widths)
        log_q[:, drawn] += log_cell_density(u[:, drawn], weight * self.cosine[drawn])
        return log_q

    def _widths(self, k: FloatArray, u: FloatArray) -> FloatArray:
        """Return twice the widths, in steps, of the halves of the cells of k in which u lies: 1 but beside atoms."""
        widths = np.ones_like(k)
        for j, below, above in self._gaps:
            beside = ((k[:, j] == below) & (u[:, j] > 0.0)) | ((k[:, j] == above) & (u[:, j] < 0.0))
            widths[beside, j] = above - below
        return widths

    def supports(self, x: FloatArray, dtypes: Sequence[str] | None) -> BoolArray:
        return same_numbers(x, self._rounded(x), dtypes)
