"""The progress of a fit's training, the record of its losses, and the steps at which a run is validated."""

from __future__ import annotations

from dataclasses import dataclass, field

LEAST_SPACING, SPACING = 50, 1 / 16  # steps between two validations, at least, and as a share of the steps so far
N_RECORDS = 100  # losses recorded until the steps have doubled


@dataclass(frozen=True)
class Progress:
    """The progress of training after `step` of at most `max_steps` steps.

    `loss` is the last recorded one; `validation_loss` is None unless it was measured after this step. `share` is the
    fraction that is done, from 0 to 1: of the steps or of the time, whichever is larger. Training may end before.
    """

    step: int
    max_steps: int
    loss: float
    validation_loss: float | None
    seconds: float
    share: float


@dataclass(frozen=True, repr=False)
class History:
    """The record of a training run: its losses, and which weights were kept.

    A fitted estimator has it as `model_.history`. Equal runs have equal histories, whatever time they took.

    Parameters
    ----------
    step : tuple of int
        The training steps at which the loss was recorded, counted from 0.
    loss : tuple of float
        The training loss at each of these steps.
    validation_step : tuple of int
        The number of steps taken before each validation: 0 for the first one of a new network.
    validation_loss : tuple of float
        The loss of the held-out rows at each validation.
    loss_name : str
        What the losses measure.
    n_steps : int
        The number of training steps taken.
    chosen_step : int
        The number of steps after which the kept weights were reached.
    seconds : float or None, default=None
        The time of training, None for a model from a file.

    See Also
    --------
    backwalk.Training : The settings of a training run.

    Examples
    --------
    >>> from backwalk import Diffusion
    >>> from backwalk.datasets import two_moons
    >>> model = Diffusion(max_steps=20, random_state=0, verbose=False).fit(two_moons().sample(100, random_state=0))
    >>> model.model_.history.n_steps
    20
    """

    step: tuple[int, ...]
    loss: tuple[float, ...]
    validation_step: tuple[int, ...]
    validation_loss: tuple[float, ...]
    loss_name: str
    n_steps: int
    chosen_step: int
    seconds: float | None = field(default=None, compare=False)

    def __repr__(self) -> str:
        """Return the run in one line: its steps, its time if it is known, and the losses at its end."""
        took = "" if self.seconds is None else f" in {self.seconds:.1f} s"
        last = f", last {self.loss_name} {self.loss[-1]:.4f}" if self.loss else ""
        validated = f", validation {self.validation_loss[-1]:.4f}" if self.validation_loss else ""
        chosen = f", weights of step {self.chosen_step:,}" if self.chosen_step != self.n_steps else ""
        return f"History({self.n_steps:,} steps{took}{last}{validated}{chosen})"


def next_after(step: int, growth: float, least: int = 1) -> int:
    """Return the step of the next validation, or record, after that at `step`: later by the share `growth`.

    Both become rarer along a run, whose length nobody knows in advance, so that they take a small share of any.
    """
    return step + max(least, int(growth * step))
