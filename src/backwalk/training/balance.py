"""The balance of noise levels: the loss at each level is divided by its mean there.

At little noise most of a v-loss is noise that no network can predict; at more noise nearly all is known, and what is
left to learn is small beside it. An efficient least-squares estimate weighs each observation by the inverse of its
variance, and this one weighs each level by the inverse of its mean loss, which is measured while a network is trained.

Source: Aitken 1935 for the weights of least squares; Kendall et al. 2018 for losses of several tasks, and Karras et al.
2024 for noise levels, where a network learns the means.
"""

from __future__ import annotations

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from backwalk.denoiser import EnsembleDenoiser
from backwalk.streams import Stream
from backwalk.threads import Map
from backwalk.training.batches import Batch, Batches, TrainingRows
from backwalk.training.config import Training
from backwalk.training.noise_levels import NoiseLevels
from backwalk.training.patterns import Patterns
from backwalk.training.validation import losses_at

N_BATCHES, N_RANGES = 4, 16  # on which means are measured, and of noise levels that have one each


class Balance:
    """A factor of the loss for each noise level: the mean loss over all of training over that at the level.

    The loss is that of the noisy numbers in four batches, of held-out rows where there are any, as training rows may
    have been learnt by heart. These are the same each time. The rows are divided into 16 ranges of log-SNRs, of as many
    rows each, and the factor's logarithm is interpolated between the ranges' means. All factors are 1 before the first
    measurement.
    """

    def __init__(
        self,
        rows: TrainingRows,
        levels: NoiseLevels,
        training: Training,
        stream: Stream,
        patterns: Patterns | None = None,
    ) -> None:
        if rows.x_validation is not None:
            rows = TrainingRows(x_0=rows.x_validation, weight=rows.validation_weight)
        batches = Batches(rows, levels, training, stream.child("balance"), patterns)
        parts = zip(*(batches.at(step) for step in range(N_BATCHES)), strict=True)
        batch = Batch(*(torch.cat(part, dim=1)[0] for part in parts))
        if patterns is None:
            log_snr, n_noisy = batch.log_snr, torch.full_like(batch.log_snr, batch.x_0.shape[1])
        else:
            is_noisy = patterns.is_noisy_number(batch.log_snr) & (batch.weight > 0.0)
            batch = batch._replace(weight=batch.weight.masked_fill(~is_noisy, 0.0))
            log_snr = batch.log_snr.masked_fill(~is_noisy, -torch.inf).amax(dim=-1)  # those of a row are equal
            n_noisy = is_noisy.sum(dim=-1)
        in_order = log_snr.argsort(stable=True)[(n_noisy == 0).sum() :]  # rows without a noisy number are the first
        self._batch = Batch(*(part[in_order] for part in batch))
        self._n_noisy = n_noisy[in_order].double().numpy(force=True)
        n = len(in_order)
        self._range = np.arange(n) * min(n, N_RANGES) // max(1, n)
        self._log_snr = self._means(log_snr[in_order].double().numpy(force=True))
        self._log_factor = np.zeros_like(self._log_snr)

    def measure(self, denoiser: EnsembleDenoiser, parallel_map: Map = map) -> None:
        """Measure the losses of a denoiser, from which factors follow. Losses of 0, or not finite, change nothing."""
        if not len(self._n_noisy):
            return
        loss = losses_at(self._batch, denoiser, parallel_map).numpy(force=True)
        of_number = self._means(loss) / self._means(self._n_noisy)
        if np.all(np.isfinite(of_number) & (of_number > 0.0)):
            self._log_factor = np.log(loss.sum() / self._n_noisy.sum()) - np.log(of_number)

    def factor(self, log_snr: Tensor) -> Tensor:
        """Return the factors at log-SNRs, of their shape."""
        if not len(self._log_snr):
            return torch.ones_like(log_snr)
        log_factor = np.interp(log_snr.double().numpy(force=True), self._log_snr, self._log_factor)
        return torch.from_numpy(np.exp(log_factor)).to(log_snr)

    def _means(self, of_rows: NDArray[np.float64]) -> NDArray[np.float64]:
        """Return the mean of each range, in the order of log-SNRs; none without rows."""
        means: NDArray[np.float64] = np.bincount(self._range, of_rows) / np.bincount(self._range)
        return means
