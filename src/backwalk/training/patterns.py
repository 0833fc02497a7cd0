"""Which columns of a training row are given, which are absent, and which are noisy.

A denoiser of tables is trained for rows in which some columns are known (log-SNR +inf) and others absent (-inf). Each
row of a batch has one of five patterns:

- joint: all columns have the same noise level. This regularises: without such rows training overfits.
- numbers: all levels are given and all numbers are noisy, as when numbers are drawn after the levels.
- chain: the first levels are given and all other columns are absent, as when levels are drawn one after another.
- mixed: each column is given with a probability that is itself uniform; in half of the rows some of the others are
  absent; the rest are noisy.
- regression: each column is given with a probability that is itself uniform, and the others are absent.

A missing cell is absent in all patterns, and has no loss. "mixed" and "regression" serve conditions on any columns;
without conditions only the first three occur.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Literal

import numpy as np
import torch
from torch import Tensor

from backwalk.streams import Stream
from backwalk.table import Codec

NOISY, GIVEN, ABSENT = 0, 1, 2
_GOLDEN = 0.5 * (math.sqrt(5.0) - 1.0)


@dataclass(frozen=True)
class Shares:
    """The shares of the five patterns in the rows of a batch."""

    joint: float
    numbers: float
    chain: float
    mixed: float = 0.0
    regression: float = 0.0

    @property
    def in_order(self) -> tuple[float, ...]:
        """The shares in the order of the module's docstring."""
        return (self.joint, self.numbers, self.chain, self.mixed, self.regression)


@dataclass(frozen=True)
class Patterns:
    """The patterns of the rows of a table with J columns.

    `column`, (k,), is the column of each coordinate of an encoded row; `is_code`, (k,), says whether the coordinate
    belongs to a code of levels. Levels are drawn in the order of the columns. `level_weight` is the weight of the
    cross-entropy of a column of levels, beside the v-loss of a number.
    """

    column: tuple[int, ...]
    is_code: tuple[bool, ...]
    shares: Shares
    level_weight: float = 1.0
    given: tuple[tuple[int, ...], ...] | None = None
    """Sets of columns, of which one is given in "mixed" and "regression"; None is any columns."""

    @classmethod
    def of(
        cls, codec: Codec, shares: Shares, given: Literal["any"] | Sequence[Sequence[int]] | None = None
    ) -> Patterns:
        """Return the patterns of a codec's encoded rows; `given` are sets of the user's columns."""
        widths = [column.width for column in codec.columns if column.width]
        is_code = np.ones(codec.n_encoded, dtype=bool)
        is_code[codec.numbers] = False
        column = np.repeat(np.arange(len(widths)), widths).tolist()
        sets = None
        if given is not None and given != "any":
            place = {j: i for i, j in enumerate(codec.varying)}
            sets = tuple(tuple(place[j] for j in columns if j in place) for columns in given)
        return cls(tuple(column), tuple(is_code.tolist()), shares, given=sets)

    def draw(self, rows: int, *, stream: Stream) -> Tensor:
        """Return the state of each column, NOISY, GIVEN or ABSENT, in the rows of a batch: (rows, J), int8."""
        levels, n_columns = self._has_levels, len(self._first)
        v = stream.uniform(0, rows, 4 + 2 * n_columns).numpy()
        # Shares of a batch are exact, and each pattern meets all noise levels, which are sorted within a batch.
        place = (np.arange(rows) * _GOLDEN + v[0, 0]) % 1.0
        kind = np.searchsorted(np.cumsum(self.shares.in_order)[:-1], place, side="right")
        states = np.zeros((rows, n_columns), dtype=np.int8)
        states[np.ix_(kind == 1, levels)] = GIVEN
        chain = np.flatnonzero(kind == 2)
        states[chain] = self._prefix(np.floor(v[chain, 1] * levels.sum()))
        is_given = v[:, 4 : 4 + n_columns] < v[:, 2, None]
        if self.given is not None:
            sets = np.zeros((len(self.given), n_columns), dtype=bool)
            for i, columns in enumerate(self.given):
                sets[i, list(columns)] = True
            is_given = sets[np.floor(v[:, 2] * len(sets)).astype(int)]
        is_absent = v[:, 4 + n_columns :] < np.maximum(2.0 * v[:, 3] - 1.0, 0.0)[:, None]
        if self.given is not None:  # whole rows, given a set
            is_absent[:] = False
            with_set = (kind == 1) | (kind == 2)
            states[is_given & (with_set & (v[:, 3] < 0.5))[:, None]] = GIVEN
        of_mixed = np.where(is_given, GIVEN, np.where(is_absent, ABSENT, NOISY))
        states = np.where((kind == 3)[:, None], of_mixed, states)
        states = np.where((kind == 4)[:, None], np.where(is_given, GIVEN, ABSENT), states)
        return torch.from_numpy(states.astype(np.int8))

    def chain(self, place: Tensor) -> Tensor:
        """Return the states of rows in which the first `place` columns of levels, (rows,), are given: (rows, J)."""
        return torch.from_numpy(self._prefix(place.numpy()).astype(np.int8))

    def is_next(self, states: Tensor) -> Tensor:
        """Return the coordinates of the first column of levels that is absent, (rows, k), given states of `chain`."""
        place = (states == GIVEN).sum(dim=1, keepdim=True)
        rank = torch.from_numpy(np.cumsum(self._has_levels) - 1)
        found = torch.from_numpy(self._has_levels) & (rank == place)
        return found[:, torch.tensor(self.column)]

    def levels_given(self, rows: int) -> Tensor:
        """Return the states of rows in which all levels are given and the numbers are noisy: (rows, J)."""
        return torch.from_numpy(np.tile(np.where(self._has_levels, GIVEN, NOISY).astype(np.int8), (rows, 1)))

    @property
    def n_levels(self) -> int:
        """The number of columns that have levels."""
        return int(self._has_levels.sum())

    def by_coordinate(self, x_0: Tensor, log_snr: Tensor, weight: Tensor, states: Tensor) -> tuple[Tensor, Tensor]:
        """Return the log-SNR and the weight in the loss of every coordinate: (..., rows, k) each.

        x_0, (..., rows, k), is NaN where there is no value; `log_snr` and `weight` are those of the noise, (..., rows);
        `states`, (..., rows, J), those of the columns.
        """
        device = x_0.device
        seen = ~x_0.isnan()
        states = states.to(device).masked_fill(~seen[..., torch.tensor(self._first, device=device)], ABSENT)
        states = states[..., torch.tensor(self.column, device=device)]
        levels = log_snr.unsqueeze(-1).expand(states.shape).masked_fill(states == GIVEN, math.inf)
        levels = levels.masked_fill(states == ABSENT, -math.inf)
        of_numbers = (
            weight.unsqueeze(-1).expand(states.shape).masked_fill(states == ABSENT, 1.0)
        )  # the v-loss's at SNR 0
        is_code = torch.tensor(self.is_code, device=device)
        weights = of_numbers.masked_fill(is_code, self.level_weight).masked_fill((states == GIVEN) | ~seen, 0.0)
        return levels, weights

    def _prefix(self, n_given: np.ndarray) -> np.ndarray:
        rank = np.cumsum(self._has_levels) - 1
        return np.where(self._has_levels & (rank < n_given[:, None]), GIVEN, ABSENT)

    @cached_property
    def _first(self) -> list[int]:
        """The first coordinate of each column."""
        return [int(i) for i in np.unique(np.array(self.column), return_index=True)[1]]

    @cached_property
    def _has_levels(self) -> np.ndarray:
        return np.array(self.is_code)[self._first]
