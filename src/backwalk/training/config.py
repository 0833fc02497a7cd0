"""The settings of a training run."""

from __future__ import annotations

import math
from dataclasses import dataclass

from backwalk.errors import InvalidInput
from backwalk.limits import is_number, is_whole

WARM_UP_STEPS = 50
FULL_RATE_STEPS = 100  # about as many, after which the rates fall as the inverse root of the step
FALL = 1 / 2  # of the steps before it: how long rates fall that fall at the end, so that it is a third of a run
LONGEST_RUN = 20_000  # steps, where nothing ends a run before
MOST_UPDATE_EVERY = 3  # the most steps in which Muon moves a matrix once, by as many times the rate (`muon.py`)


@dataclass(frozen=True)
class Training:
    """The settings of a training run, for `Diffusion(training=...)`.

    Each default of a fit follows from the data. Give a record where you want others.

    Parameters
    ----------
    batch_size : int
        The rows of a step. Of fewer rows, each occurs with several noises.
    learning_rate : float
        Adam's greatest learning rate.
    max_steps : int, optional
        The most training steps, of all networks together. Give this, `n_epochs` or neither; 20,000 without both.
    n_epochs : int, optional
        The most epochs, of n // batch_size steps each, as the last short batch is dropped.
    hidden_rate : float, optional
        Muon's greatest rate, for the square matrices of residual blocks. With None, Adam trains them too.
    weight_decay : float, default=0.0
        Each time Muon moves a matrix, it first shrinks it by the share rate x `weight_decay`.
    outer_decay : float, default=0.0
        Each step shrinks the weights that Adam trains by the share rate x `outer_decay`.
    input_ridge : float, default=0.0
        The penalty (`input_ridge` / 2) W^2, summed over the weights W of each member's first layer, in a `Residual`
        network. Recorded losses leave it out; other networks have none.
    embedding_decay : float, default=0.0
        As `outer_decay`, for the weights of an embedding, beside it.
    bfloat16 : bool, default=False
        Whether the factors of the matrix products in the blocks are rounded to bfloat16, in training only. Weights and
        sums stay float32. This is faster on some devices.
    ema_width : float or None, default=0.1
        The relative width of the average of weights; None keeps the last weights.
    decay : {"root", "linear"} or None, default="root"
        How the rates fall, after a short warm-up and with Adam's beta_2 at 0.99: "root" from the start, as
        1 / sqrt(1 + step / 100); "linear" at the end, to 0 in the last third of a network's run. With None they are
        constant and beta_2 is 0.999.
    levels : {"log_normal", "balanced", "chain"}, default="log_normal"
        The distribution of noise levels, and the loss: "log_normal" has the v-loss, and "balanced" the v-loss at each
        level over its mean there. "chain" is t uniform on 1..n_steps, with L_simple as loss.
    patience : int, optional
        The run of a network ends after this many validations on the held-out rows without a gain of 0.002 nats a row
        over the best before, or rates of "linear" decay begin to fall then. There is a validation about every sixteenth
        of the steps so far. None trains on, and so does a run without held-out rows.

    Raises
    ------
    InvalidInput
        For a number out of range, and for two lengths.

    See Also
    --------
    backwalk.Diffusion : The estimator.
    backwalk.training.History : The record of a run.

    Examples
    --------
    >>> from backwalk import Diffusion, Training
    >>> from backwalk.datasets import two_moons
    >>> training = Training(batch_size=100, learning_rate=0.01, max_steps=20)
    >>> model = Diffusion(training=training, verbose=False, random_state=0).fit(two_moons().sample(200, random_state=0))
    >>> model.model_.history.n_steps
    20
    """

    batch_size: int
    learning_rate: float
    max_steps: int | None = None
    n_epochs: int | None = None
    hidden_rate: float | None = None
    weight_decay: float = 0.0
    outer_decay: float = 0.0
    input_ridge: float = 0.0
    embedding_decay: float = 0.0
    bfloat16: bool = False
    ema_width: float | None = 0.1
    decay: str | None = "root"
    levels: str = "log_normal"
    patience: int | None = None

    def __post_init__(self) -> None:
        for name in ("batch_size", "max_steps", "n_epochs", "patience"):
            value = getattr(self, name)
            if value is None and name != "batch_size":
                continue
            if not is_whole(value) or value < 1:
                raise InvalidInput(f"{name} should be an integer >= 1, but got {value!r}: choose another number.")
            object.__setattr__(self, name, int(value))  # JSON takes no integers of NumPy
        for name, most, may_be_zero, usual in (
            ("learning_rate", 1.0, False, "0.005 or 0.01"),
            ("hidden_rate", 1.0, False, "0.02, or None for Adam alone,"),
            ("ema_width", 0.25, False, "0.1, or None for the last weights,"),
            ("weight_decay", 10.0, True, "0 to 0.4"),
            ("outer_decay", 10.0, True, "0 to 1"),
            ("input_ridge", 10.0, True, "0 to 0.05"),
            ("embedding_decay", 10.0, True, "1 to 5"),
        ):
            value = getattr(self, name)
            if value is None and name in ("hidden_rate", "ema_width"):
                continue
            if not is_number(value) or not 0.0 <= value <= most or (value == 0.0 and not may_be_zero):
                raise InvalidInput(
                    f"{name} should lie in {'[' if may_be_zero else '('}0, {most:g}], but got {value!r}: {usual} is "
                    "usual."
                )
            object.__setattr__(self, name, float(value))
        shrinks = (self.hidden_rate or 0.0) * self.weight_decay
        if MOST_UPDATE_EVERY * shrinks >= 1.0:
            raise InvalidInput(
                f"hidden_rate x weight_decay should be below {1 / MOST_UPDATE_EVERY:g}, as weights may change sign "
                f"otherwise, but is {shrinks:g}: lower weight_decay; 0.05 to 0.5 is usual."
            )
        if not isinstance(self.bfloat16, bool):
            raise InvalidInput(f"bfloat16 should be True or False, but got {self.bfloat16!r}: False works everywhere.")
        if self.max_steps is not None and self.n_epochs is not None:
            raise InvalidInput(
                f"max_steps and n_epochs should not both be given, but got {self.max_steps!r} and {self.n_epochs!r}: "
                "set one of them to None."
            )
        if self.decay not in ("root", "linear", None):
            raise InvalidInput(
                f'decay should be "root", "linear" or None, but got {self.decay!r}: "linear" is usual for arrays, '
                '"root" for tables.'
            )
        if self.levels not in ("log_normal", "balanced", "chain"):
            raise InvalidInput(
                f'levels should be "log_normal", "balanced" or "chain", but got {self.levels!r}: "log_normal" is the '
                "default."
            )

    def steps_for(self, n: int) -> int:
        """Return the most training steps of a fit.

        Parameters
        ----------
        n : int
            The number of training rows.

        Returns
        -------
        int
            `max_steps`, `n_epochs` in steps, or 20,000.
        """
        if self.n_epochs is not None:
            return self.n_epochs * self.steps_an_epoch(n)
        return LONGEST_RUN if self.max_steps is None else self.max_steps

    def steps_an_epoch(self, n: int) -> int:
        """Return the number of training steps of an epoch.

        Parameters
        ----------
        n : int
            The number of training rows.

        Returns
        -------
        int
            The number of whole batches, or 1 for fewer rows than a batch.
        """
        return max(1, n // self.batch_size)

    def rate_at(self, step: int, left: float = 1.0) -> float:
        """Return the factor of the learning rates at a training step.

        Parameters
        ----------
        step : int
            The step, counted from 0.
        left : float, default=1.0
            What is left of the fall at the end of a run: 1 before it, 0 after it.

        Returns
        -------
        float
            The factor. With "root" it needs no end: averages of the weights stand for a fall to 0.
        """
        if self.decay is None:
            return 1.0
        warm_up = min(1.0, (step + 1) / WARM_UP_STEPS)
        return warm_up * (left if self.decay == "linear" else 1.0 / math.sqrt(1.0 + step / FULL_RATE_STEPS))
