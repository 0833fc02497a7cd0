"""The progress of a run, the record of its losses, and when it is over or due for a validation."""

from __future__ import annotations

import math
from dataclasses import dataclass, field

N_VALIDATIONS = 20  # of trained weights in a run
_LARGEST_SHARE_OF_VALIDATIONS = 0.05  # of the time for training, where it is limited


@dataclass(frozen=True)
class Progress:
    """The progress of a run after `step` of at most `max_steps` steps.

    `loss` is the last recorded one; `validation_loss` is None unless it was measured after this step. `share` is the
    fraction of the run that is done, from 0 to 1: of its steps or of its time, whichever is larger.
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


class Pace:
    """The limits of a run: `max_steps` and the `max_seconds` of training."""

    def __init__(self, max_steps: int, max_seconds: float = math.inf) -> None:
        self._max_steps, self._max_seconds, self._validation_seconds = max_steps, max_seconds, 0.0

    def share(self, step: int, seconds: float) -> float:
        """Return the share of the steps or of the time that is done, whichever is larger."""
        return max(step / self._max_steps, seconds / self._max_seconds)

    def validation_is_due(self, step: int, seconds: float, share_before: float) -> bool:
        """Whether a validation is due after a step: `N_VALIDATIONS` per run, but a small share of a limited time."""
        share = self.share(step, seconds)
        if self._validation_seconds > _LARGEST_SHARE_OF_VALIDATIONS * share * self._max_seconds:
            return False
        return int(share * N_VALIDATIONS) > int(share_before * N_VALIDATIONS)

    def validated(self, took: float) -> None:
        """Note the seconds of a validation."""
        self._validation_seconds += took
