"""The training step of a denoiser: gradients of a batch, and the update of all weights.

Members of an ensemble learn independently. On a CPU they do so in parallel, each on one thread from drawing its batch
to averaging its weights. Where their number is too small or odd, all members learn together, and a step is cut into
shards of the batch's rows and groups of Muon's matrices. The pieces depend on sizes alone, so that the result does not
depend on the number of threads. On a GPU nothing is cut and steps are recorded (`recorded.py`).
"""

from __future__ import annotations

from itertools import zip_longest

from torch import Tensor

from backwalk.denoiser import EnsembleDenoiser
from backwalk.threads import Map
from backwalk.training.batches import Batch
from backwalk.training.config import Training
from backwalk.training.optimizer import Optimizer, Step, rotation_for
from backwalk.training.shards import tree_sum

LEAST_SHARDED_ROWS, SHARD_ROWS = 512, 1024  # a batch of fewer rows is one shard; no shard has more rows
UNCUT_ROWS = 2048  # greatest shard of a learner on one thread, for which shards save nothing but memory
LEAST_DEALT_WIDTH = 65  # smaller matrices are not distributed among threads


class Learner:
    """A denoiser and the optimisers of its weights. With `cut` a step is cut into pieces for several threads.

    Which matrices move depends on the step's number modulo `update_every`; all steps of one remainder run the same
    operations.
    """

    def __init__(self, denoiser: EnsembleDenoiser, training: Training, *, cut: bool) -> None:
        self._denoiser, self._training, self._cut = denoiser, training, cut
        parameters = list(denoiser.parameters())
        self.parameters: list[Tensor] = [parameter.detach() for parameter in parameters]
        matrices = denoiser.hidden_matrices() if training.hidden_rate is not None else []
        places = {id(parameter): i for i, parameter in enumerate(parameters)}
        of_inputs = [places[id(matrix)] for matrix in denoiser.input_matrices()]
        of_muon = [places.pop(id(matrix)) for matrix in matrices]
        width = matrices[0].shape[-1] if matrices else 0
        rotation = rotation_for(width, len(matrices))
        # For threads, each optimiser has `n_groups` neighbouring matrices, of which at most one moves in a step.
        n_dealt = rotation.n_groups if cut and width >= LEAST_DEALT_WIDTH else max(1, len(of_muon))
        dealt = [of_muon[first : first + n_dealt] for first in range(0, len(of_muon), n_dealt)]
        self._optimizers = [
            Optimizer(self.parameters, by_muon, by_adam, rotation, training, of_inputs)
            for by_muon, by_adam in zip_longest(dealt, [list(places.values())], fillvalue=list[int]())
        ]
        self.update_every = rotation.update_every if matrices else 1

    @property
    def averages(self) -> list[Tensor]:
        """The average of each of `parameters`, or the parameters themselves without `ema_width`."""
        averages = {i: average for optimizer in self._optimizers for i, average in optimizer.averages()}
        return [averages.get(i, parameter) for i, parameter in enumerate(self.parameters)]

    def moving(self) -> dict[str, list[Tensor]]:
        """Return all tensors that a step changes, by name; not copies."""
        average = self.averages if self._training.ema_width else []
        return {
            "weights": self.parameters,
            "average": average,
            **joined([optimizer.moving() for optimizer in self._optimizers]),
        }

    def step(self, batch: Batch, rate: float, number: int, parallel_map: Map = map) -> Tensor:
        """Take step `number`, counted from 0, at `rate` times the full rates; return the members' summed loss."""
        return self.take(batch, self.at(rate, number), parallel_map)

    def at(self, rate: float, number: int) -> list[Step]:
        """Return the arguments of `take` for step `number`. They are valid until the next call."""
        return [optimizer.at(rate, number) for optimizer in self._optimizers]

    def take(self, batch: Batch, steps: list[Step], parallel_map: Map = map) -> Tensor:
        """Take a step, and return the members' summed loss."""
        loss, gradients = self.gradients(batch, parallel_map)
        for _ in parallel_map(lambda k: self.move(k, gradients, steps), range(len(steps))):
            pass
        return loss

    def gradients(self, batch: Batch, parallel_map: Map = map) -> tuple[Tensor, list[Tensor]]:
        """Return the loss, the mean over rows and sum over members, and its gradient by each parameter.

        Each shard of rows is computed on one thread, so that threads do not wait for each other after every layer, and
        activations stay in the cache. The shards' gradients are added in a fixed order.
        """
        n = self.n_shards
        shards = parallel_map(lambda shard: self.of_shard(batch, shard), range(n))
        loss, *gradients = tree_sum(iter(shards), range(n))
        return loss, gradients

    def of_shard(self, batch: Batch, shard: int) -> list[Tensor]:
        """Return a shard's part of the loss, and its gradient by each parameter."""
        rows = batch.x_0.shape[1]
        part = batch.rows(shard * self._shard_rows, (shard + 1) * self._shard_rows)
        loss, gradients = self._denoiser.loss_and_gradients(
            part.x_0, part.eps, part.log_snr, part.weight / rows, bfloat16=self._training.bfloat16
        )
        return [loss, *gradients]

    def rows_of(self, shards: range) -> range:
        """Return the rows of some neighbouring shards."""
        return range(shards.start * self._shard_rows, min(shards.stop * self._shard_rows, self._training.batch_size))

    def move(self, k: int, gradients: list[Tensor], steps: list[Step]) -> None:
        """Move the weights of optimiser k, of as many as `steps`."""
        self._optimizers[k].take(gradients, steps[k])

    @property
    def n_shards(self) -> int:
        """The number of shards of a batch."""
        return -(-self._training.batch_size // self._shard_rows)

    @property
    def _shard_rows(self) -> int:
        rows = self._training.batch_size
        if self._training.shards is not None:
            return -(-rows // self._training.shards)
        if self.parameters[0].device.type != "cpu":
            return rows
        if not self._cut:
            return -(-rows // -(-rows // UNCUT_ROWS))
        return -(-rows // (2 * -(-rows // (2 * SHARD_ROWS)))) if rows >= LEAST_SHARDED_ROWS else rows


def joined(parts: list[dict[str, list[Tensor]]]) -> dict[str, list[Tensor]]:
    """Return the lists of several parts joined, name by name."""
    return {name: [tensor for part in parts for tensor in part[name]] for name in parts[0]}
