"""How much of their discriminants the levels of a table start from: factors that are chosen on held-out rows.

The discriminant of a joint Gaussian (`diffusion/discriminant.py`) is too sure where the other coordinates are not
Gaussian, above all with many one-hot codes. So an absent block starts from ln pi_l + f ln N(x_K | c_l), with a factor f
in [0, 1]. By cross-validation in three parts, each scored by the Gaussian of the other two, f minimises the
cross-entropy of the block's levels given all other columns.

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
    blocks = codec.blocks
    if len(z) < _FEWEST_ROWS:
        return np.zeros(len(blocks))
    weights = np.ones(len(z)) if weights is None else weights
    z, weights = z[:_MOST_ROWS], weights[:_MOST_ROWS]
    fold, losses = np.arange(len(z)) % _FOLDS, np.zeros((len(_FACTORS), len(blocks)))
    for i in range(_FOLDS):
        others, rows = fold != i, fold == i
        moments = moments_with_gaps(z[others], weights=weights[others], stream=stream.child("moments", i))
        layout = TableLayout(codec, JointGaussian.of_moments(moments))
        x_0, weight = torch.from_numpy(z[rows]).float(), torch.from_numpy(weights[rows])
        seen, x_0 = ~x_0.isnan() & torch.from_numpy(codec.drawn_coordinates), x_0.nan_to_num()
        for j in layout.variates:
            known, at = seen.clone(), seen[:, blocks[j].coordinates.start]
            known[:, codec.slices[blocks[j].column]] = False
            ratios, level = log_ratios(layout, x_0, known, j), layout.level_of(j, x_0)
            for factor, of_factor in zip(_FACTORS, losses, strict=True):
                log_p = torch.log_softmax(layout.log_prior_of(j) + float(factor) * ratios, dim=1)
                of_factor[j] -= float((weight * at * log_p.gather(1, level[:, None])[:, 0]).sum())
    return np.asarray(_FACTORS[losses.argmin(axis=0)])
