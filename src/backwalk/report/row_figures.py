"""Pictures of rows: points, histograms, densities, frames of the chain.

Clouds of points are rasterised, everything else is lines and text. Axes are as `axes` fits them.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.colors import LinearSegmentedColormap
from matplotlib.figure import Figure
from numpy.typing import ArrayLike

from backwalk.evaluation import correlation_matrix
from backwalk.evaluation.rows import Rows
from backwalk.report.axes import (
    Bend,
    Bends,
    Limits,
    bend_axis,
    fit_axes,
    fitting_height,
    limits_of,
    number_at,
    place_on,
)
from backwalk.report.style import BLUE, GENERATED, INK, REAL, literal, panels, styled
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
    bends: Bends = (None, None),
) -> Figure:
    """Draw points (n, 2) of the plane; of more than 5,000, that many, picked at random."""
    shown = limits or limits_of(points, bends=bends)
    figure, (axes,) = panels(height=fitting_height(shown, bends))
    _draw_points(axes, np.asarray(points), shown, color, labels, title, bends)
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
    bend: Bend | None = None,
    whole: bool = False,
) -> Figure:
    """Draw the histograms of one column, data (n,) filled and generated (m,) as a line.

    They are densities; with a `bend`, along whose axis bins grow, the share of the rows in each bin. In a column of
    `whole` numbers equally many stand in each bin, or in each about as many as its neighbours.
    """
    figure, (axes,) = panels(width=3.7, height=2.7)
    x, y = np.asarray(data, dtype=np.float64), np.asarray(generated, dtype=np.float64)
    low, high = place_on(np.quantile(np.concatenate([x, y]), [0.0005, 0.9995]), bend)
    n_bins = min(60, max(10, int(2 * len(x) ** (1 / 3))))
    bins = number_at(np.linspace(low, high if high > low else low + 1.0, 1 + n_bins), bend)
    if whole:
        bins = _between_numbers(bins, even=bend is None)
    if bend is not None:
        bend_axis(axes, "x", float(bins[0]), float(bins[-1]), bend)
    else:
        axes.locator_params("x", nbins=5, integer=whole)
    widths = np.diff(bins) if bend is None else 1.0
    for values, color, name, filled in ((x, REAL, "data", True), (y, GENERATED, "generated", False)):
        heights = np.histogram(values, bins)[0] / (len(values) * widths)
        look: dict[str, Any] = {"alpha": 0.45, "linewidth": 0.0} if filled else {"linewidth": 1.6}
        axes.stairs(heights, bins, fill=filled, color=color, label=name, **look)
    height = "density" if bend is None else "share of rows"
    axes.set(xlabel=literal(label), ylabel=height, ylim=(0.0, 1.25 * axes.get_ylim()[1]))  # room for the legend
    axes.set_title(literal(title))
    axes.legend(loc="upper right", labelcolor=INK)
    return figure


def _between_numbers(bins: Rows, *, even: bool) -> Rows:
    """Return bins with about these edges whose edges lie half-way between whole numbers, if `even` of equal widths."""
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
    figure, axes = panels(len(frames), width=1.75, height=2.0)
    shared = limits or limits_of(*frames)
    for k, (ax, points) in enumerate(zip(axes, frames, strict=True)):
        _draw_points(ax, np.asarray(points), shared, color, ("", ""), captions[k] if captions else "")
        ax.set(xticks=[], yticks=[])
        ax.title.set_fontsize(9)
        for side in ax.spines.values():
            side.set(visible=True, alpha=0.4)
    return figure


@styled
def plot_density(
    log_prob: Callable[[Rows], ArrayLike],
    limits: Limits,
    *,
    resolution: int = 160,
    title: str = "",
    labels: tuple[str, str] = ("x₁", "x₂"),
) -> Figure:
    """Draw a density over the plane. `log_prob` maps points (n, 2) to log-densities (n,), nats."""
    left, right, bottom, top = limits
    grid = np.stack(
        np.meshgrid(np.linspace(left, right, resolution), np.linspace(bottom, top, resolution)), axis=-1
    ).reshape(-1, 2)
    density = np.exp(np.asarray(log_prob(grid), dtype=np.float64)).reshape(resolution, resolution)
    figure, (axes,) = panels(width=5.2, height=fitting_height(limits))
    # From transparent to opaque blue, so that an empty plane has the page's colour.
    shades = LinearSegmentedColormap.from_list("shades", [(0.0, 0.447, 0.698, 0.0), (0.0, 0.447, 0.698, 1.0)])
    image = axes.imshow(
        density, extent=limits, origin="lower", cmap=shades, interpolation="bilinear", aspect="equal", rasterized=True
    )
    axes.set(xlabel=literal(labels[0]), ylabel=literal(labels[1]))
    axes.set_title(literal(title))
    bar = figure.colorbar(image, ax=axes, shrink=0.8, label="density")
    bar.outline.set_visible(False)
    return figure


def farthest_pair(distance: ArrayLike) -> tuple[int, int]:
    """Return the two columns with the largest marginal `distance`, (d,), d >= 2, in their order."""
    first, second = sorted(np.argsort(-np.asarray(distance), kind="stable")[:2].tolist())
    return first, second


def telling_pairs(
    data: ArrayLike, generated: ArrayLike, distance: ArrayLike, n_pairs: int = 2
) -> list[tuple[int, int]]:
    """Return the pairs of columns in which data (n, d) and generated rows (m, d) differ most, d >= 2.

    The first is the `farthest_pair` by the marginal `distance` (d,); the others are those whose correlation is farthest
    off.
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
    bends: Bends = (None, None),
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
    axes.set_title(literal(title))
    fit_axes(axes, limits, bends)


def some_rows(points: Rows, n: int) -> Rows:
    """Return n of the points, picked at random but always the same, or all."""
    if len(points) <= n:
        return points
    return points[Stream(0).child("shown").generator().choice(len(points), n, replace=False, shuffle=False)]
