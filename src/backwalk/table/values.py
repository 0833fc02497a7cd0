"""Columns of Arrow as float64 numbers, and rows as the kind of table that they came from.

Texts become the codes 0..L-1 of their labels. Dates and times become whole numbers of days, seconds, milliseconds or
microseconds since 1970-01-01, of which the coarsest that is exact for the whole column is chosen. pandas or polars are
imported only to return rows as their DataFrame.
"""

from __future__ import annotations

import importlib
import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from backwalk import limits
from backwalk.errors import InvalidInput
from backwalk.table.dtypes import category_dtype, has_labels, is_text, is_time, numeric_range, numpy_dtype, stored_unit
from backwalk.table.schema import CLOCK, PER_DAY, FloatArray, Schema

_EXACT = 2**53
_INTERVAL = re.compile(r"[\[(](.+), (.+)[\])]")


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
    stored, per_second = stored_unit(of_type)
    if stored == "ns":  # finer than float64 can hold for today's dates
        per_second, ticks = 10**6, np.asarray(ticks // 1000 + (ticks % 1000 >= 500))
    for unit in PER_DAY:
        if unit == "D" and pa.types.is_time(of_type):
            continue
        step = _ticks(unit, per_second)
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


def _ticks(unit: str, per_second: int) -> int:
    """Return how many ticks, of which a second has `per_second`, one of a unit is."""
    return int(per_second * PER_DAY["s"] / PER_DAY[unit])


def whole_numbers(values: FloatArray, schema: Schema, j: int) -> Any:
    """Return values of a column, (n,), rounded and within its range, as int64; missing values are 0."""
    rounded = np.clip(np.rint(values), *schema.value_range(j))
    return np.nan_to_num(rounded).astype(np.uint64 if str(schema.types[j]) == "uint64" else np.int64)


def arrow_column(values: FloatArray, schema: Schema, j: int) -> pa.Array:
    """Return the numbers of a column, (n,), in its Arrow type; NaN becomes null. The inverse of `coded`.

    Integers, decimals, codes and times are rounded, truth values are True from 1/2 on, and all are clipped to their
    range.
    """
    of_type, missing = schema.types[j], np.isnan(values)
    mask = missing if missing.any() else None
    if has_labels(of_type):
        codes = pa.array(whole_numbers(values, schema, j).astype(np.int32), mask=mask)
        names = pa.array(schema.labels[j] or (), pa.large_string())
        if is_text(of_type):
            return _as_texts(names.take(codes), of_type)  # views of texts cannot be taken from
        codes, names = codes.cast(of_type.index_type), names.cast(of_type.value_type)
        return pa.DictionaryArray.from_arrays(codes, names, ordered=of_type.ordered)
    if is_time(of_type):
        whole, unit = whole_numbers(values, schema, j), schema.units[j]
        if pa.types.is_date32(of_type):
            return pa.array(whole.astype(np.int32), pa.int32(), mask=mask).cast(of_type)
        integers = pa.array(whole * _ticks(str(unit), stored_unit(of_type)[1]), mask=mask)
        return (integers.cast(pa.int32()) if pa.types.is_time32(of_type) else integers).cast(of_type)
    if pa.types.is_boolean(of_type):
        return pa.array(values >= 0.5, mask=mask)
    if pa.types.is_integer(of_type):
        return pa.array(whole_numbers(values, schema, j).astype(numpy_dtype(str(of_type))), mask=mask)
    numbers = np.clip(values, *numeric_range(of_type))
    if pa.types.is_decimal(of_type):
        return pa.array(numbers, mask=mask).cast(of_type)
    return pa.array(numbers.astype(numpy_dtype(str(of_type))), mask=mask)


def _as_texts(texts: Any, of_type: pa.DataType) -> Any:
    """Return an array or a chunked array of texts in another type of texts. Old versions of Arrow do not cast views."""
    try:
        return texts.cast(of_type)
    except pa.ArrowNotImplementedError:
        made = pa.array(texts.to_pylist(), of_type)
        return pa.chunked_array([made]) if isinstance(texts, pa.ChunkedArray) else made


def from_values(values: npt.ArrayLike, schema: Schema) -> Any:
    """Return rows as the kind of table that a schema describes: the inverse of `as_table`.

    Codes become their labels, numbers of dates and times their dates and times. Columns of integers, codes and times
    are rounded, truth values are True from 1/2 on, and every number is clipped to the range of its column. NaN becomes
    a missing value. `values` is (n, d) in the user's units. Returns an array, a DataFrame or a pyarrow Table of n rows.
    Raises InvalidInput for another number of columns, for NaN in a column whose dtype has no missing value, and if the
    library of `schema.kind` is not installed.

    >>> import numpy as np
    >>> from backwalk.table import Schema
    >>> from backwalk.table.values import from_values
    >>> from_values([[0.25, 2.7]], Schema(("length", "count"), ("float64", "int64"), "pyarrow")).to_pydict()
    {'length': [0.25], 'count': [3]}
    >>> from_values([[1.0], [np.nan]], Schema(("a",), ("string",), "pyarrow", labels=(("x", "y"),)))["a"].to_pylist()
    ['y', None]
    """
    array = np.asarray(values, dtype=np.float64)
    if array.ndim != 2 or array.shape[1] != schema.n_columns:
        raise InvalidInput(f"values should have shape (n, {schema.n_columns}), but got {array.shape}.")
    if clocks := [j for j, unit in enumerate(schema.units) if unit == CLOCK]:
        minutes = np.clip(np.rint(array[:, clocks]), *schema.value_range(clocks[0]))
        array, schema = array.copy(), schema.with_clocks(())
        array[:, clocks] = minutes + 40.0 * (minutes // 60.0)
    if schema.kind == "numpy":
        return _array(array, schema)
    try:
        library = importlib.import_module(schema.kind)
    except ImportError as error:
        raise InvalidInput(
            f"Rows are returned as a {schema.kind} table, like the fitted rows, but {schema.kind} is not installed: "
            f"pip install {schema.kind}."
        ) from error
    make: Callable[[FloatArray, Schema, int], Any] = {
        "pandas": _pandas_column,
        "polars": _polars_column,
        "pyarrow": arrow_column,
    }[schema.kind]
    names: Sequence[Any] = range(schema.n_columns) if schema.columns is None else schema.columns
    names = [int(name) if name in schema.integer_names else name for name in names]
    columns = {name: make(array[:, j], schema, j) for j, name in enumerate(names)}
    return library.table(columns) if schema.kind == "pyarrow" else library.DataFrame(columns)


def _array(values: FloatArray, schema: Schema) -> npt.NDArray[Any]:
    dtypes = set(schema.dtypes)
    if dtypes == {"float64"}:
        return values.copy()
    if dtypes <= {"float32", "float64"}:
        return np.clip(values, *schema.value_range(0)).astype(schema.dtypes[0])
    columns = [_numpy_column(values[:, j], schema, j) for j in range(schema.n_columns)]
    if len(dtypes) == 1 and (columns[0].dtype.kind in "Mm" or not np.isnan(values).any()):
        return np.stack(columns, axis=1).astype("str" if dtypes == {"str"} else columns[0].dtype)
    rows = np.empty(values.shape, dtype=object)
    for j, column in enumerate(columns):
        rows[:, j] = column
    return rows


def _numpy_column(values: FloatArray, schema: Schema, j: int) -> npt.NDArray[Any]:
    dtype, labels = schema.dtypes[j], schema.labels[j]
    if dtype.startswith(("datetime64", "timedelta64")):
        return np.asarray(arrow_column(values, schema, j).to_numpy(zero_copy_only=False).astype(dtype))
    if labels is not None:
        return _texts(values, schema, j)
    if numpy_dtype(dtype):
        return values.astype(dtype)
    return _objects(arrow_column(values, schema, j).to_pylist())


def _texts(values: FloatArray, schema: Schema, j: int) -> npt.NDArray[np.object_]:
    """Return a column of labels as Python objects; a missing one is NaN."""
    codes = whole_numbers(values, schema, j)
    return _objects([*(schema.labels[j] or ()), np.nan])[np.where(np.isnan(values), -1, codes)]


def _objects(cells: Sequence[Any]) -> npt.NDArray[np.object_]:
    array = np.empty(len(cells), dtype=object)
    array[:] = cells
    return array


def _polars_column(values: FloatArray, schema: Schema, j: int) -> Any:
    import polars as pl

    dtype, column = schema.dtypes[j], arrow_column(values, schema, j)
    if dtype not in ("enum", "categorical"):
        return pl.Series(column)
    texts = pl.Series(column.cast(pa.string()))
    return texts.cast(pl.Enum(schema.labels[j] or ()) if dtype == "enum" else pl.Categorical())


def _pandas_column(values: FloatArray, schema: Schema, j: int) -> Any:
    import pandas as pd

    dtype, of_type, labels = schema.dtypes[j], schema.types[j], schema.labels[j]
    if dtype.endswith("[pyarrow]"):
        return pd.arrays.ArrowExtensionArray(arrow_column(values, schema, j))
    if categories := category_dtype(dtype):
        codes = np.where(np.isnan(values), -1, whole_numbers(values, schema, j))
        known = pd.CategoricalDtype(_categories(labels or (), categories), ordered=schema.is_ordered(j))
        return pd.Categorical.from_codes(codes, dtype=known)
    if has_labels(of_type):
        texts = _texts(values, schema, j)
        return pd.Series(texts, dtype=object if dtype.startswith("object") else dtype)
    column = arrow_column(values, schema, j)
    if dtype.startswith("object"):
        return pd.Series(_objects(column.to_pylist()), dtype=object)
    if is_time(of_type):
        return column.to_pandas().astype(dtype)
    is_plain = numpy_dtype(dtype) == dtype
    if column.null_count and is_plain and not pa.types.is_floating(of_type):
        raise InvalidInput(
            f"{schema.label(j)} has dtype {dtype}, which has no missing value, but got NaN: fill the gaps first."
        )
    numbers = column.to_numpy(zero_copy_only=False)
    return numbers if is_plain else pd.Series(numbers).astype(dtype)


def _categories(labels: tuple[str, ...], dtype: str) -> Any:
    """Return the categories of pandas whose texts are the labels."""
    import pandas as pd

    if dtype.startswith("interval"):
        inner, closed = dtype.removeprefix("interval[").removesuffix("]").split(", ")
        ends = [match.groups() for match in map(_INTERVAL.fullmatch, labels) if match]
        pairs = np.array(ends).reshape(-1, 2).astype(np.float64).astype(inner).tolist()
        return pd.IntervalIndex.from_tuples(list(map(tuple, pairs)), closed=closed, dtype=dtype)
    if dtype == "bool":
        return pd.Index([label == "True" for label in labels])
    if (numpy := numpy_dtype(dtype)) is not None:
        return pd.Index(np.array(labels).astype(numpy)).astype(dtype)
    return pd.Index(_objects(labels), dtype=dtype)
