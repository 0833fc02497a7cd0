"""Pictures of columns and of pairs of columns: histograms, shares of levels, and matrices of associations."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.patches import Rectangle
from matplotlib.ticker import PercentFormatter
from numpy.typing import ArrayLike

from backwalk.estimates import Rows
from backwalk.report.axes import asinh_axis, number_at, place_on
from backwalk.report.style import (
    BAND,
    FILLED,
    GENERATED,
    INK,
    OUTLINED,
    REAL,
    axes_or_new,
    finish,
    literal,
    panels,
    styled,
)
from backwalk.report.words import minus
from backwalk.table import Asinh

_MOST_ATOMS = 4  # shown of a column
_MOST_WITH_NUMBERS = 10  # columns of a matrix whose cells have numbers


@styled()
def plot_marginal(
    data: ArrayLike,
    generated: ArrayLike,
    *,
    label: str = "",
    title: str = "",
    asinh: Asinh | None = None,
    integers: bool = False,
    ax: Axes | None = None,
) -> Figure:
    """Draw the histograms of one column, data (n,) filled and generated (m,) as a line, into `ax` or a new figure.

    Heights are densities; with `asinh`, where bins grow along the axis, they are shares of the rows. Bins of `integers`
    end half-way between integers, so that equally many fall into each bin.
    """
    ax = axes_or_new(ax, width=3.7, height=2.7)
    x, y = np.asarray(data, dtype=np.float64), np.asarray(generated, dtype=np.float64)
    low, high = place_on(np.quantile(np.concatenate([x, y]), [0.0005, 0.9995]), asinh)
    n_bins = min(60, max(10, int(2 * len(x) ** (1 / 3))))
    bins = number_at(np.linspace(low, high if high > low else low + 1.0, 1 + n_bins), asinh)
    if integers:
        bins = _between_integers(bins, even=asinh is None)
    if asinh is not None:
        asinh_axis(ax, "x", float(bins[0]), float(bins[-1]), asinh)
    else:
        ax.locator_params("x", nbins=5, integer=integers)
    widths = np.diff(bins) if asinh is None else 1.0
    for values, look in ((x, {**FILLED, "fill": True}), (y, OUTLINED)):
        ax.stairs(np.histogram(values, bins)[0] / (max(1, len(values)) * widths), bins, **look)
    height = "density" if asinh is None else "share of rows"
    ax.set(xlabel=literal(label), ylabel=height, ylim=(0.0, 1.05 * ax.get_ylim()[1]))
    return finish(ax, title, grid="")


@styled()
def plot_number_with_atoms(
    data: ArrayLike,
    generated: ArrayLike,
    atoms: Sequence[float],
    *,
    label: str = "",
    title: str = "",
    asinh: Asinh | None = None,
    integers: bool = False,
) -> Figure:
    """Draw the shares of rows at the most frequent atoms of a column, and the histograms of its numbers at none.

    Data (n,) are filled and generated values (m,) are a line.
    """
    x, y = (np.asarray(values, dtype=np.float64) for values in (data, generated))
    shown = sorted(sorted(atoms, key=lambda atom: -np.count_nonzero(x == atom))[:_MOST_ATOMS])
    figure, (left, right) = panels(2, width=1.85, height=2.7, ratios=[0.25 + 0.2 * len(shown), 1.0])
    for values, look in ((x, FILLED), (y, {**OUTLINED, "edgecolor": GENERATED})):
        shares = [float(np.mean(values == atom)) if len(values) else 0.0 for atom in shown]
        left.bar(np.arange(len(shown)), shares, 0.7, **look)
    left.set_xticks(np.arange(len(shown)), [minus(f"{atom:g}") for atom in shown], rotation=90 if len(shown) > 2 else 0)
    left.yaxis.set_major_formatter(PercentFormatter(1.0, 0))
    of_all = "" if len(shown) == len(atoms) else f" ({len(shown)} of {len(atoms)})"
    left.set(xlim=(-0.7, len(shown) - 0.3), ylabel="share of rows", xlabel=f"equal to{of_all}")
    others = (values[~np.isin(values, atoms)] for values in (x, y))
    plot_marginal(*others, label=label, title=title, asinh=asinh, integers=integers, ax=right)
    return figure


@styled()
def plot_levels(
    real: Rows, generated: Rows, low: Rows, high: Rows, labels: Sequence[str], *, title: str = ""
) -> Figure:
    """Draw the shares of L levels, real ones as bars and generated ones as points, with the band of each point.

    `labels` are the names of the levels, from top to bottom. If the model is right, all points lie in their bands, from
    `low` to `high`, in 95 % of cases.
    """
    n = len(labels)
    ax = axes_or_new(None, width=3.7, height=max(2.7, 1.0 + 0.27 * n))
    places = np.arange(n)
    ax.barh(places, real, 0.66, **FILLED)
    ax.barh(places, high - low, 0.66, left=low, label="by chance", **BAND)
    ax.plot(generated, places, "o", color=GENERATED, markersize=5.5, label="generated", clip_on=False)
    ax.set_yticks(places, [literal(label, 18) for label in labels])
    ax.xaxis.set_major_formatter(PercentFormatter(1.0, 0))
    ax.set_xlim(left=0.0)
    ax.set_ylim(n - 0.4, -0.6)
    ax.set_xlabel("share of rows")
    ax.locator_params("x", nbins=5)
    ax.tick_params("y", length=0)
    return finish(ax, title, grid="x")


def _between_integers(bins: Rows, *, even: bool) -> Rows:
    """Return bins near these whose edges lie half-way between integers, of equal widths if `even`."""
    first, last = np.floor(bins[0] + 0.5) - 0.5, np.ceil(bins[-1] - 0.5) + 0.5
    if not even:
        return np.unique(np.concatenate([[first], np.floor(bins[1:-1]) + 0.5, [last]]))
    width = max(1.0, np.ceil((last - first) / (len(bins) - 1)))
    return np.asarray(np.minimum(np.arange(first, last + width, width), last))


@styled()
def plot_associations(
    matrix: ArrayLike,
    names: Sequence[str],
    *,
    matters: ArrayLike | None = None,
    title: str = "",
    most: float = 1.0,
) -> Figure:
    """Draw a matrix (d, d) of associations or of their differences.

    Colours are full at `most` and beyond; cells in `matters`, (d, d), have a frame.
    """
    values, d = np.asarray(matrix), len(names)
    framed = np.zeros((d, d), dtype=bool) if matters is None else np.asarray(matters)
    ax = axes_or_new(None, width=3.7, height=3.7)
    ax.set(xlim=(-0.5, d - 0.5), ylim=(d - 0.5, -0.5), aspect="equal")
    ax.set_xticks(range(d), [literal(name, 14) for name in names], rotation=90)
    ax.set_yticks(range(d), [literal(name, 14) for name in names])
    ax.tick_params(length=0, labelsize=9 if d <= _MOST_WITH_NUMBERS else 7)
    for side in ax.spines.values():
        side.set(visible=True, alpha=0.4)
    for i, j in np.argwhere(~np.eye(d, dtype=bool)):
        value = float(values[i, j])
        strength = min(1.0, abs(value) / most)
        color = REAL if value > 0.0 else GENERATED
        ax.add_patch(_square(i, j, 0.5, facecolor=color, alpha=0.75 * strength))
        if d <= _MOST_WITH_NUMBERS:
            text = f"{value:.2f}".replace("-0.00", "0.00").replace("0.", ".", 1).replace("-", "−")
            ax.text(j, i, text, ha="center", va="center", fontsize=8, color=INK if strength < 0.6 else "#ffffff")
        if framed[i, j]:
            ax.add_patch(_square(i, j, 0.46, fill=False, edgecolor=INK, linewidth=1.8))
    return finish(ax, title, grid="")


def _square(i: int, j: int, half: float, **look: Any) -> Rectangle:
    return Rectangle((j - half, i - half), 2.0 * half, 2.0 * half, **look)
