"""Parallelism by pieces: work is cut into pieces by sizes alone, and each piece runs on a single thread.

torch by default spreads every operation over all threads. Then the bits of a sum depend on the number of threads, and
threads wait for each other after each operation, which is slow for small networks on a busy machine.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from functools import cache, partial, wraps
from threading import Lock, RLock, local
from typing import Any, Protocol, TypeVar, cast

import torch

from backwalk.memory import keep_freed_memory

_Piece = TypeVar("_Piece")
_Result = TypeVar("_Result")
_Function = TypeVar("_Function", bound=Callable[..., Any])


class Map(Protocol):
    """Like the built-in `map` with one iterable: results in order."""

    def __call__(self, function: Callable[[_Piece], _Result], pieces: Iterable[_Piece], /) -> Iterator[_Result]:
        """Return function(piece) for every piece."""
        ...


@contextmanager
def single_threads(parallel_map: bool = True) -> Iterator[Map]:
    """Yield a `map` that runs pieces in parallel, each on one thread, on as many threads as torch is set to use.

    Without `parallel_map`, as for a GPU, it is the built-in `map`. torch's setting is restored at the end.
    """
    if not parallel_map:
        yield map
        return
    n_threads = _OPEN_BLOCKS.enter()
    try:
        if n_threads == 1:
            yield map
        else:
            with ThreadPoolExecutor(n_threads - 1, initializer=_OPEN_BLOCKS.work_for_another) as pool:
                yield partial(_taking_part, pool)
    finally:
        _OPEN_BLOCKS.leave()


@contextmanager
def callers_own_threads() -> Iterator[None]:
    """Restore this thread's setting for the length of a block within one of `single_threads`.

    A generator uses it while the caller works on what it has yielded.
    """
    _OPEN_BLOCKS.leave()
    try:
        yield
    finally:
        _OPEN_BLOCKS.enter()


def on_one_thread(function: _Function) -> _Function:
    """Return a function whose torch operations run on one thread.

    Computations in the caller's thread use it, as log, exp or sqrt of a few hundred numbers would otherwise start
    OpenMP's threads, for which a process that is forked afterwards waits for ever.
    """

    @wraps(function)
    def alone(*arguments: Any, **named: Any) -> Any:
        _OPEN_BLOCKS.enter()
        try:
            return function(*arguments, **named)
        finally:
            _OPEN_BLOCKS.leave()

    return cast("_Function", alone)


def _use_one_thread() -> None:
    """Set this thread's torch to one thread.

    At its first use in a thread torch replaces the thread's setting by that of new threads. Reading the setting first
    makes this happen before it is set here.
    """
    if torch.get_num_threads() > 1:
        torch.set_num_threads(1)


def _taking_part(
    pool: ThreadPoolExecutor, function: Callable[[_Piece], _Result], pieces: Iterable[_Piece]
) -> Iterator[_Result]:
    """Yield function(piece) for every piece, in order. The calling thread computes pieces too, instead of waiting.

    Waking a sleeping thread would take as long as computing a small piece.
    """
    todo = list(pieces)
    futures = [pool.submit(function, piece) for piece in todo[1:]]
    own: dict[int, _Result] = {}

    def take_part_until(i: int) -> None:
        for last in range(len(futures) - 1, i - 1, -1):
            if futures[i].done():
                return
            if last not in own and futures[last].cancel():
                own[last] = function(todo[last + 1])

    try:
        yield from map(function, todo[:1])
        for i, future in enumerate(futures):
            take_part_until(i)
            yield own.pop(i) if i in own else future.result()
    finally:  # a caller that stops early needs no more results
        for future in futures:
            future.cancel()


class _OpenBlocks:
    """Counts open blocks: a thread's first block saves torch's setting in that thread, its last restores it.

    torch has a setting for each thread and one for new threads; to change the former also changes the latter. A
    thread's setting is restored when it has no open block left, even if other threads have some. A thread that first
    uses torch while another has a block open finds a setting of one thread; the first block in it takes over the
    other's setting. Generators hold blocks open, and may end in any order and on another thread than they began on.
    """

    def __init__(self) -> None:
        # Re-entrant: any allocation may run the garbage collector, which may close a generator that leaves its block.
        self._lock, self._count, self._to_come, self._round = RLock(), 0, 1, 0
        self._own = local()

    def enter(self) -> int:
        """Set this thread's torch to one thread, and return how many there were before its first block."""
        keep_freed_memory()
        with self._lock:
            own, here, is_first = self._own, self._open_here(), self._count == 0
            if not getattr(own, "is_ours", False):  # else a block that began here was left on another thread
                own.setting = torch.get_num_threads()
                if own.setting == 1 and not is_first and not getattr(own, "works_for_another", False):
                    own.setting = self._to_come
            own.is_ours = own.setting > 1
            if is_first:
                self._round += 1
                self._to_come = own.setting
            self._count += 1
            own.open, own.round = here + 1, self._round
            _use_one_thread()
            return int(own.setting)

    def work_for_another(self) -> None:
        """Set torch to one thread for the whole life of this thread, which computes pieces of another's block."""
        self._own.works_for_another = True
        _use_one_thread()

    def leave(self) -> None:
        """Restore this thread's setting if it has no open block left, or if no thread has."""
        with self._lock:
            self._count -= 1
            own = self._own
            own.open = max(self._open_here() - 1, 0)
            if getattr(own, "is_ours", False) and (own.open == 0 or self._count == 0):
                torch.set_num_threads(own.setting)
                own.is_ours = False

    def _open_here(self) -> int:
        """Return how many blocks this thread has open."""
        of_this_round = getattr(self._own, "round", None) == self._round
        return int(self._own.open) if of_this_round and self._count else 0


_OPEN_BLOCKS = _OpenBlocks()


def scripted(function: _Function, device: torch.device) -> _Function:
    """Compile a function of tensors by TorchScript, so that it runs without Python's global lock.

    Threads that call short operations from Python wait for the lock longer than the operations take
    (docs/architecture.md, 17). The function is returned as it is for devices other than the CPU, which one thread
    serves, and where torch has no TorchScript, which is deprecated: results are the same.
    """
    if device.type != "cpu":
        return function
    with _SCRIPTING:  # TorchScript compiles in one thread at a time
        return cast("_Function", _scripted(function))


_SCRIPTING = Lock()


@cache
def _scripted(function: _Function) -> _Function:
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # the deprecation, whatever category a version gives it
            compiled = torch.jit.script(function)
            optimized_execution = torch.jit.optimized_execution  # type: ignore[attr-defined]
    except (AttributeError, NotImplementedError, RuntimeError):
        return function

    @wraps(function)
    def released(*arguments: Any) -> Any:
        # TorchScript's optimiser makes the passes no faster, and delays the first calls.
        with optimized_execution(False):
            return compiled(*arguments)

    return cast("_Function", released)
