"""Columns of Arrow as float64 numbers, and back: level codes of texts and categories, dates and times in a unit.

Texts become the codes 0..L-1 of their labels. Dates and times become whole numbers of days, seconds, milliseconds or
microseconds since 1970-01-01, of which the coarsest that is exact for the whole column is chosen.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from backwalk import limits
from backwalk.errors import InvalidInput
from backwalk.table.dtypes import has_labels, is_text, is_time, numeric_range, numpy_dtype

FloatArray = npt.NDArray[np.float64]

UNITS = ("D", "s", "ms", "us")
_PER_SECOND = {"s": 1, "ms": 10**3, "us": 10**6, "ns": 10**9}
_DAY = 86_400  # seconds
_EXACT = 2**53
_FIRST_DATE, _LAST_DATE = -719_162, 2_932_896  # 0001-01-01 and 9999-12-31, in days
_LONGEST_DURATION = 999_999_999  # days; that of Python's timedelta


@dataclass(frozen=True, eq=False)
class Coded:
    """A column as numbers, (n,), NaN where a value is missing; the labels of its codes; the unit of its times."""

    values: FloatArray
    labels: tuple[str, ...] | None = None
    unit: str | None = None


def coded(column: pa.ChunkedArray, of_type: pa.DataType) -> Coded:
    """Return a column of texts, categories, dates or times as numbers.

    `of_type` is the type that the column has for its user: a column of texts may come as a dictionary. Labels of texts
    are sorted; those of a dictionary keep its order, with the labels that no row has. Raises InvalidInput if float64
    does not hold the times exactly, and for more labels than `limits.TABLE_LEVELS`.
    """
    return _times(column, of_type) if is_time(of_type) else _levels(column, of_type)


def _levels(column: pa.ChunkedArray, of_type: pa.DataType) -> Coded:
    if not pa.types.is_dictionary(column.type):
        is_view = str(column.type) == "string_view"  # dictionaries of views are not made by every version of Arrow
        column = (_as_texts(column, pa.large_string()) if is_view else column).dictionary_encode()
    if not len(column):
        return Coded(np.empty(0), ())
    whole = column.unify_dictionaries().combine_chunks()
    indices = pc.fill_null(whole.indices.cast(pa.int64()), -1).to_numpy(zero_copy_only=False)
    refuse_many_levels(len(whole.dictionary))
    texts = whole.dictionary.cast(pa.large_string()).to_pylist()
    if is_text(of_type):
        used = np.bincount(indices[indices >= 0], minlength=len(texts)) > 0
        labels = tuple(sorted({texts[i] for i in np.flatnonzero(used)} - {None}))
    else:
        labels = tuple(dict.fromkeys(text for text in texts if text is not None))
    place: dict[str | None, float] = {label: float(code) for code, label in enumerate(labels)}
    codes = np.array([*(place.get(text, np.nan) for text in texts), np.nan])
    return Coded(codes[indices], labels)


def refuse_many_levels(n: int) -> None:
    """Raise InvalidInput for more labels than a table may have."""
    if n > limits.TABLE_LEVELS:
        raise InvalidInput(
            f"Texts of a table should have at most {limits.TABLE_LEVELS} different values, but there are {n}: leave "
            "out columns of identifiers and free text."
        )


def _times(column: pa.ChunkedArray, of_type: pa.DataType) -> Coded:
    missing = np.asarray(column.is_null())
    if pa.types.is_date32(of_type):
        days = pc.fill_null(column.cast(pa.int32()), 0).to_numpy().astype(np.float64)
        days[missing] = np.nan
        return Coded(days, None, "D")
    integers = column.cast(pa.int32()) if pa.types.is_time32(of_type) else column
    ticks = pc.fill_null(integers.cast(pa.int64()), 0).to_numpy()
    stored = _stored_unit(of_type)
    if stored == "ns":  # finer than float64 can hold for today's dates
        stored, ticks = "us", np.asarray(ticks // 1000 + (ticks % 1000 >= 500))
    for unit in UNITS:
        if unit == "D" and pa.types.is_time(of_type):
            continue
        step = _PER_SECOND[stored] * _DAY if unit == "D" else _PER_SECOND[stored] // _PER_SECOND[unit]
        if not (ticks % step).any():
            break
    numbers = ticks // step
    if np.abs(numbers).max(initial=0) > _EXACT:
        row = int(np.abs(numbers).argmax())
        raise InvalidInput(
            f"Times should be exact in float64, as those within 285 years of 1970 are, but got {column[row]} at row "
            f"{row} (rows count from 0): round them to seconds, or empty such cells."
        )
    values = numbers.astype(np.float64)
    values[missing] = np.nan
    return Coded(values, None, unit)


def _stored_unit(of_type: pa.DataType) -> str:
    return "ms" if pa.types.is_date64(of_type) else str(of_type.unit)


def value_range(of_type: pa.DataType, labels: tuple[str, ...] | None, unit: str | None) -> tuple[float, float]:
    """Return the least and the largest number that a column may hold: of its type, its codes or its unit of time."""
    if labels is not None:
        return 0.0, float(max(len(labels) - 1, 0))
    if unit is None:
        return numeric_range(of_type)
    per_day = 1.0 if unit == "D" else float(_DAY * _PER_SECOND[unit])
    if pa.types.is_time(of_type):
        return 0.0, per_day - 1.0
    first, last = (
        (-_LONGEST_DURATION, _LONGEST_DURATION) if pa.types.is_duration(of_type) else (_FIRST_DATE, _LAST_DATE)
    )
    low, high = first * per_day, (last + 1) * per_day - 1.0
    if not pa.types.is_date32(of_type):  # 64 bits of nanoseconds end in 2262
        most = float(2**63 // (_DAY * _PER_SECOND[_stored_unit(of_type)]) - 1) * per_day
        low, high = max(low, -most), min(high, most)
    return low, high


def whole_numbers(values: FloatArray, of_type: pa.DataType, labels: tuple[str, ...] | None, unit: str | None) -> Any:
    """Return values, (n,), rounded and within their range, as int64; missing values are 0."""
    rounded = np.clip(np.rint(values), *value_range(of_type, labels, unit))
    return np.nan_to_num(rounded).astype(np.uint64 if str(of_type) == "uint64" else np.int64)


def restored(values: FloatArray, of_type: pa.DataType, labels: tuple[str, ...] | None, unit: str | None) -> pa.Array:
    """Return numbers, (n,), as a column of an Arrow type; NaN becomes null. The inverse of `coded`.

    Integers, codes and times are rounded, truth values are True from 1/2 on, and all are clipped to their range.
    """
    missing = np.isnan(values)
    mask = missing if missing.any() else None
    if has_labels(of_type):
        codes = pa.array(whole_numbers(values, of_type, labels, unit).astype(np.int32), mask=mask)
        names = pa.array(labels or (), pa.large_string())
        if is_text(of_type):
            return _as_texts(names.take(codes), of_type)  # views of texts cannot be taken from
        codes, names = codes.cast(of_type.index_type), names.cast(of_type.value_type)
        return pa.DictionaryArray.from_arrays(codes, names, ordered=of_type.ordered)
    if is_time(of_type):
        assert unit is not None
        whole = whole_numbers(values, of_type, labels, unit)
        if pa.types.is_date32(of_type):
            return pa.array(whole.astype(np.int32), pa.int32(), mask=mask).cast(of_type)
        per_second = _PER_SECOND[_stored_unit(of_type)]
        integers = pa.array(whole * (per_second * _DAY if unit == "D" else per_second // _PER_SECOND[unit]), mask=mask)
        return (integers.cast(pa.int32()) if pa.types.is_time32(of_type) else integers).cast(of_type)
    if pa.types.is_boolean(of_type):
        return pa.array(values >= 0.5, mask=mask)
    if pa.types.is_integer(of_type):
        return pa.array(whole_numbers(values, of_type, labels, unit).astype(numpy_dtype(str(of_type))), mask=mask)
    return pa.array(np.clip(values, *numeric_range(of_type)).astype(numpy_dtype(str(of_type))), mask=mask)


def _as_texts(texts: Any, of_type: pa.DataType) -> Any:
    """Return an array or a chunked array of texts in another type of texts. Old versions of Arrow do not cast views."""
    try:
        return texts.cast(of_type)
    except pa.ArrowNotImplementedError:
        made = pa.array(texts.to_pylist(), of_type)
        return pa.chunked_array([made]) if isinstance(texts, pa.ChunkedArray) else made
