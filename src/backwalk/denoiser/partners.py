"""Partners: blocks of levels whose known level tells much of the level of another, by the numbers of their pairs."""

from __future__ import annotations

import math
from collections.abc import Sequence
from itertools import permutations
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from backwalk.table import Block

_MOST_LEVELS, _MOST_PAIRS = 1024, 2**18  # of a block, and of levels of two blocks
_MOST_BLOCKS = 128  # those of most levels are looked at
_ROWS_AT_ONCE = 8_192
_LEAST_GAIN, _MOST_OF_OWN = 0.05, 1.1  # nats a row, and times as many in rows that count for themselves


class Partner(NamedTuple):
    """A block whose known level l' tells of the level l of another.

    `of` and `known` are the numbers of the absent and of the known block, in the codec's order. `log_ratios`, (L', L),
    are ln P(l | l') / pi_l, and `factor` is that of the discriminant beside them.
    """

    of: int
    known: int
    log_ratios: NDArray[np.float64]
    factor: float = 0.0

    @classmethod
    def blank(cls, blocks: Sequence[Block], of: int, known: int) -> Partner:
        """Return one that tells nothing, in whose place saved ones are loaded."""
        return cls(of, known, np.zeros((blocks[known].n_levels, blocks[of].n_levels)))


def levels_of_rows(blocks: Sequence[Block], z: NDArray[np.float64]) -> NDArray[np.intp]:
    """Return the place of each block's level in encoded rows z, (n, k): (n, B).

    It is -1 where it is missing, and in blocks of more than 1,024 levels, which have no partners.
    """
    levels = np.full((len(z), len(blocks)), -1)
    for i, block in enumerate(blocks):
        if block.n_levels <= _MOST_LEVELS:
            for first in range(0, len(z), _ROWS_AT_ONCE):
                piece = z[first : first + _ROWS_AT_ONCE]
                seen = ~np.isnan(piece[:, block.coordinates.start])
                levels[first : first + _ROWS_AT_ONCE][seen, i] = block.nearest_level(piece[seen])
    return levels


def may_be_partners(blocks: Sequence[Block], of: int, known: int) -> bool:
    """Return whether two blocks are different and have so few levels that one can be the partner of the other."""
    if of == known or max(of, known) >= len(blocks):
        return False
    n_levels = [blocks[i].n_levels for i in (of, known)]
    return max(n_levels) <= _MOST_LEVELS and math.prod(n_levels) <= _MOST_PAIRS


def find_partners(blocks: Sequence[Block], levels: NDArray[np.intp]) -> dict[int, int]:
    """Return the block that tells most of each block alone, from rows of `levels`, (n, B); there may be none.

    It raises the mean of ln P(l), each row left out of the counts, by at least 0.05 nats, and by at most 1.1 times
    as much where it counts for itself. The network is trained on the rows that were counted: of levels with few
    rows each it would learn to believe what it cannot know of new ones.
    """
    narrow = [i for i, block in enumerate(blocks) if block.n_levels <= _MOST_LEVELS]
    narrow = sorted(sorted(narrow, key=lambda i: -blocks[i].n_levels)[:_MOST_BLOCKS])
    best: dict[int, tuple[float, int]] = {}
    for of, known in permutations(narrow, 2):
        if may_be_partners(blocks, of, known):
            left_out, of_all = _gains(count_pairs(blocks, levels, of, known))
            is_sound = left_out >= _LEAST_GAIN and of_all <= _MOST_OF_OWN * left_out
            if is_sound and (of not in best or left_out > best[of][0]):
                best[of] = (left_out, known)
    return {of: known for of, (_, known) in best.items()}


def _gains(n: NDArray[np.float64]) -> tuple[float, float]:
    """Return the mean of ln P(l | l') / pi_l over the rows with n pairs, (L', L), each left out of n, and in it."""
    known, of = n.nonzero()
    n_pair, pi, n_known = n[known, of], n.sum(axis=0)[of] / max(n.sum(), 1.0), n.sum(axis=1)[known]
    left_out = np.log((n_pair - 1.0 + pi) / (n_known * pi))
    of_all = np.log((n_pair + pi) / ((n_known + 1.0) * pi))
    n_rows = max(n_pair.sum(), 1.0)
    return float(n_pair @ left_out / n_rows), float(n_pair @ of_all / n_rows)


def log_ratios_of(n: NDArray[np.float64], frequencies: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return ln P(l | l') / pi_l, (L', L), for pairs in n rows and levels of these frequencies, (L,)."""
    return np.asarray(np.log((n + frequencies) / (n.sum(axis=1, keepdims=True) + 1.0) / frequencies))


def count_pairs(
    blocks: Sequence[Block],
    levels: NDArray[np.intp],
    of: int,
    known: int,
    weights: NDArray[np.float64] | None = None,
) -> NDArray[np.float64]:
    """Return the numbers of rows, or their weights, with each pair of levels: (L', L)."""
    seen = (levels[:, of] >= 0) & (levels[:, known] >= 0)
    shape = blocks[known].n_levels, blocks[of].n_levels
    codes = levels[seen, known] * shape[1] + levels[seen, of]
    counts = np.bincount(codes, None if weights is None else weights[seen], math.prod(shape))
    return counts.reshape(shape).astype(float)
