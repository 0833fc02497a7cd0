"""What the levels of a table start from: linear discriminants of all that is given, and pairs of levels.

The discriminant of a joint Gaussian (`diffusion/discriminant.py`) is too sure where the other coordinates are not
Gaussian, above all with many one-hot codes. So an absent block starts from ln pi_l + f ln N(x_K | c_l), with a factor f
in [0, 1]. By cross-validation in three parts, each scored by the Gaussian of the other two, f minimises the
cross-entropy of the block's levels given all other columns.

A Gaussian of few directions does not know which of many levels go together, such as rates with grades. Where another
block, a *partner*, tells more alone, the block starts from its level l', wherever that is known:

    ln P(l | l') + f' ln N(x_K | c_l),    P(l | l') = (n_l'l + pi_l) / (n_l' + 1),

with the numbers n of rows. It has up to two partners, of which the first that is known counts. They are those with the
largest mean of ln P(l | l') over rows, each itself left out (`partners.py`). The factor f' is chosen as f is, without
the coordinates of a partner before, and a partner is kept where it lowers the cross-entropy by 0.02 nats.

Blocks of more than 64 levels have no discriminant, except where a code is one number. Noisy coordinates tell
nothing here, and noisy blocks start from their own posterior: only training meets these beside absent blocks.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from backwalk.denoiser.layout import TableLayout
from backwalk.denoiser.numbers_start import equal_rows
from backwalk.denoiser.partners import Partner, count_pairs, levels_of_rows, log_ratios_of, possible_partners
from backwalk.diffusion import JointGaussian, Moments, moments_with_gaps
from backwalk.streams import Stream
from backwalk.table import Block, Codec

_MOST_ROWS, _FEWEST_ROWS, _FOLDS = 3_000, 30, 3
_MOST_COUNTED = 30_000  # rows whose pairs are counted
_FACTORS = np.linspace(0.0, 1.0, 11)
_LEAST_GAIN = 0.02  # nats a row


def log_ratios(layout: TableLayout, x: Tensor, known: Tensor, block: int | None = None) -> Tensor:
    """Return what the `known` coordinates, (n, k), of rows x add to ln pi of absent levels: (n, M) of narrow blocks.

    Of one `block`, in the codec's order, it is (n, L).
    """
    discriminants, factors, partners, first = layout.discriminants, layout.discriminant_factors, layout.partners, 0
    if block is not None:
        outputs, partners = layout.outputs[block], [pair for pair in partners if pair[0] == block]
        if block not in layout.variates and not partners:
            return x.new_zeros(1, len(layout.log_prior_of(block)))
        discriminants = discriminants.of_block(layout.variates.get(block, slice(0)), outputs)
        factors, first = factors[outputs], outputs.start
    one_of_each, of_row = equal_rows(known.to(x))
    ratios = discriminants.log_ratios(layout.gaussian, x, known[one_of_each], of_row)
    result = factors * ratios
    is_open = {of: ~known[:, layout.coordinates[of].start] for of, _ in partners}
    for of, partner in partners:
        rows = (is_open[of] & known[:, layout.coordinates[partner].start]).nonzero()[:, 0]
        is_open[of][rows] = False
        levels = slice(layout.outputs[of].start - first, layout.outputs[of].stop - first)
        of_partner, factor = layout.partner(of, partner)
        result[rows, levels] = of_partner[layout.level_of(partner, x[rows])] + factor * ratios[rows, levels]
    return result


def choose_levels_start(
    codec: Codec,
    z: NDArray[np.float64],
    of_all: Moments,
    *,
    weights: NDArray[np.float64] | None = None,
    stream: Stream,
) -> tuple[NDArray[np.float64], list[Partner]]:
    """Return the factor of each block's discriminant, (B,), and partners, for random rows z, (n, k), of weights (n,).

    `of_all` are the moments of the rows.

    Cross-validation is on the first 3,000 rows, and pairs are counted in the first 30,000. For fewer than 30 rows
    factors are 0, and there are no partners.
    """
    blocks, factors, chosen = codec.blocks, np.zeros(len(codec.blocks)), list[Partner]()
    if len(z) < _FEWEST_ROWS:
        return factors, chosen
    weights = np.ones(len(z)) if weights is None else weights / weights.mean()
    z, weights = z[:_MOST_COUNTED], weights[:_MOST_COUNTED]
    levels = levels_of_rows(blocks, z)
    levels[:, [i for i, block in enumerate(blocks) if not codec.drawn_coordinates[block.coordinates.start]]] = -1
    fold = np.where(np.arange(len(z)) < _MOST_ROWS, np.arange(len(z)) % _FOLDS, -1)
    folds = list[_HeldOut]()
    for i in range(_FOLDS):
        others = (fold >= 0) & (fold != i)
        moments = moments_with_gaps(z[others], weights=weights[others], near=of_all, stream=stream.child("moments", i))
        folds.append(_HeldOut.of(codec, JointGaussian.of_moments(moments), z, levels, weights, fold == i))
    partners = possible_partners(blocks, levels)
    for of in {*folds[0].layout.variates, *partners}:
        factors[of] = _FACTORS[np.sum([each.losses(of) for each in folds], axis=0).argmin()]
        before = list[int]()
        for known in partners.get(of, []):
            without, beside = (
                np.sum([each.losses(of, known, before, told) for each in folds], axis=0) for told in (False, True)
            )
            if without.min() - beside.min() > _LEAST_GAIN * sum(each.weight_of(of, known) for each in folds):
                n_pairs, factor = count_pairs(blocks, levels, of, known, weights), float(_FACTORS[beside.argmin()])
                chosen.append(Partner(of, known, log_ratios_of(n_pairs, blocks[of].frequencies), factor))
                before.append(known)
    return factors, chosen


class _HeldOut(NamedTuple):
    """Some of the rows z, (n, k), with their levels, (n, B), and weights, (n,), and what the others tell of them.

    The layout has the Gaussian of others. `rows`, (n,), says which they are, `x_0` are these, and `seen` which of their
    coordinates are observed.
    """

    blocks: Sequence[Block]
    columns: list[slice]
    layout: TableLayout
    x_0: Tensor
    seen: Tensor
    levels: NDArray[np.intp]
    weights: NDArray[np.float64]
    rows: NDArray[np.bool_]

    @classmethod
    def of(
        cls,
        codec: Codec,
        gaussian: JointGaussian,
        z: NDArray[np.float64],
        levels: NDArray[np.intp],
        weights: NDArray[np.float64],
        rows: NDArray[np.bool_],
    ) -> _HeldOut:
        x_0, columns = torch.from_numpy(z[rows]).float(), [codec.slices[block.column] for block in codec.blocks]
        seen = ~x_0.isnan() & torch.from_numpy(codec.drawn_coordinates)
        layout = TableLayout(codec, gaussian)
        return cls(codec.blocks, columns, layout, x_0.nan_to_num(), seen, levels, weights, rows)

    def weight_of(self, of: int, known: int) -> float:
        """Return the weight of the rows in which two blocks are observed."""
        return float(self._weights(of, known).sum())

    def losses(
        self, of: int, known: int | None = None, hidden: Sequence[int] = (), is_told: bool = False
    ) -> NDArray[np.float64]:
        """Return the sum of -w ln P of a block's level for each factor of the discriminant of all other columns.

        `hidden` blocks are left out. With `known`, the sum is over rows in which that block is observed, and P starts
        from its level if it `is_told`.
        """
        evidence = self.seen.clone()
        for block in (of, *hidden):
            evidence[:, self.columns[block]] = False
        ratios, start = log_ratios(self.layout, self.x_0, evidence, of), self.layout.log_prior_of(of)
        if is_told and known is not None:
            n_pairs = count_pairs(self.blocks, self.levels[~self.rows], of, known, self.weights[~self.rows])
            table = torch.from_numpy(log_ratios_of(n_pairs, self.blocks[of].frequencies)).float()
            start = start + table[self.levels[self.rows, known]]
        weight = torch.from_numpy(self._weights(of, known))
        at = torch.from_numpy(self.levels[self.rows, of]).clamp(min=0)[:, None]
        log_p = (torch.log_softmax(start + float(factor) * ratios, dim=1).expand(len(at), -1) for factor in _FACTORS)
        return np.array([-float((weight * each.gather(1, at)[:, 0]).sum()) for each in log_p])

    def _weights(self, of: int, known: int | None) -> NDArray[np.float64]:
        is_seen = self.levels[self.rows, of] >= 0
        if known is not None:
            is_seen = is_seen & (self.levels[self.rows, known] >= 0)
        return np.asarray(self.weights[self.rows] * is_seen)
