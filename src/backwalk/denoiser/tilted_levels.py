"""Training of tilted blocks, levels with a basis: in each row only what it needs of them is computed.

A block of a hundred levels fills a hundred numbers a row in each operation. But where its level is given, the network
reads a column of a table, phi less its mean, and nothing is predicted; where it is absent, the network reads nothing
and starts from the frequencies and what is known; the posterior q of a noisy code is needed in the noisy rows alone.
Products of numbers that nearly underflow take several times as long, hence the least probability.
"""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor

from backwalk.denoiser.layout import TableLayout
from backwalk.denoiser.levels_start import LevelsEvidence
from backwalk.diffusion.posteriors import LEAST_LOG_PROBABILITY


class TiltedHead(NamedTuple):
    """The levels of a block in the rows, (u,) of all members' rows, in which they are predicted.

    `log_q`, ln q + constant, is (L, u), `level`, that of x_0, and `weight` in the loss (1, u).
    """

    features: slice
    basis: Tensor
    rows: Tensor
    log_q: Tensor
    level: Tensor
    weight: Tensor

    def logits(self, f: Tensor) -> Tensor:
        """Return the logits of all levels, (L, u), from the network's outputs, (F or more, n)."""
        return torch.addmm(self.log_q, self.basis, f[self.features].index_select(1, self.rows))

    def log_p(self, f: Tensor) -> Tensor:
        """Return ln p of the levels of x_0, (1, u)."""
        return torch.log_softmax(self.logits(f), dim=0).gather(0, self.level)

    def loss(self, f: Tensor, by_f: Tensor) -> Tensor:
        """Return the loss, and write its derivative by the network's outputs into `by_f`, (F or more, n)."""
        logits = self.logits(f)
        p = logits.sub_(logits.amax(0)).clamp_(min=LEAST_LOG_PROBABILITY).exp()
        total = p.sum(0)
        log_p = logits.gather(0, self.level) - total.log()
        by_level = p.mul_(self.weight / total).scatter_add_(0, self.level, -self.weight)
        by_f[self.features] = 0.0
        by_f[self.features].index_copy_(1, self.rows, self.basis.T @ by_level)
        return -(self.weight * log_p).sum()


class TiltedRows(NamedTuple):
    """Rows of all members: x_t is (k, n), what is of blocks (B, n), and `evidence_row`, (n,), is of the evidence."""

    x_t: Tensor
    a: Tensor
    b_sq: Tensor
    level: Tensor
    weight: Tensor
    evidence_row: Tensor


def tilted_levels(
    layout: TableLayout, rows: TiltedRows, evidence: LevelsEvidence | None
) -> tuple[list[Tensor], list[TiltedHead]]:
    """Return the features of each block with a basis, (K, n), and its head."""
    tilted = enumerate(layout.tilted, layout.n_plain_blocks)
    pairs = [_of_block(layout, block, place, rows, evidence) for place, block in tilted]
    return [features for features, _ in pairs], [head for _, head in pairs]


def _of_block(
    layout: TableLayout, block: int, place: int, rows: TiltedRows, evidence: LevelsEvidence | None
) -> tuple[Tensor, TiltedHead]:
    """Return the features, (K, n), and the head of a block, which has this place in the layout's order."""
    basis, inputs = layout.basis_of(block), layout.inputs_of_levels(block).T
    log_prior = layout.log_prior_of(block).unsqueeze(1)
    assert basis is not None
    a, b_sq, level, weight = (part[place] for part in (rows.a, rows.b_sq, rows.level, rows.weight))
    is_given, is_absent = b_sq == 0.0, a == 0.0
    noisy, asked = (~is_given & ~is_absent).nonzero()[:, 0], (is_absent & (weight > 0.0)).nonzero()[:, 0]
    features = inputs.index_select(1, level).mul_(is_given)
    x_noisy = rows.x_t[layout.coordinates[block]].index_select(1, noisy)
    log_q = layout.fit_of(block, x_noisy, a[noisy], b_sq[noisy]).add_(log_prior)
    log_q = torch.log_softmax(log_q, dim=0).clamp_(min=LEAST_LOG_PROBABILITY)
    features.index_copy_(1, noisy, inputs @ log_q.exp())
    if len(asked):
        assert evidence is not None
        log_q = torch.cat([log_q, evidence.of_block(block, rows.evidence_row[asked])], dim=1)
    predicted = torch.cat([noisy, asked])
    head = TiltedHead(layout.features[block], basis, predicted, log_q, level[None, predicted], weight[None, predicted])
    return features, head
