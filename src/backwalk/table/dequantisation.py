"""Dequantisation of integers and other rounded numbers.

Rounded numbers have no density, and spikes on them would make the likelihood of a model infinite. So a number is
dequantised before it is encoded: x + h u, with h the step of the numbers, and u in (-1/2, 1/2) drawn from the density

    q(u) = 1 (uniform), or, where cells are wide, q(u) = 2 cos^2(pi u) (cosine),

and rounded after it is decoded. The density p of x + h u, integrated over a cell, is the probability P of the number.
The cosine density is 0 at the edges of a cell, so that little of a model's blur is rounded to the next number, and it
is easier to learn than a step.

Beside the atoms of a column, which have levels, cells are wider: the numbers on either side of an atom share its cell,
so that what is decoded to a number is what its probability counts. Such a cell's half has the width w / 2 in steps, and
the density q(u / w) / w there.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import cached_property
from typing import Literal

import numpy as np
from scipy import stats

from backwalk.table.grids import Grid
from backwalk.table.maps import reflect
from backwalk.table.schema import FloatArray

Dequantisation = Literal["uniform", "cosine"]
"""The density by which a rounded number is dequantised."""

CELL_VARIANCE: dict[Dequantisation, float] = {"uniform": 1.0 / 12.0, "cosine": 1.0 / 12.0 - 0.5 / math.pi**2}  # of u
_OFF_GRID = 1e-6  # steps, of a number on the grid
_NEWTON_STEPS = 8  # from c = 1/2 downwards they reach the precision of float64


def place_in_cell(v: FloatArray, cosine: FloatArray) -> FloatArray:
    """Return u in (-1/2, 1/2), the quantile at v in (0, 1) of the density 1 + c cos(2 pi u).

    v is (n, m); `cosine`, (m,), is c: 0 for the uniform density, 1 for 2 cos^2(pi u), or between.
    """
    u = v - 0.5
    whole, partial = cosine == 1.0, (cosine > 0.0) & (cosine < 1.0)
    if whole.any():
        u[:, whole] = stats.cosine.ppf(v[:, whole]) / (2.0 * np.pi)
    if partial.any():
        c, distribution = cosine[partial], u[:, partial]
        place = distribution.copy()
        for _ in range(_NEWTON_STEPS):  # Kepler's equation
            off = place + c * np.sin(2.0 * np.pi * place) / (2.0 * np.pi) - distribution
            place -= off / (1.0 + c * np.cos(2.0 * np.pi * place))
        u[:, partial] = place
    return u


def log_cell_density(u: FloatArray, cosine: float) -> FloatArray:
    """Return ln (1 + c cos(2 pi u)) for c = `cosine`: nats.

    If c is 1, the density is 0 at the edges; places within 0.01 of an edge have the density at 0.49.
    """
    edge = 0.49 if cosine == 1.0 else 0.5
    density: FloatArray = np.log1p(cosine * np.cos(2.0 * np.pi * np.clip(u, -edge, edge)))
    return density


@dataclass(frozen=True)
class Cells:
    """The cells of the numbers of a grid between `least` and `largest`, infinite where there is no bound.

    The `atoms` are no such numbers.
    """

    grid: Grid
    least: float
    largest: float
    atoms: tuple[float, ...] = ()

    def round(self, x: FloatArray) -> FloatArray:
        """Return the nearest numbers."""
        return self.grid.values(self._nearest(self.grid.places(x)))

    def reflect(self, x: FloatArray) -> FloatArray:
        """Return the nearest numbers between the bounds.

        Values beyond are reflected at the edge of the last cell, because clipping would make the last value too
        frequent.
        """
        least, largest = self._ends
        return self.grid.values(self._nearest(reflect(np.rint(self.grid.places(x)), least, largest, edge=0.5)))

    def dequantise(self, x: FloatArray, u: FloatArray) -> FloatArray:
        """Return numbers x moved to the places u in (-1/2, 1/2) of their cells."""
        if self._gaps:
            u = u * self._widths(np.rint(self.grid.places(x)), u)
        return np.asarray(x + self.grid.cell * u)

    def log_density(self, x: FloatArray, cosine: float) -> FloatArray:
        """Return ln q of dequantised numbers x for the density 1 + c cos(2 pi u), c = `cosine`: nats."""
        log_q, places = np.full(x.shape, -math.log(self.grid.cell)), self.grid.places(x)
        k = self._nearest(places)
        u = places - k
        if self._gaps:
            widths = self._widths(k, u)
            u /= widths
            log_q -= np.log(widths)
        return log_q + log_cell_density(u, cosine) if cosine else log_q

    def _nearest(self, places: FloatArray) -> FloatArray:
        """Return the numbers k of the nearest numbers to places, without those of atoms."""
        k = np.rint(places)
        for below, above in self._gaps:
            inside = (k > below) & (k < above)
            k[inside] = np.where(places[inside] < 0.5 * (below + above), below, above)
        return k

    def _widths(self, k: FloatArray, u: FloatArray) -> FloatArray:
        """Return twice the widths, in steps, of the halves of the cells of k in which u lies: 1 but beside atoms."""
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
        """The runs of atoms within the bounds: the numbers k on either side of each."""
        places = self.grid.places(np.array(self.atoms))
        k = np.rint(places[np.abs(places - np.rint(places)) < _OFF_GRID])
        runs = np.split(k, np.flatnonzero(np.diff(k) > 1.0) + 1)
        sides = [(float(run[0]) - 1.0, float(run[-1]) + 1.0) for run in runs if len(run)]
        least, largest = self._ends
        return tuple((below, above) for below, above in sides if below >= least and above <= largest)
