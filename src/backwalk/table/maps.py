"""The maps of numbers: each is one small class, and a column chains those that it needs.

A network learns best from coordinates of mean 0 and variance 1. A number is shifted and scaled (`Affine`),

    z = (x - centre) / scale.

If its tails are heavy, so that most rows would lie close together, asinh((x - centre) / scale) comes first (`Asinh`).
It is linear within `scale` of `centre` and logarithmic beyond; with `centre` = 0 and a `scale` far below all rows, it
is the logarithm of rows of one sign. Known bounds are moved to infinity (`Boundary`), and a spline through quantiles
makes a column about normal (`Spline`). All maps are smooth, increasing and inverted in closed form, so densities stay
exact.
"""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from itertools import pairwise
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from backwalk.errors import InvalidInput
from backwalk.table.schema import FloatArray

LARGEST = float(np.finfo(np.float64).max)
LEAST_SCALE = 4.0 * float(np.finfo(np.float64).tiny)  # below this, numbers lose digits
_SINH_RANGE = 700.0  # beyond about 710 sinh overflows
_LEAST_SHARE = 1e-14  # of a boundary's margin: float64 resolves no less
_ROUNDING = 1e-9  # of a boundary's margin, by which a decoded number may lie beyond it
BoolArray = npt.NDArray[np.bool_]


class NumberMap(ABC):
    """An increasing map of numbers x, of any shape, to numbers z. NaN becomes NaN."""

    @abstractmethod
    def encode(self, x: FloatArray) -> FloatArray:
        """Return z."""

    @abstractmethod
    def decode(self, z: FloatArray) -> FloatArray:
        """Return x."""

    @abstractmethod
    def log_slope(self, x: FloatArray) -> FloatArray:
        """Return ln(dz/dx) at x: nats."""


@dataclass(frozen=True)
class Affine(NumberMap):
    """z = (x - centre) / scale."""

    centre: float
    scale: float

    def __post_init__(self) -> None:
        check_floats(vars(self), positive=("scale",))

    def encode(self, x: FloatArray) -> FloatArray:
        with np.errstate(over="ignore"):
            # Halves, so that the difference of two numbers near the limits of float64 stays finite.
            z: FloatArray = 0.5 * x
            z -= 0.5 * self.centre
            z /= 0.5 * self.scale
        return z

    def decode(self, z: FloatArray) -> FloatArray:
        """Return x; what float64 cannot hold is clipped to its largest number."""
        with np.errstate(over="ignore"):
            half = 0.5 * self.scale * z
            half += 0.5 * self.centre
        x: FloatArray = 2.0 * np.clip(half, -0.5 * LARGEST, 0.5 * LARGEST)
        return x

    def log_slope(self, x: FloatArray) -> FloatArray:
        return np.full(np.shape(x), -math.log(self.scale))


@dataclass(frozen=True)
class Asinh(NumberMap):
    """z = asinh((x - centre) / scale)."""

    centre: float
    scale: float

    def __post_init__(self) -> None:
        check_floats(vars(self), positive=("scale",))

    def encode(self, x: FloatArray) -> FloatArray:
        half = 0.5 * x - 0.5 * self.centre  # the difference of two numbers near the limits of float64 stays finite
        with np.errstate(over="ignore"):
            z = np.asarray(np.arcsinh(half / (0.5 * self.scale)))
        far = np.isinf(z)
        if far.any():
            z[far] = np.sign(half[far]) * (np.log(np.abs(half[far])) - np.log(0.25 * self.scale))
        return z

    def decode(self, z: FloatArray) -> FloatArray:
        """Return x; what float64 cannot hold is clipped to its largest number."""
        with np.errstate(over="ignore"):
            near = 0.5 * self.scale * np.sinh(np.clip(z, -_SINH_RANGE, _SINH_RANGE))
            far = np.sign(z) * np.exp(np.abs(z) + np.log(0.25 * self.scale))
            half = 0.5 * self.centre + np.where(np.abs(z) < _SINH_RANGE, near, far)
        return np.asarray(2.0 * np.clip(half, -0.5 * LARGEST, 0.5 * LARGEST))

    def log_slope(self, x: FloatArray) -> FloatArray:
        """Return ln(dz/dx) = -ln sqrt((x - centre)^2 + scale^2)."""
        return np.asarray(-np.log(np.hypot(0.25 * x - 0.25 * self.centre, 0.25 * self.scale)) - math.log(4.0))


