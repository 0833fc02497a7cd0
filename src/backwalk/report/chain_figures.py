"""Pictures of the schedule against t, and of the bound term by term."""

from __future__ import annotations

from typing import Literal

import numpy as np
import torch
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from backwalk.diffusion import BoundTerms, NoiseSchedule
from backwalk.report.style import BLUE, GREEN, INK, ORANGE, RED, panels, quiet_grid, set_title, styled

_MOST_WITH_ERRORS = 60  # steps


@styled
def plot_schedule(schedule: NoiseSchedule, sigma_sq: torch.Tensor | None = None) -> Figure:
    """Draw a schedule against t: the signal left, the noise added per step, and the log-SNR.

    The reverse variances `sigma_sq`, (n_steps + 1,), are drawn where they are given.
    """
    figure, axes = panels(3, width=3.7, height=3.1)
    _draw_signal(axes[0], schedule)
    _draw_noise(axes[1], schedule, sigma_sq)
    _draw_log_snr(axes[2], schedule)
    return figure


@styled
def plot_signal(schedule: NoiseSchedule) -> Figure:
    """Draw alpha_bar_t, the signal left after t steps, and alpha_t, the share of it that one step keeps."""
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
def plot_bound(terms: BoundTerms, *, entropy: float | None = None) -> Figure:
    """Draw the parts of the bound as they add up to the total, and the transition terms step by step.

    `entropy`, in nats, is drawn beside the total: no model can lie below it on average.
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
    """Draw the transition terms L_{t-1} against t."""
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
    # Over the wider line: the two may coincide.
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
    set_title(axes, title)
    axes.xaxis.set_major_locator(MaxNLocator(5, integer=True))
    quiet_grid(axes)
    if legend:
        axes.legend(loc=legend, labelcolor=INK)


def _draw_parts(axes: Axes, terms: BoundTerms, entropy: float | None) -> None:
    """Draw a waterfall: each part starts where the previous one ends, and the last bar is their sum."""
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
    set_title(axes, "The parts of the bound")
    quiet_grid(axes)


def _draw_transitions(axes: Axes, terms: BoundTerms) -> None:
    values, errors = terms.transitions[2:].numpy(), terms.transitions_standard_error[2:].numpy()
    t = np.arange(2, len(values) + 2)
    axes.stairs(values, np.arange(1.5, len(values) + 2), fill=True, color=BLUE, alpha=0.85, linewidth=0)
    if len(values) <= _MOST_WITH_ERRORS:
        axes.errorbar(t, values, yerr=2 * errors, fmt="none", ecolor=INK, elinewidth=0.9)
    axes.set_ylim(bottom=0.0 if (values >= 0.0).all() else None)
    axes.set_ylabel("nats per row")
    _finish_over_steps(axes, "Transitions, step by step")
