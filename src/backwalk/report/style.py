"""The style of all figures: Okabe and Ito's colours, which colour-blind readers can distinguish, and a grey for text.

The grey, `INK`, is legible on white and on black, and backgrounds are transparent, so that a figure suits light and
dark pages. The user's settings of matplotlib have no effect here, and stay unchanged.
"""

from __future__ import annotations

import io
import textwrap
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, Literal, cast

from matplotlib import rc_context, rcdefaults, rcParams
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.layout_engine import ConstrainedLayoutEngine

from backwalk.formatting import visible

INK = "#7b7f86"
BLUE, ORANGE, GREEN, RED = "#0072b2", "#e69f00", "#009e73", "#d55e00"
REAL, GENERATED = BLUE, RED
"""Real rows are blue and generated rows vermilion in all figures."""
BAND: Any = {"color": INK, "alpha": 0.3, "linewidth": 0.0}
DASHED: Any = {"color": INK, "linewidth": 0.9, "linestyle": (0, (4, 3))}
FILLED: Any = {"color": REAL, "alpha": 0.45, "linewidth": 0.0, "label": "real"}
OUTLINED: Any = {"color": GENERATED, "fill": False, "linewidth": 1.6, "label": "generated"}
"""Bars and histograms of real rows are filled, those of generated rows an outline."""

_SETTINGS: dict[Any, Any] = {
    "axes.edgecolor": INK,
    "axes.labelcolor": INK,
    "axes.titlecolor": INK,
    "text.color": INK,
    "xtick.color": INK,
    "ytick.color": INK,
    "axes.labelsize": 10.0,
    "axes.titlesize": 11.0,
    "axes.titleweight": "bold",
    "axes.titlelocation": "left",
    "axes.titlepad": 8.0,
    "axes.linewidth": 0.8,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.unicode_minus": True,
    "xtick.labelsize": 9.0,
    "ytick.labelsize": 9.0,
    "legend.fontsize": 9.0,
    "legend.frameon": False,
    "legend.labelcolor": INK,
    "lines.linewidth": 1.8,
    "savefig.transparent": True,
    "svg.fonttype": "none",
    "svg.hashsalt": "backwalk",
}


@contextmanager
def styled() -> Iterator[None]:
    """Use matplotlib's defaults and `_SETTINGS` in a block, or in a decorated function; restore the user's after it."""
    with rc_context():
        rcdefaults()
        rcParams.update(_SETTINGS)
        yield


def panels(
    n_columns: int = 1, *, width: float = 4.6, height: float = 3.4, ratios: list[float] | None = None
) -> tuple[Figure, list[Axes]]:
    """Return a figure with a row of axes, each `width` by `height` inches on average."""
    layout = ConstrainedLayoutEngine(w_pad=0.08, h_pad=0.1)  # with less, titles are cut at the top
    figure = Figure(figsize=(width * n_columns, height), layout=layout, facecolor="none")
    axes = figure.subplots(1, n_columns, squeeze=False, width_ratios=ratios)[0]
    for ax in axes:
        ax.set_facecolor("none")
    return figure, list(axes)


def axes_or_new(ax: Axes | None, *, width: float = 4.6, height: float = 3.4) -> Axes:
    """Return `ax`, or where it is None the axes of a new figure, `width` by `height` inches."""
    return panels(width=width, height=height)[1][0] if ax is None else ax


def finish(ax: Axes, title: str = "", *, grid: Literal["x", "y", "both", ""] = "y") -> Figure:
    """Give axes a title and faint grid lines behind everything; return their figure."""
    set_title(ax, title)
    if grid:
        ax.grid(axis=grid, color=INK, alpha=0.22, linewidth=0.7)
        ax.set_axisbelow(True)
    return cast("Figure", ax.figure)


def set_title(ax: Axes, text: str) -> None:
    """Give axes a title of up to three lines, broken where the panel ends."""
    grid = ax.get_subplotspec().get_gridspec()  # type: ignore[union-attr]
    width = ax.figure.get_figwidth() / grid.ncols  # type: ignore[union-attr]
    letters = int(0.8 * 72.0 * width / (0.65 * float(ax.title.get_fontsize())))
    lines = textwrap.wrap(visible(text), letters, max_lines=3, placeholder=" …")
    ax.set_title("\n".join(literal(line, letters) for line in lines))


def literal(text: str, most: int = 40) -> str:
    """Return text for a figure: cut to `most` characters, odd ones as escapes, dollar signs as dollar signs."""
    text = visible(text)
    return (text if len(text) <= most else f"{text[: most - 1]}…").replace("$", r"\$")


def svg(figure: Figure) -> str:
    """Return a figure as an SVG document. Equal figures give equal text.

    Text stays text. Clouds of points, which figures rasterise, are PNG images in it.
    """
    buffer = io.StringIO()
    with styled(), warnings.catch_warnings():
        # Readers' fonts have letters that matplotlib's font lacks.
        warnings.filterwarnings("ignore", message="Glyph .* missing from font")
        figure.savefig(buffer, format="svg", dpi=160, metadata={"Date": None, "Creator": None})
    text = buffer.getvalue()
    return text[text.index("<svg") :]
