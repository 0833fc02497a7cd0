"""Which columns and rows of a file are taken: columns by name, rows by having a number in each of them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, TypeAlias

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.csv

from backwalk.errors import TableFileError
from backwalk.plain import listed
from backwalk.table.schema import numpy_dtype, shown, unescaped

NativeRows: TypeAlias = pa.Table | npt.NDArray[Any]
"""Rows as a file holds them: columns with names, or an array without."""

_GAPS = pa.array(pyarrow.csv.ConvertOptions().null_values)  # in a column of numbers; in one of texts it is a text
_NUMBER = r"^\s*[-+]?(\d+\.?\d*|\.\d+)([eE][-+]?\d+)?\s*$"


@dataclass(frozen=True)
class Selection:
    """The columns that are left out, `drop`, or the ones that alone are taken, `only`; and whether rows with missing
    values are left out, `complete`, and columns of a Parquet file that hold no numbers, `readable`.

    Of `only` those that are there are taken; what is missing is told where they are matched with a model's.
    """

    drop: tuple[str, ...] = ()
    only: tuple[str, ...] | None = None
    complete: bool = False
    readable: bool = False

    def names(self, columns: Sequence[str]) -> list[str]:
        """Return which of a file's columns are taken, in its order. Raises TableFileError where none to drop is there.

        >>> Selection(drop=("b",)).names(["a", "b", "c"]), Selection(only=("c", "d")).names(["a", "b", "c"])
        (['a', 'c'], ['c'])
        """
        strange = [name for name in self.drop if name not in columns]
        if strange:
            raise TableFileError(
                f"Columns to leave out should be there, but {listed(map(shown, strange))} is not: the columns are "
                f"{listed(map(shown, columns))}."
            )
        taken = [name for name in columns if name not in self.drop]
        if self.only is not None:
            taken = [name for name in taken if name in self.only or unescaped(name) in self.only]
        if columns and not taken:
            raise TableFileError("A column should be left to take, but none is: leave out fewer.")
        return taken

    def refuse_unnamed(self) -> None:
        """Raise TableFileError where columns without names are to be left out by name."""
        if self.drop:
            raise TableFileError(
                f"Columns to leave out should have names, but got {listed(map(shown, self.drop))} for an array, whose "
                "columns have none: save it as CSV or Parquet."
            )


def complete_rows(rows: NativeRows) -> NativeRows:
    """Return the rows that have a value in every column."""
    if isinstance(rows, np.ndarray):
        of_row = np.isnan(rows).reshape(len(rows), -1).any(axis=1) if rows.dtype.kind == "f" else np.zeros(len(rows))
        return rows[~of_row.astype(bool)]
    missing = np.zeros(rows.num_rows, dtype=bool)
    for column in rows.columns:
        missing |= missing_in(column)
    return rows.filter(pa.array(~missing)) if missing.any() else rows


def refuse_missing(rows: NativeRows) -> None:
    """Raise TableFileError where values are missing, with their number in each column.

    Arrays are left to `as_table`, which tells the place, and so are columns that hold no numbers, of which it tells.
    """
    if isinstance(rows, np.ndarray) or not all(numpy_dtype(str(column_type)) for column_type in rows.schema.types):
        return
    missing = {
        name: of_column
        for name, column in zip(rows.column_names, rows.columns, strict=True)
        if (of_column := missing_in(column)).any()
    }
    if missing:
        in_any = np.logical_or.reduce(list(missing.values()))
        where = listed([f"{shown(name)} ({of_column.sum():,})" for name, of_column in missing.items()])
        raise TableFileError(
            f"Every row should hold a number in each column, but in {in_any.sum():,} of {rows.num_rows:,} rows, the "
            f"first of them row {int(in_any.argmax())} (rows count from 0), values are missing: in {where}. Fill them, "
            "or leave out such rows (--drop-missing) or columns (--drop NAME)"
        )


def missing_in(column: pa.ChunkedArray) -> npt.NDArray[np.bool_]:
    """Return which values of a column are missing: null or NaN."""
    return np.asarray(pc.is_null(column, nan_is_null=True))


def refuse_almost_numbers(rows: NativeRows) -> None:
    """Raise TableFileError where a column of texts holds numbers for the most part, with a cell that is none."""
    if isinstance(rows, np.ndarray):
        return
    for name, column in zip(rows.column_names, rows.columns, strict=True):
        told = almost_numbers(column)
        if told:
            raise TableFileError(
                f"Column {shown(name)} should hold numbers, but {told}: correct them, or empty them and leave out such "
                "rows (--drop-missing), or leave out the column (--drop NAME)"
            )


def almost_numbers(column: pa.ChunkedArray) -> str:
    """Return what is no number in a column of texts most of which are, or nothing in any other."""
    if not (pa.types.is_string(column.type) or pa.types.is_large_string(column.type)):
        return ""
    is_number = np.asarray(pc.fill_null(pc.match_substring_regex(column, pattern=_NUMBER), False))
    is_gap = missing_in(column) | np.asarray(pc.is_in(column, value_set=_GAPS))
    is_text = ~is_number & ~is_gap
    n_texts, n_numbers = int(is_text.sum()), int(is_number.sum())
    if not 0 < n_texts < n_numbers:
        return ""
    row = int(is_text.argmax())
    more = f" and {n_texts - 1:,} more {'are' if n_texts > 2 else 'is'} none" if n_texts > 1 else " is none"
    return f"{shown(column[row].as_py())} at row {row} (rows count from 0){more}, beside {n_numbers:,} that are"
