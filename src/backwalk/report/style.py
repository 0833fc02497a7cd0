"""How every figure looks: Okabe and Ito's colours, which the colour-blind can tell apart, and one ink.

The ink is a middle grey that reads on white and on black; `svg` turns it into the page's own text colour, and colours
into variables that the page may set. Backgrounds are transparent. The user's own settings of matplotlib (LaTeX for
text, another style) neither reach these figures nor are touched.
"""

from __future__ import annotations

import hashlib
import io
import re
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import wraps
from typing import Any, ParamSpec

from matplotlib import rc_context, rcdefaults, rcParams
from matplotlib.axes import Axes
from matplotlib.figure import Figure

INK = "#7b7f86"
BLUE, ORANGE, GREEN, RED = "#0072b2", "#e69f00", "#009e73", "#d55e00"
REAL, GENERATED = BLUE, RED
"""Real rows are blue and generated rows vermilion, wherever they are drawn."""

P = ParamSpec("P")
_VARIABLES = {"blue": BLUE, "orange": ORANGE, "green": GREEN, "red": RED}
"""Colours that a page may set otherwise, for example brighter on a dark ground."""
_NAMED = re.compile(r'\bid="|href="#|url\(#')  # what comes before an inner name
_FAMILY = re.compile(r'font-family:[^;"]*;?\s*')  # the page has fonts of its own
_SHORTHAND = re.compile(r"""(font: [^;"']*)'[^;"]*""")  # as older versions of matplotlib write the family
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
    """Draw by matplotlib's defaults and ours for the length of a block."""
    with rc_context():
        rcdefaults()
        rcParams.update(_SETTINGS | more)
        yield


def styled(plot: Callable[P, Figure]) -> Callable[P, Figure]:
    """Make a function draw its figure in this style, and leave matplotlib's settings as they were."""

    @wraps(plot)
    def in_style(*args: P.args, **kwargs: P.kwargs) -> Figure:
        with _style():
            return plot(*args, **kwargs)

    return in_style


def panels(
    n_columns: int = 1, *, width: float = 4.6, height: float = 3.4, ratios: list[float] | None = None
) -> tuple[Figure, list[Axes]]:
    """Return a figure with a row of axes, each `width` by `height` inches on average."""
    figure = Figure(figsize=(width * n_columns, height), layout="constrained", facecolor="none")
    axes = figure.subplots(1, n_columns, squeeze=False, width_ratios=ratios)[0]
    for ax in axes:
        ax.set_facecolor("none")
    return figure, list(axes)


def literal(text: str) -> str:
    """Return text for axes: cut to 30 characters, and drawn as it is, where a dollar sign would begin a formula."""
    return (text if len(text) <= 30 else f"{text[:29]}…").replace("$", r"\$")


def quiet_grid(axes: Axes, axis: str = "y") -> None:
    """Draw faint grid lines behind everything."""
    axes.grid(axis=axis, color=INK, alpha=0.22, linewidth=0.7)  # type: ignore[arg-type]
    axes.set_axisbelow(True)


def svg(figure: Figure, *, label: str, salt: str) -> str:
    """Return a figure as an SVG element to put into a page, with `label` for screen readers.

    Text stays text, in the page's fonts and colour. Large clouds of points, which figures rasterise, are PNG within.
    `salt` differs between the figures of a page, so that their inner names do. Equal figures give equal text.
    """
    buffer = io.StringIO()
    with _style(**{"svg.hashsalt": salt}), warnings.catch_warnings():
        # The page has fonts for letters that matplotlib's own font lacks.
        warnings.filterwarnings("ignore", message="Glyph .* missing from font")
        figure.savefig(buffer, format="svg", dpi=160, metadata={"Date": None, "Creator": None})
    text = buffer.getvalue()
    text = text[text.index("<svg") :]
    text = re.sub(r"<style.*?</style>", "", text, flags=re.DOTALL)  # would reach out into the page
    text = re.sub(r"<metadata>.*?</metadata>", "", text, flags=re.DOTALL)
    head, rest = text.split(">", 1)
    text = re.sub(r'\s(xmlns(:xlink)?|version|width|height)="[^"]*"', "", head) + ">" + rest
    prefix = f"f{hashlib.sha256(salt.encode()).hexdigest()[:8]}-"

    def of_page(tag: re.Match[str]) -> str:  # what stands between tags is a stranger's text, and left as it is
        named = _NAMED.sub(rf"\g<0>{prefix}", tag.group())
        return _SHORTHAND.sub(r"\1system-ui, sans-serif", _FAMILY.sub("", named))

    text = re.sub("<[^>]*>", of_page, text)
    label = label.replace("&", "&amp;").replace('"', "&quot;").replace("<", "&lt;")
    text = text.replace("<svg", f'<svg role="img" aria-label="{label}"', 1).replace(INK, "currentColor")
    for name, color in _VARIABLES.items():
        text = text.replace(color, f"var(--{name}, {color})")
    return text
