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


@dataclass(frozen=True)
class History:
    """What a run recorded: losses at steps, counted from 0, and the validation loss after so many steps.

    `chosen_step` is the number of steps after which the kept weights stood. `seconds` is the clock's: of all numbers of
    a run it alone differs from one run to the next.
    """

    step: tuple[int, ...]
    loss: tuple[float, ...]
    validation_step: tuple[int, ...]
    validation_loss: tuple[float, ...]
    loss_name: str
    n_steps: int
    chosen_step: int
    seconds: float
