"""Convert arrays and DataFrames of any library to one checked float64 table.

All input from users passes `as_table` first, so that other modules need not handle text, dates, infinities, wrong
shapes or other libraries' types. Missing values are NaN; functions that need complete rows call `complete`. Error
messages have the rule, the value with its row and column, and the remedy. Each column of a DataFrame becomes one of
Arrow; neither pandas nor polars is imported.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Any, cast

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from backwalk.errors import InvalidInput
from backwalk.formatting import listed
from backwalk.table.arrays import from_array, refuse_empty, refuse_infinite, refuse_rounded
from backwalk.table.dtypes import Kind, arrow_type, numpy_dtype
from backwalk.table.schema import FloatArray, Schema, refuse_duplicates, shown
from backwalk.table.values import Coded, coded, refuse_many_levels

FILL_GAPS = "fill them, or leave out these rows (--drop-missing on the command line) or columns"
_OF_POLARS = ("String", "Categorical", "Enum", "Date", "Datetime", "Duration", "Time", "Decimal", "Null")


@dataclass(frozen=True, eq=False)
class Table:
    """Checked rows: `values` (n, d) in the user's units, float64, C-contiguous and read-only, with their schema.

    A missing value is NaN. Texts and categories are codes of `schema.labels`, dates and times numbers in
    `schema.units`, truth values 0 and 1.
    """

    values: FloatArray
    schema: Schema

    def __post_init__(self) -> None:
        # A view, so that the caller's own array stays writable.
        values = np.ascontiguousarray(self.values, dtype=np.float64).view()
        if values.ndim != 2 or values.shape[1] != self.schema.n_columns:
            raise InvalidInput(f"values should have shape (n, {self.schema.n_columns}), but got {values.shape}.")
        values.flags.writeable = False
        object.__setattr__(self, "values", values)

    @cached_property
    def observed(self) -> npt.NDArray[np.bool_]:
        """Which values are observed rather than missing, (n, d)."""
        return ~np.isnan(self.values)

    @property
    def columns(self) -> tuple[str, ...] | None:
        """The column names, or None if the columns have none."""
        return self.schema.columns


def as_table(X: Any, *, name: str = "X") -> Table:
    """Convert an array, lists of lists, a DataFrame or another table to a checked float64 table.

    Tables are those of pandas and polars, and any with `__arrow_c_stream__`, such as of pyarrow, DuckDB and ibis. `X`
    is (n, d) with n, d >= 1, and is never changed; a `Table` is returned unchanged. Its columns hold numbers, truth
    values, texts, categories, dates, times or durations. Texts and categories become the codes 0..L-1 of their labels,
    dates and times numbers in the coarsest exact unit (nanoseconds are rounded to microseconds). NaN and null are
    missing values; a column without any value is one of floats. Messages call the rows `name`. The schema of float32
    arrays has float32, that of all other arrays of numbers float64. Raises InvalidInput, with row and column if there
    is one, for infinities, for integers and times that float64 cannot hold exactly, for columns of several types, and
    for objects that are not tables.

    >>> from backwalk.table.frame import as_table
    >>> as_table([[1, 2], [3, float("nan")]]).observed
    array([[ True,  True],
           [ True, False]])
    >>> table = as_table([["red", 1.5], ["blue", 2.5]])
    >>> table.values, table.schema.labels
    (array([[1. , 1.5],
           [0. , 2.5]]), (('blue', 'red'), None))
    """
    if isinstance(X, Table):
        refuse_empty(X.values.shape, name)
        refuse_infinite(X.values, X.schema, name)
        return X
    rows, kind = _as_frame(X, name)
    values, schema = from_array(X, name) if kind == "numpy" else _from_frame(rows, kind, name, {})
    refuse_infinite(values, schema, name)
    return Table(values, schema)


def complete(table: Table, *, name: str = "X", remedy: str = FILL_GAPS) -> Table:
    """Return a table unchanged if it has no missing values. Raises InvalidInput with the place of the first otherwise.

    >>> from backwalk.table.frame import as_table, complete
    >>> complete(as_table([[1, 2], [3, float("nan")]]))
    Traceback (most recent call last):
    ...
    backwalk.errors.InvalidInput: X should have no missing values, but got NaN at row 1, column 1 (rows count from 0)...
    """
    missing = ~table.observed
    if missing.any():
        row, column = divmod(int(missing.argmax()), missing.shape[1])
        counts = missing.sum(axis=0)
        where = listed(f"{table.schema.label(int(j))} ({counts[j]:,})" for j in np.flatnonzero(counts))
        raise InvalidInput(
            f"{name} should have no missing values, but got NaN at row {row}, {table.schema.label(column)} (rows count "
            f"from 0), and {missing.any(axis=1).sum():,} of {len(missing):,} rows have gaps in {where}: {remedy}."
        )
    return table


def only_numbers(table: Table, *, name: str = "X") -> Table:
    """Return a table unchanged if it holds neither labels nor times. Raises InvalidInput otherwise.

    >>> from backwalk.table.frame import as_table, only_numbers
    >>> only_numbers(as_table([["red", 1.5]]), name="Z")
    Traceback (most recent call last):
    ...
    backwalk.errors.InvalidInput: Z should hold numbers alone, but column 0 has dtype 'object[string]': ...
    """
    schema = table.schema
    for j in range(schema.n_columns):
        if schema.labels[j] is not None or schema.units[j] is not None:
            raise InvalidInput(
                f"{name} should hold numbers alone, but {schema.label(j)} has dtype {shown(schema.dtypes[j])}: convert "
                "it to numbers."
            )
    return table


def refused_dtype(dtype: str, column: str, name: str) -> InvalidInput:
    """Return the error about a column whose dtype is neither of numbers, texts, categories, dates nor times."""
    return InvalidInput(
        f"{name} should hold numbers, texts, categories, truth values, dates and times, but got dtype {shown(dtype)} "
        f"in column {shown(column)}: convert it, or leave it out (`fit` and `split` by --drop NAME)."
    )


def _as_frame(X: Any, name: str) -> tuple[Any, Kind]:
    """Return a table and its library; whatever streams Arrow data is one of pyarrow, and all others are arrays."""
    for cls in type(X).__mro__:
        library = cls.__module__.partition(".")[0]
        if library in ("pandas", "polars"):
            if cls.__name__ == "LazyFrame":
                raise InvalidInput(f"{name} should hold rows, but got a lazy {type(X).__name__}: collect it first.")
            return X, cast("Kind", library) if cls.__name__ == "DataFrame" else "numpy"
    if isinstance(X, pa.Table):
        return X, "pyarrow"
    if hasattr(X, "__arrow_c_stream__"):
        try:
            return pa.table(X), "pyarrow"
        except (TypeError, ValueError):  # a stream of single values, not of rows
            pass
    return X, "numpy"


def _from_frame(X: Any, kind: Kind, name: str, types: Mapping[str, pa.DataType]) -> tuple[FloatArray, Schema]:
    refuse_empty(X.shape, name)
    labels = X.column_names if kind == "pyarrow" else list(X.columns)
    names = _column_names(labels, name)
    values, dtypes, n_labels = np.empty(X.shape), list[str](), 0
    all_labels, units = list[tuple[str, ...] | None](), list[str | None]()
    for j, label in enumerate(labels):
        where = f"column {j}" if names is None else f"column {shown(label)}"
        native = X.iloc[:, j] if kind == "pandas" else X.to_series(j) if kind == "polars" else X.column(j)
        dtype, column = _column(native, kind, where, str(label), name, types.get(label))
        values[:, j] = column.values
        n_labels += len(column.labels or ())
        refuse_many_levels(n_labels)
        dtypes.append(dtype)
        all_labels.append(column.labels)
        units.append(column.unit)
    integers = () if names is None else tuple(str(label) for label in labels if not isinstance(label, str))
    return values, Schema(names, tuple(dtypes), kind, tuple(all_labels), tuple(units), integer_names=integers)


def _column_names(labels: list[Any], name: str) -> tuple[str, ...] | None:
    if labels == list(range(len(labels))):
        return None  # a DataFrame made from an array: pandas numbers the columns itself
    for label in labels:
        if not isinstance(label, (str, int, np.integer)) or isinstance(label, bool):
            raise InvalidInput(
                f"Column names of {name} should be texts or integers, but got {shown(label)}: use X.columns = "
                "X.columns.map(str)."
            )
    names = tuple(map(str, labels))
    refuse_duplicates(names)
    return names


def _column(
    native: Any, kind: Kind, where: str, label: str, name: str, of_type: pa.DataType | None
) -> tuple[str, Coded]:
    """Return the dtype and the numbers of a DataFrame's column."""
    if kind == "pandas" and isinstance(native.dtype, np.dtype) and not native.dtype.isnative:  # as in FITS files
        native = native.to_numpy().astype(native.dtype.newbyteorder("="))
    dtype = str(native.type if kind == "pyarrow" else native.dtype)
    if dtype == "category":
        return _category(native, label, name)
    number = numpy_dtype(dtype)
    if kind == "polars" and not number and not dtype.startswith(_OF_POLARS):
        raise refused_dtype(dtype, label, name)
    try:
        column = _as_arrow(native, kind)
    except (ValueError, TypeError, OverflowError) as error:
        detail = " ".join(str(error).split())
        raise InvalidInput(
            f"{where} of {name} has dtype {shown(dtype)}, whose values should be of one type, but: {detail}. Convert "
            "it, for example by .astype(str) to texts, or leave it out."
        ) from error
    if number:  # pandas has several dtypes for the same kind of number
        return dtype if kind == "pandas" else number, Coded(_numbers(column, where, name))
    if pa.types.is_null(column.type) or pa.types.is_decimal(column.type):
        dtype = _name_of_dtype(dtype, column.type, kind)
        is_known = pa.types.is_decimal(column.type) and arrow_type(dtype, kind) is not None
        values = column.cast(pa.float64()).to_numpy(zero_copy_only=False)
        return dtype if is_known else "float64", Coded(values)
    if numpy_dtype(str(column.type)):  # Python objects that are numbers
        dtype = f"object[{column.type}]"
        return dtype if arrow_type(dtype, kind) is not None else "float64", Coded(_numbers(column, where, name))
    of_type = of_type or column.type
    dtype = _name_of_dtype(dtype, of_type, kind)
    if arrow_type(dtype, kind) is None:
        raise refused_dtype(dtype, label, name)
    # polars has no order of categories of its own: they are taken as texts, and the levels of an Enum as they are
    try:
        return dtype, coded(column, pa.large_string() if dtype == "categorical" else of_type)
    except InvalidInput as error:
        raise InvalidInput(f"{where} of {name}: {error}") from error


