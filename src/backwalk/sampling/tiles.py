"""Fixed tiles of rows: the unit in which networks are evaluated.

The bits of a matrix product depend on its shape, and so would a sample's on the batch that it was drawn in. Rows are
therefore always computed in tiles of `TILE_ROWS`, aligned to the absolute row number, each on one thread; several tiles
run side by side. A tile also fits in the cache, which a million rows do not.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor

import torch
from torch import Tensor

TILE_ROWS = 1024


def over_tiles(function: Callable[[int, int], Tensor], start: int, stop: int) -> Iterator[Tensor]:
    """Yield the results of function(tile_start, tile_stop) for rows start..stop-1, in order, cut to those rows.

    `function` is called for whole tiles, which may reach beyond the rows asked for, and returns TILE_ROWS rows. Memory
    is bounded: results wait for the caller only a few tiles ahead.
    """
    firsts = range(start - start % TILE_ROWS, stop, TILE_ROWS)
    workers = min(torch.get_num_threads(), len(firsts))

    def compute(first: int) -> Tensor:
        with torch.no_grad():
            rows = function(first, first + TILE_ROWS)
        return rows[max(start - first, 0) : min(stop - first, TILE_ROWS)]

    threads_before = torch.get_num_threads()
    try:
        with ThreadPoolExecutor(max(workers, 1), initializer=torch.set_num_threads, initargs=(1,)) as pool:
            ahead = [pool.submit(compute, first) for first in firsts[: 2 * workers]]
            for position in range(len(firsts)):
                result = ahead.pop(0).result()
                following = position + 2 * workers
                if following < len(firsts):
                    ahead.append(pool.submit(compute, firsts[following]))
                yield result
    finally:
        torch.set_num_threads(threads_before)


def padded_tile(rows: Tensor) -> Tensor:
    """Return the rows, at most TILE_ROWS of them, filled up to a whole tile with copies of the first one."""
    return torch.cat([rows, rows[:1].expand(TILE_ROWS - len(rows), -1)]) if len(rows) < TILE_ROWS else rows
