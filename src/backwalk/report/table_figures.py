"""Pictures of tables: levels with their bands, numbers with atoms, associations, and conditionals."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.patches import Rectangle
from matplotlib.ticker import PercentFormatter
from numpy.typing import ArrayLike

from backwalk.assess.statistics import LevelBands, RankHistogram, Reliability
from backwalk.estimates import Rows
from backwalk.report.axes import Asinh
from backwalk.report.row_figures import draw_histograms
from backwalk.report.style import BLUE, GENERATED, INK, REAL, literal, panels, quiet_grid, set_title, styled

_MOST_WITH_NUMBERS = 10  # columns of a matrix whose cells have numbers
_BAND: Any = {"color": INK, "alpha": 0.3, "linewidth": 0.0}


@styled
def plot_levels(bands: LevelBands, labels: Sequence[str], *, title: str = "") -> Figure:
    """Draw the shares of levels, real ones as bars and generated ones as points, with the band of each point.

    `labels` are the names of the L levels, from top to bottom. If the model is right, all points lie in their bands in
    95 % of cases.
    """
    n = len(labels)
    figure, (axes,) = panels(width=3.7, height=max(2.7, 1.0 + 0.27 * n))
    _draw_levels(axes, bands, labels)
    axes.set_ylim(n - 0.4, -0.6)
    set_title(axes, title)
    figure.legend(loc="outside lower left", ncols=3, labelcolor=INK, handlelength=1.2, columnspacing=1.2)
    return figure


@styled
def plot_number_with_atoms(
    data: ArrayLike,
    generated: ArrayLike,
    atoms: Sequence[float],
    *,
    label: str = "x",
    title: str = "",
    asinh: Asinh | None = None,
    integers: bool = False,
) -> Figure:
    """Draw the shares of rows at the atoms of a column, and the histograms of its other numbers.

    Data (n,) are filled and generated values (m,) are a line.
    """
    figure, (left, right) = panels(2, width=1.85, height=2.7, ratios=[0.25 + 0.2 * len(atoms), 1.0])
    x, y = (np.asarray(values, dtype=np.float64) for values in (data, generated))
    places = np.arange(len(atoms))
    for values, color, filled in ((x, REAL, True), (y, GENERATED, False)):
        shares = [float(np.mean(values == atom)) for atom in atoms]
        look: dict[str, Any] = {"alpha": 0.45} if filled else {"fill": False, "edgecolor": color, "linewidth": 1.6}
        left.bar(places, shares, 0.7, color=color, **look)
    left.set_xticks(places, [f"{atom:g}".replace("-", "−") for atom in atoms])
    left.yaxis.set_major_formatter(PercentFormatter(1.0, 0))
    left.set(xlim=(-0.7, len(atoms) - 0.3), ylabel="share of rows", xlabel="equal to")
    others = (values[~np.isin(values, atoms)] for values in (x, y))
    draw_histograms(right, *others, label=label, asinh=asinh, integers=integers)
    set_title(right, title)
    return figure


@styled
def plot_associations(matrix: ArrayLike, names: Sequence[str], *, title: str = "", most: float = 1.0) -> Figure:
    """Draw a matrix (d, d) of associations or of their differences; colours are full at `most` and beyond."""
    return _matrix(np.asarray(matrix), names, title, most, None)


@styled
def plot_association_differences(
    difference: ArrayLike, matters: ArrayLike, names: Sequence[str], *, title: str = "", most: float = 0.2
) -> Figure:
    """Draw differences of associations, (d, d), with a frame around those that matter."""
    return _matrix(np.asarray(difference), names, title, most, np.asarray(matters))


@styled
def plot_given(
    real: Sequence[Sequence[Rows]],
    drawn: Sequence[Sequence[Rows]],
    *,
    headings: Sequence[str],
    labels: Sequence[str],
    levels: Sequence[Sequence[tuple[float, str]]],
) -> Figure:
    """Draw a grid of conditionals: one row for each column in `labels`, one panel for each given level in `headings`.

    `real` and `drawn` hold the values (n,) of each panel, row by row. `levels` names the values of a column of levels;
    it is empty for numbers.
    """
    figure, _ = panels(1, width=max(2.0 * len(headings), 7.5), height=1.65 * len(labels) + 0.3)
    figure.clear()
    grid = figure.subplots(len(labels), len(headings), squeeze=False)
    for i, label in enumerate(labels):
        together = np.concatenate([*real[i], *drawn[i]])
        together = together[~np.isnan(together)]
        top = 0.0
        for k, heading in enumerate(headings):
            axes = grid[i, k]
            axes.set_facecolor("none")
            if levels[i]:
                _draw_bars(axes, real[i][k], drawn[i][k], levels[i])
            else:
                low, high = np.quantile(together, [0.002, 0.998])
                bins = np.linspace(low, high if high > low else low + 1.0, 25)
                for values, color, filled in ((real[i][k], REAL, True), (drawn[i][k], GENERATED, False)):
                    look: dict[str, Any] = {"alpha": 0.45, "linewidth": 0.0} if filled else {"linewidth": 1.5}
                    own = values[~np.isnan(values)]
                    heights = np.histogram(own, bins)[0] / max(1, len(own))
                    axes.stairs(
                        heights, bins, fill=filled, color=color, label="real" if filled else "generated", **look
                    )
                axes.locator_params("x", nbins=4)
            top = max(top, axes.get_ylim()[1])
            axes.set_yticks([])
            axes.spines["left"].set_visible(False)
            if i == 0:
                axes.set_title(literal(heading, 24), fontsize=9.5)
            if k == 0:
                axes.set_ylabel(literal(label, 22), fontsize=9.5)
        for axes in grid[i]:
            axes.set_ylim(0.0, top)
    handles, names = grid[0, 0].get_legend_handles_labels()
    figure.legend(handles, names, loc="outside lower left", ncols=2, labelcolor=INK)
    return figure


@styled
def plot_ranks(histogram: RankHistogram, *, title: str = "") -> Figure:
    """Draw the histogram of the ranks of real numbers among draws, with the band of a model that is right."""
    figure, (axes,) = panels(width=3.7, height=2.4)
    shares = histogram.shares
    edges = np.linspace(0.0, 1.0, len(shares) + 1)
    axes.axhspan(histogram.low, histogram.high, **_BAND)
    axes.stairs(shares, edges, fill=True, color=BLUE, alpha=0.6, linewidth=0.0)
    axes.axhline(1.0 / len(shares), color=INK, linewidth=0.9, linestyle=(0, (4, 3)))
    axes.yaxis.set_major_formatter(PercentFormatter(1.0, 0))
    axes.set(xlim=(0.0, 1.0), ylim=(0.0, 1.25 * max(float(shares.max()), histogram.high)))
    axes.set(xlabel="rank of the real number among draws", ylabel="share of rows")
    set_title(axes, title)
    return figure


@styled
def plot_reliability(found: Reliability, *, title: str = "") -> Figure:
    """Draw the frequencies of levels against the probabilities stated for them, with the bands of true statements."""
    figure, (axes,) = panels(width=3.7, height=3.0)
    axes.plot([0.0, 1.0], [0.0, 1.0], color=INK, linewidth=0.9, linestyle=(0, (4, 3)))
    for p, low, high in zip(found.stated, found.low, found.high, strict=True):
        axes.fill_between([p - 0.02, p + 0.02], low, high, **_BAND)
    axes.plot(found.stated, found.found, "o", color=BLUE, markersize=5, clip_on=False, zorder=3)
    for name in ("x", "y"):
        getattr(axes, f"{name}axis").set_major_formatter(PercentFormatter(1.0, 0))
    axes.set(xlim=(0.0, 1.0), ylim=(0.0, 1.0), xlabel="stated probability", ylabel="share that came")
    quiet_grid(axes, "both")
    set_title(axes, title)
    return figure


def _draw_levels(axes: Axes, bands: LevelBands, labels: Sequence[str]) -> None:
    places = np.arange(len(labels))
    axes.barh(places, bands.real, 0.66, color=REAL, alpha=0.45, label="real")
    axes.barh(places, bands.high - bands.low, 0.66, left=bands.low, label="by chance", **_BAND)
    axes.plot(bands.generated, places, "o", color=GENERATED, markersize=5.5, label="generated", clip_on=False)
    axes.set_yticks(places, [literal(label, 18) for label in labels])
    axes.xaxis.set_major_formatter(PercentFormatter(1.0, 0))
    axes.set_xlim(left=0.0)
    axes.set_xlabel("share of rows")
    axes.locator_params("x", nbins=5)
    axes.tick_params("y", length=0)
    quiet_grid(axes, "x")


def _draw_bars(axes: Axes, real: Rows, drawn: Rows, levels: Sequence[tuple[float, str]]) -> None:
    places = np.arange(len(levels))
    for values, color, filled in ((real, REAL, True), (drawn, GENERATED, False)):
        own = values[~np.isnan(values)]
        shares = [float(np.mean(own == level)) if len(own) else 0.0 for level, _ in levels]
        look: dict[str, Any] = {"alpha": 0.45} if filled else {"fill": False, "edgecolor": color, "linewidth": 1.5}
        axes.bar(places, shares, 0.7, color=color, label="real" if filled else "generated", **look)
    turned = sum(len(name) for _, name in levels) > 20
    axes.set_xticks(places, [literal(name, 10) for _, name in levels], rotation=40 if turned else 0, fontsize=8)
    if turned:
        for text in axes.get_xticklabels():
            text.set_horizontalalignment("right")


def _matrix(matrix: Rows, names: Sequence[str], title: str, most: float, matters: Rows | None) -> Figure:
    d = len(names)
    figure, (axes,) = panels(width=3.7, height=3.7)
    axes.set(xlim=(-0.5, d - 0.5), ylim=(d - 0.5, -0.5), aspect="equal")
    axes.set_xticks(range(d), [literal(name, 14) for name in names], rotation=90)
    axes.set_yticks(range(d), [literal(name, 14) for name in names])
    axes.tick_params(length=0, labelsize=9 if d <= _MOST_WITH_NUMBERS else 7)
    for side in axes.spines.values():
        side.set(visible=True, alpha=0.4)
    for i in range(d):
        for j in range(d):
            if i == j:
                continue
            value = float(matrix[i, j])
            strength = min(1.0, abs(value) / most)
            axes.add_patch(_cell(i, j, 0.5, facecolor=REAL if value > 0.0 else GENERATED, alpha=0.75 * strength))
            if d <= _MOST_WITH_NUMBERS:
                text = f"{value:.2f}".replace("-0.00", "0.00").replace("0.", ".", 1).replace("-", "−")
                axes.text(j, i, text, ha="center", va="center", fontsize=8, color=INK if strength < 0.6 else "#ffffff")
            if matters is not None and matters[i, j]:
                axes.add_patch(_cell(i, j, 0.46, fill=False, edgecolor=INK, linewidth=1.8))
    set_title(axes, title)
    return figure


def _cell(i: int, j: int, half: float, **look: Any) -> Rectangle:
    return Rectangle((j - half, i - half), 2.0 * half, 2.0 * half, **look)
