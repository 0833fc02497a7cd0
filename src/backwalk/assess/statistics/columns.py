"""Single columns of two tables, each compared by its kind."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.stats import betabinom

from backwalk.assess.statistics.distances import ks_distance
from backwalk.assess.statistics.kinds import ColumnKind, level_index
from backwalk.estimates import Rows


def column_distance(x: Rows, y: Rows, kind: ColumnKind) -> float:
    """Return the distance between the values x (n,) and y (m,) of one column, in [0, 1].

    For levels it is the total variation distance of their frequencies, (1/2) sum_l |p_l - q_l|; for numbers, with atoms
    or without, the Kolmogorov-Smirnov distance sup |F_x - F_y|. Missing cells are left out. If the kind generates gaps,
    they are one more level, or numbers above all others. Without a value in one set, the distance is 0 if the other has
    none, too, and 1 otherwise.

    >>> column_distance(np.array([0.0, 0.0, 1.0, 1.0]), np.array([0.0, 0.0, 0.0, 1.0]), ColumnKind(levels=(0.0, 1.0)))
    0.25
    """
    if kind.generates_gaps:
        x, y = (np.where(np.isnan(values), np.inf, values) for values in (x, y))
        kind = ColumnKind((*kind.levels, np.inf)) if kind.levels else kind
    else:
        x, y = x[~np.isnan(x)], y[~np.isnan(y)]
    if not len(x) or not len(y):
        return float(len(x) != len(y))
    if not kind.levels:
        return ks_distance(x, y)
    return 0.5 * float(np.abs(level_shares(x, kind.levels) - level_shares(y, kind.levels)).sum())


def level_shares(values: Rows, levels: tuple[float, ...]) -> Rows:
    """Return the share of each level among the observed values: (L,), sum 1.

    >>> level_shares(np.array([2.0, np.nan, 2.0]), (0.5, 2.0)).tolist()
    [0.0, 1.0]
    """
    counts = level_counts(values, levels)
    return np.asarray(counts / max(1, counts.sum()), dtype=np.float64)


def level_counts(values: Rows, levels: tuple[float, ...]) -> NDArray[np.intp]:
    """Return the number of observed values at each level: (L,)."""
    index = level_index(values, levels)
    return np.bincount(index[index >= 0], minlength=len(levels))


def atom_shares(values: Rows, atoms: tuple[float, ...]) -> Rows:
    """Return the share of observed values that equal each atom: (m,)."""
    observed = values[~np.isnan(values)]
    return np.array([float(np.mean(observed == atom)) if len(observed) else 0.0 for atom in atoms])


@dataclass(frozen=True, eq=False)
class LevelBands:
    """The shares of a column's levels in real and in generated rows, with a band for each, (L,).

    If both sets follow one distribution, all generated shares lie within their bands with the stated probability.
    """

    real: Rows
    generated: Rows
    low: Rows
    high: Rows

    @property
    def is_outside(self) -> NDArray[np.bool_]:
        """Whether the generated share of each level lies outside its band."""
        return np.asarray((self.generated < self.low) | (self.generated > self.high))


def level_bands(real: Rows, generated: Rows, levels: tuple[float, ...], *, probability: float = 0.95) -> LevelBands:
    """Return the shares of levels in two columns of values, and the bands in which the generated ones should lie.

    A level with k of n real values has a Beta(k + 1/2, n - k + 1/2) posterior share (Jeffreys), so that m generated
    values hold it a beta-binomial number of times. The band is its central interval of probability 1 - (1 -
    `probability`) / L: by Bonferroni's inequality all L shares lie within with `probability` at least.
    """
    k, found = level_counts(real, levels), level_counts(generated, levels)
    n, m = max(1, int(k.sum())), max(1, int(found.sum()))
    tail = 0.5 * (1.0 - probability) / len(levels)
    cumulated = np.cumsum(betabinom.pmf(np.arange(m + 1), m, k[:, None] + 0.5, n - k[:, None] + 0.5), axis=1)
    low, high = (cumulated < tail).sum(axis=1), (cumulated < 1.0 - tail).sum(axis=1)
    return LevelBands(k / n, found / m, low / m, np.minimum(high, m) / m)
