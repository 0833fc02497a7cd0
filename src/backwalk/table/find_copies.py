"""Find numbers that equal those of another column in more rows than chance explains."""

from __future__ import annotations

import math
from collections.abc import Sequence
from itertools import combinations

import numpy as np
from scipy import stats

from backwalk.table.choose_atoms import find_atoms
from backwalk.table.frame import Table
from backwalk.table.rules import Copy
from backwalk.table.schema import FloatArray

_FEWEST_ROWS, _LEAST_SHARE = 10, 0.005  # of equal cells: both at least
_MOST_OF_ONE = 0.1  # of the equal cells: what has more says nothing, as the zeros of two amounts


def find_copies(table: Table, columns: Sequence[int], log_rate: float) -> list[Copy]:
    """Return which of some columns, by number, are copies of others in a part of the rows.

    Rows in which both cells have a value that more than a tenth of the equal cells have do not count: few values meet
    without being copied. Let c of the others be equal, and n(v), m(v) rows of the two columns have the value v. Then
    c is at least 10, and 0.5 % of the rows; a Poisson count of mean sum_v n(v) m(v) / rows, as of independent columns,
    reaches c with a probability below exp(log_rate) over the number of pairs; and 0 stands out among the differences
    near 0 (`find_atoms`), unlike for columns that merely follow each other.

    The pairs of the most equal cells are taken first, and none that others join already. Each column is a copy of at
    most one.

    >>> import numpy as np
    >>> import pandas as pd
    >>> from backwalk.table import as_table
    >>> from backwalk.table.find_copies import find_copies
    >>> price, other = np.random.default_rng(0).lognormal(size=(2, 200))
    >>> table = as_table(pd.DataFrame({"price": price, "paid": np.where(np.arange(200) % 2, price, other)}))
    >>> print(*find_copies(table, [0, 1], -14.0))
    paid ?= price
    """
    x, names, units = table.values, table.schema.names, table.schema.units
    pairs = [(i, j) for i, j in combinations(columns, 2) if units[i] == units[j]]
    found = list[tuple[int, int, int]]()
    for i, j in pairs:
        n_equal = _copies(x[:, i], x[:, j], table.schema.dtypes[i], log_rate - math.log(len(pairs)))
        if n_equal:
            found.append((-n_equal, i, j))
    tree_of, joined = {j: j for j in columns}, list[tuple[int, int]]()
    for _, i, j in sorted(found):
        if tree_of[i] != tree_of[j]:
            joined.append((i, j))
            first, last = sorted((tree_of[i], tree_of[j]))
            tree_of = {k: first if tree == last else tree for k, tree in tree_of.items()}
    copies, reached = list[Copy](), set(tree_of.values())
    while joined:  # from the first column of each tree on
        i, j = next(pair for pair in joined if reached.intersection(pair))
        joined.remove((i, j))
        source, target = (i, j) if i in reached else (j, i)
        reached.add(target)
        copies.append(Copy(names[target], of=names[source]))
    return copies


def _copies(one: FloatArray, other: FloatArray, dtype: str, log_chance: float) -> int:
    """Return in how many rows two columns, (n,) each, are equal, or 0 where they are no copies."""
    fewest = max(_FEWEST_ROWS, _LEAST_SHARE * len(one))
    is_equal = one == other
    if is_equal.sum() < fewest or (is_equal | np.isnan(one) | np.isnan(other)).all():
        return 0
    values, counts = np.unique(one[is_equal], return_counts=True)
    usual = values[counts > _MOST_OF_ONE * counts.sum()]
    tells = ~(np.isnan(one) | np.isnan(other) | (is_equal & np.isin(one, usual)))
    n_equal = int((is_equal & tells).sum())
    if n_equal < fewest:
        return 0
    (v, n), (w, m) = (np.unique(x[tells], return_counts=True) for x in (one, other))
    _, at, where = np.intersect1d(v, w, assume_unique=True, return_indices=True)
    expected = float(n[at] @ m[where].astype(np.float64)) / tells.sum()
    if stats.poisson.logsf(n_equal - 1, expected) >= log_chance:
        return 0
    difference = other[tells] - one[tells]
    difference[difference != 0.0] = np.round(difference[difference != 0.0], 9)
    return n_equal if 0.0 in find_atoms(difference, dtype) else 0
