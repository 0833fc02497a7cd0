"""The section of training: the loss of its batches, and the loss on held-out rows."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from backwalk.estimates import Rows
from backwalk.model import DiffusionModel
from backwalk.report.blocks import Picture, Pictures, Section, Text
from backwalk.report.style import BLUE, INK, ORANGE, axes_or_new, finish, literal, styled


def training_section(model: DiffusionModel) -> Section | None:
    """Show the losses of training; None for models without a history, such as closed-form ones."""
    history, card = model.history, model.card
    if not history.step:
        return None
    loss = "v-loss |v − v_θ|², where v = √ᾱ ε − √(1 − ᾱ) x₀"
    if history.loss_name == "L_simple":
        loss = "L_simple = |ε − ε_θ|²"
    words = f"Training took {history.n_steps:,} steps"
    if card.get("stopped_by") == "time limit":
        words += ", until the time limit"
    elif card.get("stopped_by") == "patience":
        words += ", until the loss on held-out rows no longer fell"
    words += (
        f". Each step lowers the {loss}, at random noise levels, summed over coordinates. The curve is soon flat and "
        "is never 0, while rows still get better: most of the loss is noise that noisy rows do not determine."
    )
    figure = plot_training_loss(history.step, history.loss, loss_name=history.loss_name)
    pictures = [Picture.of(figure, "Training loss against training step")]
    if history.validation_step:
        words += (
            " Before the first step of a new network, and now and then, the weights are scored on held-out rows, by "
            "the transition terms of the bound on encoded rows. It has other noise levels and weights than a batch's "
            "loss, and may be several times as large: compare it with no other on this page. The "
            "newest weights are kept that the best do not beat by half a standard error of the difference, if they are "
            "at least as good in the mean as those of a new network before its training."
        )
        if not history.chosen_step:
            words += " Here none were: the model is the untrained network."
        figure = plot_validation_loss(history.validation_step, history.validation_loss, chosen_step=history.chosen_step)
        pictures.append(Picture.of(figure, "Loss on held-out rows against training step"))
    return Section("Training", [Text(words), Pictures(pictures)])


@styled()
def plot_training_loss(step: Sequence[int], loss: Sequence[float], *, loss_name: str = "loss") -> Figure:
    """Draw the loss of batches against the training step, with its running mean."""
    ax = axes_or_new(None, height=3.1)
    values = np.asarray(loss, dtype=np.float64)
    ax.plot(step, values, color=BLUE, linewidth=0.8, alpha=0.45, label="a batch")
    ax.plot(step, _running_mean(values, max(1, len(values) // 40)), color=BLUE, label="running mean")
    ax.legend(loc="best")
    ax.set_ylabel(literal(loss_name))
    return _finish_loss(ax, values, "Training loss")


@styled()
def plot_validation_loss(step: Sequence[int], loss: Sequence[float], *, chosen_step: int | None = None) -> Figure:
    """Draw the loss on held-out rows, in nats per row, and mark the step whose weights were kept."""
    ax = axes_or_new(None, height=3.1)
    ax.plot(step, loss, color=ORANGE, marker="o", markersize=4)
    ax.set_ylabel("nats per row, encoded")
    if chosen_step is not None:
        ax.axvline(chosen_step, color=INK, linewidth=1.0, linestyle=(0, (4, 3)))
        is_early = chosen_step < 0.5 * max(step)
        ax.annotate(
            "weights kept",
            (chosen_step, 1.0),
            xycoords=("data", "axes fraction"),
            xytext=(4 if is_early else -4, -10),
            textcoords="offset points",
            ha="left" if is_early else "right",
            fontsize=9,
            color=INK,
        )
    values = np.asarray(loss, dtype=np.float64)
    later = values[1:]
    is_far = not step[0] and len(later) > 1 and bool(values[0] > later.max() + np.ptp(later))
    figure = _finish_loss(ax, later if is_far else values, "Loss on held-out rows")
    if is_far and ax.get_yscale() == "linear":  # where the first would flatten the others
        ax.set_ylim(later.min() - 0.1 * np.ptp(later), later.max() + 0.5 * np.ptp(later))
    return figure


def _finish_loss(ax: Axes, drawn: Rows, title: str) -> Figure:
    if drawn.min() > 0 and drawn.max() > 20 * np.median(drawn):
        ax.set_yscale("log")
    if ax.get_yscale() == "linear":
        ax.ticklabel_format(axis="y", useOffset=False)
    ax.set_xlabel("training step")
    ax.xaxis.set_major_locator(MaxNLocator(5, integer=True))
    return finish(ax, title)


def _running_mean(values: Rows, width: int) -> Rows:
    return np.array([values[max(0, last - width) : last].mean() for last in range(1, len(values) + 1)])
