"""The values that a number may take, on a continuous scale or on a grid, and dequantisation.

Rounded numbers have no density, and spikes on them would make the likelihood of a model infinite. So a number is
dequantised before it is encoded: x + h u, with h the step of the numbers, and u in (-1/2, 1/2) drawn from

    q(u) = 1 + c cos(2 pi u),    c = 0 or, where cells are wide, 0.9,

and rounded after it is decoded. The density p of x + h u, integrated over a cell, is the probability P of the number.
With c = 0.9 little of a model's blur is rounded to the next number, and a smooth density is easier to learn than steps.

What is decoded to a number is what its probability counts, so two kinds of cells are wider. Beside the atoms of a
column, which have levels, the numbers on either side of an atom share its cell: such a cell's half has the width w / 2
in steps, and the density q(u / w) / w there. Beyond the range of new values all numbers are rounded to its end: where
c = 0 and a user states no bounds, the outer half of the last cell is a tail, with u at the distance
t = 4 s ((1 - 2 |u|)^(-1/4) - 1). Its density is 1 / (2 s) at the number and falls as (1 + t / (4 s))^-5, slowly enough
that it bounds what a model spreads there.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import cached_property

import numpy as np

from backwalk.table.columns import same_numbers
from backwalk.table.grids import Grid
from backwalk.table.maps import BoolArray, reflect
from backwalk.table.schema import FloatArray

_OFF_GRID = 1e-6  # steps, of a number on the grid
_TAIL_POWER = 4.0
_POINTS = 2**12 + 1  # between which quantiles are interpolated


def place_in_cell(v: FloatArray, c: float) -> FloatArray:
    """Return u in (-1/2, 1/2), the quantile at v in (0, 1) of the density 1 + c cos(2 pi u)."""
    u = np.linspace(-0.5, 0.5, _POINTS)
    return v - 0.5 if c == 0.0 else np.interp(v, u + 0.5 + c * np.sin(2.0 * np.pi * u) / (2.0 * np.pi), u)


@dataclass(frozen=True)
class Interval:
    """All numbers between `least` and `largest`, which are infinite where there is no bound."""

    least: float
    largest: float

    def supports(self, x: FloatArray, dtype: str | None) -> BoolArray:
        """Return which values the density may give, also beyond the range."""
        return np.ones(x.shape, dtype=bool)

    def round(self, x: FloatArray) -> FloatArray:
        """Return the nearest values."""
        return x

    def reflect(self, x: FloatArray) -> FloatArray:
        """Return the nearest values within the range; what lies beyond is reflected at its ends."""
        return reflect(x, self.least, self.largest)

    def before_rounding(self, low: float, high: float) -> list[tuple[float, float]]:
        """Return the intervals of numbers that rounding and reflection bring into [low, high]."""
        low, high = max(low, self.least), min(high, self.largest)
        mirrored = [(2.0 * end - high, 2.0 * end - low) for end in (self.least, self.largest) if math.isfinite(end)]
        return [(low, high), *mirrored]

    def dequantise(self, x: FloatArray, u: FloatArray) -> FloatArray:
        """Return values moved to the places u in (-1/2, 1/2) of their cells."""
        return x

    def log_density(self, x: FloatArray, values: FloatArray) -> FloatArray:
        """Return the log-density ln q at places x in the cells of values: nats."""
        return np.zeros(x.shape)


@dataclass(frozen=True)
class Cells(Interval):
    """The numbers of a grid between `least` and `largest`, without those `left_out`, and the cells around them.

    `dequantisation` is c of q. If it is None, as where steps are finer than a model resolves, decoded numbers are
    rounded and nothing else is done. `tails` are the lengths s at both ends, in steps; 0 for an end without a tail.
    """

    grid: Grid
    dequantisation: float | None = None
    left_out: tuple[float, ...] = ()
    tails: tuple[float, float] = (0.0, 0.0)

    def before_rounding(self, low: float, high: float) -> list[tuple[float, float]]:
        (least, largest), (below_all, above_all) = self._ends, self.tails
        places = self.grid.places(np.array([low, high]))
        first, last = max(np.ceil(places[0] - _OFF_GRID), least), min(np.floor(places[1] + _OFF_GRID), largest)
        start, stop = first - 0.5, last + 0.5
        for below, above in self._gaps:  # the cells beside a gap meet in its middle
            start = 0.5 * (below + above) if below < first <= above else start
            stop = 0.5 * (below + above) if below <= last < above else stop
        if not start < stop:
            return []
        ends = [end for end, tail in ((least - 0.5, below_all), (largest + 0.5, above_all)) if not tail]
        mirrored = [(2.0 * end - stop, 2.0 * end - start) for end in ends if math.isfinite(end)]
        start = -math.inf if below_all and first <= least else start
        stop = math.inf if above_all and last >= largest else stop
        intervals = np.array([(start, stop), *mirrored])
        numbers = np.where(np.isfinite(intervals), self.grid.values(intervals), intervals)
        return [(low, high) for low, high in numbers.tolist()]

    def supports(self, x: FloatArray, dtype: str | None) -> BoolArray:
        if self.dequantisation is None and self.grid.per > 1.0:  # decimals finer than a model resolves
            return super().supports(x, dtype)
        rounded = self.round(x)
        is_near = np.abs(self.grid.places(x) - self.grid.places(rounded)) < _OFF_GRID  # computed, such as 0.1 + 0.2
        return is_near | same_numbers(x, rounded, dtype)

    def round(self, x: FloatArray) -> FloatArray:
        return self.grid.values(self._nearest(self.grid.places(x)))

    def reflect(self, x: FloatArray) -> FloatArray:
        """Return the nearest numbers within the range.

        Values beyond an end without a tail are reflected at the edge of the last cell, because clipping would make the
        last value too frequent.
        """
        (least, largest), (below, above) = self._ends, self.tails
        k = np.clip(np.rint(self.grid.places(x)), least if below else -np.inf, largest if above else np.inf)
        return self.grid.values(self._nearest(reflect(k, least, largest, edge=0.5)))

    def dequantise(self, x: FloatArray, u: FloatArray) -> FloatArray:
        if self.dequantisation is None:
            return x
        k = np.rint(self.grid.places(x))
        offset = u * self._widths(k, u) if self._gaps else u
        for outside, length in self._in_tails(k, u):
            distance = _TAIL_POWER * ((1.0 - 2.0 * np.abs(u)) ** (-1.0 / _TAIL_POWER) - 1.0)
            offset = np.where(outside, length * np.sign(u) * distance, offset)
        return np.asarray(x + self.grid.cell * offset)

    def log_density(self, x: FloatArray, values: FloatArray) -> FloatArray:
        if self.dequantisation is None:
            return super().log_density(x, values)
        log_q, k = np.full(x.shape, -math.log(self.grid.cell)), np.rint(self.grid.places(values))
        offset = self.grid.places(x) - k
        widths = self._widths(k, offset) if self._gaps else 1.0
        log_q += np.log1p(self.dequantisation * np.cos(2.0 * np.pi * offset / widths)) - np.log(widths)
        for outside, length in self._in_tails(k, offset):
            fall = (_TAIL_POWER + 1.0) * np.log1p(np.abs(offset) / (_TAIL_POWER * length))
            log_q = np.where(outside, log_q - fall - math.log(2.0 * length), log_q)
        return log_q

    def _in_tails(self, k: FloatArray, offset: FloatArray) -> list[tuple[BoolArray, float]]:
        """Return which offsets from the numbers k lie in each tail, and its length."""
        (least, largest), (below, above) = self._ends, self.tails
        tails = [((k == least) & (offset < 0.0), below), ((k == largest) & (offset > 0.0), above)]
        return [(outside, length) for outside, length in tails if length]

    def _nearest(self, places: FloatArray) -> FloatArray:
        """Return the numbers k of the nearest values to places."""
        k = np.rint(places)
        for below, above in self._gaps:
            inside = (k > below) & (k < above)
            k[inside] = np.where(places[inside] < 0.5 * (below + above), below, above)
        return k

    def _widths(self, k: FloatArray, u: FloatArray) -> FloatArray:
        """Return twice the widths, in steps, of the halves of the cells of k in which u lies: 1 but beside gaps."""
        widths = np.ones_like(k)
        for below, above in self._gaps:
            widths[((k == below) & (u > 0.0)) | ((k == above) & (u < 0.0))] = above - below
        return widths

    @property
    def _ends(self) -> tuple[float, float]:
        least, largest = np.rint(self.grid.places(np.array([self.least, self.largest]))).tolist()
        return least, largest

    @cached_property
    def _gaps(self) -> tuple[tuple[float, float], ...]:
        """The runs of numbers left out within the range: the numbers k on either side of each."""
        places = self.grid.places(np.array(self.left_out))
        k = np.rint(places[np.abs(places - np.rint(places)) < _OFF_GRID])
        runs = np.split(k, np.flatnonzero(np.diff(k) > 1.0) + 1)
        sides = [(float(run[0]) - 1.0, float(run[-1]) + 1.0) for run in runs if len(run)]
        least, largest = self._ends
        return tuple((below, above) for below, above in sides if below >= least and above <= largest)
