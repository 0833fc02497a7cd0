"""Missing values in a file's rows, and cells that are no numbers in a column of numbers."""

from __future__ import annotations

from typing import Any, TypeAlias

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.csv

from backwalk.errors import TableFileError
from backwalk.formatting import listed
from backwalk.table.schema import shown

NativeRows: TypeAlias = pa.Table | npt.NDArray[Any]
"""Rows as a file holds them: columns with names, or an array without."""

_GAPS = pa.array(pyarrow.csv.ConvertOptions().null_values)  # in a column of numbers; in one of texts it is a text
_NUMBER = r"^\s*[-+]?(\d+\.?\d*|\.\d+)([eE][-+]?\d+)?\s*$"


def complete_rows(rows: NativeRows) -> npt.NDArray[np.bool_]:
    """Return which rows have a value in every column. Raises TableFileError, as `refuse_missing`, for none."""
    if isinstance(rows, np.ndarray):
        may_miss = rows.dtype.kind == "f" and rows.ndim == 2
        return np.asarray(~np.isnan(rows).any(axis=1)) if may_miss else np.ones(rows.shape[:1], dtype=bool)
    missing = np.zeros(rows.num_rows, dtype=bool)
    for column in rows.columns:
        missing |= missing_in(column)
    if missing.all():
        refuse_missing(rows)
    return ~missing


def refuse_missing(rows: NativeRows) -> None:
    """Raise TableFileError where values are missing, with their number in each column.

    Arrays are left to `as_table`, which tells the place.
    """
    if isinstance(rows, np.ndarray):
        return
    missing = {name: missing_in(column) for name, column in zip(rows.column_names, rows.columns, strict=True)}
    in_any = np.logical_or.reduce(list(missing.values()), axis=0) if missing else np.zeros(0, dtype=bool)
    if in_any.any():
        where = listed(f"{shown(name)} ({of_column.sum():,})" for name, of_column in missing.items() if of_column.any())
        raise TableFileError(
            f"In {in_any.sum():,} of {rows.num_rows:,} rows values are missing, first in row {int(in_any.argmax())} "
            "(rows count from 0): fill them, or leave out such rows (on the command line by --drop-missing) or "
            f"columns; missing are {where}"
        )


def missing_in(column: pa.ChunkedArray) -> npt.NDArray[np.bool_]:
    """Return which values of a column are missing: null or NaN."""
    if pa.types.is_float16(column.type):  # in which not every Arrow tells NaN
        column = column.cast(pa.float32())
    return np.asarray(pc.is_null(column, nan_is_null=True))


def refuse_almost_numbers(rows: pa.Table) -> None:
    """Raise TableFileError where a column of texts holds numbers for the most part, with a cell that is none."""
    for name, column in zip(rows.column_names, rows.columns, strict=True):
        told = almost_numbers(column)
        if told:
            raise TableFileError(
                f"Column {shown(name)} should hold numbers, but {told}: correct such cells, or empty them and leave "
                "out their rows (on the command line by --drop-missing)"
            )


def almost_numbers(column: pa.ChunkedArray) -> str:
    """Return what is no number in a column of texts most of which are, or nothing in any other."""
    if not pa.types.is_string(column.type):
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
