"""Levels of encoded rows: drawn one after another, and their exact probabilities.

The denoiser gives P(l_j | known) of a column of levels in one evaluation with everything else absent. Drawing takes one
column after the other, in the codec's order, so that rows follow exactly the distribution whose logarithm is

    ln P(levels | known) = sum_j ln P(l_j | known, l_1..l_{j-1}).

Source: Hoogeboom et al. 2022 (any-order autoregressive diffusion).
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol, cast

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from backwalk.denoiser import TableDenoiser
from backwalk.diffusion import Denoiser, LevelsDenoiser, log_snr_by_coordinate
from backwalk.errors import SamplingDiverged
from backwalk.model.diffusion_model import DiffusionModel
from backwalk.model.rows import EncodedRows, map_tiles
from backwalk.sampling import RowNoise
from backwalk.table import Block, Codec

_LEVELS_AT_ONCE = 2**22  # whose probabilities are computed together: 32 MiB in float64


def draw_levels(
    denoiser: Denoiser,
    codec: Codec,
    rows: Tensor,
    known: Tensor,
    *,
    noise: RowNoise,
    asked: Tensor | None = None,
) -> tuple[Tensor, Tensor]:
    """Return encoded rows, (n, k), with all levels drawn that are not known, and the new `known`, (n, k).

    `noise` has the draws of these rows. Of the levels only those `asked` for, (n, k), are drawn, by default all.
    """
    rows, known, blocks = rows.clone(), known.clone(), codec.blocks
    if not blocks:
        return rows, known
    state = levels_given(denoiser, codec, rows, known)
    for i, block in enumerate(blocks):
        unknown = ~known[:, block.coordinates.start]
        if asked is not None:
            unknown &= asked[:, block.coordinates.start]
        if not bool(unknown.any()):
            continue
        u = noise.uniform("level", i).to(rows.device)
        drawn = torch.empty(len(rows), dtype=torch.long, device=rows.device)
        for piece in _pieces(len(rows), block):
            p = _refuse_nan(state.level_log_probs(i, piece)).double().softmax(dim=1)
            drawn[piece] = (p.cumsum(dim=1) < u[piece]).sum(dim=1).clamp(max=block.n_levels - 1)
        state.give(i, drawn, unknown)
        codes = torch.as_tensor(block.codes, device=rows.device).to(rows)[drawn]
        rows[:, block.coordinates] = torch.where(unknown[:, None], codes, rows[:, block.coordinates])
        known[:, block.coordinates] |= unknown[:, None]
    return rows, known


def score_levels(
    denoiser: Denoiser,
    codec: Codec,
    rows: Tensor,
    known: Tensor,
    scored: Tensor,
    order: Sequence[int] | None = None,
) -> Tensor:
    """Return ln P of the levels that are `scored`, given the coordinates that are `known`: (n, n_blocks), nats.

    rows, known and scored are (n, k); entry j is that of block j, 0 where it is not scored. Blocks are taken in the
    given order, by default the codec's; those neither known nor scored are absent.
    """
    blocks = codec.blocks
    log_probs = rows.new_zeros(len(rows), len(blocks), dtype=torch.float64)
    state = levels_given(denoiser, codec, rows, known)
    for i in range(len(blocks)) if order is None else order:
        asked = scored[:, blocks[i].coordinates.start]
        if not bool(asked.any()):
            continue
        level = level_of(blocks[i], rows)
        for piece in _pieces(len(rows), blocks[i]):
            log_p = state.level_log_probs(i, piece).gather(1, level[piece, None])[:, 0].double()
            log_probs[piece, i] = torch.where(asked[piece], log_p, 0.0)
        state.give(i, level, asked)
    return log_probs.cpu()


def level_of(block: Block, rows: Tensor) -> Tensor:
    """Return the level of the nearest code in encoded rows, (n, k): (n,)."""
    x = rows[:, block.coordinates].nan_to_num()
    codes = torch.as_tensor(block.codes, device=x.device).to(x)
    if codes.shape[1] == 1:
        return (x - codes[:, 0]).abs().argmin(dim=1)
    return (x @ codes.T - 0.5 * codes.square().sum(dim=1)).argmax(dim=1)


def level_log_probs(denoiser: Denoiser, codec: Codec, rows: Tensor, known: Tensor, block: int) -> Tensor:
    """Return ln P(level | known) of a block, (n, L), for encoded rows, (n, k): all that is not known is absent."""
    state, pieces = levels_given(denoiser, codec, rows, known), _pieces(len(rows), codec.blocks[block])
    return torch.cat([_refuse_nan(state.level_log_probs(block, piece)) for piece in pieces])


def probabilities_of_levels(model: DiffusionModel, given: EncodedRows, block: int) -> NDArray[np.float64]:
    """Return P(level | given) of a block's levels, (n, L), in one evaluation."""
    denoiser, codec = model.denoiser, model.codec

    def tile(rows: Tensor, known: Tensor) -> Tensor:
        return level_log_probs(denoiser, codec, rows, known, block).double().softmax(dim=1)

    return map_tiles(tile, given.rows, given.known, width=codec.blocks[block].n_levels).numpy()


