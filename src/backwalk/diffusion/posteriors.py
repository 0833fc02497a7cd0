"""Exact posteriors from which the denoiser of a table starts: those of levels, and of a joint Gaussian of numbers.

A level l has the code c_l in R^w and the prior probability pi_l. With a = sqrt(alpha_bar), b^2 = 1 - alpha_bar and
x_t = a c_l + b eps,

    q(l | x_t) = softmax_l(ln pi_l - |x_t - a c_l|^2 / (2 b^2)),

which is one-hot where the code is known (a = 1, b = 0) and pi where it is absent (a = 0, b = 1). A denoiser's own
probabilities are p(l | x_t) = softmax_l(ln q(l | x_t) + f_l), and x_0_hat = sum_l p(l | x_t) c_l is E[x_0 | x_t].

The joint Gaussian of encoded rows, fitted where values are missing too, is mu + V z + D^(1/2) e with z ~ N(0, I_r) and
e ~ N(0, I_k): V, (k, r), holds the leading directions of the covariance and the diagonal D the rest, at least `RIDGE`.
With A = diag(a) and B = diag(b), x_t = A x_0 + B eps has

    E[z | x_t] = P^-1 V' A W (x_t - A mu),   P = I + V' A W A V,   W = (A D A + B^2)^-1,

so that a row costs r x r systems only, whichever coordinates are known or absent.

Its moments are those of `gaussian_em.py`.

Source: Hoogeboom et al. 2022 and Austin et al. 2021 for levels drawn one after another; Woodbury's identity.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import Protocol, runtime_checkable

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from backwalk.diffusion.gaussian_em import RIDGE, Moments, moments_with_gaps
from backwalk.diffusion.parameterization import Denoiser
from backwalk.streams import Stream

LEAST_LOG_PROBABILITY = -60.0
LEAST_NOISE_SQ = 1e-14  # of b^2: a known code then tells levels of neighbouring values apart
_MOST_ADDED = 0.01  # to variances
MOST_DIRECTIONS = 32
_LEAST_ROWS = 8  # of a product: libraries compute fewer by other sums
_MOST_FILLED = 4  # times as many rows: beyond, to copy a matrix for each row takes less time than empty products


@runtime_checkable
class LevelsDenoiser(Denoiser, Protocol):
    """A denoiser of rows with levels, which gives their probabilities."""

    def level_log_probs(self, x_t: Tensor, log_snr: Tensor, block: int, /) -> Tensor:
        """Return ln p(l | x_t) of the levels of a block, (n, L): x_t is (n, k), log_snr (), (n,) or (n, k)."""
        ...


def level_log_posterior(x_t: Tensor, a: Tensor, b_sq: Tensor, codes: Tensor | None, log_prior: Tensor) -> Tensor:
    """Return ln q(l | x_t), (..., G, L), of G blocks with L levels each.

    x_t is (..., G, w), a and b_sq are (..., G, 1), codes (G, L, w), or None for one-hot codes, and log_prior (G, L).
    """
    b_sq = b_sq.clamp(min=LEAST_NOISE_SQ)
    if codes is None:
        fit = x_t * (a / b_sq)
    elif codes.shape[-1] == 1:
        # Differences are exact where known values are close to each other.
        fit = (x_t - a * codes[..., 0]).square() / (-2.0 * b_sq)
    else:
        inner = torch.einsum("...gw,glw->...gl", x_t, codes)
        fit = (inner - 0.5 * a * codes.square().sum(-1)) * (a / b_sq)
    # exp is slow where its result underflows.
    return torch.log_softmax(fit + log_prior, dim=-1).clamp(min=LEAST_LOG_PROBABILITY)


@dataclass(frozen=True, eq=False)
class JointGaussian:
    """The mean mu, (k,), the directions V, (k, r), and the remaining variances D, (k,)."""

    mean: Tensor
    directions: Tensor
    rest: Tensor

    @classmethod
    def fit(cls, z: NDArray[np.float64], *, stream: Stream) -> JointGaussian:
        """Return the Gaussian of rows z, (n, k), in which NaN marks missing coordinates."""
        return cls.of_moments(moments_with_gaps(z, stream=stream))

    @classmethod
    def of_moments(cls, moments: Moments) -> JointGaussian:
        """Return the Gaussian of a mean and of the leading directions of a covariance.

        Variances are 1/n greater, at most by .01: few rows underestimate small eigenvalues.
        """
        mean, covariance, n = moments
        k, more = len(mean), min(_MOST_ADDED, 1.0 / n)
        values, vectors = np.linalg.eigh(covariance)
        r = min(k, MOST_DIRECTIONS)
        # What the leading directions leave over is spread evenly (Tipping & Bishop 1999), as D. D is at least `RIDGE`,
        # which is taken from the directions: the covariance of many rows is exact if its eigenvalues are larger.
        left = max(RIDGE, more + float(values[: k - r].mean()) if r < k else 0.0)
        lengths = np.sqrt(np.maximum(values[k - r :] + more - left, 0.0))
        directions = vectors[:, k - r :] * lengths
        rest = np.maximum(np.diag(covariance) + more - np.square(directions).sum(axis=1), RIDGE)
        return cls(*(torch.from_numpy(np.ascontiguousarray(part)).float() for part in (mean, directions, rest)))

    @classmethod
    def standard(cls, k: int) -> JointGaussian:
        """Return N(0, I) in the shapes of a fitted one."""
        return cls(torch.zeros(k), torch.zeros(k, min(k, MOST_DIRECTIONS)), torch.ones(k))

    def precision(self, weight: Tensor) -> Tensor:
        """Return I + V' diag(w) V, (p, r, r), for the weights w of p sets of rows, (p, k).

        Those of a few sets have the bits that they have among many.
        """
        v, (p, k), r = self.directions, weight.shape, self.directions.shape[1]
        filled = torch.cat([weight, weight.new_zeros(max(_LEAST_ROWS - p, 0), k)])
        products = filled @ (v.unsqueeze(-1) * v.unsqueeze(-2)).reshape(k, r * r)
        return products[:p].reshape(p, r, r) + torch.eye(r, dtype=v.dtype, device=v.device)

    def posterior(self, a: Tensor, b_sq: Tensor, wanted: Tensor, sets: RowSets | None = None) -> GaussianPosterior:
        """Return the posterior of the `wanted` coordinates, (i,), of rows of p sets; a and b_sq of these are (p, k).

        By default each row is a set, or all are one, if p is 1.
        """
        return GaussianPosterior(self, a, b_sq, wanted, RowSets(len(a)) if sets is None else sets)


class RowSets:
    """Rows of p sets: row i of n belongs to set `of_row[i]`. Without `of_row`, all rows are one set or p = n."""

    def __init__(self, p: int, of_row: Tensor | None = None) -> None:
        self._p, self._of_row = p, None if p == 1 else of_row

    def by_row(self, of_sets: Tensor) -> Tensor:
        """Return values of sets, (p, ...), as those of the rows, (n, ...), or (1, ...) where there is one set."""
        return of_sets if self._of_row is None else of_sets.index_select(0, self._of_row)

    def product(self, x: Tensor, matrices: Tensor) -> Tensor:
        """Return each row's product with the matrix of its set, (..., n, j): x is (..., n, r), matrices (p, r, j)."""
        if self._p == 1:
            return x @ matrices[0]
        rows = x.reshape(-1, *x.shape[-2:]).movedim(0, 1)  # (n, t, r)
        _, t, r = rows.shape
        if self._slots is not None:
            most, slot = self._slots
            padded = rows.new_zeros(self._p * most, t, r).index_copy(0, slot, rows).view(self._p, most * t, r)
            products = torch.bmm(padded, matrices).view(self._p * most, t, -1)[slot]
        else:
            products = torch.bmm(rows, self.by_row(matrices))
        return products.movedim(1, 0).reshape(*x.shape[:-1], -1)

    @cached_property
    def _slots(self) -> tuple[int, Tensor] | None:
        """The size of the largest set and the place of each row if all are filled up to it; None if few rows are."""
        if self._of_row is None:
            return None
        sizes, order = torch.bincount(self._of_row, minlength=self._p), self._of_row.argsort()
        most = int(sizes.max())
        if self._p * most > _MOST_FILLED * len(order):
            return None
        of_sorted = self._of_row[order]
        within = torch.arange(len(order), device=order.device) - (sizes.cumsum(0) - sizes)[of_sorted]
        return most, torch.empty_like(order).index_copy(0, order, of_sorted * most + within)


