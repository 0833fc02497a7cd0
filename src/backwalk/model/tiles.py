"""Functions of rows that are computed in tiles, whose sizes follow from the number of rows alone."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from backwalk.errors import SamplingDiverged
from backwalk.sampling import TILE_ROWS, over_tiles


def map_tiles(
    function: Callable[[NDArray[np.intp]], Tensor],
    n: int,
    *,
    width: int,
    device: torch.device,
    most_rows: int = TILE_ROWS,
    watch: Callable[[int], object] = lambda _: None,
) -> Tensor:
    """Return function(places) of the rows at places 0..n-1, (n, width), tile by tile, on the CPU.

    Tiles have at most `most_rows` rows, a power of two, on a CPU (`rows_at_once`), and always 2,048 on a GPU. The last
    one is filled up with its first place. `watch` is called with the number of rows of each tile.
    """
    tile_rows = rows_at_once(n, most_rows) if device.type == "cpu" else TILE_ROWS

    def tile(first: int, last: int) -> Tensor:
        places = np.arange(first, first + tile_rows)
        return function(np.where(places < min(last, n), places, first))

    pieces = []
    for piece in over_tiles(tile, 0, n, tile_rows, width=width, device=device):
        pieces.append(piece.cpu())
        watch(len(piece))
    return torch.cat(pieces) if pieces else torch.empty(0, width, dtype=torch.float64)


def rows_at_once(n_rows: int, most_rows: int) -> int:
    """Return the rows of a tile in which a CPU computes `n_rows` rows: 8 at least, and at most `most_rows`.

    More than 64 rows are split into two tiles, for two threads; smaller tiles would take as long. Sizes are powers of
    two, because matrix products compute remainders with other bits.
    """
    whole = 1 << max(n_rows - 1, 0).bit_length()
    return min(max(whole, 8) if n_rows <= 64 else whole // 2, most_rows)


def refuse_nan(scores: Tensor, what: str) -> None:
    """Raise SamplingDiverged if one of the scores `what`, (n,), is NaN."""
    broken = scores.isnan().nonzero().flatten()
    if len(broken):
        raise SamplingDiverged(
            f"{what} should be numbers, but row {int(broken[0])} (rows count from 0) has none: "
            "fit again with a `training` of lower learning_rate."
        )
