"""Deal the rows of a table into two files."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from backwalk.errors import InvalidInput
from backwalk.streams import Stream
from backwalk.table import Table, check_table_path, write_table
from backwalk.tasks.data import read_data
from backwalk.tasks.observer import SILENT, Observer


@dataclass(frozen=True)
class SplitResult:
    """The two files, and how many rows each holds."""

    training: str
    training_rows: int
    unseen: str
    unseen_rows: int

    def record(self) -> dict[str, Any]:
        """Return the result as JSON values."""
        return vars(self).copy()


def split(
    data: str,
    training: str,
    unseen: str,
    *,
    share: float = 0.2,
    rows: int | None = None,
    drop: Sequence[str] = (),
    drop_missing: bool = False,
    seed: int = 0,
    force: bool = False,
    observer: Observer = SILENT,
) -> SplitResult:
    """Deal the rows of `data` at random into two files, the second of which gets `share` of them.

    In each file the rows keep their order.
    """
    places = (training, unseen)
    if "-" in places or len({Path(place).resolve() for place in (data, *places)}) < 3:
        raise InvalidInput(
            f"DATA, TRAINING and UNSEEN should be three different files, but got {data}, {training}, {unseen}."
        )
    for place in places:
        check_table_path(place, overwrite=force)
    table = read_data(data, rows, seed, drop=drop, drop_missing=drop_missing, observer=observer).table
    n = len(table.values)
    n_unseen = round(share * n)
    if not 0 < n_unseen < n:
        raise InvalidInput(
            f"Each file should get at least one row, but {share:g} of {n:,} rows are {n_unseen:,}: give another "
            "--share."
        )
    is_unseen = np.zeros(n, dtype=bool)
    is_unseen[Stream(seed).child("held back").permutation(n)[:n_unseen]] = True
    for place, chosen in zip(places, (~is_unseen, is_unseen), strict=True):
        write_table(place, Table(table.values[chosen], table.schema), overwrite=force)
    return SplitResult(training, n - n_unseen, unseen, n_unseen)
