"""The kinds of columns in rows of the user's values, as statistics of tables need them.

Rows are float64 (n, d) in the user's units. A column of levels holds one of finitely many numbers, such as the codes of
texts or the values of a rating. NaN is a missing cell.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from backwalk.errors import InvalidInput
from backwalk.estimates import Rows

_MOST_CATEGORIES = 255  # levels of a category in scikit-learn's histogram gradient boosting


@dataclass(frozen=True)
class ColumnKind:
    """The kind of one column.

    - `levels`: the values of a column of levels, in their order; empty for a number. A missing cell is no level.
    - `is_ordered`: whether the levels have an order, as those of a rating or a count.
    - `atoms`: values that a number takes in many rows.
    - `generates_gaps`: whether missing cells are part of the distribution that is compared. Otherwise statistics use
      the observed cells alone.
    """

    levels: tuple[float, ...] = ()
    is_ordered: bool = False
    atoms: tuple[float, ...] = ()
    generates_gaps: bool = False

    @property
    def is_category(self) -> bool:
        """Whether the column has levels without an order."""
        return bool(self.levels) and not self.is_ordered


def categories_of(kinds: Sequence[ColumnKind]) -> NDArray[np.bool_]:
    """Return which columns boosted trees should treat as categories, (d,): those with up to 255 levels, their limit."""
    return np.array([kind.is_category and len(kind.levels) <= _MOST_CATEGORIES for kind in kinds])


def level_index(values: Rows, levels: tuple[float, ...]) -> NDArray[np.intp]:
    """Return the number of each value's level, (n,); -1 for a missing cell. Raises InvalidInput for other values.

    >>> level_index(np.array([2.0, np.nan, 0.5]), (0.5, 2.0)).tolist()
    [1, -1, 0]
    >>> level_index(np.array([3.0, 1.0]), (3.0, 1.0, 2.0)).tolist()
    [0, 1]
    """
    known = np.asarray(levels, dtype=np.float64)
    ascending = np.argsort(known)
    index = ascending[np.minimum(np.searchsorted(known, values, sorter=ascending), len(known) - 1)]
    missing = np.isnan(values)
    unknown = ~missing & (known[index] != values)
    if unknown.any():
        raise InvalidInput(
            f"A column of {len(known)} levels should hold these alone, but holds {values[np.argmax(unknown)]:g}: "
            "score rows with the levels of the fit."
        )
    return np.where(missing, -1, index)
