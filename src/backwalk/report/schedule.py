"""The section of the noise schedule, and whether the chain ends in noise."""

from __future__ import annotations

import numpy as np
import torch
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from backwalk.diffusion import NoiseSchedule
from backwalk.model import MISMATCH_THAT_MATTERS, DiffusionModel
from backwalk.report.blocks import Picture, Pictures, Section, Text
from backwalk.report.style import BLUE, GREEN, INK, ORANGE, RED, axes_or_new, finish, styled
from backwalk.report.words import significant


def schedule_section(model: DiffusionModel) -> Section:
    """Show the noise schedule, and whether the chain ends in noise."""
    schedule, mismatch = model.schedule, model.prior_mismatch
    unit = (
        "each column is brought to mean 0 and standard deviation 1" if model.codec.is_scaled else "columns as they are"
    )
    words = (
        f"The chain adds noise to the data in N = {schedule.n_steps:,} steps. β is the variance that a step adds, "
        "α = 1 − β the share that it keeps, ᾱ the share of signal left after t steps, σ² the variance of the reverse "
        f"step, and the log-SNR is ln ᾱ/(1 − ᾱ). All are in encoded units: {unit}."
    )
    lost = f"at least {mismatch:.3f}" if mismatch >= 1e-3 else "less than 0.001"
    ends = (
        f"After the last step, ᾱ_N = {significant(float(schedule.alpha_bar[-1]))} of the signal is left, but sampling "
        f"starts from pure noise. By this, all rows together lose {lost} nats per row (the prior mismatch). "
    )
    if mismatch >= MISMATCH_THAT_MATTERS:
        ends += (
            "This matters: training does not remove it, and generated rows start from the wrong distribution. Use more "
            "steps or larger betas."
        )
    else:
        ends += "That does not matter."
    pictures = [
        Picture.of(plot_signal(schedule), "alpha and alpha_bar against t"),
        Picture.of(plot_noise(schedule, model.sigma_sq), "beta and sigma squared against t"),
        Picture.of(plot_log_snr(schedule), "log-SNR against t"),
    ]
    return Section("The noise schedule", [Text(words), Pictures(pictures, small=True), Text(ends)])


@styled()
def plot_signal(
    schedule: NoiseSchedule,
) -> Figure:
    """Draw alpha_bar_t, the signal left after t steps, and alpha_t, the share of it that one step keeps."""
    ax = axes_or_new(None, width=3.7, height=3.1)
    t = np.arange(schedule.n_steps + 1)
    alpha_bar = schedule.alpha_bar.numpy()
    ax.plot(t[1:], schedule.alpha[1:].numpy(), color=ORANGE, label="α, kept by a step", linestyle=(0, (5, 2)))
    ax.plot(t, alpha_bar, color=BLUE, label=f"ᾱ, left after t (at N: {alpha_bar[-1]:.4f})")
    ax.plot(t[-1], alpha_bar[-1], "o", color=BLUE, markersize=4, clip_on=False)
    ax.set(ylim=(0.0, 1.05), ylabel="share of variance")
    ax.legend(loc="lower left")
    return _finish(ax, "Signal left")


@styled()
def plot_noise(
    schedule: NoiseSchedule,
    sigma_sq: torch.Tensor | None = None,
) -> Figure:
    """Draw beta_t, the variance that a step adds, and sigma_t^2, that of the reverse step."""
    ax = axes_or_new(None, width=3.7, height=3.1)
    t = np.arange(1, schedule.n_steps + 1)
    if sigma_sq is not None:
        variance = np.where(sigma_sq[1:] > 0, sigma_sq[1:].double(), np.nan)
        ax.plot(t, variance, color=RED, linewidth=4.0, label="σ², of the reverse step")
    # Over the wider line: the two may coincide.
    ax.plot(t, schedule.beta[1:].numpy(), color=BLUE, label="β, variance added", linestyle=(0, (4, 3)), linewidth=1.6)
    ax.set_yscale("log")
    ax.set_ylabel("variance, encoded units²")
    ax.legend(loc="lower right")
    return _finish(ax, "Noise per step")


@styled()
def plot_log_snr(
    schedule: NoiseSchedule,
) -> Figure:
    """Draw the logarithm of the signal-to-noise ratio."""
    ax = axes_or_new(None, width=3.7, height=3.1)
    t = np.arange(1, schedule.n_steps + 1)
    values = schedule.log_snr[1:].numpy()
    ax.plot(t, np.where(np.isfinite(values), values, np.nan), color=GREEN)
    ax.axhline(0.0, color=INK, linewidth=0.8)
    ax.annotate("signal = noise", (t[0], 0.0), xytext=(2, -11), textcoords="offset points", fontsize=9, color=INK)
    ax.set_ylabel("nats")
    return _finish(ax, "log-SNR")


def _finish(ax: Axes, title: str) -> Figure:
    """Give axes over the steps of a chain their title and ticks; return their figure."""
    ax.set_xlabel("t")
    ax.xaxis.set_major_locator(MaxNLocator(5, integer=True))
    return finish(ax, title)
