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

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from backwalk.denoiser.layout import TableLayout
from backwalk.denoiser.numbers_start import equal_rows
from backwalk.denoiser.partners import Partner, count_pairs, find_partners, levels_of_rows, log_ratios_of
from backwalk.diffusion import JointGaussian, Moments, moments_with_gaps
from backwalk.streams import Stream
from backwalk.table import Codec

_MOST_ROWS, _FEWEST_ROWS, _FOLDS = 3_000, 30, 3  # of the cross-validation
_MOST_COUNTED = 30_000  # rows whose pairs are counted
_FACTORS = np.linspace(0.0, 1.0, 11)
_LEAST_GAIN = 0.02  # nats a row
SHARE_OF_PRIOR = 0.02  # of a mixture with the discriminant


class LevelsEvidence:
    """What the `known` coordinates, (n, k), of rows x add to ln pi of absent levels.

    With a `block`, in the codec's order, only its levels can be asked for.
    """

    def __init__(self, layout: TableLayout, x: Tensor, known: Tensor, block: int | None = None) -> None:
        self._layout, self._x, self._known, self._first = layout, x, known, 0
        discriminants = layout.discriminants
        if block is not None:
            discriminants = discriminants.of_block(layout.variates.get(block, slice(0)), layout.outputs[block])
            self._first = layout.outputs[block].start
        self._is_alone = block is not None
        one_of_each, of_row = equal_rows(known.to(x))
        self._variates = discriminants.evidence(layout.gaussian, x, known[one_of_each], of_row)

    def of_first(self, n_levels: int) -> Tensor:
        """Return what is added to the first levels in a row of logits, (n, `n_levels`)."""
        ratios = self._variates.log_ratios(slice(n_levels))
        result = self._layout.discriminant_factors[:n_levels] * ratios
        for of, _ in self._layout.partners:
            levels = self._layout.outputs[of]
            if levels.stop <= n_levels:
                self._add_partner(result[:, levels], ratios[:, levels], of)
        for block in self._layout.tilted:
            levels = self._layout.outputs[block]
            if levels.stop <= n_levels:
                result[:, levels] = mixed(result[:, levels], self._layout.log_prior_of(block))
        return result

    def of_block(self, block: int, rows: Tensor | slice = slice(None)) -> Tensor:
        """Return what is added to the levels of one block in some rows, (u, L), or (1, L) where nothing is."""
        layout, levels = self._layout, self._layout.outputs[block]
        has_partner = any(of == block for of, _ in layout.partners)
        if block not in layout.variates and not has_partner:
            return self._x.new_zeros(1, len(layout.log_prior_of(block)))
        ratios = self.ratios(block, rows)
        result = layout.discriminant_factors[levels] * ratios
        if has_partner:
            result = result.expand(len(self._x[rows]), -1).clone()
            self._add_partner(result, ratios.expand_as(result), block, rows)
        return result if layout.basis_of(block) is None else mixed(result, layout.log_prior_of(block))

    def ratios(self, block: int, rows: Tensor | slice = slice(None)) -> Tensor:
        """Return the discriminant of one block in some rows, ln N(x_K | c_l) and a constant: (u, L)."""
        layout, levels = self._layout, self._layout.outputs[block]
        variates = slice(None) if self._is_alone else layout.variates.get(block, slice(0))
        return self._variates.log_ratios(slice(levels.start - self._first, levels.stop - self._first), variates, rows)

    def _add_partner(self, result: Tensor, ratios: Tensor, of: int, rows: Tensor | slice = slice(None)) -> None:
        """Put what the partner of a block tells in the place of `result`, (u, L), in the rows in which it is known."""
        layout, known = self._layout, self._known[rows]
        for block, partner in layout.partners:
            if block == of:
                is_told = ~known[:, layout.coordinates[of].start] & known[:, layout.coordinates[partner].start]
                told = is_told.nonzero()[:, 0]
                of_partner, factor = layout.partner(of, partner)
                level = layout.level_of(partner, self._x[rows][told])
                result[told] = of_partner[level] + factor * ratios[told]


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
            ratios, start = LevelsEvidence(layout, x_0, evidence, of).ratios(of), layout.log_prior_of(of)
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


def mixed(ratios: Tensor, log_prior: Tensor) -> Tensor:
    """Return ln((1 - s) exp(r_l) / Z + s), (u, L), for r = `ratios` and Z = sum_l pi_l exp(r_l)."""
    log_z = torch.logsumexp(ratios + log_prior, dim=-1, keepdim=True)
    return ((ratios - log_z).exp_() * (1.0 - SHARE_OF_PRIOR) + SHARE_OF_PRIOR).log_()


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
        added = told + factor * ratios
        log_p = torch.log_softmax(start + (mixed(added, start) if is_mixed else added), dim=1).expand(len(at), -1)
        result.append(-float((of_rows * log_p.gather(1, at)[:, 0]).sum()))
    return np.array(result)
