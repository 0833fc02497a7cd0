"""The one training loop: rows and noise in, weights out.

A `Trainer` holds everything that a step changes. What a step draws is a function of the seed and the step's number, so
a run has no hidden random state: batches are cut from one shuffled order of the rows an epoch, noise and noise levels
come from counter-based streams. `state` is therefore all that a resumed run needs, and it goes on bit for bit.

The loss is the mean over rows of weight(log_snr) |x_0 - x_0_hat|^2, summed over d. On the validation rows it is
another thing: the bound's diffusion part in nats a point, at noise and levels that are the same each time, so that two
values differ by the weights alone (see `validation.py`).
"""

from __future__ import annotations

import math
import time
from collections.abc import Generator, Iterator
from functools import reduce

import torch
from torch import Tensor

from backwalk.denoiser import EnsembleDenoiser
from backwalk.denoiser.network import ResidualNetwork
from backwalk.errors import TrainingDiverged
from backwalk.streams import Stream
from backwalk.threads import single_threads
from backwalk.training.adam import Adam
from backwalk.training.batches import Batch, Batches
from backwalk.training.config import Training
from backwalk.training.ema import PowerAverage
from backwalk.training.history import History, Progress
from backwalk.training.muon import Muon
from backwalk.training.noise_levels import NoiseLevels
from backwalk.training.state import (
    TrainerState,
    choice_state,
    fill,
    fingerprint,
    numbered,
    restored_choice,
    restored_records,
    seconds,
    whole_number,
)
from backwalk.training.validation import Candidate, Choice, Validation

N_RECORDS = 200  # losses kept of a run, at least
N_LOOKS = 20  # how often weights are taken in as candidates, and validated
LEAST_SHARDED_ROWS, SHARD_ROWS = 512, 1024  # a batch of fewer rows is one shard; no shard has more rows than this


