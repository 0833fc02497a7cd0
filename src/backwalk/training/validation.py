"""Validation on held-out rows, and the choice of the weights that a run keeps.

The newest weights are kept that the best of all do not beat on the held-out rows by half a standard error of the paired
difference. The first weights, of an untrained network, are candidates too, and trained ones have to be at least as good
in the mean. A stricter test would keep overfitted weights where held-out rows are few and have heavy tails; the least
of all values is often least by chance, and then early.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Self

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from backwalk.denoiser import EnsembleDenoiser
from backwalk.limits import GREATEST_LEVEL
from backwalk.streams import Stream
from backwalk.threads import Map
from backwalk.training.batches import TrainingRows
from backwalk.training.patterns import Patterns, filled

_POINTS, _MOST_NUMBERS = 8192, 2**24
_LEAST_LEAD = 0.5  # of the best weights over newer ones, in standard errors
WORTH = 0.002  # nats a row: a smaller gain is not worth half as many steps again, or another network
_ROWS_AT_ONCE = 1024  # a cache holds their activations


def split_rows(n: int, n_validation: int, *, stream: Stream) -> tuple[NDArray[np.intp], NDArray[np.intp]]:
    """Return the indices of held-out rows, (m,), and of rows to train on, (n - m,): a random split of n rows."""
    order = stream.child("split").permutation(n)
    return order[:n_validation], order[n_validation:]


def n_points(m: int, d: int) -> int:
    """Return the least number of noisy points for a validation on m rows in R^d: 8,192, but one for each row.

    The noise of so many is smaller than that of the choice of rows. All have at most 2^24 numbers, if a point for each
    row has no more.
    """
    return max(m, min(_POINTS, _MOST_NUMBERS // d))


def losses_at(points: Sequence[Tensor], denoiser: EnsembleDenoiser, parallel_map: Map = map) -> Tensor:
    """Return a denoiser's loss at each of some points, (n,), float64, in pieces that a map may compute at once.

    `points` are the arguments of `EnsembleDenoiser.losses`, of n >= 1 rows each.
    """

    @torch.no_grad()  # not inference_mode: a user's network may keep a tensor that it makes at its first call
    def losses(start: int) -> Tensor:
        return denoiser.losses(*(part[start : start + _ROWS_AT_ONCE] for part in points))

    return torch.cat(list(parallel_map(losses, range(0, len(points[0]), _ROWS_AT_ONCE)))).double()


class Validation:
    """The validation loss: the bound's diffusion part in nats per row, on fixed rows, levels and noise.

    (1/2) integral of E |x_0 - x_0_hat|^2 dSNR = integral of SNR E |x_0 - x_0_hat|^2 d ln s, over the denoiser's range
    up to s = 1,000. The levels are even in ln s, one per noisy point. Source: Kingma et al. 2021, the bound in
    continuous time.

    With `patterns` it is the bound for rows that are drawn level by level: -ln P(l_j | l_1..l_{j-1}) at a random j,
    times the number of columns with levels, and the diffusion part of the numbers with all levels given. A denoiser
    that is trained for conditions has the patterns of its training instead, as small tables overfit whole rows long
    before these. x_0 is NaN where there is no value. The values of rows are multiplied by `row_weight`, (m,), of mean
    1. `log_snr_range` is the denoiser's.
    """

    def __init__(
        self,
        log_snr_range: tuple[float, float],
        x_0: Tensor,
        stream: Stream,
        patterns: Patterns | None = None,
        row_weight: Tensor | None = None,
    ) -> None:
        self._row_weight = row_weight
        self.n_rows = len(x_0)
        draws = -(-n_points(*x_0.shape) // len(x_0))
        rows = x_0.repeat(draws, 1)
        n, d = rows.shape
        # Beyond the greatest level the integrand is nearly 0, and a chain may end at -inf.
        low, high = max(log_snr_range[0], -2.0 * math.log(GREATEST_LEVEL)), log_snr_range[1]
        places = (torch.from_numpy(stream.child("validation level").permutation(n)).double() + 0.5) / n
        log_snr = (low + (high - low) * places).to(x_0)
        eps = stream.child("validation eps").normal(0, n, d, x_0.dtype).to(x_0.device)
        nats = 0.5 * (high - low) * log_snr.exp() / draws
        if patterns is None:
            self._points = [(rows, eps, log_snr, nats)]
            return
        self._points = []
        if patterns.shares.mixed + patterns.shares.regression > 0.0:
            states = patterns.draw(n, stream=stream.child("validation pattern"))
            log_snrs, weight = patterns.by_coordinate(rows, log_snr, nats * draws, states)
            self._add(rows, eps, log_snrs, weight / draws)
            return
        columns = torch.from_numpy(stream.child("validation column").permutation(n)).double()
        chain = patterns.chain((columns / n * patterns.n_levels).floor())
        is_code = torch.tensor(patterns.is_code, device=x_0.device)
        log_snrs, weight = patterns.by_coordinate(rows, log_snr, nats, chain)
        is_next = is_code & patterns.is_next(chain).to(x_0.device) & (weight > 0.0)  # the next column of levels counts
        self._add(rows, eps, log_snrs, is_next * weight * (patterns.n_levels / (patterns.level_weight * draws)))
        log_snrs, weight = patterns.by_coordinate(rows, log_snr, nats, patterns.levels_given(n))
        self._add(rows, eps, log_snrs, weight.masked_fill(is_code, 0.0))

    def _add(self, rows: Tensor, eps: Tensor, log_snr: Tensor, weight: Tensor) -> None:
        """Add points of rows, (n, d), which are NaN where there is no value."""
        if bool((weight > 0.0).any()):
            self._points.append((filled(rows, eps), eps, log_snr, weight.to(rows)))

    @classmethod
    def of(
        cls,
        rows: TrainingRows,
        log_snr_range: tuple[float, float],
        stream: Stream,
        patterns: Patterns | None = None,
    ) -> Self | None:
        """Return the validation on the held-out rows; None without any."""
        if rows.x_validation is None:
            return None
        return cls(log_snr_range, rows.x_validation, stream, patterns, rows.validation_weight)

    def by_row(self, denoiser: EnsembleDenoiser, parallel_map: Map = map) -> Tensor:
        """Return a denoiser's value of each validation row, the mean over its noisy points: (m,), float64."""
        total = torch.zeros(self.n_rows, dtype=torch.float64)
        for points in self._points:
            total += losses_at(points, denoiser, parallel_map).reshape(-1, self.n_rows).sum(0).cpu()
        return total if self._row_weight is None else total * self._row_weight.double().cpu()


