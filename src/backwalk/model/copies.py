"""Copies: whether the cells of two columns are equal is drawn, and scored, before all that depends on it.

Let s be 1 where target = source. Then

    ln p(row | given) = sum_s ln P(s | given, s before) + ln p(the others | given, all s),

where with s = 1 the target is no part of the others, and a given target gives the source. Where one of the two is
given and the other in question, its distribution is the mixture

    P(s = 1) [it is the given value] + P(s = 0) p(. | s = 0).

Levels that would be equal with s = 0 are excluded, so that probabilities sum to 1. Numbers on a continuous scale are
equal with probability 0.
"""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from backwalk.model.levels import draw_levels, log_prob_of_levels, probabilities_of_levels
from backwalk.sampling import RowNoise

if TYPE_CHECKING:
    from backwalk.model.given import Given

Array = NDArray[np.float64]


def draw_copies(given: Given, noise: RowNoise) -> Given:
    """Return rows of which it is drawn whether they are copies, with what follows given as well."""
    codec = given.model.codec
    cells = codec.cells(given.values)
    for _, _, cell in _copies_of(given):
        drawn = draw_levels(given.only([cell]), noise)
        is_free = given.is_free[:, codec.slices[cell].start].cpu().numpy()
        level = codec.blocks[codec.block_numbers[cell]].nearest_level(drawn.rows.cpu().numpy())
        cells[is_free, cell] = level[is_free]
        given, cells = given.knowing(cells)
    return given


def log_prob_of_copies(given: Given) -> Tensor:
    """Return ln P of which rows are copies, (n,), nats, float64: of scored rows, in which it is given."""
    codec, log_p = given.model.codec, torch.zeros(given.n_rows, dtype=torch.float64)
    copies = _copies_of(given)
    if not copies:
        return log_p
    before = given.to_draw(given.model, given.values, given.given_columns())
    cells = codec.cells(given.values)
    for _, _, cell in copies:
        place, is_free = codec.slices[cell], before.is_free.clone()
        is_scored = (before.is_free & given.is_given)[:, place.start]
        is_free[:, place] &= is_scored[:, None]
        rows = before.rows.clone()
        rows[:, place] = torch.where(is_scored[:, None], given.rows[:, place], rows[:, place])
        log_p += log_prob_of_levels(replace(before, rows=rows, is_free=is_free).only([cell]))
        at = is_scored.cpu().numpy()
        cells[at, cell] = codec.all_columns[cell].decode(rows[:, place].double().cpu().numpy())[at]
        before, cells = before.knowing(cells)
    return log_p


def apart_from_copies(given: Given, column: int) -> tuple[Given, Array, list[tuple[Array, Array]]]:
    """Return the parts of the distribution of a column that is free: the rows given that it is no copy of known cells.

    Returned are also the probability of that, (n,), and for each column of which it may be a copy the probability that
    it is one, (n,), with the values, (n,).
    """
    codec, rest, parts = given.model.codec, np.ones(given.n_rows), list[tuple[Array, Array]]()
    cells = codec.cells(given.values)
    for source, target, cell in _copies_of(given):
        if column not in (source, target):
            continue
        x = cells[:, target if column == source else source]
        is_free = given.is_free[:, codec.slices[cell].start].cpu().numpy() & ~np.isnan(x)
        if not is_free.any():
            continue
        p = np.where(is_free, probabilities_of_levels(given, codec.block_numbers[cell])[:, 1], 0.0)
        parts.append((rest * p, x))
        rest = rest * (1.0 - p)
        cells = cells.copy()
        cells[is_free, cell] = 0.0
        given, cells = given.knowing(cells)
    return given, rest, parts


def probabilities_with_copies(given: Given, block: int) -> Array:
    """Return P(level | given) as `probabilities_of_levels` does, (n, L), of a column that may be a copy."""
    of_block = given.model.codec.blocks[block]
    apart, rest, parts = apart_from_copies(given, of_block.column)
    p = probabilities_of_levels(apart, block)
    if not parts:
        return p
    p *= rest[:, None]
    for share, x in parts:
        p += share[:, None] * (of_block.values == x[:, None])
    return np.asarray(p / p.sum(axis=1, keepdims=True))


def _copies_of(given: Given) -> list[tuple[int, int, int]]:
    """Return the source, the target and the cell of each copy."""
    rules = given.model.codec.rules
    return [] if rules is None else list(rules.active_copies.values())
