"""Which columns and rows of a file are taken: by name, and by their missing values.

Cells that are not numbers in a column of numbers are refused.
"""

from __future__ import annotations

import shlex
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from backwalk.errors import TableFileError
from backwalk.formatting import listed
from backwalk.table.schema import MISSING_WORDS, Schema, shown, unescaped

_GAPS = pa.array(sorted(MISSING_WORDS))  # texts that mean a missing value in a column of numbers
_CODE = r"\s*(?:[-+]?0\d+|\+\d{7,})\s*"
_NUMBER = r"^\s*[-+]?(\d+\.?\d*|\.\d+)([eE][-+]?\d+)?\s*$"
_MOST_MISSING_WORDS = 3  # of a column of numbers, in place of missing ones
_SIGNS = "$€£¥₹%‰"
# A number with a currency or percent sign, thousands separators or a decimal comma.
_WRITTEN_NUMBER = rf"^\s*[-+(]?\s*[{_SIGNS}]?\s*[-+]?(\d{{1,3}}([,.' ]\d{{3}})+|\d+)([.,]\d+)?\s*[{_SIGNS}]?\s*\)?\s*$"


@dataclass(frozen=True)
class Selection:
    """Which columns and rows of a file are read.

    The columns named by `drop` are left out. With `only`, no other columns are read; names that the file lacks are
    ignored here, and reported by `match_columns`. With `complete`, rows with missing values are left out. The columns
    named by `texts` are read from text files as texts, even if all of their cells are numbers or dates; those named by
    `numbers` may hold numbers with leading zeros, which are texts otherwise. Names that the file lacks are ignored.
    """

    drop: tuple[str, ...] = ()
    only: tuple[str, ...] | None = None
    complete: bool = False
    texts: tuple[str, ...] = ()
    numbers: tuple[str, ...] = ()

    @classmethod
    def of_schema(cls, schema: Schema, *, only: bool = False, **others: Any) -> Selection:
        """Return the selection of rows that are read as a schema has its columns; `only` these, or all of a file."""
        columns = schema.columns if only else None
        return cls(only=columns, texts=schema.labelled, numbers=schema.numeric, **others)

    def names(self, columns: Sequence[str]) -> list[str]:
        """Return the names of the columns to read, in the file's order.

        Raises TableFileError if a column to drop is not in the file, or if no column is left.

        >>> from backwalk.table.selection import Selection
        >>> Selection(drop=("b",)).names(["a", "b", "c"]), Selection(only=("c", "d")).names(["a", "b", "c"])
        (['a', 'c'], ['c'])
        """
        there, dropped = set(columns), set(self.drop)
        strange = [name for name in self.drop if name not in there]
        if strange:
            parts = [part.strip() for name in strange for part in name.split(",")]
            if len(parts) > len(strange) and there.issuperset(parts):
                raise TableFileError(
                    f"A column to leave out should be one name, but got {shown(strange[0])}: repeat the option, "
                    f"{' '.join(f'--drop {shown(part)}' for part in parts)}."
                )
            raise TableFileError(
                f"Columns to leave out should be in the file, but {listed(map(shown, strange))} is not: choose among "
                f"{listed(map(shown, columns))}."
            )
        taken = [name for name in columns if name not in dropped]
        if self.only is not None:
            wanted, absent = set(self.only), set(self.only) - there
            # Another program may have kept the apostrophe that `escaped` puts before headers like `=1+1`.
            taken = [name for name in taken if name in wanted or unescaped(name) in absent]
        if taken or not columns:
            return taken
        if self.only is None:
            raise TableFileError("At least one column should be left to read, but none is: leave out fewer.")
        raise TableFileError(
            f"The file should have the model's columns, {listed(map(shown, self.only))}, but has only "
            f"{listed(map(shown, columns))}: give another table."
        )


def complete_rows(rows: pa.Table) -> npt.NDArray[np.bool_]:
    """Return which rows have a value in every column."""
    missing = np.zeros(rows.num_rows, dtype=bool)
    for column in rows.columns:
        missing |= missing_in(column)
    return ~missing


def missing_in(column: pa.ChunkedArray) -> npt.NDArray[np.bool_]:
    """Return which values of a column are missing: null or NaN."""
    if pa.types.is_dictionary(column.type):
        return np.asarray(column.is_null())
    if pa.types.is_float16(column.type):  # not every version of Arrow finds NaN in it
        column = column.cast(pa.float32())
    return np.asarray(pc.is_null(column, nan_is_null=True))


def is_gap(cells: pa.ChunkedArray) -> pa.ChunkedArray:
    """Return which cells of text mean a missing value."""
    return pc.is_in(cells, value_set=_GAPS.cast(cells.type))


def almost_numbers(
    labels: Sequence[str],
    counts: npt.NDArray[np.int64],
    first_rows: npt.NDArray[np.int64],
    *,
    of_text_file: bool,
) -> str:
    """Describe the cells of a text column that are no numbers, if most are, possibly with signs or separators.

    `counts`, (L,), are the rows of each label, and `first_rows`, (L,), the first of them. The text, which ends with a
    remedy, is empty for other columns, and where a label is a code of digits, such as 00501.
    """
    texts = pa.array(labels, pa.large_string())
    is_code, is_number, is_written = (
        np.asarray(pc.match_substring_regex(texts, pattern=pattern)) & (counts > 0)
        for pattern in (f"^{_CODE}$", _NUMBER, _WRITTEN_NUMBER)
    )
    is_other = ~is_number & ~np.asarray(is_gap(texts)) & (counts > 0)
    is_strange = is_other & ~is_written
    if is_code.any() or not is_other.any() or counts @ (is_number | is_written) <= counts @ is_strange:
        return ""
    if is_strange.any():
        is_other, is_number = is_strange, is_number | is_written
    n_others, n_numbers = int(counts @ is_other), int(counts @ is_number)
    first = np.flatnonzero(is_other)[first_rows[is_other].argmin()]
    more = f" and {n_others - 1:,} more {'are' if n_others > 2 else 'is'} none" if n_others > 1 else " is none"
    beside = f", beside {n_numbers:,} that are" if n_numbers else ""
    others = [labels[int(i)] for i in np.flatnonzero(is_other)]
    remedy = "write plain numbers, such as 1234.5, or empty these cells"
    if of_text_file and is_strange.any() and len(others) <= _MOST_MISSING_WORDS:
        flags = " ".join(f"--na {shlex.quote(word)}" for word in others)
        remedy = f"if that means missing, give {flags} (na= of TextPath in Python); otherwise {remedy}"
    return f"{shown(labels[first])} at row {first_rows[first]} (rows count from 0){more}{beside}: {remedy}"
