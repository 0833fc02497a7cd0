"""The training loop: rows and noise in, weights out.

A `Trainer` holds all that a step changes. What a step draws is a function of the seed and the step's number: batches
are slices of one shuffled order of the rows per epoch, noise and noise levels come from counter-based streams. There is
no other random state, so that a run resumed from `state` continues bit for bit.

The training loss is the mean over rows of weight(log_snr) |x_0 - x_0_hat|^2, summed over d. The validation loss is the
bound's diffusion part in nats per row, at fixed noise and levels, so that two values differ by the weights alone
(`validation.py`).
"""

from __future__ import annotations

import copy
import math
import time
from collections.abc import Generator, Iterator
from contextlib import contextmanager
from functools import cached_property

import torch
from torch import Tensor

from backwalk.denoiser import EnsembleDenoiser
from backwalk.errors import TrainingDiverged
from backwalk.streams import Stream
from backwalk.table import Redraw
from backwalk.threads import Map, single_threads
from backwalk.training.batches import Batches
from backwalk.training.config import Training
from backwalk.training.ensemble_learner import EnsembleLearner
from backwalk.training.history import History, Progress
from backwalk.training.noise_levels import NoiseLevels
from backwalk.training.patterns import Patterns
from backwalk.training.state import (
    TrainerState,
    choice_state,
    fill,
    fingerprint,
    network_words,
    numbered,
    restored_choice,
    restored_records,
    seconds,
    whole_number,
)
from backwalk.training.validation import Candidate, Choice, Validation

N_RECORDS = 200  # losses recorded in a run of at least as many steps
N_LOOKS = 20  # candidate weights in a run, each validated
_LARGEST_SHARE_OF_LOOKS = 0.05  # of the training time, with `max_time`


