"""The maps between values and encoded coordinates, vectorised over the columns of one kind.

A network learns best from coordinates of mean 0 and variance 1. A number is shifted and scaled,

    z = (x - centre) / scale.

If its tails are heavy, so that most rows would lie close together, it is transformed first,

    z = (asinh((x - asinh_centre) / asinh_scale) - centre) / scale,

which is linear within `asinh_scale` of `asinh_centre` and logarithmic beyond. With `asinh_centre` = 0 and an
`asinh_scale` far below all rows, it is the logarithm of rows of one sign. Both maps are smooth and defined for every
number, so densities stay exact.
"""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from backwalk.table.dtypes import numpy_dtype
from backwalk.table.schema import FloatArray

LARGEST = float(np.finfo(np.float64).max)
_SINH_RANGE = 700.0
BoolArray = npt.NDArray[np.bool_]


def asinh_transform(x: FloatArray, centre: FloatArray, scale: FloatArray) -> FloatArray:
    """Return asinh((x - centre) / scale), finite for every finite x, (n, k): centre and scale are (k,)."""
    half = 0.5 * x - 0.5 * centre  # the difference of two numbers near the limits of float64 stays finite
    with np.errstate(over="ignore"):
        w: FloatArray = np.arcsinh(half / (0.5 * scale))
    far = np.isinf(w)
    if far.any():
        w[far] = (np.sign(half) * (np.log(np.abs(half, where=far, out=np.ones_like(half))) - np.log(0.25 * scale)))[far]
    return w


def asinh_inverse(w: FloatArray, centre: FloatArray, scale: FloatArray) -> FloatArray:
    """Return centre + scale sinh(w), (n, k); what float64 cannot hold is clipped to its largest number."""
    with np.errstate(over="ignore"):
        near = 0.5 * scale * np.sinh(np.clip(w, -_SINH_RANGE, _SINH_RANGE))
        far = np.sign(w) * np.exp(np.abs(w) + np.log(0.25 * scale))
        half = 0.5 * centre + np.where(np.abs(w) < _SINH_RANGE, near, far)
    return 2.0 * np.clip(half, -0.5 * LARGEST, 0.5 * LARGEST)


def asinh_log_slope(x: FloatArray, centre: FloatArray, scale: FloatArray) -> FloatArray:
    """Return ln(dw/dx) for w = asinh_transform(x), (n, k): -ln sqrt((x - centre)^2 + scale^2)."""
    slope: FloatArray = -np.log(np.hypot(0.25 * x - 0.25 * centre, 0.25 * scale)) - math.log(4.0)
    return slope


def same_numbers(x: FloatArray, values: FloatArray, dtypes: Sequence[str] | None = None) -> BoolArray:
    """Return where x, (n, m), equals `values`, (n, m) or (m,).

    The same table may be given in float32 or in float64. A value equals its rounding to float32, and numbers that round
    to it in the dtype in which its column was fitted.
    """
    with np.errstate(over="ignore"):
        same: BoolArray = (x == values) | (x == values.astype(np.float32))
        for j, dtype in enumerate(map(numpy_dtype, dtypes or ())):
            if dtype in ("float16", "float32"):
                same[:, j] |= x[:, j].astype(dtype) == values[..., j]
    return same


def reflected(x: FloatArray, least: FloatArray, largest: FloatArray, edge: float = 0.0) -> FloatArray:
    """Return x, (n, m), with values beyond `least` or `largest`, (m,), reflected at `edge` beyond them.

    Values too far out to be reflected into the range are clipped.
    """
    with np.errstate(over="ignore", invalid="ignore"):
        mirrored = np.where(x < least, 2.0 * (least - edge) - x, np.where(x > largest, 2.0 * (largest + edge) - x, x))
    is_inside = (mirrored >= least) & (mirrored <= largest)
    return np.where(is_inside, mirrored, np.clip(x, least, largest))


