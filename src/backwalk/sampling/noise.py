"""The random numbers of rows: each row has those of its number in a stream, whatever rows are drawn with it."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from backwalk.streams import Stream

_MOST_ROWS = 2**50  # of a sample: a row and its candidate, up to 2^13, are one number of 63 bits


@dataclass(frozen=True, eq=False)
class RowNoise:
    """The draws of some rows of a stream, by their `numbers`, (n,).

    With `candidates`, (n,), a row has independent draws for each of its candidates: those of row i are of row
    2^50 * candidates[i] + numbers[i] of the stream's child "candidates".

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
        stream, rows = self._addresses
        return stream.child(*names).uniform_of_rows(rows, width)

    def normal(self, *names: str | int, width: int) -> Tensor:
        """Return standard normal numbers of the stream's child of these names, (n, width), float32."""
        stream, rows = self._addresses
        return stream.child(*names).normal_of_rows(rows, width, torch.float32)

    @cached_property
    def _addresses(self) -> tuple[Stream, NDArray[np.int64]]:
        """The stream, and the numbers of the rows in it, (n,)."""
        if self.candidates is None:
            return self.stream, self.numbers.astype(np.int64)
        return self.stream.child("candidates"), self.candidates.astype(np.int64) * _MOST_ROWS + self.numbers
