"""Levels of encoded rows: drawn one after another, and their exact probabilities.

Each column of levels has P(l_j | what is known), which the denoiser gives in one evaluation with everything else
absent. Drawing takes one column after the other, in the codec's order, so that rows follow exactly the distribution
whose logarithm is

    ln P(levels | known) = sum_j ln P(l_j | known, l_1..l_{j-1}).

Source: Hoogeboom et al. 2022 (any-order autoregressive diffusion).
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import cast

import torch
from torch import Tensor

from backwalk.diffusion import Denoiser, LevelsDenoiser
from backwalk.streams import Stream
from backwalk.table import Block


def draw_levels(
    denoiser: Denoiser,
    blocks: Sequence[Block],
    rows: Tensor,
    known: Tensor,
    *,
    first_row: int,
    stream: Stream,
) -> tuple[Tensor, Tensor]:
    """Return encoded rows, (n, k), with all levels drawn that are not known, and the new `known`, (n, k).

    Row i takes the draws of row `first_row` + i of the stream.
    """
    rows, known = rows.clone(), known.clone()
    for i, block in enumerate(blocks):
        unknown = ~known[:, block.coordinates.start]
        if not bool(unknown.any()):
            continue
        p = level_log_probs(denoiser, rows, known, i).double().softmax(dim=1)
        u = stream.child("level", i).uniform(first_row, first_row + len(rows), 1).to(p.device)
        drawn = (p.cumsum(dim=1) < u).sum(dim=1).clamp(max=block.n_levels - 1)
        codes = torch.as_tensor(block.codes, device=rows.device).to(rows)[drawn]
        rows[:, block.coordinates] = torch.where(unknown[:, None], codes, rows[:, block.coordinates])
        known[:, block.coordinates] = True
    return rows, known


def levels_log_prob(
    denoiser: Denoiser,
    blocks: Sequence[Block],
    rows: Tensor,
    known: Tensor,
    scored: Tensor,
    order: Sequence[int] | None = None,
) -> Tensor:
    """Return ln P of the levels that are `scored`, given the coordinates that are `known`: (n, n_blocks), nats.

    rows, known and scored are (n, k); entry j is that of block j, 0 where it is not scored. Blocks are taken in the
    given order, by default the codec's; those neither known nor scored are absent.
    """
    found, known = rows.new_zeros(len(rows), len(blocks), dtype=torch.float64), known.clone()
    for i in range(len(blocks)) if order is None else order:
        asked = scored[:, blocks[i].coordinates.start]
        if not bool(asked.any()):
            continue
        log_p = level_log_probs(denoiser, rows, known, i).double()
        level = level_of(blocks[i], rows)
        found[:, i] = torch.where(asked, log_p.gather(1, level[:, None])[:, 0], 0.0)
        known[:, blocks[i].coordinates] |= asked[:, None]
    return found.cpu()


def level_of(block: Block, rows: Tensor) -> Tensor:
    """Return the level of the nearest code in encoded rows, (n, k): (n,)."""
    x = rows[:, block.coordinates].nan_to_num()
    codes = torch.as_tensor(block.codes, device=x.device).to(x)
    if codes.shape[1] == 1:
        return (x - codes[:, 0]).abs().argmin(dim=1)
    return (x @ codes.T - 0.5 * codes.square().sum(dim=1)).argmax(dim=1)


def level_log_probs(denoiser: Denoiser, rows: Tensor, known: Tensor, block: int) -> Tensor:
    """Return ln P(level | known) of a block, (n, L), for encoded rows, (n, k): all that is not known is absent."""
    levels = torch.where(known, math.inf, -math.inf).to(rows)
    return cast("LevelsDenoiser", denoiser).level_log_probs(rows.nan_to_num().masked_fill(~known, 0.0), levels, block)
