"""Find columns of levels of which only some pairs of levels occur.

Two kinds are found: dependencies, where each level of one column has one level of the other in all its rows, and pairs
of levels that no row has although many should.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import combinations

import numpy as np
import numpy.typing as npt
from scipy.special import ndtri

from backwalk.table.frame import Table
from backwalk.table.maps import BoolArray
from backwalk.table.rules import Combinations
from backwalk.table.schema import FloatArray

IntArray = npt.NDArray[np.int64]
_RARE = 5  # rows
_CORRELATION = 0.7  # of columns that avoid pairs without a rule


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
    images, absent = dict[tuple[int, int], IntArray](), dict[tuple[int, int], IntArray]()
    for i, j in couples:
        pairs = _count_pairs(levels[i], levels[j])
        for a, b, way in ((i, j, pairs), (j, i, pairs.swapped())):
            if len(pairs.n) and way.is_dependency() and way.log_chance() < log_chance:
                determines[a, b] = True
                images[a, b] = np.full(len(levels[a].values), -1)
                images[a, b][way.one] = way.other
        if len(pairs.n) and not (determines[i, j] or determines[j, i]):
            of_pair = _absent_pairs(pairs, least_expected)
            if len(of_pair):
                absent[i, j], absent[j, i] = of_pair, of_pair[:, ::-1]
    first = np.argmax((determines & determines.T) | np.eye(len(determines), dtype=bool), axis=1)
    kept = _direct(determines, first)
    follows = determines.T @ determines  # pairs of columns that a third determines
    names, rules = table.schema.names, list[Combinations]()
    for i, j in couples:
        if kept[i, j] or kept[j, i]:
            rules.append(Combinations(names[i], names[j]))
        elif (i, j) in absent and not follows[i, j] and first[i] == i and first[j] == j:
            of_pair = absent[i, j][~(_implied(i, j, images, absent) | _implied(j, i, images, absent))]
            if len(of_pair):
                stated = (_stated(table, k, levels[k].values[of_pair[:, at]]) for at, k in enumerate((i, j)))
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

    If the columns are independent, as many rows are expected as their frequencies give. Dependent columns avoid some
    pairs without a rule. How far they may do so is bounded in two ways, one of which has to leave enough rows:

    - the levels are the opposite ends of two normal numbers with a correlation of -0.7;
    - the pairs that do not occur, of which there are several, are avoided no more than any pair that does occur.

    Levels that have rare pairs are left out, as further pairs may be rarer still.
    """
    n = pairs.n.sum()
    one = _frequent(pairs.n_one, pairs.one, pairs.n, least_expected * n / pairs.n_other.max())
    other = _frequent(pairs.n_other, pairs.other, pairs.n, least_expected * n / pairs.n_one.max())
    n_one, n_other = pairs.n_one[one], pairs.n_other[other]
    observed = np.zeros((len(one), len(other)))
    in_both = np.isin(pairs.one, one) & np.isin(pairs.other, other)
    at = np.searchsorted(one, pairs.one[in_both]), np.searchsorted(other, pairs.other[in_both])
    observed[at] = pairs.n[in_both]
    expected = np.outer(n_one, n_other) / n
    is_candidate = (observed == 0) & (expected > least_expected)
    a, b = np.nonzero(is_candidate)
    is_absent = n * _share_at_opposite_ends(n_one[a] / n, n_other[b] / n) > least_expected
    if len(a) > 1 and min(np.count_nonzero(pairs.n_one), np.count_nonzero(pairs.n_other)) > 2:
        ratio = pairs.n * n / (pairs.n_one[pairs.one] * pairs.n_other[pairs.other])
        avoided = expected[a, b] * ratio[pairs.n > ratio * _RARE].min()
        is_likely = avoided > _RARE
        if np.count_nonzero(is_likely) > 1 and avoided[is_likely].sum() > least_expected:
            is_absent |= is_likely
    return np.asarray(np.stack([one[a], other[b]], axis=1)[is_absent])


def _frequent(n_rows: IntArray, levels: IntArray, n: IntArray, fewest: float) -> IntArray:
    """Return the levels of more than `fewest` rows whose pairs with other levels, in n rows each, are all frequent."""
    rarest = np.full(len(n_rows), np.inf)
    np.minimum.at(rarest, levels, n)
    return np.flatnonzero((n_rows > fewest) & (rarest > _RARE))


def _share_at_opposite_ends(p: FloatArray, q: FloatArray) -> FloatArray:
    """Return P(X < x, Y > y), (k,), of normal numbers with a high correlation, where P(X < x) = p and P(Y > y) = q.

    Of all events with these probabilities, none occur together more rarely (Borell 1985). By Plackett's integral over
    the correlation.
    """
    points, weights = np.polynomial.legendre.leggauss(20)
    widest = -math.asin(_CORRELATION)
    angle = 0.5 * widest * (points + 1.0)
    x, y = ndtri(p)[:, None], ndtri(q)[:, None]
    density = np.exp(-(x**2 + y**2 - 2.0 * x * y * np.sin(angle)) / (2.0 * np.cos(angle) ** 2)) / (2.0 * math.pi)
    return np.asarray(np.maximum(p * q + 0.5 * widest * density @ weights, 0.0))


def _implied(
    i: int, j: int, images: Mapping[tuple[int, int], IntArray], absent: Mapping[tuple[int, int], IntArray]
) -> BoolArray:
    """Return which absent pairs of columns i and j, (k,), follow from those of j and a column that i determines."""
    one, other = absent[i, j].T
    follows = np.zeros(len(one), dtype=bool)
    for (a, through), image in images.items():
        if a == i and (through, i) not in images and (through, j) in absent:
            of_through = set(map(tuple, absent[through, j].tolist()))
            follows |= [pair in of_through for pair in zip(image[one].tolist(), other.tolist(), strict=True)]
    return follows


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
