"""Find columns that follow from one, two or three of levels: each combination of theirs has one value.

A dependency is no accident: if one of the determining columns were shuffled among the rows that agree in the others,
all rows of a combination would have the same level with the probability prod (share of the level)^(n - 1), where n
rows have the combination, and the share is that among the rows that agree in the others. For each determining column
this has to be below the false-alarm rate, divided by the number of candidates.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from itertools import combinations

import numpy as np
from numpy.typing import NDArray

from backwalk.streams import Stream
from backwalk.table.frame import Table
from backwalk.table.rules import Determines

IntArray = NDArray[np.intp]
_ROWS_LOOKED_AT = 500  # for candidates, which all rows have to confirm
_MOST_SETS = 2_100  # of determining columns: pairs of up to 65 columns, and triples of up to 24


def find_dependencies(
    table: Table, levels: Sequence[int], log_rate: float, exceptions: float = 0.0, *, numbers: Sequence[int] = ()
) -> list[tuple[Determines, int]]:
    """Return the dependencies of columns of levels, of which a table without any has one with exp(log_rate).

    Columns of `numbers` may follow too, and determine none. Each comes with the number of rows that break it, at most a
    share `exceptions` of all. Those that follow from others are left out.
    """
    columns, d = [*levels, *numbers], len(levels)
    codes = np.stack([_codes(table.values[:, j]) for j in columns], axis=1) if columns else np.empty((0, 0), np.intp)
    some = codes[Stream(0).child("dependencies").permutation(len(codes))[:_ROWS_LOOKED_AT]]
    names, n_columns = [table.schema.names[j] for j in columns], len(columns)
    found = list[tuple[tuple[int, ...], int, int]]()  # by, of, broken rows
    determined, stands_for = set[int](), dict[int, int]()

    def holding(by: tuple[int, ...], of_any: Sequence[int], log_chance: float) -> dict[int, int]:
        """Return which of some columns follow, with the number of rows that break it."""
        most = exceptions * len(some) + 3.0 * math.sqrt(exceptions * len(some))
        likely = [of for of, n in zip(of_any, _exceptions(some, by, of_any), strict=True) if n <= most]
        broken = dict(zip(likely, _exceptions(codes, by, likely).tolist(), strict=True))
        return {
            of: n
            for of, n in broken.items()
            if n <= exceptions * len(codes) and all(_log_chance(codes, by, a, of) < log_chance for a in by)
        }

    log_chance = log_rate - math.log(max(d * (n_columns - 1), 1))
    of_one = [holding((i,), [j for j in range(n_columns) if j != i], log_chance) for i in range(d)]
    single = {(i, j): n for i, of_each in enumerate(of_one) for j, n in of_each.items()}
    for i, j in single:
        if i < j and (j, i) in single and j not in stands_for and i not in stands_for:
            stands_for[j] = i
            found.append(((i,), j, single[i, j]))
    firsts = [j for j in range(d) if j not in stands_for]
    followers = [*firsts, *range(d, n_columns)]
    for i, j in single:
        if i in firsts and j in followers and not any((i, k) in single and (k, j) in single for k in firsts):
            found.append(((i,), j, single[i, j]))
            determined.add(j)
    for size in (2, 3):
        if math.comb(len(firsts), size) > _MOST_SETS:
            break
        log_chance = log_rate - math.log(max(math.comb(len(firsts), size) * len(followers), 1))
        bound = {frozenset((*by, of)) for by, of, _ in found}
        for by in combinations(firsts, size):
            if any(pair in single for a, b in combinations(by, 2) for pair in ((a, b), (b, a))):
                continue
            members = {of: frozenset((*by, of)) for of in followers if of not in by and of not in determined}
            left = [of for of, of_all in members.items() if not any(each <= of_all for each in bound if of in each)]
            for of, n_broken in holding(by, left, log_chance).items():
                if members[of] not in bound:
                    bound.add(members[of])
                    found.append((by, of, n_broken))
    return [(Determines(names[of], [names[i] for i in by]), n) for by, of, n in found]


def _codes(x: NDArray[np.float64]) -> IntArray:
    """Return the number of each row's value among the column's, (n,), -1 where it is missing."""
    is_observed, codes = ~np.isnan(x), np.full(len(x), -1, dtype=np.intp)
    codes[is_observed] = np.unique(x[is_observed], return_inverse=True)[1]
    return codes


def _groups(codes: IntArray, columns: Sequence[int]) -> IntArray:
    """Return the number of the combination of each row, (n,), in some columns; not all numbers need occur."""
    groups = np.zeros(len(codes), dtype=np.intp)
    for j in columns:
        groups = groups * (codes[:, j].max(initial=0) + 2) + codes[:, j] + 1
        if groups.max(initial=0) > len(codes):
            groups = np.unique(groups, return_inverse=True)[1]
    return groups


def _exceptions(codes: IntArray, by: Sequence[int], of_any: Sequence[int]) -> IntArray:
    """Return for each of some columns how many rows do not have the most frequent level of their combination."""
    complete = codes[(codes[:, by] >= 0).all(axis=1)]
    groups, levels = _groups(complete, by), complete[:, of_any]
    n_groups, n_levels = groups.max(initial=0) + 1, levels.max(initial=0) + 1
    keys = (np.arange(len(of_any)) * n_groups + groups[:, None]) * n_levels + levels
    distinct, n = np.unique(keys[levels >= 0], return_counts=True)
    in_groups, first = np.unique(distinct // n_levels, return_index=True)
    others = np.add.reduceat(n, first) - np.maximum.reduceat(n, first) if len(n) else n
    return np.bincount(in_groups // n_groups, others, minlength=len(of_any)).astype(np.intp)


def _log_chance(codes: IntArray, by: Sequence[int], shuffled: int, of: int) -> float:
    """Return ln of the probability of a dependency if a determining column were shuffled: see the module."""
    others = [j for j in by if j != shuffled]
    complete = codes[(codes[:, [*by, of]] >= 0).all(axis=1)]
    of_others, own = _groups(complete, others), complete[:, of]
    n_levels = own.max(initial=0) + 1
    _, rows, n = np.unique(_groups(complete, by) * n_levels + own, return_index=True, return_counts=True)
    keys = of_others * n_levels + own
    distinct, n_level = np.unique(keys, return_counts=True)
    share = n_level[np.searchsorted(distinct, keys[rows])] / np.bincount(of_others)[of_others[rows]]
    return float((n - 1) @ np.log(share))
