"""Maps of densities: rotations, twists and shears, which preserve volume.

With |det J| = 1 everywhere, a warped density is p(x) = p_base(inverse(x)), and its entropy is exactly that of the base.
So curved densities in many dimensions have a known log-density and entropy.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from backwalk.datasets.density import Density, normal_rows, transform
from backwalk.estimates import Estimate, Rows
from backwalk.streams import Stream


@dataclass(frozen=True, eq=False)
class Rotation:
    """x = matrix z, with an orthogonal matrix (d, d)."""

    matrix: Rows

    def forward(self, z: Rows) -> Rows:
        """Turn the points z (n, d)."""
        return transform(z, self.matrix)

    def inverse(self, x: Rows) -> Rows:
        """Turn the points x (n, d) back."""
        return transform(x, self.matrix.T)


@dataclass(frozen=True)
class Twist:
    """Turn a point z of the plane by the angle rate |z|^2, which preserves areas."""

    rate: float

    def forward(self, z: Rows) -> Rows:
        """Twist the points z (n, 2)."""
        return _turned(z, self.rate)

    def inverse(self, x: Rows) -> Rows:
        """Untwist the points x (n, 2)."""
        return _turned(x, -self.rate)


@dataclass(frozen=True, eq=False)
class Shear:
    """Leave the first h columns a as they are and add sin(directions a + phases) to the other d - h.

    The Jacobian is triangular with ones on its diagonal. directions (d - h, h), phases (d - h,).
    """

    directions: Rows
    phases: Rows

    def forward(self, z: Rows) -> Rows:
        """Shear the points z (n, d)."""
        a, b = self._halves(z)
        return np.concatenate([a, b + self._shift(a)], axis=1)

    def inverse(self, x: Rows) -> Rows:
        """Shear the points x (n, d) back."""
        a, b = self._halves(x)
        return np.concatenate([a, b - self._shift(a)], axis=1)

    def _halves(self, x: Rows) -> tuple[Rows, Rows]:
        h = self.directions.shape[1]
        return x[:, :h], x[:, h:]

    def _shift(self, a: Rows) -> Rows:
        return np.asarray(np.sin(transform(a, self.directions) + self.phases))


Warp = Rotation | Twist | Shear
"""Invertible maps of R^d whose Jacobian has determinant +-1."""


@dataclass(frozen=True, eq=False)
class Warped(Density):
    """The density of warps[-1](... warps[0](z)) for z drawn from the base."""

    base: Density
    warps: tuple[Warp, ...]

    def _draw(self, start: int, stop: int, stream: Stream) -> Rows:
        x = self.base.sample_rows(start, stop, stream=stream)
        for warp in self.warps:
            x = warp.forward(x)
        return x

    def _log_prob(self, x: Rows) -> Rows:
        for warp in reversed(self.warps):
            x = warp.inverse(x)
        return self.base.log_prob(x)

    def _find_entropy(self) -> Estimate:
        return Estimate(self.base.entropy, self.base.entropy_standard_error, 0)


def random_rotation(d: int, stream: Stream) -> Rows:
    """Return a uniformly random orthogonal matrix (d, d). Source: Mezzadri 2007."""
    q, r = np.linalg.qr(normal_rows(0, d, d, stream))
    return np.asarray(q * np.sign(np.diag(r)))


def _turned(points: Rows, rate: float) -> Rows:
    x, y = points.T
    angle = rate * (x**2 + y**2)
    return np.stack([x * np.cos(angle) - y * np.sin(angle), x * np.sin(angle) + y * np.cos(angle)], axis=1)
