"""Training steps of an ensemble: member by member on a CPU, all members at once elsewhere.

On a CPU, the members of a small table learn at once as well: launching their many small operations holds Python's
lock, so that threads would wait for each other.

Where several workers take a step, each has neighbouring pieces of it (`shards.py`). Members with all shards on one
worker need nothing of the others; workers that share a member exchange its gradients, and all of them move its weights.
"""

from __future__ import annotations

import hashlib

import torch
from torch import Tensor

from backwalk.denoiser import EnsembleDenoiser
from backwalk.errors import InvalidInput
from backwalk.threads import Map
from backwalk.training.batches import Batch, Batches
from backwalk.training.config import Training
from backwalk.training.learner import LEAST_SHARDED_ROWS, SHARD_ROWS, Learner, joined
from backwalk.training.recorded import RecordedLearner
from backwalk.training.shards import Dealing, flat, joined_sum, parted, tree_sum, whole_nodes
from backwalk.training.workers import ALONE, Workers

_NARROW = 64  # units of a small table's network, whose products take less time than launching them


class EnsembleLearner:
    """A denoiser's weights, their average and the optimisers' state; `learner.py` describes the pieces of a step."""

    def __init__(self, denoiser: EnsembleDenoiser, training: Training, workers: Workers = ALONE) -> None:
        device, members = next(denoiser.parameters()).device.type, denoiser.n_members
        on_cpu, by_sizes = device == "cpu", training.shards is None
        width = max((matrix.shape[-1] for matrix in denoiser.hidden_matrices()), default=0)
        is_small = denoiser.has_many_operations and training.batch_size < LEAST_SHARDED_ROWS and width <= _NARROW
        pays = on_cpu and not is_small and members % 2 == 0 and members >= training.batch_size / SHARD_ROWS
        self._apart = pays if by_sizes else members > 1
        denoisers = [denoiser.member(k) for k in range(members)] if self._apart else [denoiser]
        self._learners = [Learner(each, training, cut=on_cpu and not self._apart) for each in denoisers]
        self._recorded = (
            RecordedLearner(self._learners[0])
            if device == "cuda" and by_sizes and denoiser.has_fixed_operations
            else None
        )
        # A whole step of a learner is one piece, or each shard of its batch is one.
        self._is_whole = (self._apart and by_sizes) or self._recorded is not None
        n_shards = 1 if self._is_whole else self._learners[0].n_shards
        self._workers, self.dealing = workers, Dealing(len(self._learners), n_shards, workers.size)
        self._holders = [self.dealing.holders(k) for k in range(len(self._learners))]
        self._here = self.dealing.of_worker(workers.rank)
        self._nodes = [
            [whole_nodes(self.dealing.of_worker(worker)[k], range(n_shards)) for worker in holders]
            for k, holders in enumerate(self._holders)
        ]
        self.leader_has_all = all(0 in holders for holders in self._holders)
        self._losses: dict[int, Tensor] = {}

    def step(self, batches: Batches, rate: float, number: int, parallel_map: Map = map) -> None:
        """Take this worker's part of step `number`, counted from 0, at `rate` times the full rates."""
        if not self._is_whole:
            self._sharded_step(batches, rate, number, parallel_map)
            return

        def of_learner(k: int) -> Tensor:
            if self._recorded is not None:
                return self._recorded.step(batches.at(number), rate, number)
            return self._learners[k].step(batches.of_member(k, number), rate, number)

        self._losses = dict(zip(self._here, parallel_map(of_learner, self._here), strict=True))

    def _sharded_step(self, batches: Batches, rate: float, number: int, parallel_map: Map) -> None:
        """Take a step whose pieces are shards: batches, then gradients, then moves, each on all threads."""

        def batch_of(k: int) -> Batch:
            rows = self._learners[k].rows_of(self._here[k])
            return batches.of_member(k, number, rows) if self._apart else batches.at(number, rows)

        batch = dict(zip(self._here, parallel_map(batch_of, self._here), strict=True))
        pieces = [(k, shard) for k, shards in self._here.items() for shard in shards]

        def of_piece(piece: tuple[int, int]) -> list[Tensor]:
            k, shard = piece
            return self._learners[k].of_shard(batch[k], shard)

        found = iter(parallel_map(of_piece, pieces))
        rank, gradients = self._workers.rank, dict[int, list[Tensor]]()
        # All of them before any is exchanged, as nobody should wait for a worker that waits for another.
        sums = {
            k: [tree_sum(found, node) for node in self._nodes[k][rank - self._holders[k].start]] for k in self._here
        }
        for k, own in sums.items():
            self._losses[k], *gradients[k] = self._sum(k, own)
        steps = {k: self._learners[k].at(rate, number) for k in self._here}
        moves = [(k, i) for k in self._here for i in range(len(steps[k]))]

        def move(place: tuple[int, int]) -> None:
            k, i = place
            self._learners[k].move(i, gradients[k], steps[k])

        for _ in parallel_map(move, moves):
            pass

    def _sum(self, k: int, own: list[list[Tensor]]) -> list[Tensor]:
        """Return a learner's sum over all shards, given those of the nodes here, from all its holders."""
        holders, nodes = self._holders[k], self._nodes[k]
        if len(holders) == 1:
            return own[0]
        numbers, size = flat([tensor for each in own for tensor in each]), sum(tensor.numel() for tensor in own[0])
        numbers = torch.nn.functional.pad(numbers, (0, max(map(len, nodes)) * size - len(numbers)))
        sums = {
            node: parted(theirs[i * size : (i + 1) * size], own[0])
            for of_worker, theirs in zip(nodes, self._workers.gathered(numbers, holders), strict=True)
            for i, node in enumerate(of_worker)
        }
        return joined_sum(sums, range(self.dealing.n_shards))

    def loss(self) -> Tensor:
        """Return the members' summed loss in the last step; only worker 0 knows it. All workers call this."""
        unknown = self.parameters[0].new_zeros(())
        losses = [self._losses.get(k, unknown) for k in range(len(self._learners))]
        if not self.leader_has_all:
            of_all = self._workers.gathered(torch.stack(losses), range(self._workers.size))
            losses = [of_all[holders.start][k] for k, holders in enumerate(self._holders)]
        return torch.stack(losses).sum()

    def collect(self) -> None:
        """Give every worker the weights, averages and optimisers' state of all learners. All workers call this.

        Raises InvalidInput where workers that share a learner differ, as machines of several kinds may.
        """
        if self._workers.size == 1:
            return
        self._check_shared()
        for k, holders in enumerate(self._holders):
            self._send(k, holders.start)

    def hand_out(self) -> None:
        """Give every worker the state that worker 0 has. All workers call this."""
        for k in range(len(self._learners)):
            self._send(k, 0)

    def _send(self, k: int, source: int) -> None:
        tensors = self._moving(k)
        numbers = flat(tensors)
        self._workers.send(numbers, source)
        if self._workers.rank != source:
            torch._foreach_copy_(tensors, parted(numbers, tensors))

    def _check_shared(self) -> None:
        shared = [k for k, holders in enumerate(self._holders) if len(holders) > 1]
        if not shared:
            return
        of_all = self._workers.gathered(torch.stack([self._digest(k) for k in shared]), range(self._workers.size))
        for i, k in enumerate(shared):
            first, *others = self._holders[k]
            for worker in others:
                if not torch.equal(of_all[worker][i], of_all[first][i]):
                    raise InvalidInput(
                        f"Workers that share a member should have the same weights, but those of workers {first} and "
                        f"{worker} differ: use machines of one kind, or no more workers than members."
                    )

    def _digest(self, k: int) -> Tensor:
        content = flat(self._moving(k)).numpy(force=True).tobytes()
        return torch.frombuffer(bytearray(hashlib.sha256(content).digest()), dtype=torch.uint8)

    def _moving(self, k: int) -> list[Tensor]:
        return [tensor for tensors in self._learners[k].moving().values() for tensor in tensors]

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
