"""What the levels of a table start from: linear discriminants of all that is given, and pairs of levels.

The discriminant of a joint Gaussian (`diffusion/discriminant.py`) is too sure where the other coordinates are not
Gaussian, above all with many one-hot codes. So an absent block starts from

    ln(pi_l) + ln((1 - s) N(x_K | c_l)^f / Z + s),    Z = sum_l pi_l N(x_K | c_l)^f,    s = 1/50,

with a factor f in [0, 1]. The share s bounds what a row far from the Gaussian costs, which would be hundreds of nats.

A Gaussian of few directions does not know which of many levels go together, such as rates with grades. Where another
block, its *partner* (`partners.py`), tells more alone, its level l' stands in the place of the frequencies wherever it
is known: with the numbers n of rows, pi_l above is

    P(l | l') = (n_l'l + pi_l) / (n_l' + 1),

with a factor of its own. By cross-validation in three parts, each scored by the Gaussian and the pairs of the others,
the factors minimise the cross-entropy of the block's levels given all other columns, and a partner is kept where it
lowers it by 0.02 nats in the rows in which it is observed.

Other blocks of more than 64 levels have no discriminant. Noisy coordinates tell nothing here, and noisy blocks start
from their own posterior: only training meets these beside absent blocks.
"""

from __future__ import annotations

from functools import cached_property

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from backwalk.denoiser.layout import TableLayout, Variates
from backwalk.denoiser.partners import Partner, count_pairs, find_partners, levels_of_rows, log_ratios_of
from backwalk.diffusion import JointGaussian, Moments, moments_with_gaps
from backwalk.diffusion.posteriors import equal_rows
from backwalk.streams import Stream
from backwalk.table import Codec

_MOST_ROWS, _FEWEST_ROWS, _FOLDS = 3_000, 30, 3  # of the cross-validation
_MOST_COUNTED = 30_000  # rows whose pairs are counted
_FACTORS = np.linspace(0.0, 1.0, 11)
_LEAST_GAIN = 0.02  # nats a row
_SHARE_ALONE = 0.02  # s


