"""Training batches: rows, in one shuffled order per epoch and member, with noise levels and noise."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from backwalk.streams import Stream
from backwalk.table import Redraw
from backwalk.training.config import Training
from backwalk.training.noise_levels import NoiseLevels
from backwalk.training.patterns import Patterns, filled


class Batch(NamedTuple):
    """Rows x_0 and noise eps, (members, rows, d); log-SNRs and the loss's weights, (members, rows).

    Batches of tables with `Patterns` have a log-SNR and a weight for each coordinate, (members, rows, d).
    """

    x_0: Tensor
    eps: Tensor
    log_snr: Tensor
    weight: Tensor

    def rows(self, start: int, stop: int) -> Batch:
        """Return rows start..stop-1 of each member."""
        return Batch(*(tensor[:, start:stop] for tensor in self))

    def clone(self) -> Batch:
        """Return a copy."""
        return Batch(*(tensor.clone() for tensor in self))

    def copy_(self, other: Batch) -> None:
        """Copy a batch of the same sizes into this one's memory."""
        torch._foreach_copy_(list(self), list(other))


class Batches:
    """The batches of a run on rows x_0, (n, d), as functions of member and step alone.

    `eps`, (n, d), is fixed noise, one for each row; without it, each batch draws new noise. `redraw` draws random
    coordinates, as those of dequantised integers, anew for each batch. With `patterns`, x_0 is NaN where there is no
    value, and some columns are given or absent.
    """

    def __init__(
        self,
        x_0: Tensor,
        levels: NoiseLevels,
        training: Training,
        members: int,
        stream: Stream,
        eps: Tensor | None = None,
        redraw: Redraw | None = None,
        patterns: Patterns | None = None,
        row_weight: Tensor | None = None,
    ) -> None:
        self._of_members = [
            _OfMember(x_0, levels, training, member, stream, eps, redraw, patterns, row_weight)
            for member in range(members)
        ]

    def at(self, step: int, noisy: range | None = None) -> Batch:
        """Return the batch of a step, counted from 0, on the rows' device; see `of_member` for `noisy`."""
        parts = [self.of_member(member, step, noisy) for member in range(len(self._of_members))]
        if len(parts) == 1:
            return parts[0]
        return Batch(*map(torch.cat, zip(*parts, strict=True)))

    def of_member(self, member: int, step: int, noisy: range | None = None) -> Batch:
        """Return the batch of one member. Several threads may call this for different members.

        With `noisy`, other rows than these may have no noise: a worker that needs a few shards draws no more.
        """
        return self._of_members[member].at(step, noisy)


class _OfMember:
    """A member's batches. Noise and levels are drawn for several steps at once, to make fewer calls."""

    _MOST_STEPS, _NUMBERS = 16, 2**16  # drawn at once, at most; a single step may need more numbers

    def __init__(
        self,
        x_0: Tensor,
        levels: NoiseLevels,
        training: Training,
        member: int,
        stream: Stream,
        eps: Tensor | None,
        redraw: Redraw | None,
        patterns: Patterns | None,
        row_weight: Tensor | None,
    ) -> None:
        self._x_0, self._levels, self._member, self._stream = x_0, levels, member, stream
        self._eps, self._redraw, self._patterns, self._row_weight = eps, redraw, patterns, row_weight
        self._batch_size = training.batch_size
        self._steps_an_epoch = training.steps_an_epoch(len(x_0))
        self._steps_together = max(1, min(self._MOST_STEPS, self._NUMBERS // (self._batch_size * x_0.shape[1])))
        self._order: tuple[int, Tensor] | None = None
        self._drawn: tuple[tuple[int, range | None], Tensor, Tensor, np.ndarray, list[Tensor]] | None = None

    def at(self, step: int, noisy: range | None) -> Batch:
        block, place = divmod(step, self._steps_together)
        if self._drawn is None or self._drawn[0] != (block, noisy):
            self._drawn = ((block, noisy), *self._draw(self._stream.child("steps", self._member, block), noisy))
        _, levels, noise, uniforms, states = self._drawn
        rows, log_snr = self._places(step), levels[None, place]
        eps = noise[None, place] if self._eps is None else self._eps[None, rows]
        x_0 = self._x_0[None, rows]
        if self._redraw is not None:
            drawn = self._redraw(rows.numpy(force=True), uniforms[place])
            x_0[..., self._redraw.coordinates] = _sent(torch.from_numpy(drawn).to(x_0.dtype), x_0.device)
        weight = self._levels.weight(log_snr)
        of_row = None if self._row_weight is None else self._row_weight[rows]
        if self._patterns is None:
            return Batch(x_0, eps, log_snr, weight if of_row is None else weight * of_row)
        log_snr, weight = self._patterns.by_coordinate(x_0, log_snr, weight, states[place][None])
        if of_row is not None:  # of levels as well
            weight = weight * of_row.unsqueeze(-1)
        return Batch(filled(x_0, eps), eps, log_snr, weight)

    def _draw(self, stream: Stream, noisy: range | None) -> tuple[Tensor, Tensor, np.ndarray, list[Tensor]]:
        """Return log-SNRs, (steps, rows), noise, (steps, rows, d), uniform numbers, (steps, rows, n_uniforms).

        The last part are the states of the patterns for each step. The noise is empty where it is fixed, n_uniforms is
        0 without `redraw`, and there are no states without patterns.
        """
        steps, rows, d = self._steps_together, self._batch_size, self._x_0.shape[1]
        device, k = self._x_0.device, 0 if self._redraw is None else self._redraw.n_uniforms
        log_snr = _sent(self._levels.draw(steps, rows, stream=stream.child("level")), device)
        uniforms = stream.child("redraw").uniform(0, steps * rows, k).numpy().reshape(steps, rows, k)
        of_patterns = [] if self._patterns is None else [stream.child("pattern", i) for i in range(steps)]
        states = [self._patterns.draw(rows, stream=each) for each in of_patterns] if self._patterns else []
        if self._eps is not None:
            return log_snr, self._eps[:0], uniforms, states
        if noisy is None or steps > 1:
            eps = stream.child("eps").normal(0, steps * rows, d, torch.float32)
        else:
            eps = torch.zeros(rows, d, dtype=torch.float32)
            eps[noisy.start : noisy.stop] = stream.child("eps").normal(noisy.start, noisy.stop, d, torch.float32)
        return log_snr, _sent(eps.reshape(steps, rows, d), device), uniforms, states

    def _places(self, step: int) -> Tensor:
        """Return the indices of a step's rows, (rows,)."""
        epoch, position = divmod(step, self._steps_an_epoch)
        if self._order is None or self._order[0] != epoch:
            self._order = (epoch, _sent(torch.from_numpy(self._shuffled(epoch)), self._x_0.device))
        start = position * self._batch_size
        return self._order[1][start : start + self._batch_size]

    def _shuffled(self, epoch: int) -> np.ndarray:
        n, batch = len(self._x_0), self._batch_size
        repeats = -(-batch // n)
        stream = self._stream.child("order", epoch, self._member, 0)
        if repeats == 1:
            return stream.permutation(n)
        # One generator for all orders, as creating one takes long.
        orders: np.ndarray = stream.generator().permuted(np.tile(np.arange(n), (repeats, 1)), axis=1)
        return orders.reshape(-1)[:batch]


def _sent(drawn: Tensor, device: torch.device) -> Tensor:
    """Return a tensor on a device. The copy to a GPU is asynchronous."""
    return drawn.pin_memory().to(device, non_blocking=True) if device.type == "cuda" else drawn.to(device)
