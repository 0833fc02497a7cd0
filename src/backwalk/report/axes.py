"""Axes of the plane that fit what they hold: their limits, their proportions, and bent ones for heavy tails.

A `Bend` is a middle and a core: an axis with one is linear so far from its middle, and logarithmic beyond, as a column
with heavy tails wants it. Points of the plane keep their proportions where both columns span similar lengths.
"""

from __future__ import annotations

import math
from functools import partial
from typing import Literal

import numpy as np
from matplotlib.axes import Axes
from matplotlib.ticker import FixedLocator, FuncFormatter, NullLocator
from numpy.typing import ArrayLike

from backwalk.evaluation.rows import Rows
from backwalk.table.maps import asinh_inverse, asinh_transform

Limits = tuple[float, float, float, float]
"""(left, right, bottom, top) of the plane."""
Bend = tuple[float, float]
"""(middle, core) of an axis whose places are asinh((x - middle) / core)."""
Bends = tuple[Bend | None, Bend | None]

_MOST_DECADES = 3  # with ticks, on either side of an axis's middle


def limits_of(*sets: ArrayLike, bends: Bends = (None, None)) -> Limits:
    """Return limits of the plane that hold all but the farthest thousandth of each set (n, 2), with a margin."""
    ends = []
    for column, bend in enumerate(bends):
        quantiles = [place_on(np.quantile(np.asarray(x)[:, column], [0.0005, 0.9995]), bend) for x in sets]
        low, high = min(q[0] for q in quantiles), max(q[1] for q in quantiles)
        margin = 0.06 * (high - low) or 1.0
        ends += number_at(np.array([low - margin, high + margin]), bend).tolist()
    return ends[0], ends[1], ends[2], ends[3]


def place_on(x: Rows, bend: Bend | None) -> Rows:
    """Return where numbers stand along an axis."""
    return x if bend is None else asinh_transform(np.asarray(x), *map(np.array, bend))


def number_at(place: Rows, bend: Bend | None) -> Rows:
    """Return the numbers that stand at places along an axis."""
    return place if bend is None else asinh_inverse(np.asarray(place), *map(np.array, bend))


def fit_axes(axes: Axes, limits: Limits, bends: Bends = (None, None)) -> None:
    """Give axes their limits, one unit as long on the one as on the other where that fits, bends and a few ticks."""
    if _alike(limits, bends):
        axes.set_aspect("equal")
    _fit_axis(axes, "x", limits[:2], bends[0])
    _fit_axis(axes, "y", limits[2:], bends[1])


def fitting_height(limits: Limits, bends: Bends = (None, None)) -> float:
    """Return the height, in inches, at which axes 4 inches wide are filled."""
    if not _alike(limits, bends):
        return 3.6
    return min(4.6, max(2.6, 3.9 * (limits[3] - limits[2]) / (limits[1] - limits[0]) + 0.75))


def bend_axis(axes: Axes, name: Literal["x", "y"], low: float, high: float, bend: Bend) -> None:
    """Bend an axis, with ticks at its middle and at powers of ten from there, beyond the core."""
    functions = partial(place_on, bend=bend), partial(number_at, bend=bend)
    (axes.set_xscale if name == "x" else axes.set_yscale)("function", functions=functions)
    middle, core = bend
    decade = math.floor(math.log10(core))
    if abs(middle) < 10.0 * core:
        middle = 0.0
    else:
        middle = round(middle, -decade)
    below = _powers(max(2.0 * core, middle - high), middle - low)
    above = _powers(max(2.0 * core, low - middle), high - middle)
    ticks = [tick for tick in (*(middle - below)[::-1], middle, *(middle + above)) if low <= tick <= high]
    axis = axes.xaxis if name == "x" else axes.yaxis
    axis.set_major_locator(FixedLocator(ticks))
    axis.set_major_formatter(FuncFormatter(lambda tick, _: _tick_text(tick)))
    axis.set_minor_locator(NullLocator())


def _powers(least: float, most: float) -> Rows:
    """Return a few powers of ten between two numbers, the largest among them."""
    if not 0.0 < least <= most:
        return np.empty(0)
    first, last = math.ceil(math.log10(least)), math.floor(math.log10(most))
    return np.asarray(10.0 ** np.arange(last, first - 1, -max(1, math.ceil((last + 1 - first) / _MOST_DECADES))))[::-1]


def _tick_text(tick: float) -> str:
    exponent = math.log10(abs(tick)) if tick else 0.0
    if abs(exponent) >= 2.0 and abs(exponent - round(exponent)) < 1e-9:
        return f"${'-' if tick < 0 else ''}10^{{{round(exponent)}}}$"
    return f"{tick:g}".replace("-", "\u2212")


def _alike(limits: Limits, bends: Bends) -> bool:
    """Say whether both axes span so similar lengths that one unit may be as long on the one as on the other."""
    return not any(bends) and 0.4 < (limits[1] - limits[0]) / (limits[3] - limits[2]) < 2.5


def _fit_axis(axes: Axes, name: Literal["x", "y"], ends: tuple[float, float], bend: Bend | None) -> None:
    if bend is None:
        axes.locator_params(name, nbins=5)
    else:
        bend_axis(axes, name, *ends, bend)
    (axes.set_xlim if name == "x" else axes.set_ylim)(*ends)
