"""Training of levels with a basis: in each row only what it needs of them is computed.

A block of a hundred levels fills a hundred numbers a row in each operation. But where its level is given, the network
reads a row of a table, phi less its mean, and nothing is predicted; where it is absent, the network reads nothing and
starts from the frequencies; the posterior q of a noisy code is needed in the noisy rows alone.
"""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor

from backwalk.denoiser.layout import TableLayout
from backwalk.denoiser.levels_start import LevelsEvidence
from backwalk.diffusion import level_log_posterior


class TiltedHead(NamedTuple):
    """The levels of a block in the rows, (u,) of all members' rows, in which they are predicted.

    `log_q` is (u, L), `level`, that of x_0, and `weight` in the loss (u, 1).
    """

    features: slice
    basis: Tensor
    rows: Tensor
    log_q: Tensor
    level: Tensor
    weight: Tensor

    def log_p(self, f: Tensor) -> Tensor:
        """Return ln p of all levels, (u, L), from the network's outputs, (members, rows, F)."""
        of_rows = f.flatten(0, 1)[:, self.features].index_select(0, self.rows)
        return torch.log_softmax(torch.addmm(self.log_q, of_rows, self.basis.T), dim=-1)


class TiltedRows(NamedTuple):
    """Rows of all members, (n, k), at a and b_sq; `place` is the number of a row among those of the evidence, (n,)."""

    x_0: Tensor
    x_t: Tensor
    a: Tensor
    b_sq: Tensor
    weight: Tensor
    place: Tensor


def tilted_levels(
    layout: TableLayout, rows: TiltedRows, evidence: LevelsEvidence | None
) -> tuple[list[Tensor], list[TiltedHead]]:
    """Return the features of each block with a basis, (n, K), and its head."""
    pairs = [_of_block(layout, block, rows, evidence) for block in layout.tilted]
    return [features for features, _ in pairs], [head for _, head in pairs]


def _of_block(
    layout: TableLayout, block: int, rows: TiltedRows, evidence: LevelsEvidence | None
) -> tuple[Tensor, TiltedHead]:
    coordinates, features = layout.coordinates[block], layout.features[block]
    basis, log_prior = layout.basis_of(block), layout.log_prior_of(block)
    assert basis is not None
    table = layout.read_of(block)
    a, b_sq, weight = (part[:, coordinates.start] for part in (rows.a, rows.b_sq, rows.weight))
    level, is_given, is_absent = layout.level_of(block, rows.x_0), b_sq == 0.0, a == 0.0
    noisy, absent = (~is_given & ~is_absent).nonzero()[:, 0], (is_absent & (weight > 0.0)).nonzero()[:, 0]
    read = table[level] * is_given.unsqueeze(1)
    log_q = level_log_posterior(
        rows.x_t[noisy, None, coordinates],
        a[noisy, None, None],
        b_sq[noisy, None, None],
        layout.codes_of(block),
        log_prior.unsqueeze(0),
    )[:, 0]
    read.index_copy_(0, noisy, log_q.exp() @ table)
    if len(absent):
        assert evidence is not None
        told = log_prior + evidence.of_block(block, rows.place[absent])
        log_q = torch.cat([log_q, told.expand(len(absent), -1)])
    predicted = torch.cat([noisy, absent])
    head = TiltedHead(features, basis, predicted, log_q, level[predicted, None], weight[predicted, None])
    return read, head
