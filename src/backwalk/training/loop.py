"""The one training loop: rows and noise in, weights out.

A `Trainer` holds everything that a step changes. What a step draws is a function of the seed and the step's number, so
a run has no hidden random state: batches are cut from one shuffled order of the rows an epoch, noise and noise levels
come from counter-based streams.

The loss is the mean over rows of weight(log_snr) |x_0 - x_0_hat|^2, summed over d. On the validation rows it is
another thing: the bound's diffusion part in nats a point, at noise and levels that are the same each time, so that two
values differ by the weights alone. The last weights are kept, unless earlier ones were better on the validation rows by
more than two standard errors of the difference: the least of many noisy values is often least by chance.
"""

from __future__ import annotations

import math
import time
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from backwalk.denoiser import EnsembleDenoiser
from backwalk.denoiser.network import ResidualNetwork
from backwalk.diffusion import scales
from backwalk.errors import TrainingDiverged
from backwalk.streams import Stream
from backwalk.threads import single_threads
from backwalk.training.config import Training
from backwalk.training.ema import PowerAverage
from backwalk.training.memory import keep_freed_memory
from backwalk.training.muon import Muon
from backwalk.training.noise_levels import NoiseLevels

N_RECORDS = 200  # losses kept of a run, at least
N_VALIDATIONS = 20
LEAST_SHARDED_ROWS, SHARD_ROWS = 512, 1024  # a batch of fewer rows is one shard; no shard has more rows than this
N_VALIDATION_POINTS = 8192  # noisy points a validation is over, at least, however few the rows
_LEAST_LOG_SNR = -2.0 * math.log(1e3)  # below it the integrand is nil, and a chain may end at -inf


@dataclass(frozen=True)
class Progress:
    """Where a run is: `step` of `max_steps`, the loss last recorded, and the validation loss where just measured."""

    step: int
    max_steps: int
    loss: float
    validation_loss: float | None
    seconds: float


@dataclass(frozen=True)
class History:
    """What a run recorded: losses at steps, counted from 0, and the validation loss after so many steps.

    `chosen_step` is the number of steps after which the kept weights stood.
    """

    step: tuple[int, ...]
    loss: tuple[float, ...]
    validation_step: tuple[int, ...]
    validation_loss: tuple[float, ...]
    loss_name: str
    n_steps: int
    chosen_step: int
    seconds: float


