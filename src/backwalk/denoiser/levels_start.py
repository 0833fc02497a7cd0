"""What the levels of a table start from: linear discriminants of all that is given, and pairs of levels.

The discriminant of a joint Gaussian (`diffusion/discriminant.py`) is too sure where the other coordinates are not
Gaussian, above all with many one-hot codes. So an absent block starts from ln pi_l + f ln N(x_K | c_l), with a factor f
in [0, 1].

A Gaussian of few directions does not know which of many levels go together, such as rates with grades. Where another
block, its *partner* (`partners.py`), tells more alone, the block starts from its level l', wherever that is known:

    ln P(l | l') + f' ln N(x_K | c_l),    P(l | l') = (n_l'l + pi_l) / (n_l' + 1),

with the numbers n of rows. By cross-validation in three parts, each scored by the Gaussian and the pairs of the others,
f and f' minimise the cross-entropy of the block's levels given all other columns, and a partner is kept where it lowers
it by 0.02 nats in the rows in which it is observed.

Levels with a basis are many, and the Gaussian may know them within few: a row far from it would cost hundreds of nats.
They start from a mixture of the discriminant and their frequencies,

    ln pi_l + ln((1 - s) N(x_K | c_l)^f / Z + s),    Z = sum_l pi_l N(x_K | c_l)^f,    s = 1/50,

with what a partner tells in the place of N(x_K | c_l)^f where there is one.

Other blocks of more than 64 levels have no discriminant. Noisy coordinates tell nothing here, and noisy blocks start
from their own posterior: only training meets these beside absent blocks.
"""

from __future__ import annotations

from functools import cached_property

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from backwalk.denoiser.layout import TableLayout
from backwalk.denoiser.partners import Partner, count_pairs, find_partners, levels_of_rows, log_ratios_of
from backwalk.diffusion import JointGaussian, Moments, moments_with_gaps
from backwalk.diffusion.posteriors import equal_rows
from backwalk.streams import Stream
from backwalk.table import Codec

_MOST_ROWS, _FEWEST_ROWS, _FOLDS = 3_000, 30, 3  # of the cross-validation
_MOST_COUNTED = 30_000  # rows whose pairs are counted
_FACTORS = np.linspace(0.0, 1.0, 11)
_LEAST_GAIN = 0.02  # nats a row
SHARE_OF_PRIOR = 0.02  # of a mixture with the discriminant


