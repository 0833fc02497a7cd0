"""The style of all figures: Okabe and Ito's colours, which colour-blind readers can distinguish, and a grey for text.

The grey, `INK`, is legible on white and on black; `svg` replaces it by the page's text colour, and the colours by CSS
variables. Backgrounds are transparent. The user's settings of matplotlib have no effect here, and stay unchanged.
"""

from __future__ import annotations

import hashlib
import io
import re
import textwrap
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import wraps
from typing import Any, ParamSpec

from matplotlib import rc_context, rcdefaults, rcParams
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.layout_engine import ConstrainedLayoutEngine

from backwalk.formatting import visible

INK = "#7b7f86"
BLUE, ORANGE, GREEN, RED = "#0072b2", "#e69f00", "#009e73", "#d55e00"
REAL, GENERATED = BLUE, RED
"""Real rows are blue and generated rows vermilion in all figures."""

P = ParamSpec("P")
_VARIABLES = {"blue": BLUE, "orange": ORANGE, "green": GREEN, "red": RED}
"""Colours that a page may replace, for example by brighter ones on a dark background."""
_NAMED = re.compile(r'\bid="|href="#|url\(#')  # precedes the name of an element
_FAMILY = re.compile(r'font-family:[^;"]*;?\s*')  # the page sets its fonts
_SHORTHAND = re.compile(r"""(font: [^;"']*)'[^;"]*""")  # of older versions of matplotlib
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
    "lines.linewidth": 1.8,
    "savefig.transparent": True,
    "svg.fonttype": "none",
}


@contextmanager
def _style(**more: Any) -> Iterator[None]:
    """Use matplotlib's defaults and `_SETTINGS` within a block."""
    with rc_context():
        rcdefaults()
        rcParams.update(_SETTINGS | more)
        yield


def styled(plot: Callable[P, Figure]) -> Callable[P, Figure]:
    """Decorate a function that draws a figure: use this style, and restore matplotlib's settings afterwards."""

    @wraps(plot)
    def in_style(*args: P.args, **kwargs: P.kwargs) -> Figure:
        with _style():
            return plot(*args, **kwargs)

    return in_style


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


def literal(text: str, most: int = 40) -> str:
    """Return text for a figure: cut to `most` characters, odd ones as escapes, dollar signs as dollar signs."""
    text = visible(text)
    return (text if len(text) <= most else f"{text[: most - 1]}…").replace("$", r"\$")


def set_title(axes: Axes, text: str) -> None:
    """Give axes a title of up to three lines, broken where the panel ends."""
    grid = axes.get_subplotspec().get_gridspec()  # type: ignore[union-attr]
    width = axes.get_figure().get_figwidth() / grid.ncols  # type: ignore[union-attr]
    letters = int(0.8 * 72.0 * width / (0.65 * float(axes.title.get_fontsize())))
    lines = textwrap.wrap(visible(text), letters, max_lines=3, placeholder=" …")
    axes.set_title("\n".join(literal(line, letters) for line in lines))


def quiet_grid(axes: Axes, axis: str = "y") -> None:
    """Draw faint grid lines behind everything."""
    axes.grid(axis=axis, color=INK, alpha=0.22, linewidth=0.7)  # type: ignore[arg-type]
    axes.set_axisbelow(True)


def svg(figure: Figure, *, label: str, salt: str) -> str:
    """Return a figure as an SVG element for an HTML page, with `label` for screen readers.

    Text stays text, in the page's fonts and colour. Clouds of points, which figures rasterise, are PNG images in it.
    `salt` should differ between the figures of a page, so that the names of their elements do. Equal figures give equal
    text.
    """
    buffer = io.StringIO()
    with _style(**{"svg.hashsalt": salt}), warnings.catch_warnings():
        # The page's fonts have letters that matplotlib's font lacks.
        warnings.filterwarnings("ignore", message="Glyph .* missing from font")
        figure.savefig(buffer, format="svg", dpi=160, metadata={"Date": None, "Creator": None})
    text = buffer.getvalue()
    text = text[text.index("<svg") :]
    text = re.sub(r"<style.*?</style>", "", text, flags=re.DOTALL)  # would apply to the whole page
    text = re.sub(r"<metadata>.*?</metadata>", "", text, flags=re.DOTALL)
    head, rest = text.split(">", 1)
    text = re.sub(r'\s(xmlns(:xlink)?|version|width|height)="[^"]*"', "", head) + ">" + rest
    prefix = f"f{hashlib.sha256(salt.encode()).hexdigest()[:8]}-"

    def of_page(tag: re.Match[str]) -> str:  # text between tags is a user's, and stays as it is
        named = _NAMED.sub(rf"\g<0>{prefix}", tag.group())
        return _SHORTHAND.sub(r"\1system-ui, sans-serif", _FAMILY.sub("", named))

    text = re.sub("<[^>]*>", of_page, text)
    label = visible(label).replace("&", "&amp;").replace('"', "&quot;").replace("<", "&lt;")
    text = text.replace("<svg", f'<svg role="img" aria-label="{label}"', 1).replace(INK, "currentColor")
    for name, color in _VARIABLES.items():
        text = text.replace(color, f"var(--{name}, {color})")
    return text
