"""Training batches: rows, in one shuffled order per epoch, with noise levels and noise."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from backwalk.streams import Stream
from backwalk.table import Redraw
from backwalk.training.config import Training
from backwalk.training.noise_levels import NoiseLevels
from backwalk.training.patterns import N_SETS, Patterns, filled

_MOST_STEPS_DRAWN, _NUMBERS_DRAWN = 16, 2**16  # at once, at most; a single step may need more numbers


@dataclass(frozen=True, kw_only=True, eq=False)
class TrainingRows:
    """Encoded rows x_0 to train on, (n, d), and held-out ones, (m, d), by which weights are chosen.

    `weight`, (n,), and `validation_weight`, (m,), are the rows' weights in the loss and in the choice; both have mean
    1. `redraw` draws random coordinates of x_0, as those of dequantised integers, anew for each batch.
    """

    x_0: Tensor
    x_validation: Tensor | None = None
    weight: Tensor | None = None
    validation_weight: Tensor | None = None
    redraw: Redraw | None = None

    @property
    def n_held_out(self) -> int:
        """The number of held-out rows."""
        return 0 if self.x_validation is None else len(self.x_validation)


class Batch(NamedTuple):
    """Rows x_0 and noise eps, (1, rows, d); log-SNRs and the loss's weights, (1, rows), all for a single network.

    Batches of tables with `Patterns` have a log-SNR and a weight for each coordinate, (1, rows, d).
    """

    x_0: Tensor
    eps: Tensor
    log_snr: Tensor
    weight: Tensor


class _Draws(NamedTuple):
    """The random numbers of several steps: log-SNRs, (steps, rows), and noise, (steps, rows, d).

    `uniforms`, (steps, rows, n_uniforms), are those of `redraw`; `states` are the patterns' states, one for each step.
    """

    log_snr: Tensor
    eps: Tensor
    uniforms: np.ndarray
    states: list[Tensor]


class Batches:
    """The batches of a run as functions of the step alone.

    With `patterns`, x_0 is NaN where there is no value, and some columns are given or absent.
    """

    def __init__(
        self,
        rows: TrainingRows,
        levels: NoiseLevels,
        training: Training,
        stream: Stream,
        patterns: Patterns | None = None,
    ) -> None:
        self._x_0, self._levels, self._stream = rows.x_0, levels, stream
        self._redraw, self._patterns, self._row_weight = rows.redraw, patterns, rows.weight
        self._batch_size = training.batch_size
        self._steps_an_epoch = training.steps_an_epoch(len(self._x_0))
        numbers = self._batch_size * self._x_0.shape[1]
        self._steps_drawn = max(1, min(_MOST_STEPS_DRAWN, _NUMBERS_DRAWN // numbers))
        self._order: tuple[int, Tensor] | None = None  # with the epoch
        self._draws: tuple[int, _Draws] | None = None  # with the number of the block of steps

    def at(self, step: int, factor: Callable[[Tensor], Tensor] | None = None) -> Batch:
        """Return the batch of a step, counted from 0, on the rows' device.

        `factor` gives one of the weight of noisy numbers for each of their log-SNRs.
        """
        block, place = divmod(step, self._steps_drawn)
        if self._draws is None or self._draws[0] != block:
            self._draws = (block, self._draw(self._stream.child("steps", block)))
        draws, rows = self._draws[1], self._rows(step)
        log_snr = draws.log_snr[None, place]
        eps, x_0 = draws.eps[None, place], self._x_0[None, rows]
        if self._redraw is not None:
            redrawn = self._redraw(rows.numpy(force=True), draws.uniforms[place])
            x_0[..., self._redraw.coordinates] = torch.from_numpy(redrawn).to(x_0)
        weight = self._levels.weight(log_snr)
        if factor is not None:
            weight = weight * factor(log_snr)
        of_row = None if self._row_weight is None else self._row_weight[rows]
        if self._patterns is None:
            return Batch(x_0, eps, log_snr, weight if of_row is None else weight * of_row)
        log_snr, weight = self._patterns.by_coordinate(x_0, log_snr, weight, draws.states[place][None])
        if of_row is not None:  # of levels as well
            weight = weight * of_row.unsqueeze(-1)
        return Batch(filled(x_0, eps), eps, log_snr, weight)

    def _draw(self, stream: Stream) -> _Draws:
        """Draw for several steps at once, which makes fewer calls."""
        steps, rows, d = self._steps_drawn, self._batch_size, self._x_0.shape[1]
        device, n_uniforms = self._x_0.device, 0 if self._redraw is None else self._redraw.n_uniforms
        together = 1 if self._patterns is None else -(-rows // N_SETS)
        log_snr = self._levels.draw(steps, -(-rows // together), stream=stream.child("level"))
        log_snr = log_snr.repeat_interleave(together, dim=1)[:, :rows]
        eps = stream.child("eps").normal(0, steps * rows, d, torch.float32).reshape(-1, rows, d)
        uniforms = stream.child("redraw").uniform(0, steps * rows, n_uniforms).numpy().reshape(steps, rows, n_uniforms)
        states = (
            [self._patterns.draw(rows, stream=stream.child("pattern", i), together=together) for i in range(steps)]
            if self._patterns
            else []
        )
        return _Draws(log_snr.to(device), eps.to(device), uniforms, states)

    def _rows(self, step: int) -> Tensor:
        """Return the indices of a step's rows, (rows,)."""
        epoch, position = divmod(step, self._steps_an_epoch)
        if self._order is None or self._order[0] != epoch:
            self._order = (epoch, torch.from_numpy(self._shuffled(epoch)).to(self._x_0.device))
        start = position * self._batch_size
        return self._order[1][start : start + self._batch_size]

    def _shuffled(self, epoch: int) -> np.ndarray:
        n, batch = len(self._x_0), self._batch_size
        repeats = -(-batch // n)
        stream = self._stream.child("order", epoch)
        if repeats == 1:
            return stream.permutation(n)
        # One generator for all orders, as creating one takes long.
        orders: np.ndarray = stream.generator().permuted(np.tile(np.arange(n), (repeats, 1)), axis=1)
        return orders.reshape(-1)[:batch]
