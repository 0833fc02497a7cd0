"""Mean and covariance of rows in which values are missing, by EM.

Of rows that lack the same coordinates, the step of EM needs the sums of z and of z z' alone.

Source: Dempster, Laird & Rubin 1977 for EM; Varadhan & Roland 2008 for its acceleration.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from backwalk.streams import Stream

RIDGE = 0.001
"""The least eigenvalue of a covariance where variances are about 1. Float32 has the posteriors of larger ones."""
_MOST_STEPS, _STEPS_NEAR, _SHORTEST_STEP, _LONGEST_JUMP = 200, 12, 1e-6, 100.0  # the last in steps
_MOST_ROWS, _FEWEST_ROWS, _NUMBERS_OF_EM = 20_000, 500, 10**6


class Moments(NamedTuple):
    """The mean, (k,), and the covariance, (k, k), of rows that count as `n` of equal weights."""

    mean: NDArray[np.float64]
    covariance: NDArray[np.float64]
    n: float


def moments_with_gaps(
    z: NDArray[np.float64],
    *,
    weights: NDArray[np.float64] | None = None,
    near: Moments | None = None,
    stream: Stream,
) -> Moments:
    """Return mean and covariance of rows z, (n, k), by EM where coordinates are NaN.

    `weights`, (n,), are those of the rows, of which only the ratios matter. EM takes at most 20,000 random rows, fewer
    beyond 50 coordinates, and at least 500. A coordinate that is always missing has mean 0 and variance 1. EM starts
    `near` moments, such as those of more rows, and then takes 12 steps at most: what rows do not tell stays near.
    """
    seen = ~np.isnan(z)
    if not z.shape[1]:
        return Moments(np.zeros(0), np.zeros((0, 0)), len(z))
    if seen.all():
        mean = np.average(z, axis=0, weights=weights)
        covariance = np.cov(z, rowvar=False, bias=True, aweights=weights).reshape(len(mean), -1)
        return Moments(mean, covariance, len(z) if weights is None else _effective(weights))
    weights = np.ones(len(z)) if weights is None else weights
    most = min(_MOST_ROWS, max(_FEWEST_ROWS, _NUMBERS_OF_EM // z.shape[1]))
    if len(z) > most:
        some = stream.child("moments").permutation(len(z))[:most]
        z, seen, weights = z[some], seen[some], weights[some]
    of_row = weights[:, None]
    n_seen, weight_seen = seen.sum(axis=0), np.where(seen.any(axis=0), (of_row * seen).sum(axis=0), 1.0)
    mean = np.where(n_seen > 0, (of_row * np.where(seen, z, 0.0)).sum(axis=0) / weight_seen, 0.0)
    centred = np.where(seen, z - mean, 0.0)  # the sums of squares of rows far from 0 would be rounded
    variance = np.where(n_seen > 1, (of_row * np.square(centred)).sum(axis=0) / weight_seen, 1.0)
    start, most_steps = (np.zeros(len(mean)), np.diag(variance)), _MOST_STEPS
    if near is not None:
        start, most_steps = (near.mean - mean, near.covariance), _STEPS_NEAR
    found = _fixed_point(_StepOfEM(centred, seen, weights), np.vstack(start), most_steps)
    return Moments(mean + found[0], found[1:], _effective(weights))


class _StepOfEM:
    """The step of EM for weighted rows, (n, k): from the mean and the covariance, (1 + k, k), to the next ones.

    Of rows that lack the same coordinates their sums are enough. Where they are more than there are coordinates, no
    step sees them again.
    """

    def __init__(self, filled: NDArray[np.float64], seen: NDArray[np.bool_], weights: NDArray[np.float64]) -> None:
        patterns, which, counts = np.unique(seen, axis=0, return_inverse=True, return_counts=True)
        which, is_summed = which.reshape(-1), counts > seen.shape[1]
        self._sums = [
            _SumsOfPattern.of(patterns[p], filled[which == p], weights[which == p]) for p in np.flatnonzero(is_summed)
        ]
        rest = ~is_summed[which]
        self._total, self._filled, self._seen, self._weights = weights.sum(), filled[rest], seen[rest], weights[rest]
        n_gaps = (~self._seen).sum(axis=1)
        groups = [np.flatnonzero(n_gaps == g) for g in np.unique(n_gaps[n_gaps > 0])]
        # Rows with equally many gaps are computed at once: their numbers, (m,), and their gaps, (m, g).
        self._groups = [(rows, np.nonzero(~self._seen[rows])[1].reshape(len(rows), -1)) for rows in groups]

    def __call__(self, moments: NDArray[np.float64]) -> NDArray[np.float64]:
        mean = moments[0]
        # The precision of the missing coordinates given the seen ones is a block of the precision of all: its size is
        # the number of gaps.
        precision = np.asarray(np.linalg.inv(_with_ridge(moments[1:])), np.float64)
        expected, squares = self._posterior(mean, precision)
        off = expected - mean
        shift = (self._weights[:, None] * off).sum(axis=0)
        weighted = np.sqrt(self._weights[:, None]) * off
        squares += weighted.T @ weighted
        for sums in self._sums:
            of_pattern = sums.expected(mean, precision)
            shift, squares = shift + of_pattern[0], squares + of_pattern[1]
        shift, squares = shift / self._total, squares / self._total
        covariance = squares - np.outer(shift, shift)
        return np.vstack([mean + shift, 0.5 * (covariance + covariance.T)])

    def _posterior(
        self, mean: NDArray[np.float64], precision: NDArray[np.float64]
    ) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        """Return E[z | seen], (n, k), and the weighted sum over the rows of Cov[z | seen], (k, k)."""
        k = len(mean)
        expected, spread = self._filled.copy(), np.zeros(k * k)
        pull = np.where(self._seen, self._filled - mean, 0.0) @ precision
        for rows, gaps in self._groups:
            block = gaps[:, :, None] * k + gaps[:, None, :]
            within = np.linalg.inv(precision.reshape(-1)[block])
            towards = np.take_along_axis(pull[rows], gaps, axis=1)
            expected[rows[:, None], gaps] = mean[gaps] - (within @ towards[:, :, None])[:, :, 0]
            of_rows = self._weights[rows, None, None] * within
            spread += np.bincount(block.reshape(-1), of_rows.reshape(-1), minlength=k * k)
        return expected, spread.reshape(k, k)


class _SumsOfPattern(NamedTuple):
    """Weighted sums over rows z that lack the same `gaps`, (g,): of 1, of z, (k,), and of z z', (k, k); 0 at gaps."""

    seen: NDArray[np.bool_]
    gaps: NDArray[np.intp]
    weight: float
    of_rows: NDArray[np.float64]
    of_squares: NDArray[np.float64]

    @classmethod
    def of(cls, seen: NDArray[np.bool_], filled: NDArray[np.float64], weights: NDArray[np.float64]) -> _SumsOfPattern:
        """Return those of rows, (n, k), of weights (n,), that are 0 where they are not `seen`, (k,)."""
        of_rows = weights @ filled
        return cls(seen, np.flatnonzero(~seen), float(weights.sum()), of_rows, (filled.T * weights) @ filled)

    def expected(
        self, mean: NDArray[np.float64], precision: NDArray[np.float64]
    ) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        """Return the sums of E[z - mean | seen] and of E[(z - mean)(z - mean)' | seen] over the rows."""
        centre = np.where(self.seen, mean, 0.0)
        shift, across = self.of_rows - self.weight * centre, np.outer(self.of_rows, centre)
        squares = self.of_squares - across - across.T + self.weight * np.outer(centre, centre)
        if len(self.gaps):
            within = np.linalg.inv(precision[np.ix_(self.gaps, self.gaps)])
            of_seen = -within @ np.where(self.seen, precision[self.gaps], 0.0)
            shift[self.gaps] = of_seen @ shift
            squares[self.gaps] = of_seen @ squares
            squares[:, self.gaps] = squares[self.gaps].T
            squares[np.ix_(self.gaps, self.gaps)] = of_seen @ squares[:, self.gaps] + self.weight * within
        return shift, squares


