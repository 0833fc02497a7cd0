"""Describe the columns of a table file, also those that a model cannot be fitted to."""

from __future__ import annotations

from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from backwalk.table.dtypes import has_labels, is_time, numpy_dtype
from backwalk.table.files import faults_of, files_of
from backwalk.table.selection import Selection, almost_numbers, is_plain_text, missing_in
from backwalk.table.sources import open_source
from backwalk.table.values import coded
from backwalk.table.whole import RunningLabels
from backwalk.text_options import StrPath

_UNFIT = {"cannot_be_fitted": "it holds neither numbers, texts, dates nor times"}


def facts_of_columns(path: StrPath) -> tuple[int, list[dict[str, Any]]]:
    """Return a table file's number of rows, and facts of each column as plain JSON values.

    Nested and binary columns of a Parquet file are not read, and come last. Raises TableFileError.
    """
    with files_of(path) as files, faults_of(files[0].label):
        source = open_source(files, Selection(), limited=True, skip_unfit=True)
        columns = {name: list[pa.ChunkedArray]() for name in source.names}
        for rows in source.rows(source.names, lambda *_: None):
            for name in source.names:
                columns[name] += rows[name].chunks
        known = [
            {
                **_facts(
                    name,
                    source.types[name],
                    pa.chunked_array(chunks, None if chunks else source.types[name]),
                    of_text_file=source.is_text,
                ),
                **({"but": source.questions[name]} if name in source.questions else {}),
            }
            for name, chunks in columns.items()
        ]
        others = [{"name": name, "dtype": dtype, **_UNFIT} for name, dtype in source.left_out.items()]
        return source.n_rows, [*known, *others]


def _facts(name: str, of_type: pa.DataType, column: pa.ChunkedArray, *, of_text_file: bool = False) -> dict[str, Any]:
    missing = missing_in(column)
    dtype = str(of_type)
    facts: dict[str, Any] = {"name": name, "dtype": numpy_dtype(dtype) or dtype}
    if missing.any():
        facts["missing"] = int(missing.sum())
    if pa.types.is_decimal(of_type):
        column = column.cast(pa.float64())
    if has_labels(of_type):
        return {**facts, **_of_levels(column, missing, of_text_file=of_text_file)}
    if is_time(of_type):
        return {**facts, **_of_times(column)}
    if numpy_dtype(str(column.type)) is None:
        return facts if pa.types.is_null(of_type) else {**facts, **_UNFIT}
    x = column.filter(pa.array(~missing)).to_numpy().astype(np.float64, copy=False)
    x = x[np.isfinite(x)]
    if not len(x):
        return facts
    with np.errstate(over="ignore"):  # of sums and of squares
        mean, sd = float(x.mean()), float(x.std())
    return {**facts, "mean": mean, "sd": sd, "least": float(x.min()), "largest": float(x.max())}


def _of_levels(column: pa.ChunkedArray, missing: NDArray[np.bool_], *, of_text_file: bool) -> dict[str, Any]:
    """Return the number of levels, the most frequent one (of several the first) and its number of rows."""
    if missing.all():
        return {"levels": 0}
    codes, texts = coded(column, pa.large_string()), RunningLabels()
    texts.add(codes.values, codes.labels or ())
    most = int(texts.counts.argmax())
    others = (
        almost_numbers(texts.labels, texts.counts, texts.first_rows, of_text_file=of_text_file)
        if is_plain_text(column.type)
        else ""
    )
    return {
        "levels": int((texts.counts > 0).sum()),
        "most_frequent": texts.labels[most],
        "rows_of_most_frequent": int(texts.counts[most]),
        **({"but": others} if others else {}),
    }


def _of_times(column: pa.ChunkedArray) -> dict[str, Any]:
    """Return the first and the last date or time as texts."""
    if pa.types.is_duration(column.type):
        ends = pc.min_max(column.cast(pa.int64()))
        first, last = (ends[key].cast(column.type) for key in ("min", "max"))
    else:
        ends = pc.min_max(column)
        first, last = ends["min"], ends["max"]
    return {} if not first.is_valid else {"first": str(first), "last": str(last)}
