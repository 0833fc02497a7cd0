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
from dataclasses import replace
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
from backwalk.training.pace import Pace
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
from backwalk.training.team import Team, weights_set
from backwalk.training.validation import Candidate, Choice, Validation
from backwalk.training.workers import ALONE, Workers

N_RECORDS = 200  # losses recorded in a run of at least as many steps


class Trainer:
    """Training of one denoiser on encoded rows x_0, (n, d).

    `x_validation`, (m, d), are held-out rows by which weights are chosen; without them the last (averaged) weights are
    kept. `max_time` limits the seconds of the whole fit: training takes max_time - time_outside_training, but at least
    half of `max_time`. The learning rates then follow the time, and two runs are no longer bit-equal. `eps`, (n, d), is
    fixed noise, one for each row; without it every step draws new noise. `patterns` make columns given or absent, for a
    denoiser of tables. `row_weight`, (n,), weighs rows in the loss, and `validation_weight`, (m,), held-out rows in
    the choice of weights; both have mean 1. With `is_untrained`, the weights before the first step are a candidate too.

    Several `workers` may train together, each with a trainer of the same arguments: worker 0 calls `run`, and `end`
    after it, the others `follow`. All end with the same weights, those of one worker alone.
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
        is_untrained: bool = True,
        workers: Workers = ALONE,
    ) -> None:
        self.denoiser, self.x_0, self.levels, self.training = denoiser, x_0, levels, training
        self.stream, self.max_time, self._is_untrained = stream, max_time, is_untrained
        self.max_steps = training.steps_for(len(x_0))
        self._pace = Pace(self.max_steps, max_time, time_outside_training)
        self._network_at_first, self._x_validation, self._eps = network_words(denoiser), x_validation, eps
        self._validation = (
            None if x_validation is None else Validation(denoiser, x_validation, stream, patterns, validation_weight)
        )
        self._choice = Choice()
        self._batches = Batches(x_0, levels, training, denoiser.n_members, stream, eps, redraw, patterns, row_weight)
        self._team = Team(denoiser, training, self._batches, self._validation, workers)
        self._newest: TrainerState | None = None  # of all workers
        self._patterns, self._row_weight, self._validation_weight = patterns, row_weight, validation_weight
        self._losses: list[tuple[int, float]] = []
        self._validations: list[tuple[int, float]] = []
        self.step = 0
        self.seconds = 0.0
        self.seconds_before = 0.0  # of the run that was resumed
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
        """Whether training is over: all steps are taken, only the time to validate the last weights is left, or the
        network overfits (`Training.patience`).
        """
        return self.diverged or self.overfits or self._pace.is_over(self.step, self.seconds)

    @property
    def overfits(self) -> bool:
        """Whether the newest weights have been worse than the best for as long as `Training.patience` allows."""
        patience = self.training.patience
        return patience is not None and self._choice.n_worse >= patience

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
        if self._lacks_a_look(progress) or self._is_at_first:
            self._look(parallel_map)
            self.seconds = time.monotonic() - began
        while not self.done or not self.step:  # a look may take all the time that there is, and no step is no run
            before, progress = progress, self._progress()
            is_kept = self._loss_is_kept(progress, before)
            loss = self._update(self.training.rate_at(self.step, progress), parallel_map, is_kept)
            self.step += 1
            self.seconds = time.monotonic() - began
            if is_kept:
                assert loss is not None
                self._keep(float(loss))
            self._pace.stepped(self.seconds)
            validation = self._look(parallel_map) if self._look_due(progress) else None
            share = 1.0 if self.done else min(self._progress(), 1.0)
            yield Progress(self.step, self.max_steps, self._losses[-1][1], validation, self.seconds, share)
        if not self.diverged and self._choice.step < self.step:
            self._look(parallel_map)  # restored with a `max_time` below the time that the run had taken

    def stop(self) -> None:
        """End a run between two steps: put the weights chosen so far, the last ones included, into the denoiser."""
        self.stopped = True
        with single_threads(self.x_0.device.type == "cpu") as parallel_map:
            if self._choice.step < self.step:
                self._look(parallel_map)
        self._finish()

    def follow(self) -> str | None:
        """Follow worker 0 until it ends the run, and take over its result; return the text that it ends with."""
        with single_threads(self.x_0.device.type == "cpu") as parallel_map:
            record, tensors = self._team.follow(parallel_map)
        self._restore(TrainerState(tensors, record["state"]))
        self.seconds_before, self.stopped = record["seconds_before"], record["stopped"]
        self._finish()
        text: str | None = record["text"]
        return text

    def end(self, text: str | None = None) -> None:
        """Give the result of a run, and a text, to the workers that follow this one."""
        state = self._state()
        record = {"state": state.record, "seconds_before": self.seconds_before, "stopped": self.stopped, "text": text}
        self._team.end(record, state.tensors)

    @property
    def n_idle_workers(self) -> int:
        """The number of workers that have no part in a step."""
        return self._learner.dealing.n_idle

    def dismiss(self) -> None:
        """End the run of the workers that follow this one without a result."""
        self._team.dismiss()

    def denoiser_so_far(self) -> EnsembleDenoiser:
        """Return a copy of the denoiser with the (averaged) weights after the last step."""
        self._team.collect()
        with weights_set(self._learner.parameters, self._learner.averages):
            return copy.deepcopy(self.denoiser)

    @property
    def newest_state(self) -> TrainerState | None:
        """The newest state of the whole run that is known here: all of it, even after other workers were lost."""
        return self._state() if self._learner.leader_has_all and self._losses else self._newest

    def state(self) -> TrainerState:
        """Return everything that steps change; the tensors are not copies."""
        self._team.collect()
        self._keep_newest()
        return self._state()

    def _keep_newest(self) -> None:
        """Copy the state that was collected from all workers, as steps change only a part of it here."""
        if self._losses and not self._learner.leader_has_all:
            state = self._state()
            self._newest = replace(state, tensors={name: tensor.clone() for name, tensor in state.tensors.items()})

    def _state(self) -> TrainerState:
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
            "ended_after": self._pace.ended_after,
            "choice": choice.record,
        }
        return TrainerState({**self._moving(), **choice.tensors, **rows}, record)

    def restore(self, state: TrainerState) -> None:
        """Set the run to the state of a run with the same fingerprint.

        Raises KeyError, TypeError, ValueError or RuntimeError for an invalid state.
        """
        self._restore(state)
        self._team.hand_out()

    def _restore(self, state: TrainerState) -> None:
        tensors, record = state.tensors, state.record
        fill(self._moving(), tensors)
        n_validation = self._validation.n_rows if self._validation else 0
        self.step = whole_number(record["step"], "step", self.max_steps)
        choice = TrainerState(tensors, record["choice"])
        self._choice = restored_choice(choice, self._parameters(), n_validation, self.step)
        for name, pairs in self._recorded().items():
            pairs[:] = restored_records(tensors, name)
        self.seconds, self.diverged = seconds(record["seconds"]), record["diverged"] is True
        self.seconds_before = self.seconds
        self._pace.ended_after = seconds(record["ended_after"])
        strange = set(tensors) - set(self._state().tensors)
        if strange:
            raise ValueError(f"{min(strange)[:80]!r} is no tensor of such a run")
        if not self._losses or (self.diverged and self._choice.trained is None):
            raise ValueError("a run should have recorded a loss, and a diverged run candidate weights")

    def give_up(self) -> int | None:
        """End a diverged run with the trained weights chosen so far, and return their step; None where there are none.

        Those of step 0 do not count: a run that learnt nothing has failed.
        """
        trained = self._choice.trained
        self.diverged = trained is not None
        return trained.step if trained else None

    def history(self) -> History:
        """Return the record of the run so far."""
        chosen = self._choice.chosen
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

    @property
    def _learner(self) -> EnsembleLearner:
        return self._team.learner

    def _update(self, rate: float, parallel_map: Map, loss_is_kept: bool) -> Tensor | None:
        """Take a step at `rate` times the full rates; return the members' mean loss if it is kept."""
        loss = self._team.step(self.step, rate, parallel_map, loss_is_kept=loss_is_kept)
        return None if loss is None else loss / self.denoiser.n_members

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
        return self._pace.progress(self.step, self.seconds)

    def _look_due(self, progress_before: float) -> bool:
        return self.done or self._pace.look_is_due(self.step, self.seconds, progress_before)

    def _lacks_a_look(self, progress_before: float) -> bool:
        """Return whether the run was restored to a state between a step and its look, in which a worker was lost."""
        if not self.step or self.done or self.max_time is not None:
            return False
        return self._look_due(progress_before) and self._choice.step < self.step

    @property
    def _is_at_first(self) -> bool:
        """Whether weights of no training are still to be a candidate: they may be the best there are."""
        return self._is_untrained and not self.step and self._validation is not None and self._choice.chosen is None

    def _look(self, parallel_map: Map) -> float | None:
        """Add the (averaged) weights to the candidates; return their validation loss, or None without held-out rows."""
        if self.x_0.device.type == "cuda":
            torch.cuda.synchronize(self.x_0.device)  # else the time of queued steps would count as validation
        began = time.monotonic()
        by_row, weights = self._team.look(parallel_map)
        self._pace.looked(time.monotonic() - began)
        candidate = Candidate(self.step, by_row, weights)
        if not candidate.is_finite:
            what = "loss on validation rows" if all(w.isfinite().all() for w in weights) else "weights"
            raise self._diverged(what, "NaN or inf")
        self._choice.consider(candidate)
        if self._validation is not None:
            self._validations.append((self.step, candidate.loss))
        self._keep_newest()
        return None if self._validation is None else candidate.loss

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
        chosen = self._choice.chosen
        assert chosen is not None, "the last step is followed by a validation"
        torch._foreach_copy_(self._parameters(), chosen.weights)
