"""Split the rows of a table into two files."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from backwalk.errors import InvalidInput
from backwalk.streams import Stream
from backwalk.table import Selection, check_table_path, split_table
from backwalk.tasks.data import check_file, is_built_in, read_data, tell_left_out
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
    """Split the rows of `data` at random into two files, of which the second gets `share` of them.

    The table may hold texts and dates too; rows of CSV are copied unchanged. In each file rows keep their order.
    """
    places = (training, unseen)
    if "-" in places or len({Path(place).resolve() for place in (data, *places)}) < 3:
        raise InvalidInput(
            f"DATA, TRAINING and UNSEEN should be three different files, but got {data}, {training}, {unseen}."
        )
    for place in places:
        check_table_path(place, overwrite=force)
    selection = Selection(tuple(drop), complete=drop_missing)

    def chosen(n: int) -> NDArray[np.bool_]:
        n_unseen = round(share * n)
        if not 0 < n_unseen < n:
            raise InvalidInput(
                f"Each file should get at least one row, but {share:g} of {n:,} rows are {n_unseen:,}: give another "
                "--share."
            )
        is_unseen = np.zeros(n, dtype=bool)
        is_unseen[Stream(seed).child("held back").permutation(n)[:n_unseen]] = True
        return is_unseen

    if is_built_in(data):
        drawn = read_data(data, rows, seed, drop=drop, observer=observer).table
        result = split_table(drawn, places, chosen, overwrite=force)
    else:
        check_file(data, rows, name="DATA")
        result = split_table(data, places, chosen, selection=selection, overwrite=force)
        tell_left_out(data, result.columns_left_out, int(result.is_taken.sum()), len(result.is_taken), observer)
    return SplitResult(training, result.sizes[0], unseen, result.sizes[1])
