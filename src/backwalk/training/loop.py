"""The training loop of one network: rows and noise in, weights out.

A step takes a batch of rows x_0 with a noise level and noise eps for each (`batches.py`). It moves the network's
weights against the gradient of the loss (`learner.py`), the mean over rows of weight(log_snr) |x_0 - x_0_hat|^2, summed
over d. With the SNR as weight(log_snr) it is L_simple (Ho et al. 2020, Eq. 14); with 1 + SNR it is the v-loss, of which
all noise levels may have equal shares (`balance.py`). A table's levels have the cross-entropy instead.

The (averaged) weights are validated as the steps grow by a sixteenth, and a new network once before (`validation.py`).
The losses by which noise levels are balanced are measured then.
The validation loss, in nats per row, is the bound's diffusion part on held-out rows, with -ln P of the levels for
tables. A denoiser trained for conditions has its training loss on them instead. Noise and levels are the same each
time, so that two values differ by the weights alone. The run ends with the weights that these values choose.

What a step draws is a function of the seed and the step's number. There is no other random state. No step depends on
when the run ends, unless the rates fall at its end (`Training.decay`): then they do so in the last third of the steps
or of the time, or once patience is over, in half as many steps again.
"""

from __future__ import annotations

import copy
import math
import time
from collections.abc import Generator, Iterator
from contextlib import AbstractContextManager, contextmanager

import torch
from torch import Tensor

from backwalk.denoiser import EnsembleDenoiser
from backwalk.errors import TrainingDiverged
from backwalk.streams import Stream
from backwalk.threads import Map, single_threads
from backwalk.training.balance import Balance
from backwalk.training.batches import Batches, TrainingRows
from backwalk.training.config import FALL, Training
from backwalk.training.learner import Learner
from backwalk.training.noise_levels import NoiseLevels
from backwalk.training.pace import LEAST_SPACING, N_RECORDS, SPACING, History, Progress, next_after
from backwalk.training.patterns import Patterns
from backwalk.training.validation import Candidate, Choice, Validation


