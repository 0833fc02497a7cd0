"""The page's curves, as SVG: Okabe and Ito's colours and a brown, each method with a marker of its own as well."""

from __future__ import annotations

import math
import re
from collections.abc import Collection, Mapping, Sequence
from pathlib import Path

from matplotlib import rc_context
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import LogLocator, NullFormatter

from backwalk.report.style import finish, panels, styled

COLOURS = ("#0072b2", "#d55e00", "#009e73", "#e69f00", "#cc79a7", "#56b4e9", "#7b7f86", "#8c510a")
MARKERS = ("o", "s", "^", "D", "v", "P", "X", "*")

Curve = Sequence[tuple[float, float, float]]
"""(x, y, error of y), in order of x."""


@styled()
def drawn(plots: Mapping[str, Mapping[str, Curve]], *, x: str | Sequence[str], log_y: Collection[str]) -> Figure:
    """Return a panel a plot: its title, and the curves by name. Every name has one colour and marker throughout.

    `x` labels all axes, or each its own; `log_y` are the titles whose vertical axis is logarithmic.
    """
    figure, axes = panels(len(plots), width=3.7, height=3.4)
    names = list(dict.fromkeys(name for curves in plots.values() for name in curves))
    labels = [x] * len(plots) if isinstance(x, str) else x
    for ax, (title, curves), label in zip(axes, plots.items(), labels, strict=True):
        for name, curve in curves.items():
            _line(ax, name, curve, names.index(name))
        ax.set_xscale("log")
        ax.xaxis.set_major_formatter(_plain)
        if title in log_y:
            ax.set_yscale("log")
            ax.yaxis.set_major_locator(LogLocator(subs=(1.0, 2.0, 5.0)))
            ax.yaxis.set_major_formatter(_plain)
            ax.yaxis.set_minor_formatter(NullFormatter())
        ax.set_xlabel(label)
        finish(ax, title)
    handles = {label: handle for ax in axes for handle, label in zip(*ax.get_legend_handles_labels(), strict=True)}
    if len(handles) > 1:
        figure.legend(handles.values(), handles.keys(), loc="outside lower center", ncols=min(len(handles), 4))
    return figure


def write_svg(figure: Figure, path: Path, *, note: str) -> None:
    """Write a figure. `note` tells the unseeing what it shows; equal figures give equal files."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with rc_context({"svg.hashsalt": path.name, "svg.fonttype": "none"}):
        figure.savefig(path, format="svg", metadata={"Date": None, "Creator": None, "Title": note})
    path.write_text(re.sub(r"[ \t]+\n", "\n", path.read_text()))


def _plain(value: float, _: object) -> str:
    """Return a tick's number, as people write it."""
    return f"{value:,g}" if 1e-3 <= value < 1e5 else f"$10^{{{math.log10(value):.0f}}}$"


def _line(ax: Axes, name: str, curve: Curve, number: int) -> None:
    where, values, errors = zip(*curve, strict=True)
    ax.errorbar(
        where,
        values,
        yerr=errors,
        label=name,
        color=COLOURS[number],  # no more names than these: two curves of one look say nothing
        marker=MARKERS[number],
        markersize=5.0,
        capsize=2.0,
    )