class Maps(ABC):
    """The maps of m columns of one kind: values x, (n, m), in the user's units, and their coordinates z, (n, w).

    NaN in x becomes NaN in all coordinates of the column.
    """

    @abstractmethod
    def encode(self, x: FloatArray, v: FloatArray | None = None) -> FloatArray:
        """Return coordinates, (n, w). Kinds with random draws take uniforms v in (0, 1), (n, `n_uniforms`).

        Without v nothing is drawn: integers are at the centres of their cells.
        """

    @abstractmethod
    def decode(self, z: FloatArray) -> FloatArray:
        """Return values, integers rounded: (n, m). What float64 cannot hold is clipped to its largest number."""

    @abstractmethod
    def log_slope(self, x: FloatArray) -> FloatArray:
        """Return log |dz/dx| of each column: (n, m), nats, or (m,) for all rows."""

    @abstractmethod
    def in_user_units(self, deviation: FloatArray, z: FloatArray) -> FloatArray:
        """Return a small deviation of the coordinates, (n, w), at z in the user's units: (n, m)."""

    def supports(self, x: FloatArray, dtypes: Sequence[str] | None) -> BoolArray:
        """Return which values a model can make: (n, m). `dtypes` are those in which the columns were fitted.

        Missing values have any answer.
        """
        return np.ones(x.shape, dtype=bool)

    def off_bounds(self, x: FloatArray) -> FloatArray:
        """Return values, those within three tenths of the margin of a bound moved inwards to this distance: (n, m)."""
        return x

    def dequantise(self, x: FloatArray, v: FloatArray, weight: float = 1.0) -> FloatArray:
        """Return values moved within their cells to the densities' quantiles at v, uniform on (0, 1): (n, m).

        `weight` multiplies the densities' c. v is (n, `n_uniforms`).
        """
        return x

    def log_dequantisation(self, x: FloatArray, weight: float = 1.0) -> FloatArray:
        """Return ln q of the places of dequantised values in their cells: (n, m), nats."""
        return np.zeros(x.shape)

    def within_range(self, x: FloatArray) -> FloatArray:
        """Return new values within the range of the fitted ones, for kinds that have one: (n, m)."""
        return x


@dataclass(frozen=True, eq=False)
class ConstantMaps(Maps):
    """Columns without coordinates, each of one value: (m,)."""

    value: FloatArray

    def encode(self, x: FloatArray, v: FloatArray | None = None) -> FloatArray:
        return np.empty((len(x), 0))

    def decode(self, z: FloatArray) -> FloatArray:
        return np.broadcast_to(self.value, (len(z), len(self.value)))

    def log_slope(self, x: FloatArray) -> FloatArray:
        return np.zeros(len(self.value))

    def in_user_units(self, deviation: FloatArray, z: FloatArray) -> FloatArray:
        return np.zeros((len(z), len(self.value)))

    def supports(self, x: FloatArray, dtypes: Sequence[str] | None) -> BoolArray:
        return same_numbers(x, self.value, dtypes)


@dataclass(frozen=True, eq=False)
class BoundedMaps(Maps):
    """Columns whose new values lie within `least` and `largest`, (m,), which are infinite where there is no bound."""

    least: FloatArray
    largest: FloatArray

    def within_range(self, x: FloatArray) -> FloatArray:
        return reflected(x, self.least, self.largest)


@dataclass(frozen=True, eq=False)
class NumberMaps(BoundedMaps):
    """Columns that are shifted and scaled: (m,) each, in the user's units."""

    centre: FloatArray
    scale: FloatArray

    def encode(self, x: FloatArray, v: FloatArray | None = None) -> FloatArray:
        with np.errstate(over="ignore"):
            # Halves, so that the difference of two numbers near the limits of float64 stays finite.
            z: FloatArray = (0.5 * x - 0.5 * self.centre) / (0.5 * self.scale)
        return z

    def decode(self, z: FloatArray) -> FloatArray:
        with np.errstate(over="ignore"):
            half = 0.5 * self.centre + 0.5 * self.scale * z
        x: FloatArray = 2.0 * np.clip(half, -0.5 * LARGEST, 0.5 * LARGEST)
        return x

    def log_slope(self, x: FloatArray) -> FloatArray:
        return np.asarray(-np.log(self.scale))

    def in_user_units(self, deviation: FloatArray, z: FloatArray) -> FloatArray:
        with np.errstate(over="ignore"):
            return np.asarray(np.clip(deviation * self.scale, -LARGEST, LARGEST))


@dataclass(frozen=True, eq=False)
class AsinhMaps(BoundedMaps):
    """Columns that are transformed by asinh, and then shifted and scaled by `linear`: (m,) each."""

    centre: FloatArray
    scale: FloatArray
    linear: NumberMaps

    def encode(self, x: FloatArray, v: FloatArray | None = None) -> FloatArray:
        return self.linear.encode(asinh_transform(x, self.centre, self.scale))

    def decode(self, z: FloatArray) -> FloatArray:
        return asinh_inverse(self.linear.decode(z), self.centre, self.scale)

    def log_slope(self, x: FloatArray) -> FloatArray:
        return asinh_log_slope(x, self.centre, self.scale) + self.linear.log_slope(x)

    def in_user_units(self, deviation: FloatArray, z: FloatArray) -> FloatArray:
        # dx/dz = linear.scale * scale * cosh(w), which grows outwards.
        w = self.linear.centre + self.linear.scale * z
        with np.errstate(over="ignore", invalid="ignore"):  # of NaN
            log_cosh = np.logaddexp(w, -w) - np.log(2.0)
            units = np.exp(np.log(self.linear.scale) + np.log(self.scale) + log_cosh)
            return np.asarray(np.clip(deviation * np.minimum(units, LARGEST), -LARGEST, LARGEST))