class Trainer:
    """Training of one denoiser on encoded rows x_0, (n, d).

    `x_validation`, (m, d), are held-out rows by which weights are chosen; without them the last (averaged) weights are
    kept. `max_time` limits the seconds of the whole fit: training takes max_time - time_outside_training, but at least
    half of `max_time`. The learning rates then follow the time, and two runs are no longer bit-equal. `eps`, (n, d), is
    fixed noise, one for each row; without it every step draws new noise. `patterns` make columns given or absent, for a
    denoiser of tables. `row_weight`, (n,), weighs rows in the loss, and `validation_weight`, (m,), held-out rows in
    the choice of weights; both have mean 1.
    """

    def __init__(
        self,
        denoiser: EnsembleDenoiser,
        x_0: Tensor,
        levels: NoiseLevels,
        training: Training,
        *,
        stream: Stream,
        x_validation: Tensor | None = None,
        max_time: float | None = None,
        time_outside_training: float = 0.0,
        eps: Tensor | None = None,
        redraw: Redraw | None = None,
        patterns: Patterns | None = None,
        row_weight: Tensor | None = None,
        validation_weight: Tensor | None = None,
    ) -> None:
        self.denoiser, self.x_0, self.levels, self.training = denoiser, x_0, levels, training
        self.stream, self.max_time = stream, max_time
        self.max_steps = training.steps_for(len(x_0))
        self._own_time = math.inf if max_time is None else max(max_time - time_outside_training, 0.5 * max_time)
        self._network_at_first, self._x_validation, self._eps = network_words(denoiser), x_validation, eps
        self._learner = EnsembleLearner(denoiser, training)
        self._validation = (
            None if x_validation is None else Validation(denoiser, x_validation, stream, patterns, validation_weight)
        )
        self._choice = Choice()
        self._batches = Batches(x_0, levels, training, denoiser.n_members, stream, eps, redraw, patterns, row_weight)
        self._patterns, self._row_weight, self._validation_weight = patterns, row_weight, validation_weight
        self._losses: list[tuple[int, float]] = []
        self._validations: list[tuple[int, float]] = []
        self.step = 0
        self.seconds = 0.0
        self.seconds_before = 0.0  # of the run that was resumed
        self._seconds_of_looks = self._shortest_look = 0.0
        self._ended_after = 0.0  # the greatest `max_time` that has ended the run
        self.diverged = self.stopped = False

    @cached_property
    def fingerprint(self) -> dict[str, str]:
        """Everything that determines the run's result (`state.fingerprint`); computed once, as it reads all rows."""
        return fingerprint(
            self._network_at_first,
            self.x_0,
            self._x_validation,
            self.levels,
            self.training,
            self.stream,
            [part for part in (self._eps, self._row_weight, self._validation_weight) if part is not None],
            self._patterns,
            by_clock=self.max_time is not None,
        )

    @property
    def done(self) -> bool:
        """Whether training is over: all steps are taken, or only the time to validate the last weights is left."""
        # A run that `max_time` has ended stays ended when it is resumed, even where setting up was faster this time.
        ended = self.max_time is not None and self.max_time <= self._ended_after
        return self.diverged or self.step >= self.max_steps or ended or self.seconds >= self._time_for_steps

    @property
    def _time_for_steps(self) -> float:
        """The seconds for all steps and validations except the last validation; infinite without `max_time`."""
        return self._own_time - self._shortest_look

    def run(self) -> Generator[Progress]:
        """Train to the end, yielding after every step, and put the chosen weights into the denoiser.

        A stopped or restored run continues. Raises TrainingDiverged when the loss is no longer finite.
        """
        with single_threads(self.x_0.device.type == "cpu") as parallel_map:
            yield from self._run(parallel_map)
        self._finish()

    def _run(self, parallel_map: Map) -> Iterator[Progress]:
        began = time.monotonic() - self.seconds
        # The progress at the start of the previous step, as in an uninterrupted run.
        progress = max(self.step - 1, 0) / self.max_steps if self.max_time is None else self._progress()
        while not self.done:
            before, progress = progress, self._progress()
            loss = self._update(self.training.rate_at(self.step, progress), parallel_map)
            kept = self._loss_is_kept(progress, before)
            self.step += 1
            self.seconds = time.monotonic() - began
            if kept:
                self._keep(float(loss))
            if self.seconds >= self._time_for_steps:
                self._ended_after = max(self._ended_after, self.max_time or 0.0)
            validation = self._look(parallel_map) if self._look_due(progress) else None
            share = 1.0 if self.done else min(self._progress(), 1.0)
            yield Progress(self.step, self.max_steps, self._losses[-1][1], validation, self.seconds, share)
        if not self.diverged and (self._choice.last is None or self._choice.last.step < self.step):
            self._look(parallel_map)  # restored with a `max_time` below the time that the run had taken

    def stop(self) -> None:
        """End a run between two steps: put the weights chosen so far, the last ones included, into the denoiser."""
        self.stopped = True
        with single_threads(self.x_0.device.type == "cpu") as parallel_map:
            if self._choice.last is None or self._choice.last.step < self.step:
                self._look(parallel_map)
        self._finish()

    def denoiser_so_far(self) -> EnsembleDenoiser:
        """Return a copy of the denoiser with the (averaged) weights after the last step."""
        with _weights_set(self._learner.parameters, self._learner.averages):
            return copy.deepcopy(self.denoiser)

    def state(self) -> TrainerState:
        """Return everything that steps change; the tensors are not copies."""
        choice = choice_state(self._choice)
        rows = {
            f"{name}.{part}": torch.tensor(values, dtype=torch.float64)
            for name, pairs in self._recorded().items()
            for part, values in (("step", [step for step, _ in pairs]), ("loss", [loss for _, loss in pairs]))
        }
        record = {
            "step": self.step,
            "seconds": self.seconds,
            "diverged": self.diverged,
            "ended_after": self._ended_after,
            "choice": choice.record,
        }
        return TrainerState({**self._moving(), **choice.tensors, **rows}, record)

    def restore(self, state: TrainerState) -> None:
        """Set the run to the state of a run with the same fingerprint.

        Raises KeyError, TypeError, ValueError or RuntimeError for an invalid state.
        """
        tensors, record = state.tensors, state.record
        fill(self._moving(), tensors)
        n_validation = self._validation.n_rows if self._validation else 0
        self._choice = restored_choice(TrainerState(tensors, record["choice"]), self._parameters(), n_validation)
        for name, pairs in self._recorded().items():
            pairs[:] = restored_records(tensors, name)
        self.step = whole_number(record["step"], "step", self.max_steps)
        self.seconds, self.diverged = seconds(record["seconds"]), record["diverged"] is True
        self.seconds_before = self.seconds
        self._ended_after = seconds(record["ended_after"])
        strange = set(tensors) - set(self.state().tensors)
        if strange:
            raise ValueError(f"{min(strange)[:80]!r} is no tensor of such a run")
        if not self._losses or (self.diverged and self._choice.last is None):
            raise ValueError("a run should have recorded a loss, and a diverged run candidate weights")

    def give_up(self) -> int | None:
        """End a diverged run with the weights chosen so far, and return their step; None where there are none."""
        chosen = self._choice.chosen()
        self.diverged = chosen is not None
        return chosen.step if chosen else None

    def history(self) -> History:
        """Return the record of the run so far."""
        chosen = self._choice.chosen()
        steps, losses = zip(*self._losses, strict=True) if self._losses else ((), ())
        validated, validations = zip(*self._validations, strict=True) if self._validations else ((), ())
        name = "L_simple" if self.training.levels == "chain" else "v-loss"
        return History(
            step=steps,
            loss=losses,
            validation_step=validated,
            validation_loss=validations,
            loss_name=name,
            n_steps=self.step,
            chosen_step=chosen.step if chosen else self.step,
            seconds=self.seconds,
        )

    def _update(self, rate: float, parallel_map: Map) -> Tensor:
        """Take a step at `rate` times the full rates, and return the members' mean loss."""
        loss = self._learner.step(self._batches, rate, self.step, parallel_map)
        return loss / self.denoiser.n_members

    def _loss_is_kept(self, progress: float, before: float) -> bool:
        """Whether a step's loss is recorded: the first of each epoch at the chain's levels, else `N_RECORDS` per run.

        `progress` is the run's progress at the start of this step, `before` that at the start of the previous one.
        """
        if self.training.levels == "chain":
            return self.step % self.training.steps_an_epoch(len(self.x_0)) == 0
        return not self._losses or int(progress * N_RECORDS) > int(before * N_RECORDS)

    def _keep(self, loss: float) -> None:
        if not math.isfinite(loss):
            raise self._diverged("loss", f"{loss}")
        self._losses.append((self.step - 1, loss))

    def _diverged(self, what: str, value: str) -> TrainingDiverged:
        return TrainingDiverged(
            f"The {what} should stay finite, but got {value} at step {self.step}: look for far outliers in the data, "
            f"or give a `training` of lower learning_rate (it is {self.training.learning_rate:g})."
        )

    def _progress(self) -> float:
        by_steps = self.step / self.max_steps
        return max(by_steps, self.seconds / self._time_for_steps) if self._time_for_steps > 0.0 else 1.0

    def _look_due(self, progress_before: float) -> bool:
        if self.done:
            return True
        too_long = self.max_time is not None and self._seconds_of_looks > _LARGEST_SHARE_OF_LOOKS * self.seconds
        return not too_long and int(self._progress() * N_LOOKS) > int(progress_before * N_LOOKS)

    def _look(self, parallel_map: Map) -> float | None:
        """Add the (averaged) weights to the candidates; return their validation loss, or None without held-out rows."""
        if self.x_0.device.type == "cuda":
            torch.cuda.synchronize(self.x_0.device)  # else the time of queued steps would count as validation
        began = time.monotonic()
        with _weights_set(self._learner.parameters, self._learner.averages):
            by_row = self._validation.by_row(parallel_map) if self._validation else torch.empty(0, dtype=torch.float64)
            weights = [parameter.clone() for parameter in self._parameters()]
        took = time.monotonic() - began
        self._shortest_look = min(took, self._shortest_look or took)
        self._seconds_of_looks += took
        candidate = Candidate(self.step, by_row, weights)
        if not candidate.is_finite:
            what = "loss on validation rows" if all(w.isfinite().all() for w in weights) else "weights"
            raise self._diverged(what, "NaN or inf")
        self._choice.consider(candidate)
        if self._validation is None:
            return None
        self._validations.append((self.step, candidate.loss))
        return candidate.loss

    def _moving(self) -> dict[str, Tensor]:
        """Return all tensors that a step changes, by name; not copies."""
        parts = self._learner.moving()
        return {name: tensor for part, tensors in parts.items() for name, tensor in numbered(part, tensors).items()}

    def _recorded(self) -> dict[str, list[tuple[int, float]]]:
        return {"losses": self._losses, "validations": self._validations}

    def _parameters(self) -> list[Tensor]:
        return [parameter.detach() for parameter in self.denoiser.parameters()]

    def _finish(self) -> None:
        """Put the chosen weights into the denoiser."""
        chosen = self._choice.chosen()
        assert chosen is not None, "the last step is followed by a validation"
        torch._foreach_copy_(self._parameters(), chosen.weights)


@contextmanager
def _weights_set(parameters: list[Tensor], weights: list[Tensor]) -> Iterator[None]:
    """Replace the values of parameters within a `with` block."""
    before = [parameter.clone() for parameter in parameters]
    torch._foreach_copy_(parameters, weights)
    try:
        yield
    finally:
        torch._foreach_copy_(parameters, before)