class Trainer:
    """Training of one denoiser on encoded rows x_0, (n, d).

    `x_validation`, (m, d), serves the choice of weights; without it the last (averaged) weights are kept. `max_time`,
    in seconds, ends the run early; the learning rates then follow the clock, and two runs are no longer bit-equal.
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
    ) -> None:
        self.denoiser, self.x_0, self.levels, self.training = denoiser, x_0, levels, training
        self.stream, self.max_time = stream, max_time
        self.max_steps = training.steps_for(len(x_0))
        self._parameters = list(denoiser.parameters())
        matrices = (
            list(denoiser.network.hidden_matrices())
            if training.hidden_rate is not None and isinstance(denoiser.network, ResidualNetwork)
            else []
        )
        chosen = {id(matrix) for matrix in matrices}
        self._muon = Muon(matrices) if matrices else None
        self._adam = torch.optim.Adam(
            [parameter for parameter in self._parameters if id(parameter) not in chosen],
            lr=training.learning_rate,
            betas=(0.9, 0.99) if training.decay else (0.9, 0.999),
            fused=True,
        )
        self._average = PowerAverage(self._parameters, training.ema_width) if training.ema_width else None
        self._validation = None if x_validation is None else Validation(denoiser, x_validation, stream)
        self._best: _Candidate | None = None
        self._last: _Candidate | None = None
        self._order: tuple[int, Tensor] | None = None
        self._losses: list[tuple[int, float]] = []
        self._validations: list[tuple[int, float]] = []
        self.step = 0
        self.seconds = 0.0

    def run(self) -> Iterator[Progress]:
        """Train to the end, yielding after every step. Raises TrainingDiverged when the loss stops being finite."""
        keep_freed_memory()
        with single_threads(self.x_0.device.type == "cpu") as self._map:
            yield from self._run()
        self._finish()

    def _run(self) -> Iterator[Progress]:
        began = time.monotonic() - self.seconds
        record_every = self._record_every()
        while not self._done():
            progress = self._progress()
            loss = self._update(self.training.rate_at(self.step, progress))
            kept = self.step % record_every == 0
            self.step += 1
            self.seconds = time.monotonic() - began
            if kept:
                self._keep(float(loss))
            validation = self._validate() if self._validation_due(progress) else None
            yield Progress(self.step, self.max_steps, self._losses[-1][1], validation, self.seconds)

    def history(self) -> History:
        """Return what was recorded so far."""
        chosen = self._chosen()
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
        members, step = self.denoiser.n_members, self.stream.child("step", self.step)
        x_0 = self._batch()
        rows, d = x_0.shape[1:]
        log_snr = self.levels.draw(members, rows, stream=step.child("level")).to(x_0.device)
        eps = step.child("eps").normal(0, members * rows, d, torch.float32).reshape(members, rows, d).to(x_0.device)
        loss = self._gradients(x_0, eps, log_snr)
        for group in self._adam.param_groups:
            group["lr"] = self.training.learning_rate * rate
        self._adam.step()
        if self._muon is not None and self.training.hidden_rate is not None:
            self._muon.step(self.training.hidden_rate * rate)
        for parameter in self._parameters:
            parameter.grad = None
        if self._average is not None:
            self._average.update(self.step + 1)
        return loss / members

    def _gradients(self, x_0: Tensor, eps: Tensor, log_snr: Tensor) -> Tensor:
        """Set every parameter's gradient, and return the loss, the mean over the rows and the sum over the members.

        The batch is cut into shards that follow from its size alone, each computed on one thread, and their gradients
        are added in a fixed order: so the bits do not depend on the number of threads, nothing waits at a barrier after
        every layer, and a shard's activations stay in the cache.
        """
        rows = x_0.shape[1]
        n_shards = max(2, -(-rows // SHARD_ROWS)) if rows >= LEAST_SHARDED_ROWS else 1
        shard_rows = -(-rows // n_shards)

        @torch.enable_grad()  # whatever the caller set, and on every thread
        def of_shard(start: int) -> tuple[Tensor, ...]:
            cut = (slice(None), slice(start, start + shard_rows))
            x, level = x_0[cut], log_snr[cut]
            a, b = scales(level.unsqueeze(-1), x)
            error = x - self.denoiser.by_member(a * x + b * eps[cut], level)
            loss = (self.levels.weight(level) * error.square().sum(-1)).sum() / rows
            return (loss.detach(), *torch.autograd.grad(loss, self._parameters))

        shards = list(self._map(of_shard, range(0, rows, shard_rows)))
        loss, *gradients = (
            torch.stack(parts).sum(0) if len(parts) > 1 else parts[0] for parts in zip(*shards, strict=True)
        )
        for parameter, gradient in zip(self._parameters, gradients, strict=True):
            parameter.grad = gradient
        return loss

    def _batch(self) -> Tensor:
        """Return the rows of this step, (members, rows, d): a slice of each member's order of the epoch."""
        batch, n = self.training.batch_size, len(self.x_0)
        epoch, position = divmod(self.step, self.training.steps_an_epoch(n))
        if self._order is None or self._order[0] != epoch:
            self._order = (epoch, torch.from_numpy(self._shuffled(epoch, n, batch)).to(self.x_0.device))
        start = position * batch
        return self.x_0[self._order[1][:, start : start + batch]]

    def _shuffled(self, epoch: int, n: int, batch: int) -> np.ndarray:
        repeats = -(-batch // n) if batch > n else 1
        streams = [self.stream.child("order", epoch, member) for member in range(self.denoiser.n_members)]
        orders = [
            np.concatenate([stream.child(repeat).permutation(n) for repeat in range(repeats)]) for stream in streams
        ]
        return np.stack(orders)[:, : max(batch, n)]

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

    def _done(self) -> bool:
        return self.step >= self.max_steps or (self.max_time is not None and self.seconds >= self.max_time)

    def _validation_due(self, progress_before: float) -> bool:
        if self._validation is None:
            return False
        return self._done() or int(self._progress() * N_VALIDATIONS) > int(progress_before * N_VALIDATIONS)

    def _validate(self) -> float:
        assert self._validation is not None
        with self._averaged_weights():
            by_row = self._validation.by_row()
            weights = [parameter.detach().clone() for parameter in self._parameters]
        self._last = _Candidate(self.step, by_row, weights)
        if self._best is None or self._last.loss < self._best.loss:
            self._best = self._last
        self._validations.append((self.step, self._last.loss))
        return self._last.loss

    def _chosen(self) -> _Candidate | None:
        if self._best is None or self._last is None:
            return None
        worse_by = self._last.by_row - self._best.by_row
        standard_error = float(worse_by.std()) / math.sqrt(len(worse_by)) if len(worse_by) > 1 else 0.0
        return self._best if float(worse_by.mean()) > 2.0 * standard_error else self._last

    def _averaged_weights(self) -> _Weights:
        return _Weights(self._parameters, self._average.average if self._average else self._parameters)

    @torch.no_grad()
    def _finish(self) -> None:
        """Put the chosen weights into the denoiser."""
        chosen = self._chosen()
        weights = chosen.weights if chosen else self._average.average if self._average else self._parameters
        for parameter, weight in zip(self._parameters, weights, strict=True):
            parameter.copy_(weight)
        if not all(bool(parameter.isfinite().all()) for parameter in self._parameters):
            raise TrainingDiverged(
                f"The weights should stay finite, but some are not after {self.step} steps: lower learning_rate."
            )


class Validation:
    """The bound's diffusion part in nats a point on fixed rows, levels and noise: what the choice of weights minimises.

    (1/2) integral of E |x_0 - x_0_hat|^2 dSNR = integral of SNR E |x_0 - x_0_hat|^2 d ln s, over the denoiser's range
    up to s = 1,000; it is taken by levels even in ln s, one a row. Source: Kingma et al. 2021, the bound in continuous
    time.
    """

    def __init__(self, denoiser: EnsembleDenoiser, x_0: Tensor, stream: Stream) -> None:
        self._denoiser = denoiser
        self._draws = -(-N_VALIDATION_POINTS // len(x_0))
        self._x_0 = x_0.repeat(self._draws, 1)
        n, d = self._x_0.shape
        low, high = max(denoiser.log_snr_range[0], _LEAST_LOG_SNR), denoiser.log_snr_range[1]
        places = (torch.from_numpy(stream.child("validation level").permutation(n)) + 0.5) / n
        self._log_snr = (low + (high - low) * places).to(x_0)
        eps = stream.child("validation eps").normal(0, n, d, x_0.dtype).to(x_0.device)
        a, b = scales(self._log_snr, x_0)
        self._x_t = a * self._x_0 + b * eps
        self._nats = 0.5 * (high - low) * self._log_snr.exp()

    @torch.no_grad()
    def by_row(self) -> Tensor:
        """Return the value of each validation row, the mean over its noisy points: (m,), float64."""
        error = (self._x_0 - self._denoiser(self._x_t, self._log_snr)).square().sum(-1)
        by_row: Tensor = (self._nats * error).double().reshape(self._draws, -1).mean(0).cpu()
        return by_row


@dataclass(frozen=True, eq=False)
class _Candidate:
    step: int
    by_row: Tensor
    weights: list[Tensor]

    @property
    def loss(self) -> float:
        return float(self.by_row.mean())


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
