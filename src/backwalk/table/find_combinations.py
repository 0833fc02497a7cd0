"""Find columns of levels of which only some pairs of levels occur.

Two kinds are found: dependencies, where each level of one column has one level of the other in all its rows, and pairs
of levels that no row has although many would if the columns were independent.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import combinations

import numpy as np
import numpy.typing as npt

from backwalk.table.frame import Table
from backwalk.table.maps import BoolArray
from backwalk.table.rules import Combinations
from backwalk.table.schema import FloatArray

IntArray = npt.NDArray[np.int64]
_RARE = 5  # rows


@dataclass(frozen=True)
class _Levels:
    """A column's levels, (L,), and the number of each row's level, (n,), -1 where it is missing."""

    values: FloatArray
    codes: IntArray


@dataclass(frozen=True)
class _Pairs:
    """The pairs of levels that rows have, (m,) each, in how many rows, and the rows of each level."""

    one: IntArray
    other: IntArray
    n: IntArray
    n_one: IntArray
    n_other: IntArray

    def swapped(self) -> _Pairs:
        return _Pairs(self.other, self.one, self.n, self.n_other, self.n_one)

    def is_dependency(self) -> bool:
        """Return whether each level of one has a single level of the other."""
        return len(self.one) == np.count_nonzero(self.n_one)

    def log_chance(self) -> float:
        """Return ln of the probability of a dependency if the others' levels were drawn at random.

        The first row of each level of one is free to have any, and the later ones have to agree.
        """
        share = self.n_other[self.other] / self.n.sum()
        return float((self.n - 1) @ np.log(share))


def find_combinations(table: Table, columns: Sequence[int], log_rate: float) -> list[Combinations]:
    """Return the combinations of some columns of levels, of which a table without any has one with exp(log_rate)."""
    levels = {j: level for j in columns if len((level := _levels(table.values[:, j])).values) > 1}
    couples = list(combinations(levels, 2))
    n_cells = sum(len(levels[i].values) * len(levels[j].values) for i, j in couples)
    log_chance = log_rate - math.log(max(len(couples), 1))
    least_expected = math.log(max(n_cells, 1)) - log_rate
    determines = np.zeros((table.values.shape[1],) * 2, dtype=bool)
    absent = dict[tuple[int, int], IntArray]()
    for i, j in couples:
        pairs = _count_pairs(levels[i], levels[j])
        for a, b, way in ((i, j, pairs), (j, i, pairs.swapped())):
            determines[a, b] = len(pairs.n) and way.is_dependency() and way.log_chance() < log_chance
        if not (determines[i, j] or determines[j, i]):
            absent[i, j] = _absent_pairs(pairs, least_expected)
    first = np.argmax((determines & determines.T) | np.eye(len(determines), dtype=bool), axis=1)
    kept = _direct(determines, first)
    names = table.schema.names
    rules = list[Combinations]()
    for i, j in couples:
        if kept[i, j] or kept[j, i]:
            rules.append(Combinations(names[i], names[j]))
        elif first[i] == i and first[j] == j and len(absent.get((i, j), ())):
            stated = (_stated(table, k, levels[k].values[absent[i, j][:, at]]) for at, k in enumerate((i, j)))
            rules.append(Combinations(names[i], names[j], tuple(zip(*stated, strict=True))))
    return rules


def _levels(x: FloatArray) -> _Levels:
    is_observed = ~np.isnan(x)
    codes = np.full(len(x), -1)
    values, codes[is_observed] = np.unique(x[is_observed], return_inverse=True)
    return _Levels(values, codes)


def _count_pairs(one: _Levels, other: _Levels) -> _Pairs:
    n_one, n_other = len(one.values), len(other.values)
    is_observed = (one.codes >= 0) & (other.codes >= 0)
    codes = one.codes * n_other + other.codes
    codes = codes if is_observed.all() else codes[is_observed]
    if n_one * n_other <= max(10_000, 4 * len(codes)):
        counts = np.bincount(codes, minlength=n_one * n_other)
        present = np.flatnonzero(counts)
        counts = counts[present]
    else:
        present, counts = np.unique(codes, return_counts=True)
    a, b = np.divmod(present, n_other)
    return _Pairs(
        a,
        b,
        counts,
        np.bincount(a, counts, n_one).astype(np.int64),
        np.bincount(b, counts, n_other).astype(np.int64),
    )


def _absent_pairs(pairs: _Pairs, least_expected: float) -> IntArray:
    """Return the pairs of levels, (k, 2), that no row has although at least so many are expected.

    Both levels have to be without rare pairs: where some pairs are rare, others may be rarer still.
    """
    rarest = [np.full(len(rows), pairs.n.sum()) for rows in (pairs.n_one, pairs.n_other)]
    np.minimum.at(rarest[0], pairs.one, pairs.n)
    np.minimum.at(rarest[1], pairs.other, pairs.n)
    n_one, n_other = (
        np.where(rare > _RARE, rows, 0.0) for rare, rows in zip(rarest, (pairs.n_one, pairs.n_other), strict=True)
    )
    one, other = (np.flatnonzero(rows > least_expected) for rows in (n_one, n_other))
    is_absent = np.outer(n_one[one], n_other[other]) > least_expected * pairs.n.sum()
    at_one, at_other = (np.full(len(rows), -1) for rows in (n_one, n_other))
    at_one[one], at_other[other] = np.arange(len(one)), np.arange(len(other))
    a, b = at_one[pairs.one], at_other[pairs.other]
    is_looked_at = (a >= 0) & (b >= 0)
    is_absent[a[is_looked_at], b[is_looked_at]] = False
    a, b = np.nonzero(is_absent)
    return np.stack([one[a], other[b]], axis=1)


def _direct(determines: BoolArray, first: IntArray) -> BoolArray:
    """Return the dependencies, (d, d), that do not follow from others; `first` is the first column equivalent to each.

    Columns that determine each other depend on the first of them, and have no other dependency.
    """
    is_first = first == np.arange(len(first))
    strict = determines & is_first & is_first[:, None]
    direct = strict & ~(strict @ strict)
    direct[np.flatnonzero(~is_first), first[~is_first]] = True
    return np.asarray(direct)


def _stated(table: Table, j: int, values: FloatArray) -> list[object]:
    labels = table.schema.labels[j]
    return [float(value) if labels is None else labels[int(value)] for value in values]