def _fixed_point(
    step: Callable[[NDArray[np.float64]], NDArray[np.float64]], x: NDArray[np.float64], most_steps: int
) -> NDArray[np.float64]:
    """Return the x with step(x) = x, to which the steps from x converge slowly and along a line.

    With r the first of two steps and v the change to the second, x jumps to x + 2 l r + l^2 v, l = |r| / |v|, and takes
    a step from there. If that step is longer than r, x takes the two steps instead.

    Source: Varadhan & Roland 2008 (SQUAREM, third scheme).
    """
    for _ in range(most_steps // 3):
        once = step(x)
        twice = step(once)
        r, v = once - x, twice - 2.0 * once + x
        if np.abs(twice - once).max() < _SHORTEST_STEP:
            return twice
        length = float(np.clip(np.linalg.norm(r) / np.linalg.norm(v), 1.0, _LONGEST_JUMP))
        jump = x + 2.0 * length * r + length**2 * v
        x = step(jump)
        if np.linalg.norm(x - jump) > np.linalg.norm(r):
            x = twice
    return x


def _effective(weights: NDArray[np.float64]) -> float:
    """Return as how many rows of equal weights those of weights (n,) count. Source: Kish 1965."""
    return float(weights.sum() ** 2 / np.square(weights).sum())


def _with_ridge(covariance: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return a covariance whose eigenvalues are at least `RIDGE`: those that are greater stay."""
    values, vectors = np.linalg.eigh(covariance)
    floored: NDArray[np.float64] = (vectors * np.maximum(values, RIDGE)) @ vectors.T
    return floored
