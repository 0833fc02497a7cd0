"""Rows of features: what the baselines of tables are fitted to.

A feature is a column of levels, given as level numbers 0..L-1, or a number on any scale. Rows of k features are float64
(n, k), NaN for a missing cell. A number with atoms is two features: its level, and the number, which applies at the
level "continuous" only and is NaN at the others.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
from scipy import sparse

from backwalk.estimates import Rows
from backwalk.streams import Stream


@dataclass(frozen=True)
class Feature:
    """One feature: its number of levels (0 for a number), and where it applies.

    `applies` is None, or the number of another, earlier feature and the level of it at which this number applies.
    """

    n_levels: int = 0
    applies: tuple[int, int] | None = None


@dataclass(frozen=True, eq=False)
class MixedBaseline:
    """A fitted baseline of mixed rows.

    `log_prob` maps rows of features (n, k) to ln p, (n,): the probability of levels times the density of the numbers at
    which rows apply; a missing cell is left out. `sample(n, stream)` returns complete rows (n, k), with NaN only where
    a number does not apply.
    """

    name: str
    fit_seconds: float
    log_prob: Callable[[Rows], Rows]
    sample: Callable[[int, Stream], Rows]


@dataclass(frozen=True, eq=False)
class SplitRows:
    """Rows of features as a sparse matrix of level indicators, (n, sum L), and numbers with their mask, (n, p)."""

    indicators: sparse.csr_array
    numbers: Rows
    observed: Rows

    @classmethod
    def of(cls, rows: Rows, features: Sequence[Feature]) -> SplitRows:
        """Split rows (n, k); missing cells have no indicator, and the number 0."""
        levels = [j for j, feature in enumerate(features) if feature.n_levels]
        numbers = rows[:, [j for j, feature in enumerate(features) if not feature.n_levels]]
        starts = np.cumsum([0, *(features[j].n_levels for j in levels)])
        codes = rows[:, levels]
        row, column = np.nonzero(~np.isnan(codes))
        places = starts[column] + codes[row, column].astype(np.intp)
        indicators = sparse.csr_array((np.ones(len(row)), (row, places)), shape=(len(rows), int(starts[-1])))
        observed = ~np.isnan(numbers)
        return cls(indicators, np.where(observed, numbers, 0.0), observed.astype(np.float64))


def where_they_apply(rows: Rows, features: Sequence[Feature]) -> Rows:
    """Return rows of features (n, k) with NaN where a number does not apply."""
    rows = rows.copy()
    for j, feature in enumerate(features):
        if feature.applies is not None:
            other, level = feature.applies
            rows[rows[:, other] != level, j] = np.nan
    return rows
