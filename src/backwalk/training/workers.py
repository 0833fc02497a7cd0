"""Workers: processes that fit one model together.

Worker 0 decides, the others follow its orders (`team.py`). Tensors and numbers travel between them, and nothing is
pickled here. `torch.distributed` is imported only where several workers are asked for.
"""

from __future__ import annotations

import hashlib
import json
import os
import secrets
import time
from collections import deque
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from datetime import timedelta
from importlib import import_module
from typing import Any, Final, Protocol

import numpy as np
import torch
from torch import Tensor

from backwalk.errors import InvalidInput, WorkerLost
from backwalk.launcher import launched

SECONDS_TO_WAIT: Final = 600.0
_BETWEEN_READS = 0.02  # seconds, of what other workers have put into the store
_ORDERS_AHEAD = 64  # that worker 0 may give before the others have received the first of them


class Workers(Protocol):
    """A worker's connection to the others. Every method raises WorkerLost where another worker has ended."""

    rank: int
    size: int

    def gathered(self, tensor: Tensor, among: range) -> list[Tensor]:
        """Return the tensors of the workers `among`, in order. All of them call this, with tensors of one shape."""
        ...

    def send(self, tensor: Tensor, source: int = 0) -> None:
        """Replace the values of a tensor by those of worker `source`, on every worker."""
        ...

    def order(self, numbers: tuple[float, ...]) -> None:
        """Give the other workers three numbers, without waiting for them; a first number of 0 ends. For worker 0."""
        ...

    def next_order(self) -> tuple[float, ...]:
        """Return the next order. For all workers but worker 0."""
        ...


class Alone:
    """One worker."""

    rank, size = 0, 1

    def gathered(self, tensor: Tensor, among: range) -> list[Tensor]:
        """Return the tensor."""
        del among
        return [tensor]

    def send(self, tensor: Tensor, source: int = 0) -> None:
        """Leave the tensor as it is."""

    def order(self, numbers: tuple[float, ...]) -> None:
        """Do nothing, as there is nobody else."""

    def next_order(self) -> tuple[float, ...]:
        """Raise AssertionError, as nobody gives orders."""
        raise AssertionError("worker 0 gives orders")


ALONE: Final = Alone()


def only_worker() -> Workers:
    """Return the one worker of a process that torchrun has not started. Raises InvalidInput in one that it has."""
    place = launched()
    if place is not None:
        raise InvalidInput(
            f"workers should be given in a process of torchrun, as this worker {place.rank} of {place.size}: those of "
            "torchrun_workers() to fit one model together, or ALONE for a model in each."
        )
    return ALONE


@contextmanager
def torchrun_workers(seconds_to_wait: float = SECONDS_TO_WAIT) -> Iterator[Workers]:
    """Connect the workers that torchrun has started; outside torchrun there is one.

    A worker that does not answer for `seconds_to_wait` counts as lost; one that ends is noticed at once. Tensors on a
    CPU travel by gloo, those on a GPU by NCCL, where worker r of a machine uses its GPU r.

    >>> with torchrun_workers() as workers:
    ...     workers.rank, workers.size
    (0, 1)
    """
    if launched() is None:
        yield ALONE
        return
    distributed: Any = import_module("torch.distributed")  # here, as it takes long
    if not distributed.is_available():
        raise InvalidInput("Several workers need a torch with torch.distributed, which this one lacks: start one.")
    timeout, is_own = timedelta(seconds=seconds_to_wait), not distributed.is_initialized()
    has_gpu = torch.cuda.is_available() and distributed.is_nccl_available()
    if has_gpu:
        torch.cuda.set_device(int(os.environ.get("LOCAL_RANK", 0)) % torch.cuda.device_count())
    backend = "cpu:gloo,cuda:nccl" if has_gpu else "gloo"
    with _others_there():
        if is_own:
            store, rank, size = next(distributed.rendezvous("env://", timeout=timeout))
            store = distributed.PrefixStore(_name_of_attempt(store, rank, size, seconds_to_wait), store)
            distributed.init_process_group(backend, store=store, rank=rank, world_size=size, timeout=timeout)
        group = distributed.new_group(backend=backend, timeout=timeout)
        orders = distributed.new_group(backend="gloo", timeout=timeout)
    yield _OfTorch(distributed, group, orders)
    if is_own:  # not after an error: other workers may be gone, and waiting for them
        distributed.destroy_process_group()


