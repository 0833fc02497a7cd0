"""The pieces of a training step, their distribution among workers, and sums whose order does not depend on it.

A step's pieces are the shards of rows of each learner's batch. Gradients of n shards are added along a fixed binary
tree: the first 2^k shards, with 2^k < n the largest such power, plus the rest, and each half likewise. A worker has
neighbouring pieces. It adds the shards of each whole subtree that it has, and only these sums travel: one per worker
where numbers of shards and workers are powers of two. So the sum has the same bits on any number of workers.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass

import torch
from torch import Tensor


@dataclass(frozen=True)
class Dealing:
    """The pieces (learner, shard), in order, of a step on some workers."""

    n_learners: int
    n_shards: int
    n_workers: int

    def of_worker(self, worker: int) -> dict[int, range]:
        """Return the shards that a worker computes, by learner."""
        part = dealt(self.n_learners * self.n_shards, self.n_workers)[worker]
        first_shards = {k: k * self.n_shards for k in range(self.n_learners)}
        shards = {
            k: range(max(part.start - first, 0), min(part.stop - first, self.n_shards))
            for k, first in first_shards.items()
        }
        return {k: each for k, each in shards.items() if each}

    def holders(self, learner: int) -> range:
        """Return the workers that compute shards of a learner. They take its steps together."""
        of_learner = [worker for worker in range(self.n_workers) if learner in self.of_worker(worker)]
        return range(of_learner[0], of_learner[-1] + 1)

    @property
    def n_idle(self) -> int:
        """The number of workers without a piece."""
        return max(0, self.n_workers - self.n_learners * self.n_shards)


def dealt(n: int, n_workers: int) -> list[range]:
    """Return neighbouring parts of 0..n-1, one for each worker; their lengths differ by at most 1.

    >>> dealt(8, 3)
    [range(0, 3), range(3, 6), range(6, 8)]
    """
    each, more = divmod(n, n_workers)
    starts = [worker * each + min(worker, more) for worker in range(n_workers + 1)]
    return [range(starts[worker], starts[worker + 1]) for worker in range(n_workers)]


def halves(node: range) -> tuple[range, range]:
    """Return the two subtrees of a node with at least two shards.

    >>> halves(range(8, 15))
    (range(8, 12), range(12, 15))
    """
    middle = node.start + (1 << (len(node) - 1).bit_length() - 1)
    return range(node.start, middle), range(middle, node.stop)


def whole_nodes(part: range, node: range) -> list[range]:
    """Return the largest subtrees of `node` whose shards all lie in `part`.

    >>> whole_nodes(range(3, 6), range(8))
    [range(3, 4), range(4, 6)]
    """
    if part.stop <= node.start or node.stop <= part.start:
        return []
    if part.start <= node.start and node.stop <= part.stop:
        return [node]
    one, other = halves(node)
    return [*whole_nodes(part, one), *whole_nodes(part, other)]


def tree_sum(terms: Iterator[list[Tensor]], node: range) -> list[Tensor]:
    """Return the sum of a node's shards, given in order: at most log2(n) sums are held at a time."""
    if len(node) == 1:
        return next(terms)
    one, other = halves(node)
    return added(tree_sum(terms, one), tree_sum(terms, other))


def joined_sum(sums: Mapping[range, list[Tensor]], node: range) -> list[Tensor]:
    """Return the sum of a node's shards, given the sums of subtrees that make it up."""
    if node in sums:
        return sums[node]
    one, other = halves(node)
    return added(joined_sum(sums, one), joined_sum(sums, other))


def added(one: list[Tensor], other: list[Tensor]) -> list[Tensor]:
    """Return the sums of two lists of tensors, one by one."""
    return list(torch._foreach_add(one, other))


def flat(tensors: list[Tensor]) -> Tensor:
    """Return all numbers of some tensors, (n,), in the widest of their types, which holds each exactly."""
    return torch.cat([tensor.reshape(-1) for tensor in tensors])


def parted(numbers: Tensor, like: list[Tensor]) -> list[Tensor]:
    """Return the tensors of shapes and types `like` from all their numbers: the inverse of `flat`."""
    parts = torch.split(numbers, [tensor.numel() for tensor in like])
    return [part.reshape(tensor.shape).to(tensor.dtype) for part, tensor in zip(parts, like, strict=True)]
