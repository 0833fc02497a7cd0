"""Training of networks one after another, whose mean is the model.

The first network is trained until its held-out loss no longer falls. Only then a further one begins, from other initial
weights and with other noise, and so on, until steps or time are over or a further network adds too little to the mean.
An ensemble averages what its networks know: while the first still learns, its own steps gain more.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Generator
from dataclasses import replace

from backwalk.denoiser import EnsembleDenoiser
from backwalk.streams import Stream
from backwalk.threads import single_threads
from backwalk.training.batches import TrainingRows
from backwalk.training.config import FALL, Training
from backwalk.training.loop import Trainer
from backwalk.training.noise_levels import NoiseLevels
from backwalk.training.pace import History, Progress
from backwalk.training.patterns import Patterns
from backwalk.training.validation import WORTH, Validation


class EnsembleTrainer:
    """Training of up to `n_members` networks.

    - `new_member`: returns the network with a number, counted from 0, before its training.
    - `n_started`: the number of networks that were trained before; the others are new. They are trained in turn, and
      those that are not reached are kept if the mean is better with them.

    The other arguments are those of `Trainer`.
    """

    def __init__(
        self,
        new_member: Callable[[int], EnsembleDenoiser],
        rows: TrainingRows,
        noise_levels: NoiseLevels,
        training: Training,
        *,
        n_members: int,
        stream: Stream,
        patterns: Patterns | None = None,
        n_started: int = 0,
    ) -> None:
        self.max_steps = training.steps_for(len(rows.x_0))
        self.max_seconds, self._seconds_after = math.inf, 0.0
        self._new_member, self._most, self._n_started = new_member, n_members, n_started
        self._rows, self._levels, self._training = rows, noise_levels, training
        self._stream, self._patterns = stream, patterns
        self._kept: list[EnsembleDenoiser] = []
        self._loss = math.inf  # of the mean of those that are kept, on the held-out rows
        self._past: History | None = None  # of the networks before the present one
        self._n_reached = 1
        first = new_member(0)
        self._validation = Validation.of(rows, first.log_snr_range, stream, patterns)
        self._trainer = self._trainer_of(first)

    def limit(self, max_seconds: float, seconds_after: float = 0.0, least_seconds: float = 0.0) -> None:
        """End training so that all is done within `max_seconds`, but at least `least_seconds` are trained.

        `seconds_after` follow training for each network of the mean. Two runs that a limit stops are not bit-equal.
        """
        self.max_seconds = max(max_seconds - seconds_after, least_seconds)
        self._seconds_after = seconds_after
        self._trainer.max_seconds = self.max_seconds

    def run(self) -> Generator[Progress]:
        """Train to the end, yielding after every step. Raises TrainingDiverged as `Trainer.run` does."""
        while True:
            past_steps, past_seconds = self.step, self.seconds
            for progress in self._trainer.run():
                step, seconds = past_steps + progress.step, past_seconds + progress.seconds
                share = min(1.0, max(step / self.max_steps, seconds / self.max_seconds))
                yield replace(progress, step=step, max_steps=self.max_steps, seconds=seconds, share=share)
            gain = self._keep()
            is_over = self._trainer.stopped_by != "patience" or self._trainer.share >= 1.0
            seconds_left = self.max_seconds - len(self._kept) * self._seconds_after - self.seconds
            if is_over or seconds_left <= 0.0 or gain < WORTH or len(self._kept) == self._most:
                self._keep_unreached()
                return
            self._past = self.history()
            self._n_reached += 1
            self._trainer = self._trainer_of(self._new_member(len(self._kept)), seconds_left)

    @property
    def step(self) -> int:
        """The number of steps of all networks so far."""
        return self._trainer.step + (self._past.n_steps if self._past else 0)

    @property
    def seconds(self) -> float:
        """The time of training so far."""
        return self._trainer.seconds + (self._past.seconds or 0.0 if self._past else 0.0)

    @property
    def stopped_by(self) -> str:
        """What ended training: "divergence", "steps", "callback", "patience" or "time limit"."""
        return self._trainer.stopped_by

    @property
    def last_gain(self) -> float:
        """By how much the last third of the steps of the first network lowered its held-out loss, in nats a row.

        Steps in which the rates fall to 0 at the end are left out, as they lower the loss in any case. It is 0 where a
        second network has begun, and without held-out rows.
        """
        history = self._trainer.history()
        end = history.n_steps / (1.0 + FALL if self._training.decay == "linear" else 1.0)
        before, after = (
            [loss for step, loss in zip(history.validation_step, history.validation_loss, strict=True) if step <= last]
            for last in (2.0 * end / 3.0, end)
        )
        return before[-1] - after[-1] if before and self._past is None else 0.0

    @property
    def denoiser(self) -> EnsembleDenoiser:
        """The mean of the networks that are kept, once training has ended."""
        return EnsembleDenoiser.joined(self._kept)

    def denoiser_so_far(self) -> EnsembleDenoiser:
        """Return a copy of the mean of the networks so far, with the (averaged) weights after the last step."""
        return EnsembleDenoiser.joined([*self._kept, self._trainer.denoiser_so_far()])

    def stop(self) -> None:
        """End training between two steps, with the weights chosen so far, the last ones included."""
        self._trainer.stop()
        self._keep()
        self._keep_unreached()

    def give_up(self) -> bool:
        """End training that diverged; return whether there are weights to keep."""
        if self._trainer.give_up() is not None:
            self._keep()
        self._keep_unreached()
        return bool(self._kept)

    def history(self) -> History:
        """Return the record of the training so far, of one network after the other."""
        history, past = self._trainer.history(), self._past
        if past is None:
            return history
        step, validation_step = (
            tuple(past.n_steps + step for step in steps) for steps in (history.step, history.validation_step)
        )
        is_kept = self._trainer.denoiser in self._kept
        return replace(
            history,
            step=past.step + step,
            loss=past.loss + history.loss,
            validation_step=past.validation_step + validation_step,
            validation_loss=past.validation_loss + history.validation_loss,
            n_steps=self.step,
            chosen_step=past.n_steps + history.chosen_step if is_kept else past.chosen_step,
            seconds=self.seconds,
        )

    def _trainer_of(self, denoiser: EnsembleDenoiser, max_seconds: float = math.inf) -> Trainer:
        number = len(self._kept)
        return Trainer(
            denoiser,
            self._rows,
            self._levels,
            self._training,
            stream=self._stream.child("member", number),
            patterns=self._patterns,
            validation=self._validation,
            max_steps=self.max_steps - (self._past.n_steps if self._past else 0),
            max_seconds=max_seconds,
            is_untrained=number >= self._n_started,
        )

    def _keep(self) -> float:
        """Keep the network that was trained, if the mean on the held-out rows is lower with it; return by how much.

        The first is kept in any case; the gain is 0 if no training of it was better than none.
        """
        trainer, validation = self._trainer, self._validation
        kept, before = [*self._kept, trainer.denoiser], self._loss
        loss = self._loss_of(kept)
        if not self._kept or loss < before:
            self._kept, self._loss = kept, loss
        return before - loss if trainer.choice.trained or validation is None else 0.0

    def _keep_unreached(self) -> None:
        """Keep the networks of before that no training reached, if the mean is better with them."""
        kept = [*self._kept, *(self._new_member(number) for number in range(self._n_reached, self._n_started))]
        if len(kept) > len(self._kept) and (self._validation is None or self._loss_of(kept) < self._loss):
            self._kept = kept

    def _loss_of(self, networks: list[EnsembleDenoiser]) -> float:
        """Return the loss of the mean of networks on the held-out rows; without any that of before."""
        if self._validation is None:
            return self._loss
        with single_threads(self._rows.x_0.device.type == "cpu") as parallel_map:
            return float(self._validation.by_row(EnsembleDenoiser.joined(networks), parallel_map).mean())
