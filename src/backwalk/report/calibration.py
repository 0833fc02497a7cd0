"""Pictures of calibration: ranks among draws, stated probabilities, and the coverage of regions."""

from __future__ import annotations

import numpy as np
from matplotlib.figure import Figure
from matplotlib.ticker import PercentFormatter

from backwalk.estimates import Rows
from backwalk.report.style import BAND, BLUE, DASHED, axes_or_new, finish, styled


@styled()
def plot_ranks(shares: Rows, low: float, high: float, *, title: str = "") -> Figure:
    """Draw the histogram of the ranks of real numbers among draws, with the band of a model that is right."""
    ax = axes_or_new(None, width=3.7, height=2.4)
    ax.axhspan(low, high, **BAND)
    ax.stairs(shares, np.linspace(0.0, 1.0, len(shares) + 1), fill=True, color=BLUE, alpha=0.6, linewidth=0.0)
    ax.axhline(1.0 / len(shares), **DASHED)
    ax.yaxis.set_major_formatter(PercentFormatter(1.0, 0))
    ax.set(xlim=(0.0, 1.0), ylim=(0.0, 1.25 * max(float(shares.max()), high)))
    ax.set(xlabel="rank of the real number among draws", ylabel="share of rows")
    return finish(ax, title, grid="")


@styled()
def plot_reliability(stated: Rows, observed: Rows, low: Rows, high: Rows, *, title: str = "") -> Figure:
    """Draw the frequencies of levels against the probabilities stated for them, with the bands of true statements."""
    ax = axes_or_new(None, width=3.7, height=3.0)
    ax.plot([0.0, 1.0], [0.0, 1.0], **DASHED)
    for p, bottom, top in zip(stated, low, high, strict=True):
        ax.fill_between([p - 0.02, p + 0.02], bottom, top, **BAND)
    ax.plot(stated, observed, "o", color=BLUE, markersize=5, clip_on=False, zorder=3)
    for axis in (ax.xaxis, ax.yaxis):
        axis.set_major_formatter(PercentFormatter(1.0, 0))
    ax.set(xlim=(0.0, 1.0), ylim=(0.0, 1.0), xlabel="stated probability", ylabel="share that came")
    return finish(ax, title, grid="both")


@styled()
def plot_coverage(levels: Rows, coverage: Rows, low: Rows, high: Rows, *, title: str = "") -> Figure:
    """Draw the share of rows whose truth lies in the region of each level, with the band of exact posteriors."""
    ax = axes_or_new(None, width=3.7, height=3.2)
    ax.fill_between(levels, low, high, **BAND)
    ax.plot([0.0, 1.0], [0.0, 1.0], **DASHED)
    ax.plot(levels, coverage, color=BLUE, linewidth=1.8)
    for axis in (ax.xaxis, ax.yaxis):
        axis.set_major_formatter(PercentFormatter(1.0, 0))
    ax.set(xlim=(0.0, 1.0), ylim=(0.0, 1.0), xlabel="level of the region", ylabel="rows whose truth it holds")
    return finish(ax, title, grid="both")
