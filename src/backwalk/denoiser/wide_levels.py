"""Training of columns of very many levels: their part of the first layer, and their probabilities in few rows.

A wide block (`layout.WIDE`) would fill matrices of rows by levels. What a given level adds to the hidden units is one
row of the first layer's weights, and an absent one adds nothing; a noisy one alone takes products with all levels.
Probabilities are computed in the rows in which they have a weight in the loss.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple

import torch
from torch import Tensor

from backwalk.denoiser.layout import TableLayout


class _Entry(NamedTuple):
    """A wide block's input in one member: of rows in which it is given, and q - prior of those in which it is noisy."""

    features: slice
    given: Tensor
    level: Tensor
    noisy: Tensor
    offset: Tensor
    prior: Tensor
    scale: Tensor


class WideInputs:
    """The wide blocks' inputs at x_t, (members, rows, k), with a and b_sq of blocks, (members, B, rows)."""

    def __init__(self, layout: TableLayout, x_t: Tensor, a: Tensor, b_sq: Tensor) -> None:
        self._first, self._stop = layout.n_narrow_features, layout.n_features
        wide = list(enumerate(layout.wide, layout.n_narrow_blocks))
        self._entries = [[_entry(layout, i, x_t[k], a[k, p], b_sq[k, p]) for p, i in wide] for k in range(len(x_t))]

    def narrow_parameters(self, in_order: list[Tensor], rows: int) -> list[Tensor]:
        """Return a network's parameters without the wide blocks' inputs and outputs.

        What the inputs add to the hidden units is part of the first bias, which is (members, rows, width).
        """
        if self._first == self._stop:
            return in_order
        enter = torch.cat([in_order[0][:, : self._first], in_order[0][:, self._stop :]], dim=1)
        leave = [torch.cat([part[..., : self._first], part[..., self._stop :]], dim=-1) for part in in_order[-2:]]
        return [enter, self._entered(in_order[0], in_order[1], rows), *in_order[2:-2], *leave]

    def _entered(self, weight: Tensor, bias: Tensor, rows: int) -> Tensor:
        """Return the first bias and what the wide blocks add to it, (members, rows, width)."""
        h = bias.expand(-1, rows, -1).clone()
        for k in range(len(h)):
            for entry in self._entries[k % len(self._entries)]:
                of_levels = weight[k, entry.features]
                given = of_levels.index_select(0, entry.level) - entry.prior @ of_levels
                h[k].index_add_(0, entry.given, given * entry.scale)
                if len(entry.noisy):
                    h[k].index_add_(0, entry.noisy, (entry.offset @ of_levels) * entry.scale)
        return h


class WideHead(NamedTuple):
    """The outputs of a wide block in some rows, (u,): ln q and the weights in the loss are (members, u, .)."""

    features: slice
    rows: Tensor
    log_q: Tensor
    level: Tensor
    weight: Tensor

    def log_p(self, last: Tensor, weight: Tensor, bias: Tensor) -> Tensor:
        """Return ln p of the levels, (members, u, L), from the last hidden units, (members, rows, width)."""
        f = torch.baddbmm(bias[..., self.features], last[:, self.rows], weight[..., self.features])
        return torch.log_softmax(f.add_(self.log_q), dim=-1)


def wide_heads(
    layout: TableLayout, x_0: Tensor, x_t: Tensor, a: Tensor, b_sq: Tensor, weight: Tensor
) -> Iterator[WideHead]:
    """Yield the heads of wide blocks that have a weight in the loss of some row.

    x_0, x_t and `weight` are (members, rows, k), a and b_sq of blocks, (members, B, rows).
    """
    for place, block in enumerate(layout.wide, layout.n_narrow_blocks):
        of_block = weight[..., layout.coordinates[block].start]
        rows = (of_block > 0.0).any(0).nonzero()[:, 0]
        if len(rows):
            log_q = layout.log_posterior_of(block, x_t[:, rows], a[:, place, rows], b_sq[:, place, rows])
            level = layout.level_of(block, x_0[:, rows]).unsqueeze(-1)
            yield WideHead(layout.features[block], rows, log_q, level, of_block[:, rows, None])


def _entry(layout: TableLayout, block: int, x_t: Tensor, a: Tensor, b_sq: Tensor) -> _Entry:
    """Return the input of a wide block at x_t, (rows, k), with a and b_sq, (rows,), of one member."""
    prior, features, is_given = layout.log_prior_of(block).exp(), layout.features[block], b_sq == 0.0
    given, noisy = is_given.nonzero()[:, 0], (~is_given & (a > 0.0)).nonzero()[:, 0]
    offset = layout.log_posterior_of(block, x_t[noisy], a[noisy], b_sq[noisy]).exp() - prior
    level = layout.level_of(block, x_t[given])
    return _Entry(features, given, level, noisy, offset, prior, layout.input_scale[features.start])
