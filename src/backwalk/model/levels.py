"""Levels of encoded rows: drawn one after another, and their exact probabilities.

The denoiser gives P(l_j | given) of a column of levels in one evaluation with everything else absent. Drawing takes one
column after the other, in the codec's order, so that rows follow exactly the distribution whose logarithm is

    ln P(levels | given) = sum_j ln P(l_j | given, l_1..l_{j-1}).

Source: Hoogeboom et al. 2022 (any-order autoregressive diffusion).
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Protocol, cast

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from backwalk.denoiser import TableDenoiser
from backwalk.diffusion import LevelsDenoiser, log_snr_by_coordinate
from backwalk.errors import SamplingDiverged
from backwalk.model.tiles import map_tiles, refuse_nan
from backwalk.sampling import RowNoise
from backwalk.table import Block, Codec, LevelRule

if TYPE_CHECKING:
    from backwalk.model.given import Given

_LEVELS_AT_ONCE = 2**22  # whose probabilities are computed together: 32 MiB in float64


def draw_levels(given: Given, noise: RowNoise) -> Given:
    """Return rows with all free levels drawn, and then given; `noise` has the draws of these rows."""
    blocks, rows = given.model.codec.blocks, given.rows.clone()
    if not blocks:
        return given
    state = _levels_state(given)
    for i, block in enumerate(blocks):
        is_free = given.is_free[:, block.coordinates.start]
        if not bool(is_free.any()):
            continue
        u = noise.uniform("level", i).to(rows.device)
        drawn = torch.empty(len(rows), dtype=torch.long, device=rows.device)
        for piece in _pieces(len(rows), block):
            p = _refuse_nan(state.level_log_probs(i, piece)).double().softmax(dim=1)
            drawn[piece] = (p.cumsum(dim=1) < u[piece]).sum(dim=1).clamp(max=block.n_levels - 1)
        state.give(i, drawn, is_free)
        codes = torch.as_tensor(block.codes, device=rows.device).to(rows)[drawn]
        rows[:, block.coordinates] = torch.where(is_free[:, None], codes, rows[:, block.coordinates])
    return replace(given, rows=rows).then_levels()


def log_prob_of_levels(given: Given, order: Sequence[int] | None = None) -> Tensor:
    """Return ln P of the free levels given the given coordinates, (n,), nats, float64.

    `order` is that of the blocks of levels (`Codec.blocks`), by default the codec's; each order gives a normalised
    distribution, but not the same one.
    """

    def tile(places: NDArray[np.intp]) -> Tensor:
        return _score_levels(given.take(places), order).sum(dim=1, keepdim=True)

    log_p = map_tiles(tile, given.n_rows, width=1, device=given.rows.device)[:, 0]
    refuse_nan(log_p, "Log-probabilities")
    return log_p


def probabilities_of_levels(given: Given, block: int) -> NDArray[np.float64]:
    """Return P(level | given) of a block's levels, (n, L), in one evaluation: all that is not given is absent."""
    of_block = given.model.codec.blocks[block]

    def tile(places: NDArray[np.intp]) -> Tensor:
        state, pieces = _levels_state(given.take(places)), _pieces(len(places), of_block)
        log_p = torch.cat([_refuse_nan(state.level_log_probs(block, piece)) for piece in pieces])
        return log_p.double().softmax(dim=1)

    return map_tiles(tile, given.n_rows, width=of_block.n_levels, device=given.rows.device).numpy()


def level_of(block: Block, rows: Tensor) -> Tensor:
    """Return the level of the nearest code in encoded rows, (n, k): (n,)."""
    x = rows[:, block.coordinates].nan_to_num()
    codes = torch.as_tensor(block.codes, device=x.device).to(x)
    if codes.shape[1] == 1:
        return (x - codes[:, 0]).abs().argmin(dim=1)
    return (x @ codes.T - 0.5 * codes.square().sum(dim=1)).argmax(dim=1)


def _score_levels(given: Given, order: Sequence[int] | None) -> Tensor:
    """Return ln P of the free levels of each block, (n, B), 0 where it is not free."""
    blocks, rows = given.model.codec.blocks, given.rows
    log_probs = rows.new_zeros(len(rows), len(blocks), dtype=torch.float64)
    state = _levels_state(given)
    for i in range(len(blocks)) if order is None else order:
        is_free = given.is_free[:, blocks[i].coordinates.start]
        if not bool(is_free.any()):
            continue
        level = level_of(blocks[i], rows)
        for piece in _pieces(len(rows), blocks[i]):
            log_p = state.level_log_probs(i, piece).gather(1, level[piece, None])[:, 0].double()
            log_probs[piece, i] = torch.where(is_free[piece], log_p, 0.0)
        state.give(i, level, is_free)
    return log_probs.cpu()


