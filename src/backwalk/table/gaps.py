"""Missing values in a file's rows, and cells that are not numbers in a column of numbers."""

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

_GAPS = pa.array(pyarrow.csv.ConvertOptions().null_values)  # texts that mean a missing value in a column of numbers
_NUMBER = r"^\s*[-+]?(\d+\.?\d*|\.\d+)([eE][-+]?\d+)?\s*$"
_SIGNS = "$€£¥₹"
# A number with a currency or percent sign, thousands separators or a decimal comma.
_WRITTEN_NUMBER = rf"^\s*[-+(]?\s*[{_SIGNS}]?\s*[-+]?(\d{{1,3}}([,' ]\d{{3}})+|\d+)([.,]\d+)?\s*[%‰{_SIGNS}]?\s*\)?\s*$"


def complete_rows(rows: NativeRows) -> npt.NDArray[np.bool_]:
    """Return which rows have a value in every column. Raises TableFileError if there is no such row."""
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
    """Raise TableFileError with the number of missing values in each column, if there are any.

    Arrays are not checked: `as_table` does it.
    """
    if isinstance(rows, np.ndarray):
        return
    missing = {name: missing_in(column) for name, column in zip(rows.column_names, rows.columns, strict=True)}
    in_any = np.logical_or.reduce(list(missing.values()), axis=0) if missing else np.zeros(0, dtype=bool)
    if in_any.any():
        where = listed(f"{shown(name)} ({of_column.sum():,})" for name, of_column in missing.items() if of_column.any())
        raise TableFileError(
            f"{in_any.sum():,} of {rows.num_rows:,} rows have missing values in {where}, first row "
            f"{int(in_any.argmax())} (rows count from 0): fill them, or leave out these rows (--drop-missing on the "
            "command line) or columns"
        )


def missing_in(column: pa.ChunkedArray) -> npt.NDArray[np.bool_]:
    """Return which values of a column are missing: null or NaN."""
    if pa.types.is_float16(column.type):  # not every version of Arrow finds NaN in it
        column = column.cast(pa.float32())
    return np.asarray(pc.is_null(column, nan_is_null=True))


def refuse_almost_numbers(rows: pa.Table) -> None:
    """Raise TableFileError for a text column whose cells mostly are numbers, possibly with signs or separators."""
    for name, column in zip(rows.column_names, rows.columns, strict=True):
        others = almost_numbers(column)
        if others:
            raise TableFileError(
                f"Column {shown(name)} should hold numbers, but {others}: write plain numbers, such as 1234.5, or "
                "empty these cells and leave out their rows (--drop-missing on the command line)"
            )


def almost_numbers(column: pa.ChunkedArray) -> str:
    """Describe the cells of a text column that are not numbers, if most cells are; otherwise return an empty text."""
    if not pa.types.is_string(column.type):
        return ""
    is_number, is_written = (
        np.asarray(pc.fill_null(pc.match_substring_regex(column, pattern=pattern), False))
        for pattern in (_NUMBER, _WRITTEN_NUMBER)
    )
    is_text = ~is_number & ~missing_in(column) & ~np.asarray(pc.is_in(column, value_set=_GAPS))
    n_texts, n_numbers = int(is_text.sum()), int(is_number.sum())
    if not n_texts or int((is_number | is_written).sum()) <= int((is_text & ~is_written).sum()):
        return ""
    row = int(is_text.argmax())
    more = f" and {n_texts - 1:,} more {'are' if n_texts > 2 else 'is'} none" if n_texts > 1 else " is none"
    beside = f", beside {n_numbers:,} that are" if n_numbers else ""
    return f"{shown(column[row].as_py())} at row {row} (rows count from 0){more}{beside}"
