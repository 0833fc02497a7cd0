"""Pictures of posteriors: how often regions of each level hold the truth."""

from __future__ import annotations

from matplotlib.figure import Figure
from matplotlib.ticker import PercentFormatter

from backwalk.assess.statistics import CoverageCurve
from backwalk.report.style import BLUE, INK, panels, quiet_grid, set_title, styled


@styled
def plot_coverage(curve: CoverageCurve, *, title: str = "") -> Figure:
    """Draw the share of rows whose truth lies in the region of each level, with the band of exact posteriors."""
    figure, (axes,) = panels(width=3.7, height=3.2)
    axes.fill_between(curve.levels, curve.low, curve.high, color=INK, alpha=0.3, linewidth=0.0)
    axes.plot([0.0, 1.0], [0.0, 1.0], color=INK, linewidth=0.9, linestyle=(0, (4, 3)))
    axes.plot(curve.levels, curve.found, color=BLUE, linewidth=1.8)
    for name in ("x", "y"):
        getattr(axes, f"{name}axis").set_major_formatter(PercentFormatter(1.0, 0))
    axes.set(xlim=(0.0, 1.0), ylim=(0.0, 1.0), xlabel="level of the region", ylabel="rows whose truth it holds")
    quiet_grid(axes, "both")
    set_title(axes, title)
    return figure
