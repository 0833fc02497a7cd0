"""Training steps on a GPU, recorded as CUDA graphs.

A step of a small network is some hundred operations, which take longer to launch one by one than to run. They are
recorded once and launched together from then on. A recording runs on the same memory each time: the batch is copied to
where it was, and the optimiser's numbers are tensors (`optimizer.Step`). Which of Muon's matrices move is part of the
recording, so that each of the `update_every` kinds of step has its own.
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

# Takes what computes a tensor, and returns what computes it anew, into the same memory, with that tensor.
Record = Callable[[Callable[[], Tensor]], tuple[Callable[[], None], Tensor]]

_RECORDING = Lock()  # torch allows one at a time in a process
_FAILED = list[object]()  # graphs that were not finished: torch still refers to them, and records no more after one
_STEPS_BEFORE = 3  # of each kind: libraries are set up and kernels loaded, which must not be recorded


class RecordedLearner:
    """A learner whose steps are recorded by `record` and launched from then on.

    The first steps run operation by operation. So do all, after a warning, where a step cannot be recorded.
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
                self._recordings[kind] = self._record(lambda: self._learner.take(here, steps))  # which moves nothing
        except RuntimeError as error:
            warnings.warn(
                f"The GPU does not record a step, so that each of its operations is launched alone: {error}",
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
    """Record on a GPU; what other threads ask of it in the meantime is no part of the recording."""
    with _RECORDING, torch.cuda.device(device):
        if _FAILED:
            raise RuntimeError("an earlier recording failed in this process")
        graph, before = torch.cuda.CUDAGraph(), torch.cuda.current_stream()
        # One for each: some versions of torch lose the workspaces of all graphs of a stream with the first that ends.
        stream = torch.cuda.Stream()  # type: ignore[no-untyped-call]
        try:
            with torch.cuda.graph(graph, stream=stream, capture_error_mode="thread_local"):
                result = take()
        except RuntimeError:
            _FAILED.append(graph)
            raise
        finally:
            torch.cuda.set_stream(before)  # which torch forgets where it fails
    return graph.replay, result
