"""Linear discriminants of levels under a joint Gaussian: what known coordinates of a row tell of an absent level.

A block of levels has codes c_l at the coordinates C of an encoded row, x ~ N(mu, S). Let S_C|K be the covariance of x_C
given all other coordinates. The canonical variates of the block are y = U'(x_C - mu_C), where

    S_C|K U = S_C U diag(lambda),   U' S_C U = I.

They are uncorrelated, with variance 1 where nothing is known, and lambda where all else is. Let y have the means m and
the variances v given the known coordinates x_K of a row. Bayes' rule for the Gaussian gives the discriminant

    ln N(x_K | x_C = c_l) = sum_r [g_lr m_r / v_r - g_lr^2 (1 / v_r - 1) / 2] + constant,   g_l = U'(c_l - mu_C),

which is linear in x_K, as the covariance within levels is pooled. It is exact for one variate, and where all else is
known. Elsewhere correlations of variates given x_K are left out, so that an absent block costs R scalars and no matrix.
The R = min(w, L - 1, 8) variates of least lambda are kept, fewer where a table would have more than 256.

Source: Fisher 1936; Hastie, Tibshirani & Friedman 2009, section 4.3.3, for canonical variates.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise, starmap
from typing import NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from scipy.linalg import eigh
from torch import Tensor

from backwalk.diffusion.posteriors import JointGaussian, RowSets

_MOST_OF_BLOCK, _MOST = 8, 256  # variates


class Discriminants(NamedTuple):
    """The K variates of blocks with M levels: y = directions z + N(0, rest), with z as in `JointGaussian`.

    `directions` is (K, r), `rest` (K,), and `codes`, the g_l, (K, M): 0 for variates of other blocks.
    """

    directions: Tensor
    rest: Tensor
    codes: Tensor

    @classmethod
    def of(
        cls, joint: JointGaussian, blocks: Sequence[tuple[slice, NDArray[np.float64], slice]], n_levels: int
    ) -> Discriminants:
        """Return those of blocks at some coordinates, with codes (L, w) and places among `n_levels` levels."""
        v, d, mu = (part.double().numpy() for part in (joint.directions, joint.rest, joint.mean))
        precision = np.eye(v.shape[1]) + (v.T / d) @ v
        spans = variates_of([of_levels.shape for _, of_levels, _ in blocks])
        n = spans[-1].stop if spans else 0
        directions, rest, codes = np.zeros((n, v.shape[1])), np.zeros(n), np.zeros((n, n_levels))
        for (at, of_levels, levels), span in zip(blocks, spans, strict=True):
            of_block, of_rest = v[at], np.diag(d[at])
            given_others = of_block @ np.linalg.solve(precision - (of_block.T / d[at]) @ of_block, of_block.T) + of_rest
            u = eigh(given_others, of_block @ of_block.T + of_rest)[1][:, : span.stop - span.start]
            directions[span] = u.T @ of_block
            rest[span] = d[at] @ np.square(u)
            codes[span, levels] = ((of_levels - mu[at]) @ u).T
        return cls(*(torch.from_numpy(part).float() for part in (directions, rest, codes)))

    def some(self, variates: slice) -> Discriminants:
        """Return some of them."""
        return Discriminants(self.directions[variates], self.rest[variates], self.codes[variates])

    def evidence(self, joint: JointGaussian, x: Tensor, patterns: Tensor, of_row: Tensor) -> Tensor:
        """Return what is known of the variates of rows x, (n, k): m / v and (1 - 1 / v) / 2, (2, K, n).

        Times g_l and g_l^2 they are ln N(x_K | x_C = c_l) + constant. `patterns`, (p, k), are True where a coordinate
        is known, and those of the rows are `of_row`, (n,).
        """
        sets, weight = RowSets(len(patterns), of_row), patterns.to(x) / joint.rest
        factor = torch.linalg.cholesky(joint.precision(weight))
        towards = torch.cholesky_inverse(factor) @ self.directions.T  # (p, r, K)
        variance = (self.directions.T * towards).sum(-2) + self.rest
        seen = (sets.by_row(weight) * (x - joint.mean)) @ joint.directions
        linear, quadratic = sets.product(seen, towards / variance.unsqueeze(1)), sets.by_row(0.5 - 0.5 / variance)
        return torch.stack([linear.T, quadratic.expand_as(linear).T])


def variates_of(shapes: Sequence[tuple[int, ...]]) -> list[slice]:
    """Return the variates of each block, as slices of K, for codes of some shapes, (L, w)."""
    most = min(_MOST_OF_BLOCK, max(1, _MOST // max(len(shapes), 1)))
    stops = np.cumsum([0, *(min(n_levels - 1, width, most) for n_levels, width in shapes)]).tolist()
    return list(starmap(slice, pairwise(stops)))
