"""Return rows as the kind of table that they came from: the inverse of `as_table`.

pandas or polars are imported only to return rows as their DataFrame.
"""

from __future__ import annotations

import importlib
import re
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from backwalk.errors import InvalidInput
from backwalk.table.arrow_columns import restored, whole_numbers
from backwalk.table.dtypes import category_dtype, has_labels, is_time, numpy_dtype
from backwalk.table.schema import FloatArray, Schema

_INTERVAL = re.compile(r"[\[(](.+), (.+)[\])]")


def from_values(values: npt.ArrayLike, schema: Schema) -> Any:
    """Return rows as the kind of table that a schema describes: the inverse of `as_table`.

    Codes become their labels, numbers of dates and times their dates and times. Columns of integers, codes and times
    are rounded, truth values are True from 1/2 on, and every number is clipped to the range of its column. NaN becomes
    a missing value. `values` is (n, d) in the user's units. Returns an array, a DataFrame or a pyarrow Table of n rows.
    Raises InvalidInput for another number of columns, for NaN in a column whose dtype has no missing value, and if the
    library of `schema.kind` is not installed.

    >>> from_values([[0.25, 2.7]], Schema(("length", "count"), ("float64", "int64"), "pyarrow")).to_pydict()
    {'length': [0.25], 'count': [3]}
    >>> from_values([[1.0], [np.nan]], Schema(("a",), ("string",), "pyarrow", labels=(("x", "y"),)))["a"].to_pylist()
    ['y', None]
    """
    array = np.asarray(values, dtype=np.float64)
    if array.ndim != 2 or array.shape[1] != schema.n_columns:
        raise InvalidInput(f"values should have shape (n, {schema.n_columns}), but got {array.shape}.")
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
        "pyarrow": _arrow_column,
    }[schema.kind]
    names: Sequence[Any] = range(schema.n_columns) if schema.columns is None else schema.columns
    columns = {name: make(array[:, j], schema, j) for j, name in enumerate(names)}
    return library.table(columns) if schema.kind == "pyarrow" else library.DataFrame(columns)


def _arrow_column(values: FloatArray, schema: Schema, j: int) -> pa.Array:
    return restored(values, schema.types[j], schema.labels[j], schema.units[j])


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
        return np.asarray(_arrow_column(values, schema, j).to_numpy(zero_copy_only=False).astype(dtype))
    if labels is not None:
        return _texts(values, schema, j)
    if numpy_dtype(dtype):
        return values.astype(dtype)
    return _objects(_arrow_column(values, schema, j).to_pylist())


def _texts(values: FloatArray, schema: Schema, j: int) -> npt.NDArray[np.object_]:
    """Return a column of labels as Python objects; a missing one is NaN."""
    codes = whole_numbers(values, schema.types[j], schema.labels[j], None)
    return _objects([*(schema.labels[j] or ()), np.nan])[np.where(np.isnan(values), -1, codes)]


def _objects(cells: Sequence[Any]) -> npt.NDArray[np.object_]:
    array = np.empty(len(cells), dtype=object)
    array[:] = cells
    return array


def _polars_column(values: FloatArray, schema: Schema, j: int) -> Any:
    import polars as pl

    labels, dtype = schema.labels[j], schema.dtypes[j]
    if labels is None:
        return pl.Series(_arrow_column(values, schema, j))
    texts = pl.Series(restored(values, pa.large_string(), labels, None))
    if dtype == "string":
        return texts
    return texts.cast(pl.Enum(labels) if dtype == "enum" else pl.Categorical())


def _pandas_column(values: FloatArray, schema: Schema, j: int) -> Any:
    import pandas as pd

    dtype, of_type, labels = schema.dtypes[j], schema.types[j], schema.labels[j]
    if dtype.endswith("[pyarrow]"):
        return pd.arrays.ArrowExtensionArray(_arrow_column(values, schema, j))
    if categories := category_dtype(dtype):
        codes = np.where(np.isnan(values), -1, whole_numbers(values, of_type, labels, None))
        known = pd.CategoricalDtype(_categories(labels or (), categories), ordered=schema.is_ordered(j))
        return pd.Categorical.from_codes(codes, dtype=known)
    if has_labels(of_type):
        texts = _texts(values, schema, j)
        return pd.Series(texts, dtype=object if dtype.startswith("object") else dtype)
    column = _arrow_column(values, schema, j)
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
