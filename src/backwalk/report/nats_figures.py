"""Pictures of nats per row: of several models beside the truth, and of memorisation by noise level."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from matplotlib.figure import Figure
from numpy.typing import NDArray

from backwalk.report.style import BLUE, INK, RED, literal, panels, quiet_grid, set_title, styled

_FAR = 4.0  # times the spread of the other values: a value beyond is drawn at the edge of the axis


@styled
def plot_nats(
    names: Sequence[str],
    nats: Sequence[tuple[float, float]],
    *,
    truth: tuple[float, float] | None = None,
    truth_name: str = "entropy",
    title: str = "−log p, or its bound",
) -> Figure:
    """Draw nats per row, one name below the other, as points with bars of two standard errors, beside the truth.

    `nats` holds a value and its standard error for each name, and so does `truth`, which is drawn as a line: the
    entropy, or 0 for gaps. Gaps have a scale that is linear up to 0.01 and logarithmic beyond. On a linear scale,
    values far above all others are arrows at its right end. The values stand on the right; infinite ones are left out.
    """
    shown = [(name, *pair) for name, pair in zip(names, nats, strict=True) if np.isfinite(pair[0])]
    figure, (axes,) = panels(width=5.6, height=1.55 + 0.3 * len(shown))
    places = np.arange(len(shown))[::-1]
    values, errors = (np.array([point[i] for point in shown]) for i in (1, 2))
    errors = np.where(np.isfinite(errors), errors, 0.0)
    is_gap = truth is not None and truth[0] == 0.0
    far = np.zeros(len(shown), dtype=bool) if is_gap else _far_off(values, [] if truth is None else [truth[0]])
    axes.errorbar(
        values[~far], places[~far], xerr=2 * errors[~far], fmt="o", color=BLUE, markersize=5, capsize=3, linewidth=1.4
    )
    unit = "nats per row, ± two standard errors"
    if far.any():
        edge = axes.get_xlim()[1]
        axes.plot(np.full(far.sum(), edge), places[far], ">", color=BLUE, markersize=7, clip_on=False)
        axes.set_xlim(right=edge)
        unit = f"{unit}; ▸ beyond this axis"
    if truth is not None:
        value, error = truth
        axes.axvspan(value - 2 * error, value + 2 * error, color=RED, alpha=0.25, linewidth=0)
        axes.axvline(value, color=RED, linewidth=1.6)
        name = f"{truth_name}, {value:.3f}" if value else truth_name
        left, right = axes.get_xlim()
        is_left = value < 0.5 * (left + right)
        axes.annotate(
            literal(name).replace("-", "−"),
            (value, len(shown) - 0.4),
            xytext=(5 if is_left else -5, 0),
            textcoords="offset points",
            ha="left" if is_left else "right",
            va="center",
            fontsize=9,
            color=INK,
        )
    axes.set_yticks(places, [literal(name) for name, _, _ in shown])
    axes.set_ylim(-0.6, len(shown) - (0.4 if truth is None else 0.0))
    if is_gap:
        axes.set_xscale("symlog", linthresh=0.01)
        axes.set_xlim(min([-0.005, *(values - 2.5 * errors)]), 1.8 * max([0.01, *(values + 2 * errors)]))
    numbers = axes.secondary_yaxis("right")
    numbers.set_yticks(places, [f"{round(value, 3) + 0.0:.3f}".replace("-", "−") for value in values])
    numbers.tick_params(length=0, pad=8)
    numbers.spines["right"].set_visible(False)
    axes.set_xlabel(unit)
    set_title(axes, title)
    quiet_grid(axes, "x")
    return figure


def _far_off(values: NDArray[np.float64], others: list[float]) -> NDArray[np.bool_]:
    """Return which values lie so far above the others that a common linear axis would hide the others' differences."""
    ordered = np.sort(np.concatenate([values, others]))
    for k in range(max(3, len(ordered) // 2), len(ordered)):
        if ordered[k] - ordered[0] > _FAR * (ordered[k - 1] - ordered[0]) > 0.0:
            return np.asarray(values >= ordered[k])
    return np.zeros(len(values), dtype=bool)


@styled
def plot_gain_by_level(
    noise_level: Sequence[float], gain: Sequence[tuple[float, float]], *, title: str = "Memorisation by noise level"
) -> Figure:
    """Draw L_simple on unseen rows minus that on training rows against the noise level s, with two standard errors.

    An infinite level (zero terminal SNR) is left out: no data are left to memorise.
    """
    figure, (axes,) = panels(height=3.1)
    shown = [(s, *pair) for s, pair in zip(noise_level, gain, strict=True) if np.isfinite(s)]
    levels, values, errors = (np.array([point[i] for point in shown]) for i in (0, 1, 2))
    axes.errorbar(levels, values, yerr=2 * errors, fmt="o-", color=BLUE, markersize=4, capsize=3, linewidth=1.2)
    axes.axhline(0.0, color=INK, linewidth=0.8)
    axes.set_xscale("log")
    axes.set(xlabel="noise level s, encoded units", ylabel="loss: unseen − training rows")
    set_title(axes, title)
    quiet_grid(axes)
    return figure