@dataclass(frozen=True, eq=False)
class Candidate:
    """The weights after `step` steps, and their loss on each held-out row, (m,): m = 0 without held-out rows."""

    step: int
    by_row: Tensor
    weights: list[Tensor]

    @property
    def loss(self) -> float:
        """The mean over the validation rows, nats per row."""
        return float(self.by_row.mean())

    @property
    def is_finite(self) -> bool:
        """Whether all its numbers are finite."""
        return all(bool(numbers.isfinite().all()) for numbers in (self.by_row, *self.weights))


class Choice:
    """The choice among candidates, which come one after another.

    `chosen` is the newest that the best so far does not beat, and `best` the loss of that one on each held-out row.
    What is beaten now is never chosen later: only newer ones are. The first weights, those of step 0, are the simplest:
    they stay until newer ones are at least as good in the mean. `step` is that of the last candidate, and `n_idle` the
    number of candidates since the last whose mean was lower by `WORTH` than that of the one before of which this holds.
    """

    def __init__(self) -> None:
        self.chosen: Candidate | None = None
        self.best: Tensor | None = None
        self.step = self.n_idle = 0
        self._mark = math.inf

    @property
    def trained(self) -> Candidate | None:
        """The chosen weights, or None where there are none yet or the first are the choice."""
        return self.chosen if self.chosen is not None and self.chosen.step else None

    def consider(self, candidate: Candidate) -> None:
        """Add the newest candidate."""
        self.step, by_row = candidate.step, candidate.by_row
        lead = -math.inf if self.best is None else _lead(self.best, by_row)
        if self.chosen is not None and self.trained is None:
            is_kept = candidate.loss <= self.chosen.loss
        else:
            is_kept = lead <= _LEAST_LEAD
        if is_kept:
            self.chosen = candidate
        if not len(by_row):
            return
        self.n_idle += 1
        if candidate.loss < self._mark - WORTH:
            self._mark, self.n_idle = candidate.loss, 0
        if self.best is None or candidate.loss < float(self.best.mean()):
            self.best = by_row


def _lead(best: Tensor, by_row: Tensor) -> float:
    """Return by how much losses on each row, (m,), are worse than the best, in standard errors of the difference.

    A single row has no standard error, and equal losses no lead: -inf.
    """
    worse_by = by_row - best
    if len(worse_by) < 2 or not float(worse_by.mean()):
        return -math.inf
    standard_error = float(worse_by.std()) / math.sqrt(len(worse_by))
    return float(worse_by.mean()) / standard_error if standard_error else math.copysign(math.inf, worse_by.mean())
