"""What a run tells: where it is, while it goes on, and what it recorded, once it is done."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Progress:
    """Where a run is: `step` of at most `max_steps`, the loss last recorded, the validation loss where just measured.

    `share` is the part of the run that is done, from 0 to 1: by steps, or by the clock where that is further on.
    """

    step: int
    max_steps: int
    loss: float
    validation_loss: float | None
    seconds: float
    share: float


@dataclass(frozen=True, repr=False)
class History:
    """The record of a run: losses at steps, counted from 0, and the validation loss after `validation_step` steps.

    `chosen_step` is the number of steps after which the kept weights stood. `seconds` alone differs between two equal
    runs.
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
