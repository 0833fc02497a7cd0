"""Smooth, increasing maps of a number, x = f(z), with their inverses and the logarithm of the inverse's slope."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

import numpy as np

from backwalk.estimates import Rows


class Monotone(Protocol):
    """An increasing map of numbers (n,)."""

    def forward(self, z: Rows) -> Rows:
        """Return f(z), (n,)."""
        ...

    def inverse(self, x: Rows) -> tuple[Rows, Rows]:
        """Return z with f(z) = x and ln dz/dx, (n,) each; -inf for the latter where no z has f(z) = x."""
        ...


@dataclass(frozen=True)
class Affine:
    """x = shift + scale z."""

    shift: float = 0.0
    scale: float = 1.0

    def forward(self, z: Rows) -> Rows:
        """Return shift + scale z."""
        return np.asarray(self.shift + self.scale * z)

    def inverse(self, x: Rows) -> tuple[Rows, Rows]:
        """Return (x - shift) / scale and -ln scale."""
        return (x - self.shift) / self.scale, np.full(len(x), -np.log(self.scale))


@dataclass(frozen=True)
class Exponential:
    """x = scale exp(rate z) > 0."""

    scale: float = 1.0
    rate: float = 1.0

    def forward(self, z: Rows) -> Rows:
        """Return scale exp(rate z)."""
        return np.asarray(self.scale * np.exp(self.rate * z))

    def inverse(self, x: Rows) -> tuple[Rows, Rows]:
        """Return ln(x / scale) / rate and -ln(rate x); -inf for the latter where x <= 0."""
        positive = np.where(x > 0, x, 1.0)
        log_slope = np.where(x > 0, -np.log(self.rate * positive), -np.inf)
        return np.log(positive / self.scale) / self.rate, log_slope


@dataclass(frozen=True)
class HyperbolicSine:
    """x = scale sinh(z): nearly linear around 0, with heavy tails."""

    scale: float = 1.0

    def forward(self, z: Rows) -> Rows:
        """Return scale sinh(z)."""
        return np.asarray(self.scale * np.sinh(z))

    def inverse(self, x: Rows) -> tuple[Rows, Rows]:
        """Return arcsinh(x / scale) and -ln(x^2 + scale^2) / 2."""
        return np.arcsinh(x / self.scale), -np.log(np.hypot(x, self.scale))
