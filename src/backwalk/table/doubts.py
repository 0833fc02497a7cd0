"""What is likely a mistake in a table: blank rows, numbers that mean missing or a time, and labels that mean one.

Nothing of it is changed. A fit and `backwalk info` tell of it, as only the user knows.
"""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Iterator, Sequence

import numpy as np

from backwalk.formatting import listed
from backwalk.table.frame import Table
from backwalk.table.schema import FloatArray, is_no_clock_time, shown

_NINES = re.compile(r"9{2,}(\.9+)?")  # the digits of -999, 9999 and 99.9
_LEAST_ALONE = 100.0  # in size, of a number that is told of although it is in one row
_MOST_SHOWN = 3
_FEWEST_TIMES = 28  # distinct numbers; by chance all end below 60 in .6^28, less than one of a million columns
_FEWEST_HOURS, _FEWEST_ENDINGS = 3, 6  # of clock times in steps of up to ten minutes


def find_doubts(table: Table) -> Iterator[str]:
    """Yield a sentence about each likely mistake in a table, with its remedy; of plain arrays nothing is known.

    >>> from backwalk.table.doubts import find_doubts
    >>> from backwalk.table import as_table
    >>> import pyarrow as pa
    >>> next(find_doubts(as_table(pa.table({"town": ["Bonn", "bonn ", "Rome"]}))))[:65]
    "column 'town' has levels that differ by blanks or case alone, 'Bo"
    """
    if table.schema.kind == "numpy":
        return
    n_empty = int(np.isnan(table.values).all(axis=1).sum()) if table.values.shape[1] > 1 else 0
    if n_empty:
        yield f"{n_empty:,} row{'s hold' if n_empty > 1 else ' holds'} no value: leave out blank rows, or they count."
    for j, labels in enumerate(table.schema.labels):
        label = table.schema.label(j)
        if labels is not None:
            yield from _alike(label, labels)
        elif table.schema.units[j] is None:
            yield from _sentinels(label, table.values[:, j])
            yield from _clock_times(label, table.schema.names[j], table.values[:, j])


def _alike(label: str, labels: Sequence[str]) -> Iterator[str]:
    """Yield what is told of levels that differ by blanks or case alone."""
    groups = defaultdict[str, list[str]](list)
    for text in labels:
        groups[" ".join(text.split()).casefold()].append(text)
    alike = [" and ".join(map(shown, group)) for group in groups.values() if len(group) > 1]
    if alike:
        more = [f"{len(alike) - _MOST_SHOWN:,} more such groups"] if len(alike) > _MOST_SHOWN else []
        yield (
            f"{label} has levels that differ by blanks or case alone, {listed([*alike[:_MOST_SHOWN], *more])}: write "
            "them alike, or they are learnt as different."
        )


def _clock_times(label: str, name: str, values: FloatArray) -> Iterator[str]:
    """Yield what is told of whole numbers that all are clock times HHMM."""
    x = np.unique(values[~np.isnan(values)])
    if len(x) < _FEWEST_TIMES or is_no_clock_time(x).any():
        return
    if len(np.unique(x // 100.0)) >= _FEWEST_HOURS and len(np.unique(x % 100.0)) >= _FEWEST_ENDINGS:
        yield (
            f"{label} looks like clock times HHMM, {x[0]:g} to {x[-1]:g}: if so, its kind is clock "
            f"(--column {shown(name)}=clock), or new rows may have minutes past 59."
        )


def _sentinels(label: str, values: FloatArray) -> Iterator[str]:
    """Yield what is told of numbers of nines that are farther from all others than these are from each other."""
    x = values[~np.isnan(values)]
    if not len(x):
        return
    nines = [end for end in {float(x.min()), float(x.max())} if _NINES.fullmatch(f"{abs(end):.15g}")]
    others = x[~np.isin(x, nines)] if nines else x[:0]
    low, high = (float(others.min()), float(others.max())) if len(others) else (0.0, 0.0)
    for end in nines:
        n = int((x == end).sum())
        is_rare = n == 1 and abs(end) < _LEAST_ALONE
        if low < high and max(low - end, end - high) > high - low and not is_rare:
            yield (
                f"{label} is {end:.15g} in {n:,} row{'s' * (n > 1)}, far from all others, {low:.6g} to {high:.6g}: if "
                f"that means missing, empty these cells, or read a text file with --na={end:.15g} (na= of TextPath in "
                "Python)."
            )
