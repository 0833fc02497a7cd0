"""Training steps of an ensemble: member by member on a CPU, all members at once elsewhere."""

from __future__ import annotations

import torch
from torch import Tensor

from backwalk.denoiser import EnsembleDenoiser
from backwalk.threads import Map
from backwalk.training.batches import Batches
from backwalk.training.config import Training
from backwalk.training.learner import SHARD_ROWS, Learner, joined
from backwalk.training.recorded import RecordedLearner


class EnsembleLearner:
    """A denoiser's weights, their average and the optimisers' state; `learner.py` describes the pieces of a step."""

    def __init__(self, denoiser: EnsembleDenoiser, training: Training) -> None:
        device, members = next(denoiser.parameters()).device.type, denoiser.n_members
        on_cpu = device == "cpu"
        self._apart = on_cpu and members % 2 == 0 and members >= training.batch_size / SHARD_ROWS
        denoisers = [denoiser.member(k) for k in range(members)] if self._apart else [denoiser]
        self._learners = [Learner(each, training, cut=on_cpu and not self._apart) for each in denoisers]
        self._recorded = (
            RecordedLearner(self._learners[0]) if device == "cuda" and denoiser.has_fixed_operations else None
        )

    def step(self, batches: Batches, rate: float, number: int, parallel_map: Map = map) -> Tensor:
        """Take step `number`, counted from 0, at `rate` times the full rates; return the members' summed loss."""
        if not self._apart:
            batch = batches.at(number)
            if self._recorded is not None:
                return self._recorded.step(batch, rate, number)
            return self._learners[0].step(batch, rate, number, parallel_map)

        def of_member(k: int) -> Tensor:
            return self._learners[k].step(batches.of_member(k, number), rate, number)

        return torch.stack(list(parallel_map(of_member, range(len(self._learners))))).sum()

    @property
    def parameters(self) -> list[Tensor]:
        """The weights, learner by learner."""
        return [parameter for learner in self._learners for parameter in learner.parameters]

    @property
    def averages(self) -> list[Tensor]:
        """The averages of `parameters`, or the parameters themselves without `ema_width`."""
        return [average for learner in self._learners for average in learner.averages]

    def moving(self) -> dict[str, list[Tensor]]:
        """Return all tensors that a step changes, by name; not copies."""
        return joined([learner.moving() for learner in self._learners])
