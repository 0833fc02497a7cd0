"""Which columns and rows of a file are taken: by name, and by their missing values.

Cells that are not numbers in a column of numbers are refused.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, TypeAlias

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from backwalk.errors import TableFileError
from backwalk.formatting import listed
from backwalk.table.dtypes import is_text
from backwalk.table.schema import MISSING_WORDS, Schema, shown, unescaped

NativeRows: TypeAlias = pa.Table | npt.NDArray[Any]
"""Rows as a file holds them: columns with names, or an array without."""

_GAPS = pa.array(sorted(MISSING_WORDS))  # texts that mean a missing value in a column of numbers
_CODE = r"\s*(?:[-+]?0\d+|\+\d{7,})\s*"
_NUMBER = r"^\s*[-+]?(\d+\.?\d*|\.\d+)([eE][-+]?\d+)?\s*$"
_SIGNS = "$€£¥₹"
# A number with a currency or percent sign, thousands separators or a decimal comma.
_WRITTEN_NUMBER = rf"^\s*[-+(]?\s*[{_SIGNS}]?\s*[-+]?(\d{{1,3}}([,' ]\d{{3}})+|\d+)([.,]\d+)?\s*[%‰{_SIGNS}]?\s*\)?\s*$"


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

    def refuse_unnamed(self) -> None:
        """Raise TableFileError if columns are to be left out by name, for files whose columns have no names."""
        if self.drop:
            raise TableFileError(
                f"Columns to leave out should have names, but got {listed(map(shown, self.drop))} for an array, whose "
                "columns have none: save it as CSV or Parquet."
            )


def complete_rows(rows: NativeRows) -> npt.NDArray[np.bool_]:
    """Return which rows have a value in every column. Raises TableFileError if there is no such row."""
    is_complete = rows_without_gaps(rows)
    if not isinstance(rows, np.ndarray) and len(is_complete) and not is_complete.any():
        counts = {shown(name): missing_in(rows[name]).sum() for name in rows.column_names}
        raise no_complete_row(len(is_complete), counts)
    return is_complete


def rows_without_gaps(rows: NativeRows) -> npt.NDArray[np.bool_]:
    """Return which rows have a value in every column."""
    if isinstance(rows, np.ndarray):
        may_miss = rows.dtype.kind == "f" and rows.ndim == 2
        return np.asarray(~np.isnan(rows).any(axis=1)) if may_miss else np.ones(rows.shape[:1], dtype=bool)
    missing = np.zeros(rows.num_rows, dtype=bool)
    for column in rows.columns:
        missing |= missing_in(column)
    return ~missing


def no_complete_row(n: int, gaps: Mapping[str, int]) -> TableFileError:
    """Return the error about n rows that all have gaps, whose numbers are given by column."""
    where = listed(f"{name} ({missing:,})" for name, missing in gaps.items() if missing)
    return TableFileError(
        f"Some rows should have no missing values, but all {n:,} have some, in {where}: leave out a column"
    )


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


def refuse_almost_numbers(rows: pa.Table, texts: Collection[str] = ()) -> None:
    """Raise TableFileError for a text column whose cells mostly are numbers, possibly with signs or separators.

    The columns named by `texts` may hold such texts.
    """
    for name, column in zip(rows.column_names, rows.columns, strict=True):
        others = "" if name in texts else almost_numbers(column)
        if others:
            raise almost_numbers_error(name, others)


def almost_numbers_error(name: str, others: str) -> TableFileError:
    """Return the error about a column of numbers beside some texts, the `others`."""
    return TableFileError(
        f"Column {shown(name)} should hold numbers, but {others}: write plain numbers, such as 1234.5, or "
        f"empty these cells, or take the column as one of texts (--column {shown(name)}=levels on the command "
        "line)"
    )


def almost_numbers(column: pa.ChunkedArray) -> str:
    """Describe the cells of a text column that are not numbers, if most cells are; otherwise return an empty text.

    The text is empty as well for a column with codes of digits, such as 00501.
    """
    if not is_plain_text(column.type):
        return ""
    if not pa.types.is_dictionary(column.type):
        column = column.dictionary_encode()
    if not len(column):
        return ""
    whole = column.unify_dictionaries().combine_chunks()
    indices = pc.fill_null(whole.indices.cast(pa.int64()), -1).to_numpy()
    rows = np.bincount(indices[indices >= 0], minlength=len(whole.dictionary))
    is_other = others_than_numbers(whole.dictionary, rows)
    if is_other is None:
        return ""
    row = int(np.append(is_other, False)[indices].argmax())
    return other_words(whole.dictionary, rows, is_other, int(indices[row]), f" at row {row} (rows count from 0)")


def others_than_numbers(texts: pa.Array, rows: npt.NDArray[np.int64]) -> npt.NDArray[np.bool_] | None:
    """Return which texts are no numbers, if most rows are numbers. `rows`, (L,), are those of each text.

    Returns None otherwise, and where a text is a code of digits.
    """
    is_number, is_written = (
        np.asarray(pc.fill_null(pc.match_substring_regex(texts, pattern=pattern), False))
        for pattern in (_NUMBER, _WRITTEN_NUMBER)
    )
    is_other = ~is_number & ~np.asarray(texts.is_null()) & ~np.asarray(is_gap(texts))
    if has_codes(texts) or not rows @ is_other or rows @ (is_number | is_written) <= rows @ (is_other & ~is_written):
        return None
    return np.asarray(is_other)


def other_words(
    texts: pa.Array, rows: npt.NDArray[np.int64], is_other: npt.NDArray[np.bool_], first: int, where: str = ""
) -> str:
    """Return how many cells are texts, and not numbers; `first` is one of the texts, and `where` its place in words."""
    is_number = np.asarray(pc.fill_null(pc.match_substring_regex(texts, pattern=_NUMBER), False))
    n_texts, n_numbers = int(rows @ is_other), int(rows @ is_number)
    more = f" and {n_texts - 1:,} more {'are' if n_texts > 2 else 'is'} none" if n_texts > 1 else " is none"
    beside = f", beside {n_numbers:,} that are" if n_numbers else ""
    return f"{shown(texts[first].as_py())}{where}{more}{beside}"


def is_plain_text(of_type: pa.DataType) -> bool:
    """Return whether a column of a file holds texts, which Parquet's are read as dictionaries of."""
    return is_text(of_type.value_type if pa.types.is_dictionary(of_type) else of_type)


def has_codes(texts: pa.Array) -> bool:
    """Return whether one of some texts is of digits but no number: with leading zeros, or long and with a plus.

    >>> [has_codes(pa.array([text])) for text in ("00501", "+4420794", "0", "-0", "0.5", "+5")]
    [True, True, False, False, False, False]
    """
    return bool(pc.any(pc.match_substring_regex(texts, pattern=f"^{_CODE}$")).as_py())
