"""Training steps on a GPU, recorded as CUDA graphs.

A step of a small network is some hundred operations, which take longer to launch one by one than to run. They are
recorded once and launched together from then on. A recording always uses the same memory: each batch is copied to that
of the recorded one, and the optimiser's numbers are tensors (`optimizer.Step`). Which of Muon's matrices move is part
of a recording, so there is one for each of `update_every` kinds of steps.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable
from functools import partial
from threading import Lock

import torch
from torch import Tensor

from backwalk.training.batches import Batch
from backwalk.training.learner import Learner

# Takes a function that computes a tensor. Returns a function that repeats it in the same memory, and the tensor.
Record = Callable[[Callable[[], Tensor]], tuple[Callable[[], None], Tensor]]

_RECORDING = Lock()  # torch allows one at a time in a process
_FAILED = list[object]()  # unfinished graphs: torch still refers to them, and cannot record after one
_STEPS_BEFORE = 3  # of each kind, as setting up libraries and loading kernels must not be recorded


class RecordedLearner:
    """A learner whose steps are recorded by `record`, and then launched from the recordings.

    The first steps run operation by operation. So do all steps, after a warning, where recording fails.
    """

    def __init__(self, learner: Learner, record: Record | None = None) -> None:
        self._learner, self._record = learner, record or partial(_as_cuda_graph, learner.parameters[0].device)
        self._own_steps: float = _STEPS_BEFORE * learner.update_every
        self._batch: Batch | None = None
        self._recordings: dict[int, tuple[Callable[[], None], Tensor]] = {}

    def step(self, batch: Batch, rate: float, number: int) -> Tensor:
        """Take step `number`, counted from 0, at `rate` times the plan's rates; return the members' summed loss.

        All batches have the sizes of the first.
        """
        if self._own_steps > 0:
            self._own_steps -= 1
            return self._learner.step(batch, rate, number)
        kind = number % self._learner.update_every
        here, steps = self._placed(batch), self._learner.at(rate, number)
        try:
            if kind not in self._recordings:
                self._recordings[kind] = self._record(lambda: self._learner.take(here, steps))  # weights do not move
        except RuntimeError as error:
            warnings.warn(
                f"A training step cannot be recorded on this GPU, so that training is slower: {error}",
                RuntimeWarning,
                stacklevel=2,
            )
            self._own_steps = float("inf")
            return self._learner.take(here, steps)
        launch, loss = self._recordings[kind]
        launch()
        return loss.clone()

    def _placed(self, batch: Batch) -> Batch:
        """Return the batch where recordings read it."""
        if self._batch is None:
            self._batch = batch.clone()
        else:
            self._batch.copy_(batch)
        return self._batch


def _as_cuda_graph(device: torch.device, take: Callable[[], Tensor]) -> tuple[Callable[[], None], Tensor]:
    """Record a step on a GPU, without the operations of other threads."""
    with _RECORDING, torch.cuda.device(device):
        if _FAILED:
            raise RuntimeError("an earlier recording failed in this process")
        graph, before = torch.cuda.CUDAGraph(), torch.cuda.current_stream()
        # A stream for each graph: some versions of torch free the workspaces of all graphs of a stream with the first.
        stream = torch.cuda.Stream()  # type: ignore[no-untyped-call]
        try:
            with torch.cuda.graph(graph, stream=stream, capture_error_mode="thread_local"):
                result = take()
        except RuntimeError:
            _FAILED.append(graph)
            raise
        finally:
            torch.cuda.set_stream(before)  # torch does not restore it after a failure
    return graph.replay, result