@dataclass(frozen=True)
class Boundary(NumberMap):
    """The map that moves bounds to infinity, so that a density of z has no mass beyond them.

    `low` and `high` are the bounds, of which one may be None, and `margin` is m. Within m of a bound z goes to infinity
    as x goes to the bound; elsewhere z is x. At a lower bound L, and at an upper one in mirror image,

        z = L + m + m ln((x - L) / m)   for L < x < L + m,        z = x   for x > L + m.

    The slope is continuous, and 1 in the middle: structure of the data there keeps its size. A number at a bound is
    encoded as if it were 1e-14 m away, so that its z is finite. Numbers beyond a bound have an infinite z.
    """

    low: float | None
    high: float | None
    margin: float

    def __post_init__(self) -> None:
        check_floats(vars(self), positive=("margin",), optional=("low", "high"))
        if self.low is None and self.high is None:
            raise InvalidInput("low or high should be given, but got neither: fit the codec again.")
        low, high = self._ends
        if not low + 2.0 * self.margin <= high:
            raise InvalidInput(
                f"low and high should differ by two margins of {self.margin} at least, but got {self.low} and "
                f"{self.high}: fit the codec again."
            )

    def encode(self, x: FloatArray) -> FloatArray:
        (low, high), slack = self._ends, _ROUNDING * self.margin
        below, above = self._shares(x)
        z = x + self.margin * (np.log(below) + 1.0 - below) - self.margin * (np.log(above) + 1.0 - above)
        z = np.where(x < low - slack, -np.inf, z)
        return np.where(x > high + slack, np.inf, z)

    def decode(self, z: FloatArray) -> FloatArray:
        (low, high), m = self._ends, self.margin
        first, last = low + m, high - m
        with np.errstate(over="ignore", invalid="ignore"):
            x = np.where(z < first, low + m * np.exp((z - first) / m), z)
            return np.where(z > last, high - m * np.exp((last - z) / m), x)

    def log_slope(self, x: FloatArray) -> FloatArray:
        below, above = self._shares(x)
        return np.asarray(-np.log(below) - np.log(above))

    def inside(self, x: FloatArray, share: float) -> FloatArray:
        """Return numbers, those nearer to a bound than a `share` of the margin moved to this distance."""
        low, high = self._ends
        return np.clip(x, low + share * self.margin, high - share * self.margin)

    @property
    def _ends(self) -> tuple[float, float]:
        return -math.inf if self.low is None else self.low, math.inf if self.high is None else self.high

    def _shares(self, x: FloatArray) -> tuple[FloatArray, FloatArray]:
        """Return the distances from both bounds as shares of the margin, at most 1."""
        low, high = self._ends
        return (
            np.clip((x - low) / self.margin, _LEAST_SHARE, 1.0),
            np.clip((high - x) / self.margin, _LEAST_SHARE, 1.0),
        )


class _Interval(NamedTuple):
    """The interval between two knots in which each number lies: x, z and the slope dz/dx at its left and right end."""

    x_l: FloatArray
    x_r: FloatArray
    z_l: FloatArray
    z_r: FloatArray
    d_l: FloatArray
    d_r: FloatArray

    @property
    def secant(self) -> FloatArray:
        """The slope of the secant."""
        return np.asarray((self.z_r - self.z_l) / (self.x_r - self.x_l))


