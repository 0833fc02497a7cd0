"""The training loop: rows and noise in, weights out.

A step takes a batch of rows x_0 with a noise level and noise eps for each (`batches.py`). It moves the network's
weights against the gradient of the loss (`learner.py`), the mean over rows of weight(log_snr) |x_0 - x_0_hat|^2, summed
over d. With the SNR as weight(log_snr) it is L_simple (Ho et al. 2020, Eq. 14); with 1 + SNR it is the v-loss. A
table's levels have the cross-entropy instead.

The (averaged) weights are validated up to twenty times a run, and a new network once before (`validation.py`). The
validation loss, in nats per row, is the bound's diffusion part on held-out rows, with -ln P of the levels for tables. A
denoiser trained for conditions has its training loss on them instead. Noise and levels are the same each time, so that
two values differ by the weights alone. The run ends with the weights that these values choose.

What a step draws is a function of the seed and the step's number. There is no other random state.
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
from backwalk.training.batches import Batches, TrainingRows
from backwalk.training.config import Training
from backwalk.training.learner import Learner
from backwalk.training.noise_levels import NoiseLevels
from backwalk.training.pace import History, Pace, Progress
from backwalk.training.patterns import Patterns
from backwalk.training.validation import Candidate, Choice, Validation

N_RECORDS = 200  # losses recorded in a run of at least as many steps


class Trainer:
    """Training of one denoiser on encoded rows: `run` is the loop.

    - `rows`: those to train on, and held-out ones; without the latter the last (averaged) weights are kept.
    - `noise_levels`: the distribution of noise levels, and the weight of each in the loss.
    - `patterns`: make columns given or absent, for a denoiser of tables.
    - `max_seconds`: the time after which training stops. The learning rates follow the share of the steps or of the
      time, whichever is larger, so that two runs that it stops are not bit-equal.
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
        max_seconds: float = math.inf,
        is_untrained: bool = True,
    ) -> None:
        self.denoiser, self.rows, self.noise_levels, self.training = denoiser, rows, noise_levels, training
        self.stream, self.patterns = stream, patterns
        self.max_steps = training.steps_for(len(rows.x_0))
        self.step, self.seconds = 0, 0.0
        self.diverged = self.stopped = False
        self._is_untrained = is_untrained
        self.batches = Batches(rows, noise_levels, training, denoiser.n_members, stream, patterns)
        self._learner = Learner(denoiser, training)
        self._pace = Pace(self.max_steps, max_seconds)
        self._validation: Validation | None = None
        if rows.x_validation is not None:
            self._validation = Validation(denoiser, rows.x_validation, stream, patterns, rows.validation_weight)
        self._choice = Choice()
        self._losses: list[tuple[int, float]] = []
        self._validation_losses: list[tuple[int, float]] = []

    def run(self) -> Generator[Progress]:
        """Train to the end, yielding after every step, and put the chosen weights into the denoiser.

        A stopped run continues. Raises TrainingDiverged when a recorded loss, a validation loss or a weight
        is not finite.
        """
        began = time.monotonic() - self.seconds
        if self._is_untrained and not self.step and self._validation is not None and self._choice.chosen is None:
            self._validate()  # the weights before the first step
            self.seconds = time.monotonic() - began
        while not self.done or not self.step:  # at least one step, even where the first validation took all the time
            share = self._share()
            is_recorded = self._loss_is_due(share)
            loss = self.take_step(self.training.rate_at(self.step, share))
            self.step += 1
            self.seconds = time.monotonic() - began
            if is_recorded:
                self._record(float(loss))
            is_due = self.done or self._pace.validation_is_due(self.step, self.seconds, share)
            validation_loss = self._validate() if is_due else None
            share = 1.0 if self.done else self._share()
            yield Progress(self.step, self.max_steps, self._losses[-1][1], validation_loss, self.seconds, share)
        self._finish()

    def take_step(self, rate_factor: float) -> Tensor:
        """Take the next step at `rate_factor` times the full rates; return the loss, the mean over rows and members."""
        with self._threads() as parallel_map:
            batch = self.batches.at(self.step, parallel_map)
            loss = self._learner.step(
                batch, self.step, rate_factor, parallel_map, has_overfitted=self._choice.has_overfitted
            )
            return loss / self.denoiser.n_members

    def stop(self) -> None:
        """End a run between two steps: put the weights chosen so far, the last ones included, into the denoiser."""
        self.stopped = True
        self._finish()

    @property
    def done(self) -> bool:
        """Whether training is over: all steps are taken, the time is up, or the network overfits."""
        return self.diverged or self.overfits or self._share() >= 1.0

    @property
    def overfits(self) -> bool:
        """Whether the newest weights have been worse than the best for as long as `Training.patience` allows."""
        patience = self.training.patience
        return patience is not None and self._choice.n_worse >= patience

    @property
    def stopped_by(self) -> str:
        """What ended training: "divergence", "steps", "callback", "overfitting" or "time limit"."""
        if self.diverged:
            return "divergence"
        if self.step == self.max_steps:
            return "steps"
        if self.stopped:
            return "callback"
        return "overfitting" if self.overfits else "time limit"

    def denoiser_so_far(self) -> EnsembleDenoiser:
        """Return a copy of the denoiser with the (averaged) weights after the last step."""
        with self._averaged_weights():
            return copy.deepcopy(self.denoiser)

    def give_up(self) -> int | None:
        """End a diverged run with the chosen weights in the denoiser; return their step, or None if there are none.

        The weights of step 0 do not count: a run that learnt nothing has failed.
        """
        trained = self._choice.trained
        if trained is None:
            return None
        self.diverged = True
        self._finish()
        return trained.step

    def history(self) -> History:
        """Return the record of the run so far."""
        chosen = self._choice.chosen
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

    def _loss_is_due(self, share: float) -> bool:
        """Whether a step's loss is recorded: the first of each epoch at the chain's levels, else `N_RECORDS` per run.

        `share` is that of the run before the step.
        """
        if self.training.levels == "chain":
            return self.step % self.training.steps_an_epoch(len(self.rows.x_0)) == 0
        return len(self._losses) <= share * N_RECORDS

    def _record(self, loss: float) -> None:
        if not math.isfinite(loss):
            raise self._divergence("loss", f"{loss}")
        self._losses.append((self.step - 1, loss))

    def _validate(self) -> float | None:
        """Validate the (averaged) weights, and make them a candidate for the choice.

        Return their validation loss, or None without held-out rows.
        """
        if self.rows.x_0.device.type == "cuda":
            torch.cuda.synchronize(self.rows.x_0.device)  # else the time of queued steps would count as validation
        began, by_row = time.monotonic(), torch.empty(0, dtype=torch.float64)
        with self._averaged_weights(), self._threads() as parallel_map:
            weights = [parameter.clone() for parameter in self._learner.parameters]
            if self._validation is not None:
                by_row = self._validation.by_row(parallel_map)
        self._pace.validated(time.monotonic() - began)
        candidate = Candidate(self.step, by_row, weights)
        if not candidate.is_finite:
            what = "loss on validation rows" if all(w.isfinite().all() for w in weights) else "weights"
            raise self._divergence(what, "NaN or inf")
        self._choice.consider(candidate)
        if self._validation is None:
            return None
        self._validation_losses.append((self.step, candidate.loss))
        return candidate.loss

    def _finish(self) -> None:
        """Put the chosen weights into the denoiser."""
        if not self.diverged and self._choice.step < self.step:
            self._validate()  # the last weights are a candidate, wherever the run was ended
        chosen = self._choice.chosen
        assert chosen is not None, "the last step is followed by a validation"
        torch._foreach_copy_(self._learner.parameters, chosen.weights)

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

    def _share(self) -> float:
        return self._pace.share(self.step, self.seconds)

    def _divergence(self, what: str, value: str) -> TrainingDiverged:
        return TrainingDiverged(
            f"The {what} should stay finite, but got {value} at step {self.step}: look for far outliers in the data, "
            f"or give a `training` of lower learning_rate (it is {self.training.learning_rate:g})."
        )
