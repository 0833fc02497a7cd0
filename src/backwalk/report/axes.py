"""The axes of figures: limits, proportions, asinh scales for heavy tails, and which of many rows are drawn.

An axis with an `Asinh` map is linear within one scale of the map's centre and logarithmic beyond. Two
linear axes have equal units where both columns span similar lengths.
"""

from __future__ import annotations

import math
from functools import partial
from typing import Literal

import numpy as np
from matplotlib.axes import Axes
from matplotlib.ticker import FixedLocator, FuncFormatter, NullLocator
from numpy.typing import ArrayLike

from backwalk.estimates import Rows
from backwalk.streams import Stream
from backwalk.table import Asinh

Limits = tuple[float, float, float, float]
"""(left, right, bottom, top) of the plane."""
AsinhPair = tuple[Asinh | None, Asinh | None]

_MOST_DECADES = 3  # with ticks, on either side of an axis's centre


def some_rows(points: Rows, n: int) -> Rows:
    """Return n random points, always the same, or all if there are no more."""
    if len(points) <= n:
        return points
    return points[Stream(0).child("shown").generator().choice(len(points), n, replace=False, shuffle=False)]


def limits_of(*sets: ArrayLike, asinh: AsinhPair = (None, None)) -> Limits:
    """Return limits of the plane that hold all but the farthest thousandth of each set (n, 2), with a margin."""
    ends = []
    for column, scale in enumerate(asinh):
        quantiles = [place_on(np.quantile(np.asarray(x)[:, column], [0.0005, 0.9995]), scale) for x in sets]
        low, high = min(q[0] for q in quantiles), max(q[1] for q in quantiles)
        margin = 0.06 * (high - low) or 1.0
        ends += number_at(np.array([low - margin, high + margin]), scale).tolist()
    return ends[0], ends[1], ends[2], ends[3]


def place_on(x: Rows, asinh: Asinh | None) -> Rows:
    """Return the places of numbers along an axis."""
    return x if asinh is None else asinh.encode(np.asarray(x))


def number_at(place: Rows, asinh: Asinh | None) -> Rows:
    """Return the numbers at places along an axis."""
    return place if asinh is None else asinh.decode(np.asarray(place))


def fit_axes(axes: Axes, limits: Limits, asinh: AsinhPair = (None, None)) -> None:
    """Give axes their limits, scales and a few ticks, and equal units where both span similar lengths."""
    if _alike(limits, asinh):
        axes.set_aspect("equal")
    _fit_axis(axes, "x", limits[:2], asinh[0])
    _fit_axis(axes, "y", limits[2:], asinh[1])


def fitting_height(limits: Limits, asinh: AsinhPair = (None, None)) -> float:
    """Return the height, in inches, at which axes 4 inches wide are filled."""
    if not _alike(limits, asinh):
        return 3.6
    return min(4.6, max(2.6, 3.9 * (limits[3] - limits[2]) / (limits[1] - limits[0]) + 0.75))


def asinh_axis(axes: Axes, name: Literal["x", "y"], low: float, high: float, asinh: Asinh) -> None:
    """Give an axis an asinh scale, with ticks at its centre and, beyond one scale, at powers of ten from there."""
    functions = partial(place_on, asinh=asinh), partial(number_at, asinh=asinh)
    (axes.set_xscale if name == "x" else axes.set_yscale)("function", functions=functions)
    centre, scale = asinh.centre, asinh.scale
    decade = math.floor(math.log10(scale))
    if abs(centre) < 10.0 * scale:
        centre = 0.0
    else:
        centre = round(centre, -decade)
    below = _powers(max(2.0 * scale, centre - high), centre - low)
    above = _powers(max(2.0 * scale, low - centre), high - centre)
    ticks = [tick for tick in (*(centre - below)[::-1], centre, *(centre + above)) if low <= tick <= high]
    axis = axes.xaxis if name == "x" else axes.yaxis
    axis.set_major_locator(FixedLocator(ticks))
    axis.set_major_formatter(FuncFormatter(lambda tick, _: _tick_text(tick)))
    axis.set_minor_locator(NullLocator())


def _powers(least: float, most: float) -> Rows:
    """Return a few powers of ten between two numbers, including the largest."""
    if not 0.0 < least <= most:
        return np.empty(0)
    first, last = math.ceil(math.log10(least)), math.floor(math.log10(most))
    return np.asarray(10.0 ** np.arange(last, first - 1, -max(1, math.ceil((last + 1 - first) / _MOST_DECADES))))[::-1]


def _tick_text(tick: float) -> str:
    exponent = math.log10(abs(tick)) if tick else 0.0
    if abs(exponent) >= 2.0 and abs(exponent - round(exponent)) < 1e-9:
        return f"${'-' if tick < 0 else ''}10^{{{round(exponent)}}}$"
    return f"{tick:g}".replace("-", "\u2212")


def _alike(limits: Limits, asinh: AsinhPair) -> bool:
    """Return whether both axes span lengths similar enough for equal units."""
    return not any(asinh) and 0.4 < (limits[1] - limits[0]) / (limits[3] - limits[2]) < 2.5


def _fit_axis(axes: Axes, name: Literal["x", "y"], ends: tuple[float, float], asinh: Asinh | None) -> None:
    if asinh is None:
        axes.locator_params(name, nbins=5)
    else:
        asinh_axis(axes, name, *ends, asinh)
    (axes.set_xlim if name == "x" else axes.set_ylim)(*ends)
