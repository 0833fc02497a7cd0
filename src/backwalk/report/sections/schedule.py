"""The section of the noise schedule, and whether the chain ends in noise."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import torch
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from backwalk.assess.words import estimate_text, significant
from backwalk.diffusion import NoiseSchedule, evenly_spaced
from backwalk.model import MISMATCH_THAT_MATTERS, DiffusionModel
from backwalk.report.blocks import Context, Details, Heading, Picture, Pictures, Row, Section, Table, Text
from backwalk.report.style import BLUE, GREEN, INK, ORANGE, RED, axes_or_new, finish, panels, styled

_ALL_STEPS, _SOME_STEPS = 120, 20  # a schedule of more steps is tabulated at some of them


def schedule_section(context: Context) -> Section:
    """Show the noise schedule, and whether the chain ends in noise."""
    model = context.model
    schedule, n_steps = model.schedule, model.schedule.n_steps
    rows = [Row.of(*texts) for texts in _schedule_texts(model)]
    unit = (
        "each column is brought to mean 0 and standard deviation 1" if model.codec.is_scaled else "columns as they are"
    )
    words = (
        f"The chain adds noise to the data in N = {n_steps:,} steps. β is the variance that a step adds, α = 1 − β the "
        "share that it keeps, ᾱ the share of signal left after t steps, σ² the variance of the reverse step, and "
        f"the log-SNR is ln ᾱ/(1 − ᾱ). All are in encoded units: {unit}."
    )
    pictures = [
        Picture.of(plot_signal(schedule), "alpha and alpha_bar against t"),
        Picture.of(plot_noise(schedule, model.sigma_sq), "beta and sigma squared against t"),
        Picture.of(plot_log_snr(schedule), "log-SNR against t"),
    ]
    title = "The schedule in numbers" + (f": {len(rows)} of {n_steps:,} steps" if len(rows) < n_steps else "")
    blocks = [
        Text(words),
        Pictures(pictures, small=True),
        Heading("Does the chain end in noise?"),
        Text(prior_text(context)),
        Details(title, [Table(("t", "β", "α", "ᾱ", "σ²", "log-SNR"), rows, stacked=False)]),
    ]
    return Section("The noise schedule", blocks)


def prior_text(context: Context) -> str:
    """Return the prior term and the prior mismatch in words, and whether the mismatch matters."""
    likelihood, schedule = context.fidelity.likelihood, context.model.schedule
    mismatch = likelihood.prior_mismatch
    least = f"at least {mismatch:.3f} nats of it are" if mismatch >= 1e-3 else "a part of less than 0.001 nats is"
    words = (
        f"After the last step, ᾱ_N = {significant(float(schedule.alpha_bar[-1]))} of the signal is left, but sampling "
        f"starts from pure noise. The prior term of the bound, {estimate_text(likelihood.prior_term)} nats per row, is "
        f"the difference for a single row; {least} lost by all rows together (the prior mismatch). "
    )
    if mismatch >= MISMATCH_THAT_MATTERS:
        return words + (
            "This matters: training does not remove it, and generated rows start from the wrong distribution. Use more "
            "steps or larger betas."
        )
    return words + "That does not matter."


def _schedule_texts(model: DiffusionModel) -> Iterator[list[str]]:
    """Yield t, beta, alpha, alpha_bar, sigma_sq and log-SNR of every step, or of about 20 where there are many."""
    schedule, n_steps = model.schedule, model.schedule.n_steps
    arrays = (schedule.beta, schedule.alpha, schedule.alpha_bar, model.sigma_sq.double(), schedule.log_snr)
    for t in range(1, n_steps + 1) if n_steps <= _ALL_STEPS else (1, *evenly_spaced(n_steps, _SOME_STEPS)):
        yield [f"{t:,}", *(significant(float(array[t])) for array in arrays)]


@styled()
def plot_schedule(schedule: NoiseSchedule, sigma_sq: torch.Tensor | None = None) -> Figure:
    """Draw a schedule against t: the signal left, the noise added per step, and the log-SNR.

    The reverse variances `sigma_sq`, (n_steps + 1,), are drawn where they are given.
    """
    figure, axes = panels(3, width=3.7, height=3.1)
    plot_signal(schedule, ax=axes[0])
    plot_noise(schedule, sigma_sq, ax=axes[1])
    plot_log_snr(schedule, ax=axes[2])
    return figure


@styled()
def plot_signal(schedule: NoiseSchedule, *, ax: Axes | None = None) -> Figure:
    """Draw alpha_bar_t, the signal left after t steps, and alpha_t, the share of it that one step keeps."""
    ax = axes_or_new(ax, width=3.7, height=3.1)
    t = np.arange(schedule.n_steps + 1)
    alpha_bar = schedule.alpha_bar.numpy()
    ax.plot(t[1:], schedule.alpha[1:].numpy(), color=ORANGE, label="α, kept by a step", linestyle=(0, (5, 2)))
    ax.plot(t, alpha_bar, color=BLUE, label=f"ᾱ, left after t (at N: {alpha_bar[-1]:.4f})")
    ax.plot(t[-1], alpha_bar[-1], "o", color=BLUE, markersize=4, clip_on=False)
    ax.set(ylim=(0.0, 1.05), ylabel="share of variance")
    ax.legend(loc="lower left")
    return finish_over_steps(ax, "Signal left")


@styled()
def plot_noise(schedule: NoiseSchedule, sigma_sq: torch.Tensor | None = None, *, ax: Axes | None = None) -> Figure:
    """Draw beta_t, the variance that a step adds, and sigma_t^2, that of the reverse step."""
    ax = axes_or_new(ax, width=3.7, height=3.1)
    t = np.arange(1, schedule.n_steps + 1)
    if sigma_sq is not None:
        variance = np.where(sigma_sq[1:] > 0, sigma_sq[1:].double(), np.nan)
        ax.plot(t, variance, color=RED, linewidth=4.0, label="σ², of the reverse step")
    # Over the wider line: the two may coincide.
    ax.plot(t, schedule.beta[1:].numpy(), color=BLUE, label="β, variance added", linestyle=(0, (4, 3)), linewidth=1.6)
    ax.set_yscale("log")
    ax.set_ylabel("variance, encoded units²")
    ax.legend(loc="lower right")
    return finish_over_steps(ax, "Noise per step")


@styled()
def plot_log_snr(schedule: NoiseSchedule, *, ax: Axes | None = None) -> Figure:
    """Draw the logarithm of the signal-to-noise ratio."""
    ax = axes_or_new(ax, width=3.7, height=3.1)
    t = np.arange(1, schedule.n_steps + 1)
    values = schedule.log_snr[1:].numpy()
    ax.plot(t, np.where(np.isfinite(values), values, np.nan), color=GREEN)
    ax.axhline(0.0, color=INK, linewidth=0.8)
    ax.annotate("signal = noise", (t[0], 0.0), xytext=(2, -11), textcoords="offset points", fontsize=9, color=INK)
    ax.set_ylabel("nats")
    return finish_over_steps(ax, "log-SNR")


def finish_over_steps(ax: Axes, title: str) -> Figure:
    """Give axes over the steps of a chain their title and ticks; return their figure."""
    ax.set_xlabel("t")
    ax.xaxis.set_major_locator(MaxNLocator(5, integer=True))
    return finish(ax, title)
