"""Pictures of the theory: the schedule's arrays against t, and the bound term by term."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

import numpy as np
import torch
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from backwalk.diffusion import BoundTerms, NoiseSchedule
from backwalk.report.style import BLUE, GREEN, INK, ORANGE, RED, literal, panels, quiet_grid, styled

_MOST_BARS = 200


@styled
def plot_schedule(schedule: NoiseSchedule, sigma_sq: torch.Tensor | None = None) -> Figure:
    """Draw a schedule against t: the signal left, the noise added a step, and the log-SNR.

    `sigma_sq` (n_steps + 1,) are the reverse variances, drawn where they are given.
    """
    figure, axes = panels(3, width=3.7, height=3.1)
    _draw_signal(axes[0], schedule)
    _draw_noise(axes[1], schedule, sigma_sq)
    _draw_log_snr(axes[2], schedule)
    return figure


@styled
def plot_signal(schedule: NoiseSchedule) -> Figure:
    """Draw alpha_bar_t, the signal left after t steps, and alpha_t, what one step leaves."""
    figure, (axes,) = panels(width=3.7, height=3.1)
    _draw_signal(axes, schedule)
    return figure


@styled
def plot_noise(schedule: NoiseSchedule, sigma_sq: torch.Tensor | None = None) -> Figure:
    """Draw beta_t, the variance that a step adds, and sigma_t^2, that of the reverse step."""
    figure, (axes,) = panels(width=3.7, height=3.1)
    _draw_noise(axes, schedule, sigma_sq)
    return figure


@styled
def plot_log_snr(schedule: NoiseSchedule) -> Figure:
    """Draw the logarithm of the signal-to-noise ratio."""
    figure, (axes,) = panels(width=3.7, height=3.1)
    _draw_log_snr(axes, schedule)
    return figure


@styled
def plot_nats(
    names: Sequence[str],
    nats: Sequence[tuple[float, float]],
    *,
    truth: tuple[float, float] | None = None,
    truth_name: str = "entropy",
    title: str = "−log p, or its bound",
) -> Figure:
    """Draw nats per row as points with bars of two standard errors, one below the other, beside the truth.

    `nats` holds a value and its standard error for each name; so does `truth`, a line, such as the entropy (which no
    model can lie below on average), or 0 for excesses over it: those are drawn on a scale that is even up to 0.01 and
    logarithmic beyond. The values stand on the right. Values that are not finite are left out.
    """
    shown = [(name, *pair) for name, pair in zip(names, nats, strict=True) if np.isfinite(pair[0])]
    figure, (axes,) = panels(width=5.6, height=1.3 + 0.3 * len(shown))
    places = np.arange(len(shown))[::-1]
    values, errors = (np.array([point[i] for point in shown]) for i in (1, 2))
    errors = np.where(np.isfinite(errors), errors, 0.0)
    axes.errorbar(values, places, xerr=2 * errors, fmt="o", color=BLUE, markersize=5, capsize=3, linewidth=1.4)
    if truth is not None:
        value, error = truth
        axes.axvspan(value - 2 * error, value + 2 * error, color=RED, alpha=0.25, linewidth=0)
        axes.axvline(value, color=RED, linewidth=1.6)
        if value:
            title = f"{title}; the line: {truth_name}, {value:.3f}"
    axes.set_yticks(places, [literal(name) for name, _, _ in shown])
    axes.set_ylim(-0.6, len(shown) - 0.4)
    if truth is not None and truth[0] == 0.0:
        axes.set_xscale("symlog", linthresh=0.01)
        axes.set_xlim(min([-0.005, *(values - 2.5 * errors)]), 1.8 * max([0.01, *(values + 2 * errors)]))
    numbers = axes.secondary_yaxis("right")
    numbers.set_yticks(places, [f"{round(value, 3) + 0.0:.3f}" for value in values])
    numbers.tick_params(length=0)
    numbers.spines["right"].set_visible(False)
    axes.set_xlabel("nats per row, ± two standard errors")
    axes.set_title(title)
    quiet_grid(axes, "x")
    return figure


@styled
def plot_gain_by_level(
    noise_level: Sequence[float], gain: Sequence[tuple[float, float]], *, title: str = "What is remembered"
) -> Figure:
    """Draw L_simple on unseen rows minus that on training rows against the noise level s, with two standard errors.

    A level that is infinite (zero terminal SNR) is left out: there is nothing to remember.
    """
    figure, (axes,) = panels(height=3.1)
    shown = [(s, *pair) for s, pair in zip(noise_level, gain, strict=True) if np.isfinite(s)]
    levels, values, errors = (np.array([point[i] for point in shown]) for i in (0, 1, 2))
    axes.errorbar(levels, values, yerr=2 * errors, fmt="o-", color=BLUE, markersize=4, capsize=3, linewidth=1.2)
    axes.axhline(0.0, color=INK, linewidth=0.8)
    axes.set_xscale("log")
    axes.set(xlabel="noise level s, encoded units", ylabel="unseen − training")
    axes.set_title(title)
    quiet_grid(axes)
    return figure


@styled
def plot_bound(terms: BoundTerms, *, entropy: float | None = None) -> Figure:
    """Draw the bound: its parts as they add up to the total, and the transitions, a bar per step (an area if many).

    `entropy`, in nats, is drawn beside the total: what no model can lie below.
    """
    figure, axes = panels(2, width=4.9, height=3.5, ratios=[1.0, 1.35])
    _draw_parts(axes[0], terms, entropy)
    _draw_transitions(axes[1], terms)
    return figure


@styled
def plot_bound_parts(terms: BoundTerms, *, entropy: float | None = None) -> Figure:
    """Draw prior, transitions and reconstruction as they add up to the bound."""
    figure, (axes,) = panels(height=3.5)
    _draw_parts(axes, terms, entropy)
    return figure


@styled
def plot_transitions(terms: BoundTerms) -> Figure:
    """Draw the transition terms L_{t-1}, a bar per step, or an area where there are more than 200."""
    figure, (axes,) = panels(height=3.5)
    _draw_transitions(axes, terms)
    return figure


def _draw_signal(axes: Axes, schedule: NoiseSchedule) -> None:
    t = np.arange(schedule.n_steps + 1)
    alpha_bar = schedule.alpha_bar.numpy()
    axes.plot(t[1:], schedule.alpha[1:].numpy(), color=ORANGE, label="α, kept by a step", linestyle=(0, (5, 2)))
    axes.plot(t, alpha_bar, color=BLUE, label=f"ᾱ, left after t (at N: {alpha_bar[-1]:.4f})")
    axes.plot(t[-1], alpha_bar[-1], "o", color=BLUE, markersize=4, clip_on=False)
    axes.set(ylim=(0.0, 1.05), ylabel="share of variance")
    _finish_over_steps(axes, "Signal left", legend="lower left")


def _draw_noise(axes: Axes, schedule: NoiseSchedule, sigma_sq: torch.Tensor | None) -> None:
    t = np.arange(1, schedule.n_steps + 1)
    if sigma_sq is not None:
        variance = np.where(sigma_sq[1:] > 0, sigma_sq[1:].double(), np.nan)
        axes.plot(t, variance, color=RED, linewidth=4.0, label="σ², of the reverse step")
    # Over the wider line, as the two may be one.
    axes.plot(t, schedule.beta[1:].numpy(), color=BLUE, label="β, variance added", linestyle=(0, (4, 3)), linewidth=1.6)
    axes.set_yscale("log")
    axes.set_ylabel("variance, encoded units²")
    _finish_over_steps(axes, "Noise per step", legend="lower right")


def _draw_log_snr(axes: Axes, schedule: NoiseSchedule) -> None:
    t = np.arange(1, schedule.n_steps + 1)
    values = schedule.log_snr[1:].numpy()
    axes.plot(t, np.where(np.isfinite(values), values, np.nan), color=GREEN)
    axes.axhline(0.0, color=INK, linewidth=0.8)
    axes.annotate("signal = noise", (t[0], 0.0), xytext=(2, -11), textcoords="offset points", fontsize=9, color=INK)
    axes.set_ylabel("nats")
    _finish_over_steps(axes, "log-SNR")


def _finish_over_steps(axes: Axes, title: str, legend: Literal["lower left", "lower right"] | None = None) -> None:
    axes.set_xlabel("t")
    axes.set_title(title)
    axes.xaxis.set_major_locator(MaxNLocator(5, integer=True))
    quiet_grid(axes)
    if legend:
        axes.legend(loc=legend, labelcolor=INK)


def _draw_parts(axes: Axes, terms: BoundTerms, entropy: float | None) -> None:
    """Draw a waterfall: each part starts where the one before ended, and the last bar is their sum."""
    transitions = float(terms.transitions.sum())
    parts = [("prior", terms.prior, ORANGE), ("transitions", transitions, BLUE)]
    parts += [("reconstruction", terms.reconstruction, GREEN), ("bound", terms.total, INK)]
    base, tops = 0.0, [0.0, terms.total]
    for k, (_, height, color) in enumerate(parts):
        start = 0.0 if k == 3 else base
        axes.bar(k, height, 0.62, bottom=start, color=color, alpha=0.55 if k == 3 else 1.0)
        base = start + height
        tops.append(base)
        if k < 3:
            axes.plot([k - 0.31, k + 1.31], [base, base], color=INK, linewidth=0.7)
        axes.annotate(
            f"{height:.3f}".replace("-", "−"),
            (k, max(start, base)),
            xytext=(0, 3 if k < 3 else 10),
            textcoords="offset points",
            ha="center",
            fontsize=9,
            color=INK,
        )
    axes.errorbar(3, terms.total, yerr=2 * terms.total_standard_error, color=INK, capsize=4, linewidth=1.6)
    if entropy is not None:
        axes.plot([2.5, 3.5], [entropy, entropy], color=RED, linewidth=2.4, label=f"entropy, {entropy:.3f}")
        axes.legend(loc="upper right", labelcolor=INK)
    axes.axhline(0.0, color=INK, linewidth=0.8)
    axes.set_xticks(range(4), [name for name, _, _ in parts])
    room = 0.16 * (max(tops) - min(tops))
    axes.set_ylim(min(tops) - (room if min(tops) < 0 else 0.0), max(tops) + room)
    axes.set_ylabel("nats per row")
    axes.set_title("What the bound is made of")
    quiet_grid(axes)


def _draw_transitions(axes: Axes, terms: BoundTerms) -> None:
    values, errors = terms.transitions[2:].numpy(), terms.transitions_standard_error[2:].numpy()
    t = np.arange(2, len(values) + 2)
    if len(values) > _MOST_BARS:
        axes.fill_between(t, values, color=BLUE, alpha=0.5, linewidth=0)
        axes.plot(t, values, color=BLUE, linewidth=1.0)
    else:
        axes.bar(t, values, 0.82, color=BLUE)
        if len(values) <= 60:
            axes.errorbar(t, values, yerr=2 * errors, fmt="none", ecolor=INK, elinewidth=0.9)
    axes.set_ylim(bottom=0.0 if (values >= 0.0).all() else None)
    axes.set_ylabel("nats per row")
    _finish_over_steps(axes, "Transitions, step by step")
