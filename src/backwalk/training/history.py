"""The progress of a run, and the record of its losses."""

from __future__ import annotations

from dataclasses import dataclass


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
    """The record of a run: losses at steps, counted from 0, and validation losses after `validation_step` steps.

    The first validation of a new network is before training, after 0 steps. The kept weights are those after
    `chosen_step` steps. Two equal runs differ in `seconds` alone.
    """

    step: tuple[int, ...]
    loss: tuple[float, ...]
    validation_step: tuple[int, ...]
    validation_loss: tuple[float, ...]
    loss_name: str
    n_steps: int
    chosen_step: int
    seconds: float

    def __repr__(self) -> str:
        """Return the run in one line: its steps, its time, and the losses at its end."""
        last = f", last {self.loss_name} {self.loss[-1]:.4f}" if self.loss else ""
        validated = f", validation {self.validation_loss[-1]:.4f}" if self.validation_loss else ""
        chosen = f", weights of step {self.chosen_step:,}" if self.chosen_step != self.n_steps else ""
        return f"History({self.n_steps:,} steps in {self.seconds:.1f} s{last}{validated}{chosen})"
