"""One kind of parallelism: pieces of a fixed size, each on a single thread, several side by side.

Letting every tensor operation spread over all threads has two faults for small networks. The bits of a sum depend on
the number of threads; and the threads wait for each other, spinning, after each operation, which on a machine that
other programs use as well can take a hundred times as long as the work itself (measured).
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from typing import Protocol, TypeVar

import torch

_Piece = TypeVar("_Piece")
_Result = TypeVar("_Result")


class Map(Protocol):
    """Like the built-in `map` with one iterable: results in order."""

    def __call__(self, function: Callable[[_Piece], _Result], pieces: Iterable[_Piece], /) -> Iterator[_Result]:
        """Return function(piece) for every piece."""
        ...


@contextmanager
def single_threads(side_by_side: bool = True) -> Iterator[Map]:
    """Give a `map` that runs pieces side by side, on as many threads as torch is set to use, each operation on one.

    Without `side_by_side`, as for a GPU, it is the plain `map`. torch's own setting is put back at the end.
    """
    n_threads = torch.get_num_threads()
    if not side_by_side:
        yield map
        return
    try:
        torch.set_num_threads(1)
        if n_threads == 1:
            yield map
        else:
            with ThreadPoolExecutor(n_threads, initializer=torch.set_num_threads, initargs=(1,)) as pool:
                yield pool.map
    finally:
        torch.set_num_threads(n_threads)