def _name_of_attempt(store: Any, rank: int, size: int, seconds: float) -> str:
    """Return a name that workers share which were started together.

    When torchrun starts workers again, its store still has the addresses of those before, to which nobody answers. Each
    worker puts a random name there; worker 0 joins those it finds, and the joined name counts once each worker has
    found its own in it.
    """
    end, own = time.monotonic() + seconds, secrets.token_hex(8)
    store.set(f"backwalk/own/{rank}", own)
    store.set(f"backwalk/found/{rank}", "")
    while time.monotonic() < end:
        if rank == 0:
            joined = b".".join(store.get(f"backwalk/own/{worker}") for worker in range(size))
            store.set("backwalk/joined", joined)
            if all(store.get(f"backwalk/found/{worker}") == joined for worker in range(1, size)):
                store.set("backwalk/agreed", joined)
                return str(joined.decode())
        elif own.encode() in (joined := store.get("backwalk/joined")):
            store.set(f"backwalk/found/{rank}", joined)
            if store.check(["backwalk/agreed"]) and own.encode() in (agreed := store.get("backwalk/agreed")):
                return str(agreed.decode())
        time.sleep(_BETWEEN_READS)
    raise RuntimeError("some workers did not start")


class _OfTorch:
    def __init__(self, distributed: Any, group: Any, orders: Any) -> None:
        self._distributed, self._group, self._orders = distributed, group, orders
        self.rank, self.size = distributed.get_rank(), distributed.get_world_size()
        self._given = deque[Any]()
        self._next: tuple[Any, Tensor] | None = None

    def gathered(self, tensor: Tensor, among: range) -> list[Tensor]:
        if len(among) == 1:
            return [tensor]
        tensor = tensor.contiguous()
        of_all = [tensor if worker == self.rank else torch.empty_like(tensor) for worker in among]
        operation, group = self._distributed.P2POp, self._group
        others = [(worker, theirs) for worker, theirs in zip(among, of_all, strict=True) if worker != self.rank]
        todo = [operation(self._distributed.isend, tensor, worker, group) for worker, _ in others]
        todo += [operation(self._distributed.irecv, theirs, worker, group) for worker, theirs in others]
        with _others_there():
            for work in self._distributed.batch_isend_irecv(todo):
                work.wait()
        return of_all

    def send(self, tensor: Tensor, source: int = 0) -> None:
        with _others_there():
            self._distributed.broadcast(tensor, source, group=self._group)

    def order(self, numbers: tuple[float, ...]) -> None:
        with _others_there():
            self._given.append(self._broadcast(torch.tensor(numbers, dtype=torch.float64))[0])
            ahead = _ORDERS_AHEAD if numbers[0] else 0
            while self._given and (len(self._given) > ahead or self._given[0].is_completed()):
                self._given.popleft().wait()

    def next_order(self) -> tuple[float, ...]:
        with _others_there():
            work, numbers = self._next or self._broadcast(torch.empty(3, dtype=torch.float64))
            work.wait()
            order = tuple(numbers.tolist())
            # Asked for before this order is followed, so that the next one arrives meanwhile.
            self._next = self._broadcast(torch.empty(3, dtype=torch.float64)) if order[0] else None
        return order

    def _broadcast(self, numbers: Tensor) -> tuple[Any, Tensor]:
        return self._distributed.broadcast(numbers, 0, group=self._orders, async_op=True), numbers


@contextmanager
def _others_there() -> Iterator[None]:
    try:
        yield
    except RuntimeError as error:  # of gloo and NCCL: a connection was closed, or timed out
        raise WorkerLost("Another worker was lost, or did not answer in time.") from error


def sent_bytes(workers: Workers, content: bytes) -> bytes:
    """Return the bytes that worker 0 gives."""
    size = torch.tensor([len(content)])
    workers.send(size)
    numbers = torch.tensor(bytearray(content) if workers.rank == 0 else bytearray(int(size)), dtype=torch.uint8)
    workers.send(numbers)
    return bytes(numbers.numpy())


def told(workers: Workers, value: Any) -> Any:
    """Return the JSON value that worker 0 gives."""
    return value if workers.size == 1 else json.loads(sent_bytes(workers, json.dumps(value).encode()))


def check_equal(workers: Workers, values: Mapping[str, str], rule: str, remedy: str) -> None:
    """Raise InvalidInput on all workers, naming entries, unless all have the same values under the same names."""
    digests = b"".join(hashlib.sha256(value.encode()).digest() for value in values.values())
    numbers = torch.frombuffer(bytearray(digests), dtype=torch.uint8)
    of_all = np.stack([each.numpy() for each in workers.gathered(numbers, range(workers.size))])
    differ = (of_all != of_all[0]).reshape(workers.size, len(values), -1).any(axis=(0, 2))
    if differ.any():
        others = [worker for worker in range(workers.size) if (of_all[worker] != of_all[0]).any()]
        names = " and ".join(name for name, differs in zip(values, differ, strict=True) if differs)
        raise InvalidInput(f"{rule}, but worker {others[0]} and worker 0 differ in: {names}. {remedy}")
