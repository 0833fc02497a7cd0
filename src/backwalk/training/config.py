"""The settings of a training run."""

from __future__ import annotations

import math
from dataclasses import dataclass

from backwalk.errors import InvalidInput
from backwalk.limits import is_number, is_whole

WARM_UP_STEPS, WARM_UP_SHARE = 50, 0.05  # whichever ends first
MOST_UPDATE_EVERY = 4  # steps of which Muon moves a matrix in one, by as many times the rate (`optimizer.py`)


@dataclass(frozen=True)
class Training:
    """The settings of a training run.

    `batch_size`: rows per step; more than there are rows means several noises per row.
    `learning_rate`: Adam's, at its highest.
    `max_steps` or `n_epochs`: its length; one epoch is n // batch_size steps, as the last short batch is dropped.
    `hidden_rate`: Muon's rate for the square matrices of residual blocks; None leaves all to Adam.
    `weight_decay`: times its rate, the share by which Muon shrinks those matrices each time they move.
    `bfloat16`: products in the blocks are of numbers rounded to bfloat16, in training alone; weights, sums and
    all else stay float32. It pays on some devices (`defaults.has_fast_bfloat16`).
    `ema_width`: the relative width of the average of weights; None keeps the last weights.
    `decay`: after a short warm-up the rates fall to 0 along a half cosine, and Adam remembers squares for some hundred
    steps (beta_2 = 0.99); otherwise rates are constant and it remembers a thousand (0.999, its authors' default).
    `levels`: "log_normal", or "chain" for t uniform on 1..n_steps with L_simple as loss.
    """

    batch_size: int
    learning_rate: float
    max_steps: int | None = None
    n_epochs: int | None = None
    hidden_rate: float | None = None
    weight_decay: float = 0.0
    bfloat16: bool = False
    ema_width: float | None = 0.05
    decay: bool = True
    levels: str = "log_normal"

    def __post_init__(self) -> None:
        for name in ("batch_size", "max_steps", "n_epochs"):
            value = getattr(self, name)
            if value is None and name != "batch_size":
                continue
            if not is_whole(value) or value < 1:
                raise InvalidInput(f"{name} should be an integer >= 1, but got {value!r}: give 1 at least.")
            object.__setattr__(self, name, int(value))  # also of NumPy's, which JSON refuses
        for name, most, usual in (
            ("learning_rate", 1.0, "0.005 or 0.01"),
            ("hidden_rate", 1.0, "0.02, or None for Adam alone,"),
            ("ema_width", 0.25, "0.05, or None for the last weights,"),
        ):
            value = getattr(self, name)
            if value is None and name != "learning_rate":
                continue
            if not is_number(value) or not 0.0 < value <= most:
                raise InvalidInput(f"{name} should lie in (0, {most:g}], but got {value!r}: {usual} is usual.")
            object.__setattr__(self, name, float(value))
        if not is_number(self.weight_decay) or not 0.0 <= self.weight_decay <= 10.0:
            raise InvalidInput(f"weight_decay should lie in [0, 10], but got {self.weight_decay!r}: 0 to 0.4 is usual.")
        object.__setattr__(self, "weight_decay", float(self.weight_decay))
        shrinks = (self.hidden_rate or 0.0) * self.weight_decay
        if MOST_UPDATE_EVERY * shrinks >= 1.0:
            raise InvalidInput(
                f"hidden_rate x weight_decay should be below {1 / MOST_UPDATE_EVERY:g}, or weights of wide networks "
                f"change sign, but is {shrinks:g}: lower weight_decay, of which 0.05 to 0.4 is usual."
            )
        if not isinstance(self.bfloat16, bool):
            raise InvalidInput(
                f"bfloat16 should be True or False, but got {self.bfloat16!r}: give False where in doubt."
            )
        if (self.max_steps is None) == (self.n_epochs is None):
            raise InvalidInput(
                f"One of max_steps and n_epochs should be given, and the other None, but got {self.max_steps!r} and "
                f"{self.n_epochs!r}: say how long training goes by one of them."
            )
        if self.levels not in ("log_normal", "chain"):
            raise InvalidInput(
                f'levels should be "log_normal" or "chain", but got {self.levels!r}: leave it out where in doubt.'
            )

    def steps_for(self, n: int) -> int:
        """Return the number of steps that n rows get."""
        return self.max_steps if self.max_steps is not None else (self.n_epochs or 0) * self.steps_an_epoch(n)

    def steps_an_epoch(self, n: int) -> int:
        """Return the number of whole batches in n rows, or 1 where there are fewer rows than in a batch."""
        return max(1, n // self.batch_size)

    def rate_at(self, step: int, progress: float) -> float:
        """Return the share of the full learning rate at a step, counted from 0, at a progress in 0..1."""
        if not self.decay:
            return 1.0
        warm_up = min(1.0, max((step + 1) / WARM_UP_STEPS, progress / WARM_UP_SHARE))
        return warm_up * 0.5 * (1.0 + math.cos(math.pi * min(progress, 1.0)))
