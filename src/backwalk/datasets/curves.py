"""Curves in the plane, blurred by Gaussian noise: two moons, spirals, circles, rings; and a checkerboard.

A point is c_k(W) + noise * Z, with the curve k uniform, W its position along the curve and Z normal, so the density is
the integral of N(x; c_k(w), noise^2 I) over w. Gauss-Legendre quadrature on panels three noise widths long gives its
logarithm to 1e-8 within ten noise widths of a curve, and to a relative 1e-3 farther out, where it is below -50. On a
full circle the integral is a Bessel function.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from scipy.spatial import cKDTree
from scipy.spatial.distance import cdist
from scipy.special import i0e, logsumexp

from backwalk.datasets.density import (
    Density,
    check_at_least,
    exact,
    in_chunks,
    normal_rows,
    panel_nodes,
    uniform_rows,
)
from backwalk.estimates import Estimate, Rows
from backwalk.streams import Stream

Curve = Callable[[Rows], Rows]
_TAIL = 7.0  # noise widths from a curve, beyond which the density is below 1e-10 of its maximum
_LEAST_NOISE = 0.005  # that the quadrature resolves


@dataclass(frozen=True, eq=False)
class NoisyCurves(Density):
    """Points on smooth, equally probable curves of the plane, plus isotropic normal noise.

    A curve maps positions w (n,) in [0, 1] to points (n, 2); w = U^(1/power), with U uniform, has density
    power w^(power - 1).
    """

    curves: tuple[Curve, ...]
    noise: float
    power: int = 1

    def _draw(self, start: int, stop: int, stream: Stream) -> Rows:
        which, position = uniform_rows(start, stop, 2, stream.child("position")).T
        points = np.stack([curve(position ** (1.0 / self.power)) for curve in self.curves])
        chosen = points[(which * len(self.curves)).astype(int), np.arange(stop - start)]
        return np.asarray(chosen + self.noise * normal_rows(start, stop, 2, stream.child("noise")))

    def _log_prob(self, x: Rows) -> Rows:
        points, log_weights = self.nodes()

        def of_chunk(rows: Rows) -> Rows:
            terms = cdist(rows, points, "sqeuclidean")
            terms *= -0.5 / self.noise**2
            terms += log_weights
            largest = terms.max(axis=1)
            terms -= largest[:, None]
            return np.asarray(largest + np.log(np.exp(terms, out=terms).sum(axis=1)))

        return in_chunks(of_chunk, x, len(points)) - math.log(2.0 * math.pi * self.noise**2)

    def _find_entropy(self) -> Estimate:
        # The trapezoidal rule converges fast for a density that is smooth on the grid's scale and 0 at its border: a
        # spacing of half a noise width gives the entropy to 1e-5 nats. Points far from every curve are left out.
        points, spacing, tail = self.nodes()[0], 0.5 * self.noise, _TAIL * self.noise
        axes = [
            np.arange(a, b, spacing) for a, b in zip(points.min(axis=0) - tail, points.max(axis=0) + tail, strict=True)
        ]
        grid = np.stack(np.meshgrid(*axes), axis=-1).reshape(-1, 2)
        near = cKDTree(points).query(grid, distance_upper_bound=tail)[0] < tail
        log_p = self._log_prob(grid[near])
        return exact(-np.sum(np.exp(log_p) * log_p) * spacing**2)

    def nodes(self) -> tuple[Rows, Rows]:
        """Return the nodes on the curves, (k, 2), and the logarithms of their weights, (k,)."""
        fine = np.linspace(0.0, 1.0, 1001)
        points, log_weights = [], []
        for curve in self.curves:
            length = np.linalg.norm(np.diff(curve(fine), axis=0), axis=1).sum()
            w, weights = panel_nodes(0.0, 1.0, 2 + math.ceil(length / (3.0 * self.noise)))
            points.append(curve(w))
            log_weights.append(np.log(weights * self.power * w ** (self.power - 1) / len(self.curves)))
        return np.concatenate(points), np.concatenate(log_weights)


def two_moons(noise: float = 0.05) -> Density:
    """Return scikit-learn's two half circles with noise, in the plane.

    Parameters
    ----------
    noise : float, default=0.05
        The standard deviation of the noise.

    Returns
    -------
    Density
        The density.

    See Also
    --------
    circles : Two full circles.
    spirals : Two arms.

    Notes
    -----
    The outer arc is (cos a, sin a), the inner one (1 - cos a, 1/2 - sin a), with a uniform on (0, pi). `make_moons`
    puts its angles on a grid, so that two of its samples are closer to each other than independent ones.

    Examples
    --------
    >>> from backwalk.datasets import two_moons
    >>> two_moons().sample(3, random_state=0).shape
    (3, 2)
    """
    check_at_least(_LEAST_NOISE, noise=noise)
    return NoisyCurves("two_moons", 2, (_outer_moon, _inner_moon), noise)


def spirals(noise: float = 0.05) -> Density:
    """Return two spiral arms with noise, in the plane.

    Parameters
    ----------
    noise : float, default=0.05
        The standard deviation of the noise.

    Returns
    -------
    Density
        The density about the arms `+-(r/3) (-cos r, sin r)` with `r = 3 pi sqrt(U)` and U uniform: radii of 0 to pi.

    See Also
    --------
    two_moons : Two half circles.
    pinwheel : Gaussians twisted into arms.

    Examples
    --------
    >>> from backwalk.datasets import spirals
    >>> spirals().sample(3, random_state=0).shape
    (3, 2)
    """
    check_at_least(_LEAST_NOISE, noise=noise)
    return NoisyCurves("spirals", 2, (_spiral, _opposite_spiral), noise, power=2)


@dataclass(frozen=True, eq=False)
class NoisyCircles(Density):
    """Points on equally probable circles about the origin, plus isotropic normal noise.

    For one circle of radius R, with r = |x| and z = r R / noise^2,
    log p(x) = -(r - R)^2 / (2 noise^2) + log[exp(-z) I_0(z)] - log(2 pi noise^2).
    """

    radii: tuple[float, ...]
    noise: float

    def _draw(self, start: int, stop: int, stream: Stream) -> Rows:
        which, turn = uniform_rows(start, stop, 2, stream.child("position")).T
        radius = np.array(self.radii)[(which * len(self.radii)).astype(int)]
        circle = np.stack([radius * np.cos(2.0 * math.pi * turn), radius * np.sin(2.0 * math.pi * turn)], axis=1)
        return np.asarray(circle + self.noise * normal_rows(start, stop, 2, stream.child("noise")))

    def _log_prob(self, x: Rows) -> Rows:
        return self._log_prob_at(np.linalg.norm(x, axis=1))

    def _log_prob_at(self, r: Rows) -> Rows:
        radii, variance = np.array(self.radii), self.noise**2
        each = np.log(i0e(r[:, None] * radii / variance)) - (r[:, None] - radii) ** 2 / (2.0 * variance)
        return np.asarray(logsumexp(each, axis=1) - math.log(len(radii) * 2.0 * math.pi * variance))

    def _find_entropy(self) -> Estimate:
        outermost = max(self.radii) + _TAIL * self.noise
        r, weights = panel_nodes(0.0, outermost, 2 + math.ceil(outermost / self.noise))
        log_p = self._log_prob_at(r)
        return exact(-np.sum(weights * 2.0 * math.pi * r * np.exp(log_p) * log_p))


def circles(noise: float = 0.05) -> Density:
    """Return two circles of radius 1 and 1/2 with noise, in the plane.

    Parameters
    ----------
    noise : float, default=0.05
        The standard deviation of the noise.

    Returns
    -------
    Density
        The density.

    See Also
    --------
    rings : Four circles.

    Examples
    --------
    >>> from backwalk.datasets import circles
    >>> circles().sample(3, random_state=0).shape
    (3, 2)
    """
    check_at_least(_LEAST_NOISE, noise=noise)
    return NoisyCircles("circles", 2, (1.0, 0.5), noise)


def rings(noise: float = 0.03) -> Density:
    """Return four circles of radius 1, 3/4, 1/2 and 1/4 with noise, in the plane.

    Parameters
    ----------
    noise : float, default=0.03
        The standard deviation of the noise.

    Returns
    -------
    Density
        The density.

    See Also
    --------
    circles : Two circles.

    Examples
    --------
    >>> from backwalk.datasets import rings
    >>> rings().sample(3, random_state=0).shape
    (3, 2)
    """
    check_at_least(_LEAST_NOISE, noise=noise)
    return NoisyCircles("rings", 2, (1.0, 0.75, 0.5, 0.25), noise)


@dataclass(frozen=True, eq=False)
class Checkerboard(Density):
    """The uniform density on every other unit cell of a board of n_cells x n_cells cells about the origin."""

    n_cells: int

    def _draw(self, start: int, stop: int, stream: Stream) -> Rows:
        u = uniform_rows(start, stop, 3, stream)
        row, column = self._cells()[(u[:, 0] * len(self._cells())).astype(int)].T
        return np.asarray(np.stack([column + u[:, 1], row + u[:, 2]], axis=1) - 0.5 * self.n_cells)

    def _log_prob(self, x: Rows) -> Rows:
        cell = np.floor(x + 0.5 * self.n_cells)
        inside = ((cell >= 0) & (cell < self.n_cells)).all(axis=1) & (cell.sum(axis=1) % 2 == 0)
        return np.asarray(np.where(inside, -math.log(len(self._cells())), -np.inf))

    def _find_entropy(self) -> Estimate:
        return exact(math.log(len(self._cells())))

    def _cells(self) -> Rows:
        row, column = np.divmod(np.arange(self.n_cells**2), self.n_cells)
        return np.asarray(np.stack([row, column], axis=1)[(row + column) % 2 == 0], dtype=np.float64)


def checkerboard(n_cells: int = 4) -> Density:
    """Return the uniform density on the dark cells of a board, in the plane.

    Its edges are sharp: a smooth density can approach it, but not reach it.

    Parameters
    ----------
    n_cells : int, default=4
        The number of cells along each side, of length 1. The board is centred at the origin.

    Returns
    -------
    Density
        The density.

    See Also
    --------
    two_moons : A density with soft edges.

    Examples
    --------
    >>> from backwalk.datasets import checkerboard
    >>> round(checkerboard().entropy, 4)  # ln 8
    2.0794
    """
    check_at_least(2, n_cells=n_cells)
    return Checkerboard("checkerboard", 2, n_cells)


def _outer_moon(w: Rows) -> Rows:
    return np.stack([np.cos(math.pi * w), np.sin(math.pi * w)], axis=1)


def _inner_moon(w: Rows) -> Rows:
    return np.stack([1.0 - np.cos(math.pi * w), 0.5 - np.sin(math.pi * w)], axis=1)


def _spiral(w: Rows) -> Rows:
    r = 3.0 * math.pi * w
    return np.stack([-np.cos(r) * r / 3.0, np.sin(r) * r / 3.0], axis=1)


def _opposite_spiral(w: Rows) -> Rows:
    return -_spiral(w)
