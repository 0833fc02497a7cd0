"""The parts of a run that all workers take together, at the word of worker 0.

Worker 0 runs the loop (`loop.py`): it alone reads the clock, hears signals, calls callbacks, chooses weights and writes
checkpoints. Before each part that others have a share in, it gives them an order of three numbers, (kind, step, rate).
So all workers take the same steps at the same rates, whatever ends the run. One worker alone gives no orders.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from typing import Any

import safetensors.torch
import torch
from torch import Tensor

from backwalk.denoiser import EnsembleDenoiser
from backwalk.errors import WorkerLost
from backwalk.threads import Map
from backwalk.training.batches import Batches
from backwalk.training.config import Training
from backwalk.training.ensemble_learner import EnsembleLearner
from backwalk.training.validation import Validation
from backwalk.training.workers import Workers, sent_bytes

_END, _STEP, _KEPT_STEP, _LOOK, _COLLECT, _HAND_OUT = range(6)  # kinds of orders; an order of kind 0 is the last


class Team:
    """A learner, its batches and validation, on each of some workers."""

    def __init__(
        self,
        denoiser: EnsembleDenoiser,
        training: Training,
        batches: Batches,
        validation: Validation | None,
        workers: Workers,
    ) -> None:
        self.learner = EnsembleLearner(denoiser, training, workers)
        self._denoiser, self._batches, self._validation, self._workers = denoiser, batches, validation, workers

    def step(self, number: int, rate: float, parallel_map: Map, *, loss_is_kept: bool) -> Tensor | None:
        """Take step `number`, counted from 0, at `rate` times the full rates; return the summed loss if it is kept."""
        self._order(_KEPT_STEP if loss_is_kept else _STEP, number, rate)
        return self._step(number, rate, parallel_map, loss_is_kept)

    def look(self, parallel_map: Map) -> tuple[Tensor, list[Tensor]]:
        """Return the value of each held-out row by the averaged weights, (m,), and these weights.

        The state of all workers is collected first.
        """
        self._order(_LOOK)
        return self._look(parallel_map)

    def collect(self) -> None:
        """Give every worker the state of all members."""
        self._order(_COLLECT)
        self.learner.collect()

    def hand_out(self) -> None:
        """Give every worker the state of worker 0, if this is worker 0."""
        if self._workers.rank == 0 and self._workers.size > 1:
            self._order(_HAND_OUT)
            self.learner.hand_out()

    def end(self, record: Mapping[str, Any], tensors: Mapping[str, Tensor]) -> None:
        """End the run of the other workers with a result, of JSON values and tensors."""
        if self._workers.size > 1:
            self._order(_END, 1)
            sent_bytes(self._workers, json.dumps(record).encode())
            sent_bytes(self._workers, safetensors.torch.save({n: t.cpu().contiguous() for n, t in tensors.items()}))

    def dismiss(self) -> None:
        """End the run of the other workers, as far as they are there, without a result."""
        with suppress(WorkerLost):
            self._order(_END, 0)

    def follow(self, parallel_map: Map) -> tuple[dict[str, Any], dict[str, Tensor]]:
        """Follow orders until the last one, and return the result: JSON values and tensors.

        Raises WorkerLost where there is none.
        """
        while True:
            kind, number, rate = self._workers.next_order()
            if kind in (_STEP, _KEPT_STEP):
                self._step(int(number), rate, parallel_map, kind == _KEPT_STEP)
            elif kind == _LOOK:
                self._look(parallel_map)
            elif kind == _COLLECT:
                self.learner.collect()
            elif kind == _HAND_OUT:
                self.learner.hand_out()
            elif number:
                record = json.loads(sent_bytes(self._workers, b""))
                return record, safetensors.torch.load(sent_bytes(self._workers, b""))
            else:
                raise WorkerLost("Worker 0 has ended the fit early: its message says why.")

    def _step(self, number: int, rate: float, parallel_map: Map, loss_is_kept: bool) -> Tensor | None:
        self.learner.step(self._batches, rate, number, parallel_map)
        return self.learner.loss() if loss_is_kept else None

    def _look(self, parallel_map: Map) -> tuple[Tensor, list[Tensor]]:
        self.learner.collect()
        with weights_set(self.learner.parameters, self.learner.averages):
            by_row = torch.empty(0, dtype=torch.float64)
            if self._validation is not None:
                by_row = self._validation.by_row(parallel_map, self._workers)
            return by_row, [parameter.detach().clone() for parameter in self._denoiser.parameters()]

    def _order(self, kind: int, number: int = 0, rate: float = 0.0) -> None:
        if self._workers.size > 1:
            self._workers.order((kind, number, rate))


@contextmanager
def weights_set(parameters: list[Tensor], weights: list[Tensor]) -> Iterator[None]:
    """Replace the values of parameters within a `with` block."""
    before = [parameter.clone() for parameter in parameters]
    torch._foreach_copy_(parameters, weights)
    try:
        yield
    finally:
        torch._foreach_copy_(parameters, before)
