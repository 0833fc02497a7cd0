"""The map of numbers to about a standard normal through knots at their quantiles.

A number is first scaled, or transformed by asinh if its tails are heavy, or by the map of its bounds. Between the knots
the map from this coordinate y to z is a rational quadratic spline: monotone, with a continuous derivative and a closed
inverse. With y_0 < y < y_1 the knots on either side, xi = (y - y_0) / (y_1 - y_0), s the slope of the secant and d_0,
d_1 those at the knots,

    z = z_0 + (z_1 - z_0) (s xi^2 + d_0 xi (1 - xi)) / (s + (d_0 + d_1 - 2 s) xi (1 - xi)).

Beyond the outer knots it is linear.

Source: Gregory & Delbourgo 1982; Durkan et al. 2019.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import NamedTuple

import numpy as np

from backwalk.table.maps import BoolArray, Maps
from backwalk.table.schema import FloatArray


class _Interval(NamedTuple):
    """The interval of each number between two knots: its ends, and the slopes of the secant and at the ends, (n, m)."""

    y_0: FloatArray
    y_1: FloatArray
    z_0: FloatArray
    z_1: FloatArray
    d_0: FloatArray
    d_1: FloatArray

    @property
    def secant(self) -> FloatArray:
        return np.asarray((self.z_1 - self.z_0) / (self.y_1 - self.y_0))


@dataclass(frozen=True, eq=False)
class QuantileMaps(Maps):
    """Numbers mapped by `number`, and then through knots (y, z), (m, K) each, increasing."""

    number: Maps
    y: FloatArray
    z: FloatArray

    def encode(self, x: FloatArray, v: FloatArray | None = None) -> FloatArray:
        y = self.number.encode(x)
        at = self._interval(y, self.y)
        xi = np.clip((y - at.y_0) / (at.y_1 - at.y_0), 0.0, 1.0)
        s, both = at.secant, xi * (1.0 - xi)
        z = at.z_0 + (at.z_1 - at.z_0) * (s * xi**2 + at.d_0 * both) / (s + (at.d_0 + at.d_1 - 2.0 * s) * both)
        below, above = y < self.y[:, 0], y > self.y[:, -1]
        first, last = self.slopes[:, 0], self.slopes[:, -1]
        z = np.where(below, self.z[:, 0] - first * (self.y[:, 0] - y), z)
        return np.where(above, self.z[:, -1] + last * (y - self.y[:, -1]), z)

    def decode(self, z: FloatArray) -> FloatArray:
        return self.number.decode(self._inverse(z))

    def log_slope(self, x: FloatArray) -> FloatArray:
        return self._log_slope(self.number.encode(x)) + self.number.log_slope(x)

    def in_user_units(self, deviation: FloatArray, z: FloatArray) -> FloatArray:
        y = self._inverse(z)
        return self.number.in_user_units(deviation * np.exp(-self._log_slope(y)), y)

    def supports(self, x: FloatArray, dtypes: Sequence[str] | None) -> BoolArray:
        return self.number.supports(x, dtypes)

    def within_range(self, x: FloatArray) -> FloatArray:
        return self.number.within_range(x)

    @cached_property
    def slopes(self) -> FloatArray:
        """The slopes dz/dy at the knots, (m, K): weighted harmonic means of the secants' (Fritsch & Butland 1984)."""
        width, secant = np.diff(self.y, axis=1), np.diff(self.z, axis=1) / np.diff(self.y, axis=1)
        before, after = width[:, 1:] + 0.5 * width[:, :-1], 0.5 * width[:, 1:] + width[:, :-1]
        inner = (before + after) / (before / secant[:, :-1] + after / secant[:, 1:])
        return np.concatenate([secant[:, :1], inner, secant[:, -1:]], axis=1)

    def _interval(self, at: FloatArray, knots: FloatArray) -> _Interval:
        """Return the interval of the `knots`, y or z, in which each number lies: the outer ones for those beyond."""
        index = np.empty(at.shape, dtype=np.intp)
        for j in range(len(knots)):
            index[:, j] = np.searchsorted(knots[j, 1:-1], at[:, j], side="right")
        column = np.arange(len(knots))
        ends = (each[column, index + i] for each in (self.y, self.z, self.slopes) for i in (0, 1))
        return _Interval(*ends)

    def _inverse(self, z: FloatArray) -> FloatArray:
        at = self._interval(z, self.z)
        s, rise = at.secant, at.z_1 - at.z_0
        w = np.clip(z - at.z_0, 0.0, rise)
        bend = w * (at.d_0 + at.d_1 - 2.0 * s)
        a, b, c = rise * (s - at.d_0) + bend, rise * at.d_0 - bend, -s * w
        xi = 2.0 * c / (-b - np.sqrt(b**2 - 4.0 * a * c))
        y = at.y_0 + xi * (at.y_1 - at.y_0)
        below, above = z < self.z[:, 0], z > self.z[:, -1]
        first, last = self.slopes[:, 0], self.slopes[:, -1]
        y = np.where(below, self.y[:, 0] - (self.z[:, 0] - z) / first, y)
        return np.where(above, self.y[:, -1] + (z - self.z[:, -1]) / last, y)

    def _log_slope(self, y: FloatArray) -> FloatArray:
        at = self._interval(y, self.y)
        xi = np.clip((y - at.y_0) / (at.y_1 - at.y_0), 0.0, 1.0)
        s, both = at.secant, xi * (1.0 - xi)
        above = at.d_1 * xi**2 + 2.0 * s * both + at.d_0 * (1.0 - xi) ** 2
        return np.asarray(np.log(s**2 * above) - 2.0 * np.log(s + (at.d_0 + at.d_1 - 2.0 * s) * both))
