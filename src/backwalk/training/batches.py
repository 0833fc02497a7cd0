"""Which rows a step sees: slices of one shuffled order of the rows an epoch, for each member its own."""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor

from backwalk.streams import Stream
from backwalk.training.config import Training


class Batches:
    """The batches of a run on rows x_0, (n, d): a function of the step, whatever was asked before."""

    def __init__(self, x_0: Tensor, training: Training, members: int, stream: Stream) -> None:
        self._x_0, self._batch_size, self._members, self._stream = x_0, training.batch_size, members, stream
        self._steps_an_epoch = training.steps_an_epoch(len(x_0))
        self._order: tuple[int, Tensor] | None = None

    def at(self, step: int) -> Tensor:
        """Return the rows of a step, counted from 0: (members, rows, d)."""
        epoch, position = divmod(step, self._steps_an_epoch)
        if self._order is None or self._order[0] != epoch:
            self._order = (epoch, torch.from_numpy(self._shuffled(epoch)).to(self._x_0.device))
        start = position * self._batch_size
        return self._x_0[self._order[1][:, start : start + self._batch_size]]

    def _shuffled(self, epoch: int) -> np.ndarray:
        n, batch = len(self._x_0), self._batch_size
        repeats = -(-batch // n) if batch > n else 1
        orders = np.empty(
            (self._members, repeats, n), dtype=np.int64
        )  # at once, so that too large a batch fails at once
        for member in range(self._members):
            stream = self._stream.child("order", epoch, member)
            for repeat in range(repeats):
                orders[member, repeat] = stream.child(repeat).permutation(n)
        return orders.reshape(self._members, -1)[:, : max(batch, n)]