class LevelsEvidence:
    """What absent levels start from by the `known` coordinates, (n, k), of rows x, of all narrow blocks or of one.

    The one `block` is in the codec's order.
    """

    def __init__(self, layout: TableLayout, x: Tensor, known: Tensor, block: int | None = None) -> None:
        self._layout, self._x, self._known = layout, x, known
        of_all = slice(0, len(layout.discriminants.rest))
        self._computed = of_all if block is None else layout.variates.get(block, slice(0, 0))  # variates

    def of_all(self, n_blocks: int) -> Tensor:
        """Return ln p that absent levels of the first blocks in the layout's order start from, (M, n)."""
        none = self._x.new_zeros(0, len(self._x))
        pairs = [(none, none), *map(self._told, self._layout.order[:n_blocks])]
        alone, told = (torch.cat(parts) for parts in zip(*pairs, strict=True))
        return _log_mixed(self._layout.softmax(told).p, alone)

    def of_block(self, block: int, rows: Tensor | None = None) -> Tensor:
        """Return ln p that the absent levels of a block start from, in all rows or some, (L, u)."""
        alone, told = self._told(block, rows)
        return _log_mixed(torch.softmax(told, dim=0), alone)

    def _told(self, block: int, rows: Tensor | None = None) -> tuple[Tensor, Tensor]:
        """Return ln p of the levels of a block without the discriminant, and ln p + constant with it, (L, u) each."""
        layout, log_prior = self._layout, self._layout.log_prior_of(block).unsqueeze(1)
        found = self._variates_of(block, rows)
        alone = log_prior.expand(-1, len(self._x) if rows is None else len(rows))
        told = alone if found is None else torch.addmm(log_prior, found[0].weighted, found[1])
        for of, partner in layout.partners:
            if of == block:
                of_partner, factor, where = self._of_partner(of, partner, rows)
                of_partner = of_partner + log_prior
                alone = alone.index_copy(1, where, of_partner)
                if found is not None:
                    of_partner = torch.addmm(of_partner, found[0].codes, found[1][:, where] * factor)
                told = told.index_copy(1, where, of_partner)
        return alone, told

    def ratios(self, block: int) -> Tensor:
        """Return the discriminant of a block, ln N(x_K | c_l) and a constant: (L, n), or (L, 1) without one."""
        found = self._variates_of(block)
        if found is None:
            return self._x.new_zeros(len(self._layout.log_prior_of(block)), 1)
        return found[0].codes @ found[1]

    def _variates_of(self, block: int, rows: Tensor | None = None) -> tuple[Variates, Tensor] | None:
        """Return the variates of a block, if it has any, and their linear and quadratic values, (2 R, u)."""
        variates = self._layout.variates_of(block)
        if variates is None:
            return None
        first = self._computed.start
        values = self._by_variate[:, variates.places.start - first : variates.places.stop - first].flatten(0, 1)
        return variates, values if rows is None else values.index_select(1, rows)

    @cached_property
    def _by_variate(self) -> Tensor:
        """The linear and the quadratic values of each variate in each row, (2, K, n)."""
        layout, x, discriminants = self._layout, self._x, self._layout.discriminants.some(self._computed)
        one_of_each, of_row = equal_rows(self._known.index_select(1, layout.first_of_part).to(x))
        return discriminants.evidence(layout.gaussian, x, self._known[one_of_each], of_row)

    def _of_partner(self, of: int, partner: int, rows: Tensor | None) -> tuple[Tensor, Tensor, Tensor]:
        """Return ln P(l | l') / pi_l of a block in those of some rows, (L, v), that know l', the factor, these rows."""
        layout = self._layout
        known, x = (self._known, self._x) if rows is None else (self._known[rows], self._x[rows])
        is_told = ~known[:, layout.coordinates[of].start] & known[:, layout.coordinates[partner].start]
        where = is_told.nonzero()[:, 0]
        of_partner, factor = layout.partner(of, partner)
        return of_partner[layout.level_of(partner, x[where])].T, factor, where


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
    blocks, partners = codec.blocks, list[Partner]()
    if len(z) < _FEWEST_ROWS:
        return np.zeros(len(blocks)), partners
    weights = np.ones(len(z)) if weights is None else weights / weights.mean()
    z, weights = z[:_MOST_COUNTED], weights[:_MOST_COUNTED]
    levels = levels_of_rows(blocks, z)
    levels[:, [i for i, block in enumerate(blocks) if not codec.drawn_coordinates[block.coordinates.start]]] = -1
    found = find_partners(blocks, levels)
    alone, beside = np.zeros((2, len(blocks), len(_FACTORS)))  # cross-entropies, without and with the partner
    fold = np.where(np.arange(len(z)) < _MOST_ROWS, np.arange(len(z)) % _FOLDS, -1)
    for i in range(_FOLDS):
        held_out, others = fold == i, (fold >= 0) & (fold != i)
        of_others = moments_with_gaps(
            z[others], weights=weights[others], near=of_all, stream=stream.child("moments", i)
        )
        layout = TableLayout(codec, JointGaussian.of_moments(of_others))
        x_0 = torch.from_numpy(z[held_out]).float()
        seen, x_0 = ~x_0.isnan() & torch.from_numpy(codec.drawn_coordinates), x_0.nan_to_num()
        for of in {*layout.variates, *found}:
            evidence = seen.clone()
            evidence[:, codec.slices[blocks[of].column]] = False
            ratios, start = LevelsEvidence(layout, x_0, evidence, of).ratios(of).T, layout.log_prior_of(of)
            level, weight = levels[held_out, of], weights[held_out] * (levels[held_out, of] >= 0)
            alone[of] += _cross_entropies(start, ratios, level, weight)
            if of in found:
                n_pairs = count_pairs(blocks, levels[~held_out], of, found[of], weights[~held_out])
                of_pairs = torch.from_numpy(log_ratios_of(n_pairs, blocks[of].frequencies)).float()
                of_partner = torch.from_numpy(levels[held_out, found[of]])
                told = torch.where(of_partner[:, None] >= 0, of_pairs[of_partner.clamp(min=0)], 0.0)
                beside[of] += _cross_entropies(start + told, ratios, level, weight)
    for of, known in found.items():
        both = (levels[fold >= 0][:, [of, known]] >= 0).all(axis=1)
        if alone[of].min() - beside[of].min() > _LEAST_GAIN * float(weights[fold >= 0] @ both):
            n_pairs, factor = count_pairs(blocks, levels, of, known, weights), float(_FACTORS[beside[of].argmin()])
            partners.append(Partner(of, known, log_ratios_of(n_pairs, blocks[of].frequencies), factor))
    return _FACTORS[alone.argmin(axis=1)], partners


def _log_mixed(p: Tensor, log_alone: Tensor) -> Tensor:
    """Return ln((1 - s) p + s p') for p with the discriminant and ln p' without it."""
    return (p * (1.0 - _SHARE_ALONE)).add_(_SHARE_ALONE * log_alone.exp()).log_()


def _cross_entropies(
    alone: Tensor,
    ratios: Tensor,
    level: NDArray[np.intp],
    weight: NDArray[np.float64],
) -> NDArray[np.float64]:
    """Return the weighted sum over rows of -ln P(level) for each factor; `alone` is ln p without the discriminant."""
    at, of_rows, result = torch.from_numpy(level).clamp(min=0)[:, None], torch.from_numpy(weight), list[float]()
    for factor in _FACTORS.tolist():
        log_p = _log_mixed(torch.softmax(alone + factor * ratios, dim=1), alone).expand(len(at), -1)
        result.append(-float((of_rows * log_p.gather(1, at)[:, 0]).sum()))
    return np.array(result)
