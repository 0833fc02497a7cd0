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

from backwalk.denoiser.layout import Group, TableLayout


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
    """The wide blocks' inputs at x_t with a and b_sq, (members, rows, k), from rows x_0 whose levels may be given."""

    def __init__(self, layout: TableLayout, x_t: Tensor, a: Tensor, b_sq: Tensor) -> None:
        self._first, self._stop = layout.n_narrow_features, layout.n_features
        blocks = [block for group in _wide(layout) for block in _blocks(group)]
        self._entries = [[_entry(layout, *block, x_t[k], a[k], b_sq[k]) for block in blocks] for k in range(len(x_t))]

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
    """Yield the heads of wide blocks that have a weight in the loss of some row; all tensors are (members, rows, k)."""
    for group in _wide(layout):
        for block, outputs, features in _blocks(group):
            of_block = weight[..., block.coordinates[0, 0]]
            rows = (of_block > 0.0).any(0).nonzero()[:, 0]
            if len(rows):
                log_q = layout.log_posterior(x_t[:, rows], a[:, rows], b_sq[:, rows], [block])
                level = layout.levels_of(x_0[:, rows], [block]) - outputs.start
                yield WideHead(features, rows, log_q, level, of_block[:, rows, None])


def _wide(layout: TableLayout) -> list[Group]:
    return layout.groups[len(layout.narrow) :]


def _blocks(group: Group) -> Iterator[tuple[Group, slice, slice]]:
    """Yield each block of a group, as a group, and its slices of a row of logits and of features."""
    n_levels = group.log_prior.shape[1]
    for g in range(len(group.coordinates)):
        start, one = group.outputs.start + g * n_levels, slice(g, g + 1)
        codes = None if group.codes is None else group.codes[one]
        outputs, first = slice(start, start + n_levels), group.features.start + g * n_levels
        features = slice(first, first + n_levels)
        yield Group(group.coordinates[one], outputs, codes, group.log_prior[one], features), outputs, features


def _entry(
    layout: TableLayout, block: Group, outputs: slice, features: slice, x_t: Tensor, a: Tensor, b_sq: Tensor
) -> _Entry:
    """Return the input of a wide block at x_t with a and b_sq, (rows, k), of one member."""
    prior, first = block.log_prior[0].exp(), block.coordinates[0, 0]
    is_given = b_sq[:, first] == 0.0
    given, noisy = is_given.nonzero()[:, 0], (~is_given & (a[:, first] > 0.0)).nonzero()[:, 0]
    level = layout.levels_of(x_t[given], [block])[:, 0] - outputs.start
    offset = layout.log_posterior(x_t[noisy], a[noisy], b_sq[noisy], [block]).exp() - prior
    return _Entry(features, given, level, noisy, offset, prior, layout.input_scale[features.start])