class LevelsEvidence:
    """What absent levels start from by the `known` coordinates, (n, k), of rows x, of all narrow blocks or of one.

    The one `block` is in the codec's order.
    """

    def __init__(self, layout: TableLayout, x: Tensor, known: Tensor, block: int | None = None) -> None:
        self._layout, self._x, self._known = layout, x, known
        of_all = slice(0, len(layout.discriminants.rest))
        self._computed = of_all if block is None else layout.variates.get(block, slice(0, 0))  # variates

    def of_all(self, n_blocks: int) -> Tensor:
        """Return ln p + constant that absent levels of the first blocks in the layout's order start from, (M, n)."""
        return torch.cat([self._x.new_zeros(0, len(self._x)), *map(self.of_block, self._layout.order[:n_blocks])])

    def of_block(self, block: int, rows: Tensor | None = None) -> Tensor:
        """Return ln p + constant that the absent levels of a block start from, in all rows or some, (L, u)."""
        layout, log_prior = self._layout, self._layout.log_prior_of(block).unsqueeze(1)
        variates, values = layout.variates_of(block), self._values_of(block, rows)
        if variates is None or values is None:
            told = log_prior.expand(-1, len(self._x) if rows is None else len(rows))
        else:
            told = torch.addmm(log_prior, variates.weighted, values)
        for of, partner in layout.partners:
            if of == block:
                ratios = torch.zeros_like(told) if variates is None or values is None else variates.codes @ values
                of_partner, where = self._of_partner(of, partner, ratios, rows)
                told = told.index_copy(1, where, of_partner + log_prior)
        return told if layout.basis_of(block) is None else log_mixed(torch.softmax(told, dim=0), log_prior)

    def ratios(self, block: int) -> Tensor:
        """Return the discriminant of a block, ln N(x_K | c_l) and a constant: (L, n), or (L, 1) without one."""
        variates, values = self._layout.variates_of(block), self._values_of(block)
        if variates is None or values is None:
            return self._x.new_zeros(len(self._layout.log_prior_of(block)), 1)
        return variates.codes @ values

    def _values_of(self, block: int, rows: Tensor | None = None) -> Tensor | None:
        """Return the linear and the quadratic values of the variates of a block, if it has any, (2 R, u)."""
        variates = self._layout.variates_of(block)
        if variates is None:
            return None
        first = self._computed.start
        values = self._by_variate[:, variates.places.start - first : variates.places.stop - first].flatten(0, 1)
        return values if rows is None else values.index_select(1, rows)

    @cached_property
    def _by_variate(self) -> Tensor:
        """The linear and the quadratic values of each variate in each row, (2, K, n)."""
        layout, x, discriminants = self._layout, self._x, self._layout.discriminants.some(self._computed)
        one_of_each, of_row = equal_rows(self._known.index_select(1, layout.first_of_part).to(x))
        return discriminants.evidence(layout.gaussian, x, self._known[one_of_each], of_row)

    def _of_partner(self, of: int, partner: int, ratios: Tensor, rows: Tensor | None) -> tuple[Tensor, Tensor]:
        """Return what a partner tells of the levels of a block, (L, v), in those of some rows, (v,), that know it."""
        layout = self._layout
        known, x = (self._known, self._x) if rows is None else (self._known[rows], self._x[rows])
        is_told = ~known[:, layout.coordinates[of].start] & known[:, layout.coordinates[partner].start]
        where = is_told.nonzero()[:, 0]
        of_partner, factor = layout.partner(of, partner)
        return of_partner[layout.level_of(partner, x[where])].T + factor * ratios[:, where], where


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
            is_mixed = layout.basis_of(of) is not None
            alone[of] += _cross_entropies(start, ratios, level, weight, is_mixed=is_mixed)
            if of in found:
                n_pairs = count_pairs(blocks, levels[~held_out], of, found[of], weights[~held_out])
                of_pairs = torch.from_numpy(log_ratios_of(n_pairs, blocks[of].frequencies)).float()
                of_partner = torch.from_numpy(levels[held_out, found[of]])
                told = torch.where(of_partner[:, None] >= 0, of_pairs[of_partner.clamp(min=0)], 0.0)
                beside[of] += _cross_entropies(start, ratios, level, weight, is_mixed=is_mixed, told=told)
    for of, known in found.items():
        both = (levels[fold >= 0][:, [of, known]] >= 0).all(axis=1)
        if alone[of].min() - beside[of].min() > _LEAST_GAIN * float(weights[fold >= 0] @ both):
            n_pairs, factor = count_pairs(blocks, levels, of, known, weights), float(_FACTORS[beside[of].argmin()])
            partners.append(Partner(of, known, log_ratios_of(n_pairs, blocks[of].frequencies), factor))
    return _FACTORS[alone.argmin(axis=1)], partners


def log_mixed(p: Tensor, log_prior: Tensor) -> Tensor:
    """Return ln((1 - s) p_l + s pi_l) of levels."""
    return (p * (1.0 - SHARE_OF_PRIOR)).add_(SHARE_OF_PRIOR * log_prior.exp()).log_()


def _cross_entropies(
    start: Tensor,
    ratios: Tensor,
    level: NDArray[np.intp],
    weight: NDArray[np.float64],
    *,
    is_mixed: bool,
    told: Tensor | float = 0.0,
) -> NDArray[np.float64]:
    """Return the weighted sum over rows of -ln P(level) from start + told + f ratios, for each factor f.

    What is told is by a partner. Where it `is_mixed`, both are mixed with the frequencies.
    """
    at, of_rows, result = torch.from_numpy(level).clamp(min=0)[:, None], torch.from_numpy(weight), list[float]()
    for factor in _FACTORS.tolist():
        log_p = torch.log_softmax(start + told + factor * ratios, dim=1)
        log_p = (log_mixed(log_p.exp(), start) if is_mixed else log_p).expand(len(at), -1)
        result.append(-float((of_rows * log_p.gather(1, at)[:, 0]).sum()))
    return np.array(result)
