"""Pictures of rows: points, histograms, frames of the chain.

Clouds of points are rasterised; lines and text are not.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from numpy.typing import ArrayLike

from backwalk.assess.statistics import correlation_matrix
from backwalk.estimates import Rows
from backwalk.report.axes import (
    Asinh,
    AsinhPair,
    Limits,
    asinh_axis,
    fit_axes,
    fitting_height,
    limits_of,
    number_at,
    place_on,
)
from backwalk.report.style import BLUE, GENERATED, INK, REAL, literal, panels, set_title, styled
from backwalk.streams import Stream

_MOST_POINTS = 5_000


@styled
def plot_points(
    points: ArrayLike,
    *,
    title: str = "",
    labels: tuple[str, str] = ("x₁", "x₂"),
    limits: Limits | None = None,
    color: str = BLUE,
    asinh: AsinhPair = (None, None),
) -> Figure:
    """Draw points (n, 2) of the plane; of more than 5,000, a random 5,000."""
    shown = limits or limits_of(points, asinh=asinh)
    figure, (axes,) = panels(height=fitting_height(shown, asinh))
    _draw_points(axes, np.asarray(points), shown, color, labels, title, asinh)
    return figure


@styled
def plot_side_by_side(
    data: ArrayLike,
    generated: ArrayLike,
    *,
    titles: tuple[str, str] = ("Data", "Generated"),
    labels: tuple[str, str] = ("x₁", "x₂"),
) -> Figure:
    """Draw data (n, 2) beside generated points (m, 2), on the same axes and equally many of each."""
    n = min(len(np.asarray(data)), len(np.asarray(generated)), _MOST_POINTS)
    limits = limits_of(data, generated)
    figure, axes = panels(2, height=fitting_height(limits))
    for ax, points, color, title in zip(axes, (data, generated), (REAL, GENERATED), titles, strict=True):
        _draw_points(ax, some_rows(np.asarray(points), n), limits, color, labels, title)
    return figure


@styled
def plot_marginal(
    data: ArrayLike,
    generated: ArrayLike,
    *,
    label: str = "x",
    title: str = "",
    asinh: Asinh | None = None,
    integers: bool = False,
) -> Figure:
    """Draw the histograms of one column, data (n,) filled and generated (m,) as a line.

    Heights are densities; with `asinh`, where bins grow along the axis, they are shares of the rows. Bins of `integers`
    end half-way between integers, so that equally many fall into each bin.
    """
    figure, (axes,) = panels(width=3.7, height=2.7)
    x, y = np.asarray(data, dtype=np.float64), np.asarray(generated, dtype=np.float64)
    draw_histograms(axes, x, y, label=label, asinh=asinh, integers=integers)
    set_title(axes, title)
    return figure


def draw_histograms(axes: Axes, x: Rows, y: Rows, *, label: str, asinh: Asinh | None, integers: bool) -> None:
    """Draw the histograms of real numbers x (n,), filled, and of generated ones y (m,), as a line."""
    low, high = place_on(np.quantile(np.concatenate([x, y]), [0.0005, 0.9995]), asinh)
    n_bins = min(60, max(10, int(2 * len(x) ** (1 / 3))))
    bins = number_at(np.linspace(low, high if high > low else low + 1.0, 1 + n_bins), asinh)
    if integers:
        bins = _between_numbers(bins, even=asinh is None)
    if asinh is not None:
        asinh_axis(axes, "x", float(bins[0]), float(bins[-1]), asinh)
    else:
        axes.locator_params("x", nbins=5, integer=integers)
    widths = np.diff(bins) if asinh is None else 1.0
    for values, color, name, filled in ((x, REAL, "real", True), (y, GENERATED, "generated", False)):
        heights = np.histogram(values, bins)[0] / (len(values) * widths)
        look: dict[str, Any] = {"alpha": 0.45, "linewidth": 0.0} if filled else {"linewidth": 1.6}
        axes.stairs(heights, bins, fill=filled, color=color, label=name, **look)
    height = "density" if asinh is None else "share of rows"
    axes.set(xlabel=literal(label), ylabel=height, ylim=(0.0, 1.25 * axes.get_ylim()[1]))  # room for the legend
    axes.legend(loc="upper right", labelcolor=INK)


def _between_numbers(bins: Rows, *, even: bool) -> Rows:
    """Return bins near these whose edges lie half-way between integers, of equal widths if `even`."""
    first, last = np.floor(bins[0] + 0.5) - 0.5, np.ceil(bins[-1] - 0.5) + 0.5
    if not even:
        return np.unique(np.concatenate([[first], np.floor(bins[1:-1]) + 0.5, [last]]))
    width = max(1.0, np.ceil((last - first) / (len(bins) - 1)))
    return np.asarray(np.minimum(np.arange(first, last + width, width), last))


@styled
def plot_chain(
    frames: Sequence[ArrayLike],
    *,
    captions: Sequence[str] = (),
    color: str = BLUE,
    limits: Limits | None = None,
) -> Figure:
    """Draw a row of clouds of points, each (n, 2), on the same axes: the chain at a few of its steps."""
    shared = limits or limits_of(*frames)
    figure, axes = panels(len(frames), width=1.75, height=_frame_height(shared))
    for k, (ax, points) in enumerate(zip(axes, frames, strict=True)):
        ax.title.set_fontsize(9)
        _draw_points(ax, np.asarray(points), shared, color, ("", ""), captions[k] if captions else "")
        ax.set(xticks=[], yticks=[])
        for side in ax.spines.values():
            side.set(visible=True, alpha=0.4)
    return figure


def _frame_height(limits: Limits) -> float:
    """Return the height, in inches, of a frame 1.6 inches wide with its caption."""
    return min(2.1, max(1.1, 1.6 * (limits[3] - limits[2]) / (limits[1] - limits[0]) + 0.5))


def farthest_pair(distance: ArrayLike) -> tuple[int, int]:
    """Return the two columns with the largest marginal `distance`, (d,), d >= 2, in the order of the table."""
    first, second = sorted(np.argsort(-np.asarray(distance), kind="stable")[:2].tolist())
    return first, second


def telling_pairs(
    data: ArrayLike, generated: ArrayLike, distance: ArrayLike, n_pairs: int = 2
) -> list[tuple[int, int]]:
    """Return the pairs of columns in which data (n, d) and generated rows (m, d) differ most, d >= 2.

    The first is the `farthest_pair` by the marginal `distance` (d,); the others have the largest differences of
    correlations.
    """
    x, y = np.asarray(data, dtype=np.float64), np.asarray(generated, dtype=np.float64)
    pairs = [farthest_pair(distance)]
    off = np.nan_to_num(np.abs(correlation_matrix(x) - correlation_matrix(y)))
    off[np.tril_indices(len(off))] = off[pairs[0]] = -1.0
    while len(pairs) < n_pairs and off.max() >= 0.0:
        pair = divmod(int(off.argmax()), len(off))
        off[pair] = -1.0
        pairs.append(pair)
    return pairs


def _draw_points(
    axes: Axes,
    points: Rows,
    limits: Limits,
    color: str,
    labels: tuple[str, str],
    title: str,
    asinh: AsinhPair = (None, None),
) -> None:
    shown = some_rows(points, _MOST_POINTS)
    n = max(1, len(shown))
    axes.scatter(
        shown[:, 0],
        shown[:, 1],
        s=min(14.0, max(2.2, 9_000 / n)),
        color=color,
        alpha=min(0.8, max(0.35, 250.0 / n**0.75)),
        linewidths=0,
        rasterized=True,
    )
    axes.set(xlabel=literal(labels[0]), ylabel=literal(labels[1]))
    set_title(axes, title)
    fit_axes(axes, limits, asinh)


def some_rows(points: Rows, n: int) -> Rows:
    """Return n random points, always the same, or all if there are no more."""
    if len(points) <= n:
        return points
    return points[Stream(0).child("shown").generator().choice(len(points), n, replace=False, shuffle=False)]
