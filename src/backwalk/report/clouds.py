"""Clouds of points, which are rasterised; lines and text are not."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from numpy.typing import ArrayLike

from backwalk.report.axes import AsinhPair, Limits, fit_axes, fitting_height, limits_of, some_rows
from backwalk.report.style import BLUE, axes_or_new, finish, literal, panels, styled

MOST_POINTS = 5_000  # of a picture


@styled()
def plot_points(
    points: ArrayLike,
    *,
    title: str = "",
    labels: tuple[str, str] = ("x₁", "x₂"),
    limits: Limits | None = None,
    color: str = BLUE,
    asinh: AsinhPair = (None, None),
    ax: Axes | None = None,
) -> Figure:
    """Draw points (n, 2) of the plane, into `ax` or a new figure; of more than 5,000, a random 5,000."""
    limits = limits or limits_of(points, asinh=asinh)
    ax = axes_or_new(ax, height=fitting_height(limits, asinh))
    shown = some_rows(np.asarray(points), MOST_POINTS)
    n = max(1, len(shown))
    size, alpha = min(14.0, max(2.2, 9_000 / n)), min(0.8, max(0.35, 250.0 / n**0.75))
    ax.scatter(shown[:, 0], shown[:, 1], s=size, color=color, alpha=alpha, linewidths=0, rasterized=True)
    ax.set(xlabel=literal(labels[0]), ylabel=literal(labels[1]))
    fit_axes(ax, limits, asinh)
    return finish(ax, title, grid="")


@styled()
def plot_chain(frames: Sequence[ArrayLike], *, captions: Sequence[str] = ()) -> Figure:
    """Draw a row of clouds of points, each (n, 2), on the same axes: the chain at a few of its steps."""
    limits = limits_of(*frames)
    height = 1.6 * (limits[3] - limits[2]) / (limits[1] - limits[0]) + 0.5  # of a frame 1.6 inches wide, captioned
    figure, axes = panels(len(frames), width=1.75, height=min(2.1, max(1.1, height)))
    for k, (ax, points) in enumerate(zip(axes, frames, strict=True)):
        ax.title.set_fontsize(9)
        plot_points(points, title=captions[k] if captions else "", labels=("", ""), limits=limits, ax=ax)
        ax.set(xticks=[], yticks=[])
        for side in ax.spines.values():
            side.set(visible=True, alpha=0.4)
    return figure
