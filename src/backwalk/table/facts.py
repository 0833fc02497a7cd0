"""Describe the columns of a table file, also those that a model cannot be fitted to."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from backwalk.table.frame import as_table
from backwalk.table.gaps import NativeRows, almost_numbers, missing_in
from backwalk.table.reading import made_of_file
from backwalk.table.schema import numpy_dtype
from backwalk.table.selection import Selection

_UNFIT = {"cannot_be_fitted": "it holds no numbers"}


def facts_of_columns(path: str | Path) -> tuple[int, list[dict[str, Any]]]:
    """Return a table file's number of rows, and facts of each column as plain JSON values.

    Columns of a Parquet file that hold no numbers are not read, and come last. Raises TableFileError.
    """

    def facts(native: NativeRows, unread: Mapping[str, str]) -> tuple[int, list[dict[str, Any]]]:
        if isinstance(native, np.ndarray):
            return _of_array(native)
        columns = zip(native.column_names, native.columns, strict=True)
        others = [{"name": name, "dtype": dtype, **_UNFIT} for name, dtype in unread.items()]
        return native.num_rows, [*(_facts(name, str(column.type), column) for name, column in columns), *others]

    return made_of_file(path, Selection(), facts, only_numbers=True)


def _of_array(rows: Any) -> tuple[int, list[dict[str, Any]]]:
    with np.errstate(over="ignore"):
        numbers = np.asarray(rows, dtype=np.float64)
    filled = as_table(np.nan_to_num(numbers), name="the table")  # refuses arrays that are not tables
    columns = (pa.chunked_array([np.ascontiguousarray(x)]) for x in numbers.T)
    return len(rows), [_facts(name, rows.dtype.name, x) for name, x in zip(filled.schema.names, columns, strict=True)]


def _facts(name: str, dtype: str, column: pa.ChunkedArray) -> dict[str, Any]:
    missing = missing_in(column)
    facts: dict[str, Any] = {"name": name, "dtype": numpy_dtype(dtype) or dtype}
    if missing.any():
        facts["missing"] = int(missing.sum())
    if numpy_dtype(str(column.type)) is None:
        others = almost_numbers(column)
        return {**facts, **_UNFIT, **({"but": others} if others else {})}
    x = column.to_numpy().astype(np.float64, copy=False) if not missing.any() else _without(column, missing)
    if not np.isfinite(x).all():
        x = x[np.isfinite(x)]
    if not len(x):
        return facts
    with np.errstate(over="ignore"):  # of sums and of squares
        mean, sd = float(x.mean()), float(x.std())
    return {**facts, "mean": mean, "sd": sd, "least": float(x.min()), "largest": float(x.max())}


def _without(column: pa.ChunkedArray, missing: NDArray[np.bool_]) -> NDArray[np.float64]:
    return np.asarray(column.filter(pa.array(~missing)).to_numpy().astype(np.float64, copy=False))