@dataclass(frozen=True)
class Spline(NumberMap):
    """A rational quadratic spline through `knots` x and `quantiles` z, both increasing.

    With x_l < x < x_r the knots on either side, xi = (x - x_l) / (x_r - x_l), s the slope of the secant and d_l, d_r
    the slopes at the knots,

        z = z_l + (z_r - z_l) (s xi^2 + d_l xi (1 - xi)) / (s + (d_l + d_r - 2 s) xi (1 - xi)).

    It is increasing, with a continuous derivative and an inverse in closed form, and linear beyond the outer knots. The
    slope at a knot is a weighted harmonic mean of those of the secants on either side.

    Source: Gregory & Delbourgo 1982; Durkan et al. 2019; Fritsch & Butland 1984 for the slopes.
    """

    knots: tuple[float, ...]
    quantiles: tuple[float, ...]

    def __post_init__(self) -> None:
        for name, values in (("knots", self.knots), ("quantiles", self.quantiles)):
            if not isinstance(values, tuple) or not all(isinstance(v, float) and math.isfinite(v) for v in values):
                raise InvalidInput(f"{name} should be a tuple of finite floats, but got {values!r:.60}.")
            if len(values) < 2 or any(a >= b for a, b in pairwise(values)):
                raise InvalidInput(f"{name} should be two or more that increase: fit the codec again.")
        if len(self.knots) != len(self.quantiles):
            raise InvalidInput(f"There should be a quantile for each of {len(self.knots)} knots: fit the codec again.")

    def encode(self, x: FloatArray) -> FloatArray:
        (x_k, z_k, d_k), at = self._at_knots, self._interval(x, 0)
        xi = np.clip((x - at.x_l) / (at.x_r - at.x_l), 0.0, 1.0)
        s, product = at.secant, xi * (1.0 - xi)
        z = at.z_l + (at.z_r - at.z_l) * (s * xi**2 + at.d_l * product) / (s + (at.d_l + at.d_r - 2.0 * s) * product)
        z = np.where(x < x_k[0], z_k[0] - d_k[0] * (x_k[0] - x), z)
        return np.where(x > x_k[-1], z_k[-1] + d_k[-1] * (x - x_k[-1]), z)

    def decode(self, z: FloatArray) -> FloatArray:
        (x_k, z_k, d_k), at = self._at_knots, self._interval(z, 1)
        s, rise = at.secant, at.z_r - at.z_l
        w = np.clip(z - at.z_l, 0.0, rise)
        curve = w * (at.d_l + at.d_r - 2.0 * s)
        # The spline's formula, solved for xi: a xi^2 + b xi + c = 0, with the root in [0, 1].
        a, b, c = rise * (s - at.d_l) + curve, rise * at.d_l - curve, -s * w
        xi = 2.0 * c / (-b - np.sqrt(b**2 - 4.0 * a * c))
        x = at.x_l + xi * (at.x_r - at.x_l)
        x = np.where(z < z_k[0], x_k[0] - (z_k[0] - z) / d_k[0], x)
        return np.where(z > z_k[-1], x_k[-1] + (z - z_k[-1]) / d_k[-1], x)

    def log_slope(self, x: FloatArray) -> FloatArray:
        at = self._interval(x, 0)
        xi = np.clip((x - at.x_l) / (at.x_r - at.x_l), 0.0, 1.0)
        s, product = at.secant, xi * (1.0 - xi)
        numerator = s**2 * (at.d_r * xi**2 + 2.0 * s * product + at.d_l * (1.0 - xi) ** 2)
        return np.asarray(np.log(numerator) - 2.0 * np.log(s + (at.d_l + at.d_r - 2.0 * s) * product))

    @cached_property
    def _at_knots(self) -> tuple[FloatArray, FloatArray, FloatArray]:
        """The knots x, z, and the slopes dz/dx there: (K,) each."""
        x, z = np.array(self.knots), np.array(self.quantiles)
        width, secant = np.diff(x), np.diff(z) / np.diff(x)
        weight_before, weight_after = width[1:] + 0.5 * width[:-1], 0.5 * width[1:] + width[:-1]
        inner = (weight_before + weight_after) / (weight_before / secant[:-1] + weight_after / secant[1:])
        return x, z, np.concatenate([secant[:1], inner, secant[-1:]])

    def _interval(self, numbers: FloatArray, axis: int) -> _Interval:
        """Return the interval in which each number lies, the nearest one for numbers beyond the outer knots.

        The numbers are x if `axis` is 0, and z if it is 1.
        """
        index = np.searchsorted(self._at_knots[axis][1:-1], numbers, side="right")
        return _Interval(*(each[index + i] for each in self._at_knots for i in (0, 1)))


@dataclass(frozen=True)
class Chain(NumberMap):
    """Maps that are applied one after another."""

    maps: tuple[NumberMap, ...]

    def encode(self, x: FloatArray) -> FloatArray:
        for each in self.maps:
            x = each.encode(x)
        return x

    def decode(self, z: FloatArray) -> FloatArray:
        for each in reversed(self.maps):
            z = each.decode(z)
        return z

    def log_slope(self, x: FloatArray) -> FloatArray:
        log_slope = self.maps[0].log_slope(x)
        for previous, each in pairwise(self.maps):
            x = previous.encode(x)
            log_slope = log_slope + each.log_slope(x)
        return log_slope

    def deviation_in_user_units(self, deviation: FloatArray, z: FloatArray) -> FloatArray:
        """Return a small deviation of z in the units of x: dx/dz times it, clipped to what float64 holds."""
        log_slope: FloatArray | float = 0.0
        for each in reversed(self.maps):
            z = each.decode(z)
            log_slope = log_slope + each.log_slope(z)
        with np.errstate(over="ignore"):
            return np.clip(deviation * np.minimum(np.exp(-log_slope), LARGEST), -LARGEST, LARGEST)


def reflect(x: FloatArray, least: float, largest: float, edge: float = 0.0) -> FloatArray:
    """Return x with values outside [least, largest] reflected into this range, at least - edge and at largest + edge.

    Values too far out to be reflected into the range are clipped.
    """
    if not ((x < least) | (x > largest)).any():
        return x
    with np.errstate(over="ignore", invalid="ignore"):
        mirrored = np.where(x < least, 2.0 * (least - edge) - x, np.where(x > largest, 2.0 * (largest + edge) - x, x))
    is_inside = (mirrored >= least) & (mirrored <= largest)
    return np.where(is_inside, mirrored, np.clip(x, least, largest))


def check_floats(fields: Mapping[str, Any], *, positive: Sequence[str] = (), optional: Sequence[str] = ()) -> None:
    """Raise InvalidInput unless all fields are finite floats, those named `positive` at least `LEAST_SCALE`.

    The `optional` fields may be None.
    """
    for name, value in fields.items():
        if value is None and name in optional:
            continue
        if not isinstance(value, float) or not math.isfinite(value):
            raise InvalidInput(f"{name} of a column should be a finite float, but got {value!r}: fit the codec again.")
        if name in positive and value < LEAST_SCALE:
            raise InvalidInput(f"{name} should be at least {LEAST_SCALE:.1e}, but got {value}: fit the codec again.")