def _refuse_nan(log_p: Tensor) -> Tensor:
    """Return log-probabilities, (n, L), as they are. Raises SamplingDiverged where one is NaN: a draw would hide it."""
    if bool(log_p.isnan().any()):
        raise SamplingDiverged(
            "Probabilities of levels should be numbers, but some are not: fit again with a `training` of lower "
            "learning_rate."
        )
    return log_p


class _LevelsState(Protocol):
    """Rows of which some parts are given and all others are absent, until their levels are given one after another."""

    def level_log_probs(self, block: int, piece: slice = ..., /) -> Tensor:
        """Return ln P(level | given) of a block's levels, (n, L), in a piece of the rows; it should be absent."""
        ...

    def give(self, block: int, level: Tensor, rows: Tensor, /) -> None:
        """Give the levels of a block, (n,), in some of the rows, (n,) boolean, in which they were absent."""
        ...


def _levels_state(given: Given) -> _LevelsState:
    """Return rows whose levels are given one after another, in place of the free ones.

    A given number that is NaN does not apply: its level is given, and an atom. Levels that the codec's rules exclude,
    by a given level of another column, have the probability 0.
    """
    denoiser, codec, rows = given.model.denoiser, given.model.codec, given.rows.nan_to_num()
    state: _LevelsState
    if isinstance(denoiser, TableDenoiser):
        state = denoiser.given_levels(rows, given.is_given)
    else:
        of_levels = cast("LevelsDenoiser", denoiser)
        rows_given = rows.masked_fill(~given.is_given, 0.0)
        state = _ByDenoiser(of_levels, codec.blocks, rows_given, given.is_given.clone())
    return _Ruled.of(state, codec, rows, given.is_given) if codec.level_rules else state


@dataclass(eq=False)
class _Ruled:
    """Given levels of which some exclude levels of other columns, by `rules`.

    `levels`, (n, B), are those that are given, -1 where none is.
    """

    state: _LevelsState
    rules: Sequence[LevelRule]
    blocks: Sequence[Block]
    levels: NDArray[np.intp]

    @classmethod
    def of(cls, state: _LevelsState, codec: Codec, rows: Tensor, is_given: Tensor) -> _Ruled:
        """Return the levels given of encoded rows, (n, k)."""
        levels = np.full((len(rows), len(codec.blocks)), -1)
        for i in {i for each in codec.level_rules for i in each.blocks}:
            block = codec.blocks[i]
            levels[:, i] = level_of(block, rows).where(is_given[:, block.coordinates.start], -1).cpu().numpy()
        return cls(state, codec.level_rules, codec.blocks, levels)

    def level_log_probs(self, block: int, piece: slice = slice(None)) -> Tensor:
        log_p, values = self.state.level_log_probs(block, piece), self.blocks[block].values
        excluded = np.zeros(tuple(log_p.shape), dtype=bool)
        for each in self.rules:
            if block in each.blocks:
                levels = self.levels[piece][:, list(each.blocks)]
                excluded |= each.rule.excluded(levels, each.blocks.index(block))
        excluded[:, np.isnan(values)] = False  # a missing value goes with any
        excluded[excluded.all(axis=1)] = False  # of rows whose given levels exclude each other
        if not excluded.any():
            return log_p
        excludes = torch.from_numpy(excluded).to(log_p.device)
        log_p = log_p.masked_fill(excludes, -math.inf)
        # Where all that is not excluded has the probability 0 in float32, it is equally likely.
        has_none = (log_p == -math.inf).all(dim=1, keepdim=True)
        return log_p.masked_fill(has_none & ~excludes, 0.0).log_softmax(dim=1)

    def give(self, block: int, level: Tensor, rows: Tensor) -> None:
        self.state.give(block, level, rows)
        self.levels[:, block] = np.where(rows.cpu().numpy(), level.cpu().numpy(), self.levels[:, block])


@dataclass(eq=False)
class _ByDenoiser:
    """Given levels of any denoiser, which evaluates whole rows."""

    denoiser: LevelsDenoiser
    blocks: Sequence[Block]
    rows: Tensor
    is_given: Tensor

    def level_log_probs(self, block: int, piece: slice = slice(None)) -> Tensor:
        log_snr = log_snr_by_coordinate(torch.tensor(-math.inf).to(self.rows), self.is_given[piece])
        return self.denoiser.level_log_probs(self.rows[piece], log_snr, block)

    def give(self, block: int, level: Tensor, rows: Tensor) -> None:
        place = self.blocks[block].coordinates
        codes = torch.as_tensor(self.blocks[block].codes, device=self.rows.device).to(self.rows)[level]
        self.rows[:, place] = torch.where(rows[:, None], codes, self.rows[:, place])
        self.is_given[:, place] |= rows[:, None]


def _pieces(n: int, block: Block) -> list[slice]:
    """Return pieces of n rows whose probabilities of a block's levels fit in little memory."""
    most = 1 << (max(_LEVELS_AT_ONCE // block.n_levels, 1).bit_length() - 1)
    return [slice(first, min(first + most, n)) for first in range(0, n, most)]
