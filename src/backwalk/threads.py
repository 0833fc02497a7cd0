"""Parallelism by pieces: work is cut into pieces by sizes alone, and each piece runs on a single thread.

torch by default spreads every operation over all threads. Then the bits of a sum depend on the number of threads, and
threads wait for each other after each operation, which is slow for small networks on a busy machine. Besides, for a
process that is forked after OpenMP's threads began in it, an operation of torch waits for ever.

torch has a setting of the number of threads for each thread, and one for new threads; to change the former also changes
the latter. A block that changes it is never open while a generator waits for its caller, so that blocks of a thread are
nested and each restores what it found.
"""

from __future__ import annotations

import ctypes
import os
import sys
import threading
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from functools import cache
from typing import Protocol, TypeVar, cast

import torch

_Piece = TypeVar("_Piece")
_Result = TypeVar("_Result")

_OUTERMOST = threading.local()  # `n_threads` of this thread before its outermost block
_M_TRIM_THRESHOLD, _M_MMAP_THRESHOLD = -1, -3  # of glibc's malloc.h
_KEPT_BYTES = 2**28
_LARGEST_KEPT_BLOCK = 2**25  # older versions of glibc refuse more


class Map(Protocol):
    """Like the built-in `map` with one iterable: results in order."""

    def __call__(self, function: Callable[[_Piece], _Result], pieces: Iterable[_Piece], /) -> Iterator[_Result]:
        """Return function(piece) for every piece."""
        ...


@contextmanager
def single_threads(parallel: bool = True) -> Iterator[Map]:
    """Set this thread's torch to one thread, and yield a `map` that runs pieces on as many threads as it had before.

    Each piece runs on one thread. Within another such block the map has the threads that there were before the outer
    one. With `parallel` False, as for a GPU, nothing changes and the map is the built-in one.
    """
    setting, before_outer = torch.get_num_threads(), getattr(_OUTERMOST, "n_threads", 1)
    n_threads = max(setting, before_outer) if parallel else 1
    keep_freed_memory()
    if n_threads == 1:
        yield map
        return
    _OUTERMOST.n_threads = n_threads
    torch.set_num_threads(1)
    try:
        yield _pool(n_threads).map
    finally:
        torch.set_num_threads(setting)
        _OUTERMOST.n_threads = before_outer


def over_threads(
    function: Callable[[_Piece], _Result], pieces: Iterable[_Piece], parallel: bool = True
) -> Iterator[_Result]:
    """Yield function(piece) for every piece, in order; the caller has its own setting while it works on a result."""
    with single_threads(parallel) as parallel_map:
        results = parallel_map(function, pieces)
    end = object()
    while True:
        with single_threads(parallel):  # the built-in map computes here
            result = next(results, end)
        if result is end:
            return
        yield cast("_Result", result)


on_one_thread = single_threads()
"""A decorator of functions whose torch operations run on one thread.

Computations in the caller's thread have it, as log, exp or sqrt of a few hundred numbers would otherwise start OpenMP's
threads.
"""


@cache
def keep_freed_memory() -> bool:
    """Let glibc keep up to 256 MiB of freed memory; return whether the allocator accepts the settings.

    A step of training or sampling allocates and frees the same few megabytes of activations each time. By default glibc
    returns such blocks to the system and takes fresh, zeroed pages for the next step, which on small networks is a
    third of a step's time (docs/maintainers/architecture.md). On other systems nothing changes.
    """
    if not sys.platform.startswith("linux"):
        return False
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None)
    # The block size is set first: setting the other value stops glibc's own adjustment of it while it is small.
    return (
        mallopt is not None
        and mallopt(_M_MMAP_THRESHOLD, _LARGEST_KEPT_BLOCK) == 1
        and mallopt(_M_TRIM_THRESHOLD, _KEPT_BYTES) == 1
    )


@cache
def _pool(n_threads: int) -> ThreadPoolExecutor:
    return ThreadPoolExecutor(n_threads, thread_name_prefix="backwalk", initializer=_use_one_thread)


def _use_one_thread() -> None:
    """Set this thread's torch to one thread.

    At its first use in a thread torch replaces the thread's setting by that of new threads. Reading the setting first
    makes this happen before it is set here.
    """
    if torch.get_num_threads() > 1:
        torch.set_num_threads(1)


if hasattr(os, "register_at_fork"):  # a forked process has none of the pools' threads
    os.register_at_fork(after_in_child=_pool.cache_clear)
