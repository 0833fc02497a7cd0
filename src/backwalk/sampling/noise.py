"""The random numbers of rows: each row has those of its number in a stream, whatever rows are drawn with it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from backwalk.streams import Stream

_LARGEST_GAP = 2048  # numbers between two rows that are drawn in one call: they take less time than another call


@dataclass(frozen=True, eq=False)
class RowNoise:
    """The draws of some rows of a stream, by their `numbers`, (n,).

    With `candidates`, (n,), those of row i are of row `numbers[i]` of the stream's child ("candidate", candidates[i]),
    so that a row has independent draws for each of its candidates.

    >>> import numpy as np
    >>> import torch
    >>> from backwalk.sampling import RowNoise
    >>> from backwalk.streams import Stream
    >>> noise = RowNoise(Stream(0), np.array([7, 2]))
    >>> bool((noise.normal("x_N", width=3) == Stream(0).child("x_N").normal(0, 8, 3, torch.float32)[[7, 2]]).all())
    True
    """

    stream: Stream
    numbers: NDArray[np.intp]
    candidates: NDArray[np.intp] | None = None

    def uniform(self, *names: str | int, width: int = 1) -> Tensor:
        """Return uniform numbers of the stream's child of these names, (n, width), float64."""
        return self._draw(width, lambda stream, start, stop: stream.child(*names).uniform(start, stop, width))

    def normal(self, *names: str | int, width: int) -> Tensor:
        """Return standard normal numbers of the stream's child of these names, (n, width), float32."""
        return self._draw(
            width, lambda stream, start, stop: stream.child(*names).normal(start, stop, width, torch.float32)
        )

    def _draw(self, width: int, draw: Callable[[Stream, int, int], Tensor]) -> Tensor:
        numbers, candidates = self.numbers, self.candidates
        candidates = np.zeros_like(numbers) if candidates is None else candidates
        order = np.lexsort((numbers, candidates))
        is_far = np.diff(numbers[order]) * width > _LARGEST_GAP
        runs = np.split(order, np.flatnonzero(is_far | (np.diff(candidates[order]) != 0)) + 1)
        drawn = []
        for run in runs:
            start, stop = int(numbers[run[0]]), int(numbers[run[-1]]) + 1
            is_plain = self.candidates is None
            stream = self.stream if is_plain else self.stream.child("candidate", int(candidates[run[0]]))
            of_range = draw(stream, start, stop)
            if stop - start == len(numbers) == len(run) and (run[:-1] < run[1:]).all():
                return of_range
            drawn.append(of_range[torch.from_numpy(numbers[run] - start)])
        return torch.cat(drawn)[torch.from_numpy(order.argsort())]