class Trainer:
    """Training of one denoiser on encoded rows x_0, (n, d).

    `x_validation`, (m, d), serves the choice of weights; without it the last (averaged) weights are kept. `max_time`,
    in seconds, ends the run early; the learning rates then follow the clock, and two runs are no longer bit-equal.
    `eps`, (n, d), is noise that belongs to the rows, in the place of what every step draws.
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
        eps: Tensor | None = None,
    ) -> None:
        self.denoiser, self.x_0, self.levels, self.training = denoiser, x_0, levels, training
        self.stream, self.max_time = stream, max_time
        self.max_steps = training.steps_for(len(x_0))
        self._parameters = list(denoiser.parameters())
        matrices: list[torch.nn.Parameter] = []
        if isinstance(denoiser.network, ResidualNetwork):
            matrices = denoiser.network.hidden_matrices() if training.hidden_rate is not None else []
        chosen = {id(matrix) for matrix in matrices}
        self._muon = (
            Muon(matrices, weight_decay=training.weight_decay, half_products=training.half_products)
            if matrices
            else None
        )
        self._adam = Adam(
            [parameter for parameter in self._parameters if id(parameter) not in chosen],
            betas=(0.9, 0.99) if training.decay else (0.9, 0.999),
        )
        self.fingerprint = fingerprint(denoiser, x_0, x_validation, levels, training, stream, eps)
        self._average = PowerAverage(self._parameters, training.ema_width) if training.ema_width else None
        self._validation = None if x_validation is None else Validation(denoiser, x_validation, stream)
        self._choice = Choice()
        self._batches = Batches(x_0, levels, training, denoiser.n_members, stream, eps)
        self._losses: list[tuple[int, float]] = []
        self._validations: list[tuple[int, float]] = []
        self.step = 0
        self.seconds = 0.0
        self.diverged = False

    @property
    def done(self) -> bool:
        """Whether there is no step left to take."""
        late = self.max_time is not None and self.seconds >= self.max_time
        return self.diverged or self.step >= self.max_steps or late

    def run(self) -> Generator[Progress]:
        """Train to the end, yielding after every step, and put the chosen weights into the denoiser.

        Raises TrainingDiverged when the loss stops being finite. A run that was left, or restored, goes on.
        """
        with single_threads(self.x_0.device.type == "cpu") as self._map:
            yield from self._run()
        self._finish()

    def _run(self) -> Iterator[Progress]:
        began = time.monotonic() - self.seconds
        record_every = self._record_every()
        while not self.done:
            progress = self._progress()
            loss = self._update(self.training.rate_at(self.step, progress))
            kept = self.step % record_every == 0
            self.step += 1
            self.seconds = time.monotonic() - began
            if kept:
                self._keep(float(loss))
            validation = self._look() if self._look_due(progress) else None
            yield Progress(self.step, self.max_steps, self._losses[-1][1], validation, self.seconds)
        if not self.diverged and (self._choice.last is None or self._choice.last.step < self.step):
            self._look()  # restored with less time than it had taken

    def state(self) -> TrainerState:
        """Return everything that steps change; the tensors are the run's own, not copies."""
        choice = choice_state(self._choice)
        rows = {
            f"{name}.{part}": torch.tensor(values, dtype=torch.float64)
            for name, pairs in self._recorded().items()
            for part, values in (("step", [step for step, _ in pairs]), ("loss", [loss for _, loss in pairs]))
        }
        record = {"step": self.step, "seconds": self.seconds, "diverged": self.diverged, "choice": choice.record}
        return TrainerState({**self._moving(), **choice.tensors, **rows}, record)

    def restore(self, state: TrainerState) -> None:
        """Go to the state of a run of the same fingerprint.

        Raises KeyError, TypeError, ValueError or RuntimeError where it is no such state.
        """
        tensors, record = state.tensors, state.record
        fill(self._moving(), tensors)
        n_validation = self._validation.n_rows if self._validation else 0
        self._choice = restored_choice(TrainerState(tensors, record["choice"]), self._parameters, n_validation)
        for name, pairs in self._recorded().items():
            pairs[:] = restored_records(tensors, name)
        self.step = whole_number(record["step"], "step", self.max_steps)
        self.seconds, self.diverged = seconds(record["seconds"]), record["diverged"] is True
        strange = set(tensors) - set(self.state().tensors)
        if strange:
            raise ValueError(f"{min(strange)[:80]!r} is none of such a run's tensors")
        if not self._losses or (self.diverged and self._choice.last is None):
            raise ValueError("a run should have recorded a loss, and one that diverged a look at its weights")

    def give_up(self) -> int | None:
        """Declare a diverged run done, with the weights of its last look; return that look's step, None without one."""
        self.diverged = self._choice.last is not None
        return self._choice.last.step if self._choice.last else None

    def history(self) -> History:
        """Return what was recorded so far."""
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

    def _update(self, rate: float) -> Tensor:
        loss = self._gradients(self._batches.at(self.step))
        self._adam.step(self.training.learning_rate * rate, self.step + 1)
        if self._muon is not None and self.training.hidden_rate is not None:
            self._muon.step(self.training.hidden_rate * rate, self.step, self._map)
        for parameter in self._parameters:
            parameter.grad = None
        if self._average is not None:
            self._average.update(self.step + 1)
        return loss / self.denoiser.n_members

    def _gradients(self, batch: Batch) -> Tensor:
        """Set every parameter's gradient, and return the loss, the mean over the rows and the sum over the members.

        The batch is cut into shards that follow from its size alone, each computed on one thread, and their gradients
        are added in a fixed order: so the bits do not depend on the number of threads, nothing waits at a barrier after
        every layer, and a shard's activations stay in the cache.
        """
        rows = batch.x_0.shape[1]
        n_shards = max(2, -(-rows // SHARD_ROWS)) if rows >= LEAST_SHARDED_ROWS else 1
        shard_rows = -(-rows // n_shards)

        def of_shard(start: int) -> list[Tensor]:
            part = batch.rows(start, start + shard_rows)
            loss, gradients = self.denoiser.loss_and_gradients(
                part.x_0, part.eps, part.log_snr, part.weight / rows, half_products=self.training.half_products
            )
            return [loss, *gradients]

        shards = self._map(of_shard, range(0, rows, shard_rows))
        loss, *gradients = reduce(lambda one, other: list(torch._foreach_add(one, other)), shards)
        for parameter, gradient in zip(self._parameters, gradients, strict=True):
            parameter.grad = gradient
        return loss

    def _record_every(self) -> int:
        """The notebook keeps the first loss of every epoch; other runs keep a loss every few steps."""
        if self.training.levels == "chain":
            return self.training.steps_an_epoch(len(self.x_0))
        return max(1, self.max_steps // N_RECORDS)

    def _keep(self, loss: float) -> None:
        if not math.isfinite(loss):
            raise TrainingDiverged(
                f"The loss should stay finite, but got {loss} at step {self.step}: lower learning_rate "
                f"(it is {self.training.learning_rate:g}), or look for far outliers in the data."
            )
        self._losses.append((self.step - 1, loss))

    def _progress(self) -> float:
        by_steps = self.step / self.max_steps
        return by_steps if self.max_time is None else max(by_steps, self.seconds / self.max_time)

    def _look_due(self, progress_before: float) -> bool:
        return self.done or int(self._progress() * N_LOOKS) > int(progress_before * N_LOOKS)

    def _look(self) -> float | None:
        """Take the (averaged) weights in as a candidate; return their validation loss where there are rows for it."""
        with self._averaged_weights():
            by_row = self._validation.by_row(self._map) if self._validation else torch.empty(0, dtype=torch.float64)
            weights = [parameter.detach().clone() for parameter in self._parameters]
        candidate = Candidate(self.step, by_row, weights)
        if not candidate.is_finite:
            raise TrainingDiverged(
                f"The weights should stay finite, but some are not after {self.step} steps: lower learning_rate."
            )
        self._choice.consider(candidate)
        if self._validation is None:
            return None
        self._validations.append((self.step, candidate.loss))
        return candidate.loss

    def _moving(self) -> dict[str, Tensor]:
        """Return everything that a step moves, by name; not copies."""
        return {
            **numbered("weights", self._parameters),
            **numbered("average", self._average.average if self._average else []),
            **numbered("momentum", self._muon.momentum if self._muon else []),
            **numbered("adam.mean", self._adam.mean),
            **numbered("adam.mean_square", self._adam.mean_square),
        }

    def _recorded(self) -> dict[str, list[tuple[int, float]]]:
        return {"losses": self._losses, "validations": self._validations}

    def _averaged_weights(self) -> _Weights:
        return _Weights(self._parameters, self._average.average if self._average else self._parameters)

    @torch.no_grad()
    def _finish(self) -> None:
        """Put the chosen weights into the denoiser."""
        chosen = self._choice.chosen()
        assert chosen is not None, "the last step is followed by a look"
        for parameter, weight in zip(self._parameters, chosen.weights, strict=True):
            parameter.copy_(weight)


class _Weights:
    """Puts other weights into parameters for the length of a `with` block."""

    def __init__(self, parameters: list[torch.nn.Parameter], weights: list[Tensor] | list[torch.nn.Parameter]) -> None:
        self._parameters, self._weights = parameters, weights

    @torch.no_grad()
    def __enter__(self) -> None:
        self._own = [parameter.detach().clone() for parameter in self._parameters]
        for parameter, weight in zip(self._parameters, self._weights, strict=True):
            parameter.copy_(weight)

    @torch.no_grad()
    def __exit__(self, *_: object) -> None:
        for parameter, weight in zip(self._parameters, self._own, strict=True):
            parameter.copy_(weight)