def equal_rows(rows: Tensor) -> tuple[Tensor, Tensor]:
    """Return the number of one row of each set of equal ones, (u,), and the set of each row, (n,).

    Rows are compared by their products with a fixed vector, whose collisions are looked for.
    """
    device, n = rows.device, len(rows)
    everyone = torch.arange(n, device=device)
    if not n or bool((rows == rows[:1]).all()):
        return everyone[:1], torch.zeros_like(everyone)
    vector = torch.sin(torch.arange(1.0, rows.shape[1] + 1.0, dtype=torch.float64, device=device))
    key = rows.double() @ vector
    of_row = torch.unique(key, return_inverse=True)[1]
    first = everyone.new_full((int(of_row.max()) + 1,), n).scatter_reduce(0, of_row, everyone, "amin")
    return (first, of_row) if bool((rows[first[of_row]] == rows).all()) else (everyone, everyone)


class GaussianPosterior:
    """E[x_0 | x_t] and the standard deviations of some coordinates of a `JointGaussian`, at fixed noise levels.

    Rows at the same noise levels form a set, of which all that does not depend on x_t is computed once.
    """

    def __init__(self, joint: JointGaussian, a: Tensor, b_sq: Tensor, wanted: Tensor, sets: RowSets) -> None:
        v = joint.directions
        p, r = len(a), v.shape[1]
        weight = a / (a.square() * joint.rest + b_sq)
        factor = torch.linalg.cholesky(joint.precision(a * weight))
        own = joint.rest[wanted] * weight[:, wanted]  # of x_t, in the mean
        others = 1.0 - own * a[:, wanted]
        half: Tensor = torch.linalg.solve_triangular(factor, v[wanted].T.expand(p, r, len(wanted)), upper=False)
        whole: Tensor = torch.linalg.solve_triangular(factor.mT, half, upper=True)
        self._joint, self._wanted, self._sets = joint, wanted, sets
        self._gain = whole * others.unsqueeze(1)
        self._variance = half.square().sum(dim=1) * others.square() + joint.rest[wanted] * others
        self._weight, self._a, self._own = (sets.by_row(part) for part in (weight, a, own))

    def mean(self, x_t: Tensor) -> Tensor:
        """Return E[x_0 | x_t] of the wanted coordinates, (..., n, i): x_t is (..., n, k)."""
        return self._joint.mean[self._wanted] + self.push(x_t - self._a * self._joint.mean)

    def push(self, tangent: Tensor) -> Tensor:
        """Return the derivative of `mean` along tangents of x_t, (..., n, k): (..., n, i)."""
        of_directions = (self._weight * tangent) @ self._joint.directions
        return self._sets.product(of_directions, self._gain) + self._own * tangent[..., self._wanted]

    def deviation(self) -> Tensor:
        """Return the standard deviations of the wanted coordinates given x_t, (p, i)."""
        return self._variance.clamp(min=0.0).sqrt()
