"""Fixed tiles of rows: the unit in which networks are evaluated.

The bits of a matrix product depend on its shape, so a sample's bits would depend on the batch size. Rows are therefore
computed in tiles of a fixed size, `TILE_ROWS` by default, aligned to the absolute row number, each on one thread, with
several tiles in parallel. A tile also fits in the cache.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import nullcontext

import torch
from torch import Tensor

from backwalk.threads import callers_own_threads, single_threads

TILE_ROWS = 2048
TILES_AHEAD = 64  # tiles computed ahead of the caller, at most, which bounds memory
_NUMBERS_AHEAD = 2**25  # numbers in these tiles, at most


def over_tiles(
    function: Callable[[int, int], Tensor],
    start: int,
    stop: int,
    tile_rows: int = TILE_ROWS,
    *,
    n_columns: int,
    device: torch.device,
) -> Iterator[Tensor]:
    """Yield the results of function(tile_start, tile_stop) for rows start..stop-1, in order, cut to those rows.

    `function` is called for whole tiles, which may include rows outside start..stop-1, and returns `tile_rows` rows of
    `n_columns` numbers. Memory is bounded: at most `TILES_AHEAD` results, fewer of wide rows, wait for the caller. On
    other devices than a CPU tiles are computed one after the other in the caller's thread.
    """
    ahead = max(torch.get_num_threads(), min(TILES_AHEAD, _NUMBERS_AHEAD // (tile_rows * n_columns)))

    def compute(first: int) -> Tensor:
        with torch.no_grad():
            rows = function(first, first + tile_rows)
        return rows[max(start - first, 0) : min(stop - first, tile_rows)]

    is_cpu = device.type == "cpu"
    with single_threads(is_cpu) as parallel_map:
        for group in range(start - start % tile_rows, stop, ahead * tile_rows):
            firsts = range(group, min(group + ahead * tile_rows, stop), tile_rows)
            for rows in parallel_map(compute, firsts):
                with callers_own_threads() if is_cpu else nullcontext():
                    yield rows


def padded_tile(rows: Tensor, tile_rows: int) -> Tensor:
    """Return at most `tile_rows` rows padded to a whole tile with copies of the first one."""
    return torch.cat([rows, rows[:1].expand(tile_rows - len(rows), -1)]) if len(rows) < tile_rows else rows
