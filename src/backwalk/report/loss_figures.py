"""Pictures of training: the loss of its batches, and the validation loss on held-out rows."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from backwalk.estimates import Rows
from backwalk.report.style import BLUE, INK, ORANGE, literal, panels, quiet_grid, set_title, styled


@styled
def plot_loss(
    step: Sequence[int],
    loss: Sequence[float],
    *,
    loss_name: str = "loss",
    validation_step: Sequence[int] = (),
    validation_loss: Sequence[float] = (),
    chosen_step: int | None = None,
) -> Figure:
    """Draw the loss of batches against the training step and, where there is one, the validation loss beside it.

    The two are different quantities: only the second is on held-out rows. `chosen_step` marks the chosen weights.
    """
    figure, axes = panels(2 if validation_step else 1, height=3.1)
    _draw_training_loss(axes[0], step, loss, loss_name)
    if validation_step:
        _draw_validation_loss(axes[1], validation_step, validation_loss, chosen_step)
    return figure


@styled
def plot_training_loss(step: Sequence[int], loss: Sequence[float], *, loss_name: str = "loss") -> Figure:
    """Draw the loss of batches against the training step, with its running mean."""
    figure, (axes,) = panels(height=3.1)
    _draw_training_loss(axes, step, loss, loss_name)
    return figure


@styled
def plot_validation_loss(step: Sequence[int], loss: Sequence[float], *, chosen_step: int | None = None) -> Figure:
    """Draw the loss on held-out rows, in nats per row, and mark the step whose weights were kept."""
    figure, (axes,) = panels(height=3.1)
    _draw_validation_loss(axes, step, loss, chosen_step)
    return figure


def _draw_training_loss(axes: Axes, step: Sequence[int], loss: Sequence[float], loss_name: str) -> None:
    values = np.asarray(loss, dtype=np.float64)
    axes.plot(step, values, color=BLUE, linewidth=0.8, alpha=0.45, label="a batch")
    axes.plot(step, _running_mean(values, max(1, len(values) // 40)), color=BLUE, label="running mean")
    axes.legend(loc="upper right", labelcolor=INK)
    axes.set_ylabel(literal(loss_name))
    _finish_loss(axes, values, "Training loss")


def _draw_validation_loss(axes: Axes, step: Sequence[int], loss: Sequence[float], chosen_step: int | None) -> None:
    axes.plot(step, loss, color=ORANGE, marker="o", markersize=4)
    axes.set_ylabel("nats per row, encoded")
    if chosen_step is not None:
        axes.axvline(chosen_step, color=INK, linewidth=1.0, linestyle=(0, (4, 3)))
        is_early = chosen_step < 0.5 * max(step)
        axes.annotate(
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
    _finish_loss(axes, later if is_far else values, "Loss on held-out rows")
    if is_far and axes.get_yscale() == "linear":  # where the first would flatten the others
        axes.set_ylim(later.min() - 0.1 * np.ptp(later), later.max() + 0.5 * np.ptp(later))


def _finish_loss(axes: Axes, drawn: Rows, title: str) -> None:
    if drawn.min() > 0 and drawn.max() > 20 * np.median(drawn):
        axes.set_yscale("log")
    axes.set_xlabel("training step")
    set_title(axes, title)
    axes.xaxis.set_major_locator(MaxNLocator(5, integer=True))
    quiet_grid(axes)


def _running_mean(values: Rows, width: int) -> Rows:
    return np.array([values[max(0, last - width) : last].mean() for last in range(1, len(values) + 1)])