class Trainer:
    """Training of one network on encoded rows: `run` is the loop.

    - `rows`: those to train on.
    - `noise_levels`: the distribution of noise levels, and the weight of each in the loss.
    - `patterns`: make columns given or absent, for a denoiser of tables.
    - `validation`: that on held-out rows; without it the last (averaged) weights are kept.
    - `max_steps`, `max_seconds`: the limits of the run; the steps are by default those of `training`.
    - `is_untrained`: whether the denoiser is new; then its weights before the first step are a candidate too.
    """

    def __init__(
        self,
        denoiser: EnsembleDenoiser,
        rows: TrainingRows,
        noise_levels: NoiseLevels,
        training: Training,
        *,
        stream: Stream,
        patterns: Patterns | None = None,
        validation: Validation | None = None,
        max_steps: int | None = None,
        max_seconds: float = math.inf,
        is_untrained: bool = True,
    ) -> None:
        self.denoiser, self.rows, self.noise_levels, self.training = denoiser, rows, noise_levels, training
        self.validation = validation
        self.max_steps = training.steps_for(len(rows.x_0)) if max_steps is None else max_steps
        self.max_seconds = max_seconds
        self.step, self.seconds = 0, 0.0
        self._validation_seconds = 0.0  # of the last validation
        self.diverged = self.stopped = False
        self._is_untrained = is_untrained
        self.batches = Batches(rows, noise_levels, training, stream, patterns)
        is_balanced = training.levels == "balanced"
        self._balance = Balance(rows, noise_levels, training, stream, patterns) if is_balanced else None
        self._learner = Learner(denoiser, training)
        self.choice = Choice()
        self._losses: list[tuple[int, float]] = []
        self._validation_losses: list[tuple[int, float]] = []
        self._next_record, self._next_validation = 0, LEAST_SPACING
        self._last_step = math.inf  # at which the run ends by patience, once that is over

    def run(self) -> Generator[Progress]:
        """Train to the end, yielding after every step, and put the chosen weights into the denoiser.

        A stopped run continues. Raises TrainingDiverged when a recorded loss, a validation loss or a weight
        is not finite.
        """
        began = time.monotonic() - self.seconds
        if self._is_untrained and not self.step and self.validation is not None and self.choice.chosen is None:
            self._validate()  # the weights before the first step
            self.seconds = time.monotonic() - began
        while not self.done or not self.step:  # at least one step, even where the first validation took all the time
            is_recorded = self._loss_is_due()
            loss = self.take_step(self.training.rate_at(self.step, self.left))
            self.step += 1
            self.seconds = time.monotonic() - began
            if is_recorded:
                self._record(float(loss))
            validation_loss = self._validate() if self.done or self.step >= self._next_validation else None
            self.seconds = time.monotonic() - began
            share = 1.0 if self.done else self.share
            yield Progress(self.step, self.max_steps, self._losses[-1][1], validation_loss, self.seconds, share)
        self.finish()

    def take_step(self, rate_factor: float) -> Tensor:
        """Take the next step at `rate_factor` times the full rates; return the loss, the mean over rows."""
        with self._threads() as parallel_map:
            factor = None if self._balance is None else self._balance.factor
            return self._learner.step(self.batches.at(self.step, factor), self.step, rate_factor, parallel_map)

    def stop(self) -> None:
        """End a run between two steps: put the weights chosen so far, the last ones included, into the denoiser."""
        self.stopped = True
        self.finish()

    @property
    def done(self) -> bool:
        """Whether training is over: all steps are taken, the time is up, or the held-out loss no longer falls."""
        return self.diverged or self.has_learnt or self.share >= 1.0

    @property
    def has_learnt(self) -> bool:
        """Whether the held-out loss has not fallen for as long as `Training.patience` allows, and rates fell since."""
        return self.step >= self._last_step

    @property
    def left(self) -> float:
        """What is left of the fall of the rates at the end: 1 before it, 0 after it."""
        share = max(self.share, self.step / self._last_step)
        return max(0.0, min(1.0, (1.0 - share) * (1.0 + FALL) / FALL))

    @property
    def share(self) -> float:
        """The share of the steps or of the time that is done, whichever is larger.

        After the last step its weights are validated twice: as a candidate, and as a part of the mean of networks.
        """
        return max(self.step / self.max_steps, (self.seconds + 2.0 * self._validation_seconds) / self.max_seconds)

    @property
    def stopped_by(self) -> str:
        """What ended training: "divergence", "steps", "callback", "patience" or "time limit"."""
        if self.diverged:
            return "divergence"
        if self.step == self.max_steps:
            return "steps"
        if self.stopped:
            return "callback"
        return "time limit" if self._last_step == math.inf else "patience"

    def denoiser_so_far(self) -> EnsembleDenoiser:
        """Return a copy of the denoiser with the (averaged) weights after the last step."""
        with self._averaged_weights():
            return copy.deepcopy(self.denoiser)

    def give_up(self) -> int | None:
        """End a diverged run with the chosen weights in the denoiser; return their step, or None if there are none.

        The weights of step 0 do not count: a run that learnt nothing has failed.
        """
        trained = self.choice.trained
        if trained is None:
            return None
        self.diverged = True
        self.finish()
        return trained.step

    def history(self) -> History:
        """Return the record of the run so far."""
        chosen = self.choice.chosen
        return History(
            step=tuple(step for step, _ in self._losses),
            loss=tuple(loss for _, loss in self._losses),
            validation_step=tuple(step for step, _ in self._validation_losses),
            validation_loss=tuple(loss for _, loss in self._validation_losses),
            loss_name="L_simple" if self.training.levels == "chain" else "v-loss",
            n_steps=self.step,
            chosen_step=chosen.step if chosen else self.step,
            seconds=self.seconds,
        )

    def finish(self) -> None:
        """Put the chosen weights into the denoiser."""
        if not self.diverged and self.choice.step < self.step:
            self._validate()  # the last weights are a candidate, wherever the run was ended
        chosen = self.choice.chosen
        assert chosen is not None, "the last step is followed by a validation"
        torch._foreach_copy_(self._learner.parameters, chosen.weights)

    def _loss_is_due(self) -> bool:
        """Whether a step's loss is recorded: at the chain's levels the first of each epoch, else the less the later."""
        if self.training.levels == "chain":
            return self.step % self.training.steps_an_epoch(len(self.rows.x_0)) == 0
        return self.step >= self._next_record

    def _record(self, loss: float) -> None:
        if not math.isfinite(loss):
            raise self._divergence("loss", f"{loss}")
        self._losses.append((self.step - 1, loss))
        self._next_record = next_after(self.step - 1, 1 / N_RECORDS)

    def _validate(self) -> float | None:
        """Validate the (averaged) weights, and make them a candidate for the choice.

        Return their validation loss, or None without held-out rows.
        """
        self._next_validation, began = next_after(self.step, SPACING, LEAST_SPACING), time.monotonic()
        by_row = torch.empty(0, dtype=torch.float64)
        with self._averaged_weights(), self._threads() as parallel_map:
            weights = [parameter.clone() for parameter in self._learner.parameters]
            if self._balance is not None:
                self._balance.measure(self.denoiser, parallel_map)
            if self.validation is not None:
                by_row = self.validation.by_row(self.denoiser, parallel_map)
                self._validation_seconds = time.monotonic() - began
        candidate = Candidate(self.step, by_row, weights)
        if not candidate.is_finite:
            what = "loss on validation rows" if all(w.isfinite().all() for w in weights) else "weights"
            raise self._divergence(what, "NaN or inf")
        self.choice.consider(candidate)
        if self.validation is None:
            return None
        patience = self.training.patience
        if self._last_step == math.inf and patience is not None and self.choice.n_idle >= patience:
            falls = self.training.decay == "linear"
            self._last_step = math.ceil((1.0 + FALL) * self.step) if falls else self.step
        self._validation_losses.append((self.step, candidate.loss))
        return candidate.loss

    @contextmanager
    def _averaged_weights(self) -> Iterator[None]:
        """Give the denoiser the averaged weights within a `with` block, and the newest ones again after it."""
        parameters = self._learner.parameters
        newest = [parameter.clone() for parameter in parameters]
        torch._foreach_copy_(parameters, self._learner.averages)
        try:
            yield
        finally:
            torch._foreach_copy_(parameters, newest)

    def _threads(self) -> AbstractContextManager[Map]:
        """Return a block in which torch runs on one thread, with a `map` over all threads; on a GPU nothing changes."""
        return single_threads(self.rows.x_0.device.type == "cpu")

    def _divergence(self, what: str, value: str) -> TrainingDiverged:
        return TrainingDiverged(
            f"The {what} should stay finite, but got {value} at step {self.step}: look for far outliers in the data, "
            f"or give a `training` of lower learning_rate (it is {self.training.learning_rate:g})."
        )
