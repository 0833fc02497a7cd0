"""The maps of numbers: each is one small class, and a column chains those that it needs.

A network learns best from coordinates of mean 0 and variance 1. A number is shifted and scaled (`Affine`),

    z = (x - centre) / scale.

If its tails are heavy, so that most rows would lie close together, asinh((x - centre) / scale) comes first (`Asinh`).
It is linear within `scale` of `centre` and logarithmic beyond; with `centre` = 0 and a `scale` far below all rows, it
is the logarithm of rows of one sign. A spline through quantiles makes a column about normal (`Spline`), also one that
ends at known bounds (`Boundary`). All maps are increasing and inverted in closed form, so densities stay exact.
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
from scipy import special

from backwalk.errors import InvalidInput
from backwalk.table.schema import FloatArray

LARGEST = float(np.finfo(np.float64).max)
LEAST_SCALE = 4.0 * float(np.finfo(np.float64).tiny)  # below this, numbers lose digits
_SINH_RANGE = 700.0  # beyond about 710 sinh overflows
_FLOOR = 1e-3  # of the numbers between a bound and the nearest knot
_STEP = 1e-5  # in z, of the derivative of a slope
_ROUNDING = 1e-9  # of the distance of that knot, by which a decoded number may lie beyond the bound
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

    It is increasing, with an inverse in closed form, and linear beyond the outer knots. The slope at a knot is a
    weighted harmonic mean of those of the secants on either side.

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
        first, last = self._end_slopes(secant)
        return x, z, np.array([first, *inner, last])

    def _end_slopes(self, secant: FloatArray) -> tuple[float, float]:
        """Return the slopes at the outer knots, given those of the secants."""
        return float(secant[0]), float(secant[-1])

    def _interval(self, numbers: FloatArray, axis: int) -> _Interval:
        """Return the interval in which each number lies, the nearest one for numbers beyond the outer knots.

        The numbers are x if `axis` is 0, and z if it is 1.
        """
        x, z, slope = self._at_knots
        left = np.searchsorted(self._at_knots[axis][1:-1], numbers, side="right")
        right = left + 1
        return _Interval(x[left], x[right], z[left], z[right], slope[left], slope[right])


@dataclass(frozen=True)
class Boundary(Spline):
    """A spline that ends at bounds: a normal density of z has next to no mass beyond them.

    `low` and `high` are the bounds, of which one may be None. Between a lower bound L and the first knot, of the
    quantile z_1, and in mirror image at an upper bound, numbers are taken to have the distribution function

        F = Phi(z_1) (e + (1 - e) u^k),   u = (x - L) / (x_1 - L),   e = 1/1,000,   z = Phi^-1(F),

    k being `low_power` or `high_power`: the density at the bound is infinite for k < 1, positive for k = 1 and 0 for
    k > 1. Where u^k < e it is constant. Numbers beyond a bound have an infinite z, and a z beyond that of the
    bound is reflected into this part.

    With `share`, that of the rows beside each bound, this part is short instead, and the rest keeps its shape:

        F = share (e + (1 - e) u^k),   z = z_1 + c (Phi^-1(F) - Phi^-1(share)),

    with the c by which the slope at the knot is that inside.
    """

    low: float | None = None
    high: float | None = None
    low_power: float = 1.0
    high_power: float = 1.0
    share: float | None = None

    def __post_init__(self) -> None:
        super().__post_init__()
        fields = {name: getattr(self, name) for name in ("low", "high", "low_power", "high_power", "share")}
        check_floats(fields, positive=("low_power", "high_power", "share"), optional=("low", "high", "share"))
        if self.low is None and self.high is None:
            raise InvalidInput("low or high should be given, but got neither: fit the codec again.")
        if self.share is not None and self.share > 0.5:
            raise InvalidInput(f"share should be at most 0.5, but got {self.share}: fit the codec again.")
        low, high = self._ends
        if not low < self.knots[0] or not self.knots[-1] < high:
            raise InvalidInput(f"Knots should lie between {self.low} and {self.high}: fit the codec again.")

    def encode(self, x: FloatArray) -> FloatArray:
        z, (low, high) = super().encode(x), self._ends
        below, above = self._tails
        if below:
            z = np.where(x < self.knots[0], below.encode(x - low), z)
        if above:
            z = np.where(x > self.knots[-1], -above.encode(high - x), z)
        return z

    def decode(self, z: FloatArray) -> FloatArray:
        x, (low, high) = super().decode(z), self._ends
        below, above = self._tails
        if below:
            x = np.where(z < self.quantiles[0], low + below.decode(z), x)
        return np.where(z > self.quantiles[-1], high - above.decode(-z), x) if above else x

    def log_slope(self, x: FloatArray) -> FloatArray:
        log_slope, (low, high) = super().log_slope(x), self._ends
        below, above = self._tails
        if below:
            log_slope = np.where(x < self.knots[0], below.log_slope(x - low), log_slope)
        return np.where(x > self.knots[-1], above.log_slope(high - x), log_slope) if above else log_slope

    def rows_beside(self, x: FloatArray) -> tuple[FloatArray, FloatArray]:
        """Return about which share of the fitted rows lies between x, near a bound, and the lower and the upper bound.

        It is that of a normal z, and in proportion to the distance where the map is straight. Where there is no bound
        it is infinite.
        """

        def of_bound(bound: float | None, knot: float, sign: float) -> FloatArray:
            if bound is None:
                return np.full(np.shape(x), np.inf)
            if self.share is None:
                return np.asarray(special.ndtr(sign * self.encode(x)))
            return np.asarray(self.share * (x - bound) / (knot - bound))

        return of_bound(self.low, self.knots[0], 1.0), of_bound(self.high, self.knots[-1], -1.0)

    @property
    def _ends(self) -> tuple[float, float]:
        return -math.inf if self.low is None else self.low, math.inf if self.high is None else self.high

    @cached_property
    def _tails(self) -> tuple[_Tail | None, _Tail | None]:
        (low, high), (first, last) = self._ends, (self.quantiles[0], -self.quantiles[-1])
        return (
            None
            if self.low is None
            else _Tail(self.knots[0] - low, first, self.low_power, self.share, self._secants[0]),
            None
            if self.high is None
            else _Tail(high - self.knots[-1], last, self.high_power, self.share, self._secants[1]),
        )

    @property
    def _secants(self) -> tuple[float, float]:
        """The slopes of the outermost secants."""
        secants = np.diff(self.quantiles) / np.diff(self.knots)
        return float(secants[0]), float(secants[-1])

    def _end_slopes(self, secant: FloatArray) -> tuple[float, float]:
        if self.share is not None:
            return float(secant[0]), float(secant[-1])
        at_knot = [None if tail is None else math.exp(tail.log_slope(tail.width).item()) for tail in self._tails]
        return at_knot[0] or float(secant[0]), at_knot[1] or float(secant[-1])


class _Tail:
    """The map of distances from a bound, up to that of a knot, `width`, whose z is `quantile`: see `Boundary`.

    With the `share` of the rows beside the bound its slope at the knot is `slope`.
    """

    def __init__(self, width: float, quantile: float, power: float, share: float | None, slope: float) -> None:
        self.width, self.power = width, power
        self._nearest = _FLOOR ** (1.0 / power)  # from there to the bound the density is constant
        self._at_knot, self._normal, self._factor = quantile, quantile, 1.0  # of Phi^-1(F), and c
        self.share = float(special.ndtr(quantile))
        if share is not None:
            self.share, self._normal = share, float(special.ndtri(share))
            self._factor = slope / math.exp(self.log_slope(width).item())

    def encode(self, distance: FloatArray) -> FloatArray:
        """Return z."""
        u = distance / self.width
        z = self._at_knot + self._factor * (self._of_mass(self._mass(np.clip(u, 0.0, 1.0))) - self._normal)
        return np.where(u < -_ROUNDING, -np.inf, z)

    def decode(self, z: FloatArray) -> FloatArray:
        """Return distances."""
        normal = self._normal + (z - self._at_knot) / self._factor
        mass = np.abs((special.ndtr(normal) / self.share - _FLOOR) / (1.0 - _FLOOR)).clip(max=1.0)
        u = np.where(mass < _FLOOR, mass / _FLOOR * self._nearest, mass ** (1.0 / self.power))
        return np.asarray(self.width * u)

    def log_slope(self, distance: FloatArray | float) -> FloatArray:
        """Return ln(dz/dx)."""
        u = np.clip(np.asarray(distance) / self.width, 0.0, 1.0)
        of_mass = np.where(
            u < self._nearest,
            math.log(_FLOOR / self._nearest),
            math.log(self.power) + (self.power - 1.0) * np.log(np.maximum(u, self._nearest)),
        )
        log_density = -0.5 * np.square(self._of_mass(self._mass(u))) - 0.5 * math.log(2.0 * math.pi)
        return np.asarray(of_mass - log_density + math.log(self._factor * self.share * (1.0 - _FLOOR) / self.width))

    def _mass(self, u: FloatArray) -> FloatArray:
        return np.where(u < self._nearest, u / self._nearest * _FLOOR, u**self.power)

    def _of_mass(self, mass: FloatArray) -> FloatArray:
        """Return Phi^-1(F)."""
        return np.asarray(special.ndtri(self.share * (_FLOOR + (1.0 - _FLOOR) * mass)))


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

    def gradient(self, x: FloatArray, by_z: FloatArray) -> FloatArray:
        """Return d/dx of f(z(x)) + ln(dz/dx), for `by_z` = df/dz at z(x): both of x's shape.

        The slope of ln(dz/dx) is a central difference over steps of 1e-5 in z, one-sided at the end of its range.
        """
        slope = np.exp(self.log_slope(x))
        low, high = x - _STEP / slope, x + _STEP / slope
        low, high = (np.where(np.isfinite(self.encode(end)), end, x) for end in (low, high))
        return np.asarray(by_z * slope + (self.log_slope(high) - self.log_slope(low)) / (high - low))

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
