"""How much of their discriminants the levels of a table start from: factors that are chosen on held-out rows.

The discriminant of a joint Gaussian (`diffusion/discriminant.py`) is too sure where the other coordinates are not
Gaussian, above all with many one-hot codes. So an absent block starts from ln pi_l + f ln N(x_K | c_l), with a factor f
in [0, 1]. By cross-validation in three parts, each scored by the Gaussian of the other two, f minimises the
cross-entropy of the block's levels, where each part of a row is given with a probability that is itself uniform.

Blocks of more than 64 levels start from their frequencies, except where a code is one number. Noisy coordinates tell
nothing here, and noisy blocks start from their own posterior: only training meets these beside absent blocks.
"""

from __future__ import annotations

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from backwalk.denoiser.layout import TableLayout
from backwalk.denoiser.numbers_start import equal_rows
from backwalk.diffusion import JointGaussian, moments_with_gaps
from backwalk.streams import Stream
from backwalk.table import Codec

_MOST_ROWS, _FEWEST_ROWS, _FOLDS = 3_000, 30, 3
_FACTORS = np.linspace(0.0, 1.0, 11)


def log_ratios(layout: TableLayout, x: Tensor, known: Tensor, block: int | None = None) -> Tensor:
    """Return what the `known` coordinates, (n, k), of rows x add to ln pi of absent levels: (n, M) of narrow blocks.

    Of one `block`, in the codec's order, it is (n, L).
    """
    discriminants, factors = layout.discriminants, layout.discriminant_factors
    if block is not None:
        if block not in layout.variates:
            return x.new_zeros(1, len(layout.log_prior_of(block)))
        outputs = layout.outputs[block]
        discriminants, factors = discriminants.of_block(layout.variates[block], outputs), factors[outputs]
    first, of_row = equal_rows(known.to(x))
    return factors * discriminants.log_ratios(layout.gaussian, x, known[first], of_row)


def choose_factors(
    codec: Codec, z: NDArray[np.float64], *, weights: NDArray[np.float64] | None = None, stream: Stream
) -> NDArray[np.float64]:
    """Return the factor of each block's discriminant, (B,), for random rows z, (n, k), of weights (n,).

    The first 3,000 rows are used; it is 0 for fewer than 30.
    """
    z, weights = z[:_MOST_ROWS], np.ones(len(z))[:_MOST_ROWS] if weights is None else weights[:_MOST_ROWS]
    blocks, fold = codec.blocks, np.arange(len(z)) % _FOLDS
    losses = np.zeros((len(_FACTORS), len(blocks)))
    if len(z) < _FEWEST_ROWS:
        return np.zeros(len(blocks))
    u = stream.child("given").uniform(0, len(z), 1 + len(codec.first_of_part)).numpy()
    part = np.searchsorted(codec.first_of_part, np.arange(z.shape[1]), side="right") - 1
    known = (u[:, 1:] < u[:, :1])[:, part] & ~np.isnan(z)
    for block in blocks:
        if block.number is not None:  # which is given where its level is
            known[:, block.number] &= known[:, block.coordinates.start]
    for i in range(_FOLDS):
        others, rows = fold != i, fold == i
        moments = moments_with_gaps(z[others], weights=weights[others], stream=stream.child("moments", i))
        layout = TableLayout(codec, JointGaussian.of_moments(moments))
        x_0, given = torch.from_numpy(z[rows]).float(), torch.from_numpy(known[rows])
        ratios = log_ratios(layout, x_0.nan_to_num(), given)
        levels = layout.levels_of(x_0.nan_to_num(), layout.narrow)
        counted = (~given & ~x_0.isnan())[:, layout.block_coordinates[: levels.shape[1]]].double()
        counted *= torch.from_numpy(weights[rows])[:, None]
        for j, factor in enumerate(_FACTORS):
            log_q = layout.prior[: layout.n_narrow].log() + float(factor) * ratios
            log_p = layout.normalised(log_q, layout.narrow).gather(-1, levels)
            losses[j, : levels.shape[1]] -= (counted * log_p).sum(0).numpy()
    in_order = np.argsort(layout.block_coordinates.numpy())
    return np.asarray(_FACTORS[losses.argmin(axis=0)[in_order]])
