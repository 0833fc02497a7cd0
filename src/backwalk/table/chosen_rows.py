"""Rows that are chosen by their number: without replacement, and the same ones however a table is read.

Row i has a priority, uniform on (0, 1), which is a function of i alone. Of n rows those are chosen whose priority is
below m / n, which are m but for about sqrt(m). So a smaller choice is a part of every larger one.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from backwalk.streams import Stream
from backwalk.table.schema import FloatArray

_STANDARD_DEVIATIONS = 8.0  # of the number of rows, for which there is room from the beginning


class ChosenRows:
    """About `most` of `n_rows` rows with d columns, or all if they are no more."""

    def __init__(self, n_rows: int, most: int, d: int) -> None:
        self.share = share_of(n_rows, most)
        self.is_all = n_rows <= most
        room = n_rows if self.is_all else most + int(_STANDARD_DEVIATIONS * most**0.5) + 1
        self._values, self._priorities, self._n = np.empty((room, d)), np.empty(room), 0

    def choose(self, first_row: int, is_taken: npt.NDArray[np.bool_]) -> tuple[npt.NDArray[np.bool_], FloatArray]:
        """Return which of the rows that are taken, of those from `first_row` on, are chosen; and their priorities."""
        priorities = priorities_of(first_row, len(is_taken))[is_taken]
        is_chosen = priorities < self.share
        return is_chosen, priorities[is_chosen]

    def add(self, values: FloatArray, priorities: FloatArray) -> None:
        """Keep chosen rows, (m, d)."""
        stop = self._n + len(values)
        if stop > len(self._values):  # one in 10^15 tables
            more = stop - len(self._values)
            self._values = np.concatenate([self._values, np.empty((more, self._values.shape[1]))])
            self._priorities = np.concatenate([self._priorities, np.empty(more)])
        self._values[self._n : stop], self._priorities[self._n : stop] = values, priorities
        self._n = stop

    @property
    def values(self) -> FloatArray:
        """The rows, in their order, (m, d): a view, which may be written to."""
        return self._values[: self._n]

    @property
    def priorities(self) -> FloatArray:
        """The priority of each, (m,)."""
        return self._priorities[: self._n]


def share_of(n_rows: int, most: int) -> float:
    """Return the priority below which about `most` of some rows lie, or 1 where these are no more."""
    return 1.0 if n_rows <= most else most / n_rows


def priorities_of(first_row: int, n: int) -> FloatArray:
    """Return the priorities of n rows, (n,)."""
    return Stream(0).child("chosen rows").uniform(first_row, first_row + n, 1).numpy()[:, 0]