def _refuse_nan(log_p: Tensor) -> Tensor:
    """Return log-probabilities, (n, L), as they are. Raises SamplingDiverged where one is NaN: a draw would hide it."""
    if bool(log_p.isnan().any()):
        raise SamplingDiverged(
            "Probabilities of levels should be numbers, but some are not: fit again with a `training` of lower "
            "learning_rate."
        )
    return log_p


class LevelsGiven(Protocol):
    """Rows of which some parts are given and all others are absent, until their levels are given one after another."""

    def level_log_probs(self, block: int, piece: slice = ..., /) -> Tensor:
        """Return ln P(level | given) of a block's levels, (n, L), in a piece of the rows; it should be absent."""
        ...

    def give(self, block: int, level: Tensor, rows: Tensor, /) -> None:
        """Give the levels of a block, (n,), in some of the rows, (n,) boolean, in which they were absent."""
        ...


def levels_given(denoiser: Denoiser, codec: Codec, rows: Tensor, known: Tensor) -> LevelsGiven:
    """Return encoded rows, (n, k), with the `known` coordinates given and all others absent.

    A known number that is NaN does not apply: its level is known, and an atom. Levels that the codec's rules exclude,
    by a known level of another column, have the probability 0.
    """
    rows = rows.nan_to_num()
    state: LevelsGiven
    if isinstance(denoiser, TableDenoiser):
        state = denoiser.given_levels(rows, known)
    else:
        of_levels = cast("LevelsDenoiser", denoiser)
        state = _ByDenoiser(of_levels, codec.blocks, rows.masked_fill(~known, 0.0), known.clone())
    return _Allowed.of(state, codec, rows, known) if codec.allowed_levels else state


@dataclass(eq=False)
class _Allowed:
    """Given levels of which some exclude levels of other columns.

    `allowed` are those of `Codec.allowed_levels`, and `levels`, (n, B), the levels that are given, -1 where none is.
    """

    state: LevelsGiven
    allowed: Mapping[int, Mapping[int, Tensor]]
    levels: Tensor

    @classmethod
    def of(cls, state: LevelsGiven, codec: Codec, rows: Tensor, known: Tensor) -> _Allowed:
        """Return the levels given of encoded rows, (n, k), of which some coordinates are known."""
        allowed = {
            i: {j: torch.from_numpy(mask).to(rows.device) for j, mask in others.items()}
            for i, others in codec.allowed_levels.items()
        }
        levels = torch.full((len(rows), len(codec.blocks)), -1, device=rows.device)
        for i in allowed:
            block = codec.blocks[i]
            levels[:, i] = level_of(block, rows).where(known[:, block.coordinates.start], -1)
        return cls(state, allowed, levels)

    def level_log_probs(self, block: int, piece: slice = slice(None)) -> Tensor:
        log_p = self.state.level_log_probs(block, piece)
        if block not in self.allowed:
            return log_p
        may_be = torch.ones_like(log_p, dtype=torch.bool)
        for other, pairs in self.allowed[block].items():
            level = self.levels[piece, other]
            may_be &= pairs.T[level.clamp(min=0)] | (level < 0)[:, None]
        may_be |= ~may_be.any(dim=1, keepdim=True)  # of rows whose given levels exclude each other
        return log_p.masked_fill(~may_be, -math.inf).log_softmax(dim=1)

    def give(self, block: int, level: Tensor, rows: Tensor) -> None:
        self.state.give(block, level, rows)
        self.levels[:, block] = torch.where(rows, level, self.levels[:, block])


@dataclass(eq=False)
class _ByDenoiser:
    """Given levels of any denoiser, which evaluates whole rows."""

    denoiser: LevelsDenoiser
    blocks: Sequence[Block]
    rows: Tensor
    known: Tensor

    def level_log_probs(self, block: int, piece: slice = slice(None)) -> Tensor:
        log_snr = log_snr_by_coordinate(torch.tensor(-math.inf).to(self.rows), self.known[piece])
        return self.denoiser.level_log_probs(self.rows[piece], log_snr, block)

    def give(self, block: int, level: Tensor, rows: Tensor) -> None:
        place = self.blocks[block].coordinates
        codes = torch.as_tensor(self.blocks[block].codes, device=self.rows.device).to(self.rows)[level]
        self.rows[:, place] = torch.where(rows[:, None], codes, self.rows[:, place])
        self.known[:, place] |= rows[:, None]


def _pieces(n: int, block: Block) -> list[slice]:
    """Return pieces of n rows whose probabilities of a block's levels fit in little memory."""
    most = 1 << (max(_LEVELS_AT_ONCE // block.n_levels, 1).bit_length() - 1)
    return [slice(first, min(first + most, n)) for first in range(0, n, most)]