def _as_arrow(native: Any, kind: Kind) -> pa.ChunkedArray:
    if kind == "pyarrow":
        return native
    column = native.to_arrow() if kind == "polars" else pa.array(native, from_pandas=True)
    return column if isinstance(column, pa.ChunkedArray) else pa.chunked_array([column])


def _name_of_dtype(dtype: str, of_type: pa.DataType, kind: Kind) -> str:
    """Return the name by which a schema calls a dtype of texts, categories, dates or times."""
    if kind == "pandas":
        return f"object[{of_type}]" if dtype == "object" else dtype
    if kind == "polars":
        named = {"String": "string", "Categorical": "categorical", "Enum": "enum"}
        return named.get(dtype.partition("(")[0], str(of_type))
    return str(of_type)


def _category(native: Any, label: str, name: str) -> tuple[str, Coded]:
    """Return the dtype and the codes of a categorical column of pandas."""
    categories = native.cat.categories
    dtype = f"category[{categories.dtype}{', ordered' if native.cat.ordered else ''}]"
    known = categories.tolist()
    is_text = numpy_dtype(str(categories.dtype)) is None and not str(categories.dtype).startswith("interval")
    if arrow_type(dtype, "pandas") is None or (is_text and not all(isinstance(each, str) for each in known)):
        raise refused_dtype(f"category of {categories.dtype}", label, name)
    codes = native.cat.codes.to_numpy().astype(np.float64)
    codes[codes < 0] = np.nan
    return dtype, Coded(codes, tuple(map(str, known)))


def _numbers(column: pa.ChunkedArray, where: str, name: str) -> FloatArray:
    """Return numbers or truth values as float64, NaN where one is missing."""
    if pa.types.is_integer(column.type):
        refuse_rounded(np.asarray(pc.fill_null(column, 0)), where, name)
    if pa.types.is_boolean(column.type):
        column = column.cast(pa.uint8())
    return np.asarray(column.cast(pa.float64(), safe=False), dtype=np.float64)
