"""The distribution of noise levels in training, and the weight of each level in the loss.

Training draws a log-SNR for every row and minimises the mean of weight(log_snr) |x_0 - x_0_hat|^2. With the SNR as
weight the loss is |eps - eps_theta|^2, Ho's L_simple; with 1 + SNR it is |v - v_theta|^2, which stays of the order of
the data's variance at all levels.

The distribution is not the chain's schedule: it favours levels that are hard to learn.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Protocol

import torch
from torch import Tensor

from backwalk.diffusion import NoiseSchedule
from backwalk.streams import Stream


class NoiseLevels(Protocol):
    """A distribution of log-SNRs and a weight for each."""

    def draw(self, batches: int, rows: int, *, stream: Stream) -> Tensor:
        """Return log-SNRs, (batches, rows), float32."""
        ...

    def weight(self, log_snr: Tensor) -> Tensor:
        """Return the weight of |x_0 - x_0_hat|^2, of the same shape."""
        ...


@dataclass(frozen=True)
class ChainLevels:
    """t uniform on 1..n_steps for every row, and the weight that makes the loss L_simple.

    Source: Ho et al. 2020, Eq. 14.
    """

    schedule: NoiseSchedule

    def draw(self, batches: int, rows: int, *, stream: Stream) -> Tensor:
        """Return the log-SNRs of uniform steps."""
        t = (stream.uniform(0, batches, rows) * self.schedule.n_steps).long() + 1
        return self.schedule.log_snr[t].float()

    def weight(self, log_snr: Tensor) -> Tensor:
        """Return the SNR."""
        return log_snr.exp()


@dataclass(frozen=True)
class LogNormalLevels:
    """ln s ~ N(centre, width^2), or uniform from ln level_min to ln level_max for the `uniform_share` of the rows.

    Normal draws outside this range are clipped to it. Batches are stratified: the levels of a batch are the
    distribution's quantiles, shifted at random, so that every batch covers all levels. s = sqrt((1 - alpha_bar) /
    alpha_bar) on data of unit variance; the weight makes the loss |v - v_theta|^2. Source: Karras et al. 2022 for the
    log-normal part.
    """

    level_min: float
    level_max: float
    centre: float
    width: float = 1.5
    uniform_share: float = 0.15

    def draw(self, batches: int, rows: int, *, stream: Stream) -> Tensor:
        """Return log-SNRs = -2 ln s. Neighbouring rows have neighbouring levels: shuffle the rows, not these."""
        low, high = math.log(self.level_min), math.log(self.level_max)
        strata = torch.arange(rows, dtype=torch.float64) / rows
        quantile = (stream.uniform(0, batches, 1) / rows + strata).clamp(max=1.0 - 1e-7)
        share = self.uniform_share
        uniform = low + (high - low) * quantile / max(share, 1e-12)
        normal = self.centre + self.width * torch.special.ndtri(((quantile - share) / (1.0 - share)).clamp(min=1e-7))
        return -2.0 * torch.where(quantile < share, uniform, normal.clamp(low, high)).float()

    def weight(self, log_snr: Tensor) -> Tensor:
        """Return 1 + SNR."""
        return 1.0 + log_snr.exp()
