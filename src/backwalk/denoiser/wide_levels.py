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

    member: int
    outputs: slice
    given: Tensor
    level: Tensor
    noisy: Tensor
    offset: Tensor
    prior: Tensor
    scale: Tensor


class WideInputs:
    """The wide blocks' inputs at x_t with a and b_sq, (members, rows, k), from rows x_0 whose levels may be given."""

    def __init__(self, layout: TableLayout, x_t: Tensor, a: Tensor, b_sq: Tensor) -> None:
        self._first, self._stop = layout.n_narrow, layout.n_levels
        self._entries = [entry for group in _wide(layout) for entry in _entries(layout, group, x_t, a, b_sq)]

    def narrow_parameters(self, in_order: list[Tensor], rows: int) -> list[Tensor]:
        """Return a network's parameters without the wide blocks' inputs and outputs.

        What the inputs add to the hidden units is part of the first bias, which is (members, rows, width).
        """
        if not self._entries:
            return in_order
        enter = torch.cat([in_order[0][:, : self._first], in_order[0][:, self._stop :]], dim=1)
        leave = [torch.cat([part[..., : self._first], part[..., self._stop :]], dim=-1) for part in in_order[-2:]]
        return [enter, self._entered(in_order[0], in_order[1], rows), *in_order[2:-2], *leave]

    def whole_gradients(
        self, gradients: list[Tensor], in_order: list[Tensor], by_h: Tensor, heads: list[WideGradient], last: Tensor
    ) -> list[Tensor]:
        """Return the gradients by a network's parameters, `in_order`, from those by `narrow_parameters`.

        `by_h` are those by each row's h_0, and `last` is silu(h) after the last block.
        """
        enter, leave, bias = (torch.zeros_like(in_order[i]) for i in (0, -2, -1))
        enter[:, : self._first], enter[:, self._stop :] = gradients[0].tensor_split([self._first], dim=1)
        for part, found in ((leave, gradients[-2]), (bias, gradients[-1])):
            part[..., : self._first], part[..., self._stop :] = found.tensor_split([self._first], dim=-1)
        self._add_gradients(enter, by_h)
        for head, by_logits in heads:
            leave[..., head.outputs] = torch.bmm(last[:, head.rows].transpose(1, 2), by_logits)
            bias[..., head.outputs] = by_logits.sum(1, keepdim=True)
        return [enter, *gradients[1:-2], leave, bias]

    def _entered(self, weight: Tensor, bias: Tensor, rows: int) -> Tensor:
        h = bias.expand(-1, rows, -1).clone()
        for entry in self._entries:
            own = weight[entry.member, entry.outputs]
            h[entry.member].index_add_(0, entry.given, (own[entry.level] - entry.prior @ own) * entry.scale)
            if len(entry.noisy):
                h[entry.member].index_add_(0, entry.noisy, (entry.offset @ own) * entry.scale)
        return h

    def _add_gradients(self, by_weight: Tensor, by_h: Tensor) -> None:
        """Add the gradients by the first layer's weights, (members, n_in, width)."""
        for entry in self._entries:
            own, of_rows = by_weight[entry.member, entry.outputs], by_h[entry.member] * entry.scale
            given = of_rows[entry.given]
            own.index_add_(0, entry.level, given)
            own.addr_(entry.prior, given.sum(0), alpha=-1.0)
            if len(entry.noisy):
                own.addmm_(entry.offset.T, of_rows[entry.noisy])


class WideHead(NamedTuple):
    """The outputs of a wide block in some rows, (u,): ln q and the weights in the loss are (members, u, .)."""

    outputs: slice
    rows: Tensor
    log_q: Tensor
    level: Tensor
    weight: Tensor

    def log_p(self, last: Tensor, weight: Tensor, bias: Tensor) -> Tensor:
        """Return ln p of the levels, (members, u, L), from the last hidden units, (members, rows, width)."""
        f = torch.baddbmm(bias[..., self.outputs], last[:, self.rows], weight[..., self.outputs])
        return torch.log_softmax(f.add_(self.log_q), dim=-1)


WideGradient = tuple[WideHead, Tensor]
"""A head, and the gradient of the loss by its logits, (members, u, L)."""


def wide_heads(
    layout: TableLayout, x_0: Tensor, x_t: Tensor, a: Tensor, b_sq: Tensor, weight: Tensor
) -> Iterator[WideHead]:
    """Yield the heads of wide blocks that have a weight in the loss of some row; all tensors are (members, rows, k)."""
    for group in _wide(layout):
        for g, coordinates in enumerate(group.coordinates):
            own = weight[..., coordinates[0]]
            rows = (own > 0.0).any(0).nonzero()[:, 0]
            if len(rows):
                one, outputs = _block(group, g)
                log_q = layout.log_posterior(x_t[:, rows], a[:, rows], b_sq[:, rows], [one])
                level = layout.levels_of(x_0[:, rows], [one]) - outputs.start
                yield WideHead(outputs, rows, log_q, level, own[:, rows, None])


def _wide(layout: TableLayout) -> list[Group]:
    return layout.groups[len(layout.narrow) :]


def _block(group: Group, g: int) -> tuple[Group, slice]:
    """Return one block of a group, as a group, and its slice of a row of logits."""
    n_levels = group.log_prior.shape[1]
    start = group.outputs.start + g * n_levels
    outputs, one = slice(start, start + n_levels), slice(g, g + 1)
    codes = None if group.codes is None else group.codes[one]
    return Group(group.coordinates[one], outputs, codes, group.log_prior[one]), outputs


def _entries(layout: TableLayout, group: Group, x_t: Tensor, a: Tensor, b_sq: Tensor) -> Iterator[_Entry]:
    for g, coordinates in enumerate(group.coordinates):
        one, outputs = _block(group, g)
        prior, scale = one.log_prior[0].exp(), layout.input_scale[outputs.start]
        first = coordinates[0]
        for k in range(len(x_t)):
            is_given = b_sq[k, :, first] == 0.0
            given, noisy = is_given.nonzero()[:, 0], (~is_given & (a[k, :, first] > 0.0)).nonzero()[:, 0]
            level = layout.levels_of(x_t[k, given], [one])[:, 0] - outputs.start
            offset = layout.log_posterior(x_t[k, noisy], a[k, noisy], b_sq[k, noisy], [one]).exp() - prior
            yield _Entry(k, outputs, given, level, noisy, offset, prior, scale)
