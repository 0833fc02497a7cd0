"""Convert arrays and DataFrames of any library to one checked float64 table.

All input from users passes `as_table` first, so that other modules need not handle text, infinities, wrong shapes or
other libraries' types. Missing values are NaN; functions that need complete rows call `complete`. Error messages have
the rule, the value with its row and column, and the remedy. DataFrames are read through narwhals, which imports neither
pandas nor polars by itself.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any, cast

import narwhals as nw
import numpy as np
import numpy.typing as npt
import scipy.sparse

from backwalk.errors import InvalidInput, NotANumber
from backwalk.formatting import listed
from backwalk.table.schema import FloatArray, Kind, Schema, numpy_dtype, refuse_duplicates, shown, unescaped

_FRAME_KINDS = ("pandas", "polars", "pyarrow")
_EXACT = 2**53  # all integers up to here are exact in float64


@dataclass(frozen=True, eq=False)
class Table:
    """Checked rows: `values` (n, d) in the user's units, float64, C-contiguous and read-only, with their schema.

    A missing value is NaN.
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
    """Convert an array, lists of lists, or a pandas, polars or pyarrow table to a checked float64 table.

    `X` is (n, d) with n, d >= 1, of numbers or truth values, and is never changed; a `Table` is returned unchanged. NaN
    and null are missing values. Messages call the rows `name`. The schema of float32 arrays has float32, that of all
    other arrays float64. Raises InvalidInput, with row and column if there is one, for infinities, for integers that
    float64 cannot hold exactly, and for objects that are not tables of numbers.

    >>> as_table([[1, 2], [3, 4]]).values
    array([[1., 2.],
           [3., 4.]])
    >>> as_table([[1, 2], [3, float("nan")]]).observed
    array([[ True,  True],
           [ True, False]])
    """
    if isinstance(X, Table):
        _refuse_empty(X.values.shape, name)
        _refuse_numbers(X.values, np.isinf(X.values), X.schema, name)
        return X
    try:
        frame = nw.from_native(X, pass_through=True)
    except (ValueError, nw.exceptions.NarwhalsError) as error:
        detail = " ".join(str(error).split())
        raise InvalidInput(f"Column names of {name} should differ: {detail}: rename one of them.") from error
    if isinstance(frame, nw.LazyFrame):
        raise InvalidInput(f"{name} should hold rows, but got a lazy {type(X).__name__}: collect it first.")
    values, schema = _from_frame(frame, name) if isinstance(frame, nw.DataFrame) else _from_array(X, name)
    _refuse_numbers(values, np.isinf(values), schema, name)
    return Table(values, schema)


def complete(table: Table, *, name: str = "X") -> Table:
    """Return a table unchanged if it has no missing values. Raises InvalidInput with the place of the first otherwise.

    >>> complete(as_table([[1, 2], [3, float("nan")]]))
    Traceback (most recent call last):
    ...
    backwalk.errors.InvalidInput: X should hold finite numbers, but got NaN at row 1, column 1 (rows count from 0): ...
    """
    _refuse_numbers(table.values, ~table.observed, table.schema, name)
    return table


def match_columns(table: Table, schema: Schema, *, name: str = "X", estimator: str = "Diffusion") -> Table:
    """Return a table with its columns in the order of a fitted schema.

    Columns are matched by name; a name may still have the apostrophe that `escaped` puts before CSV headers like
    `=1+1`. If the table or the schema has no names, columns are matched by position and only their number is checked.
    Raises InvalidInput for missing and for extra columns.

    >>> fitted = Schema(("a", "b"), ("float64", "float64"), "pandas")
    >>> swapped = Table(np.array([[2.0, 1.0]]), Schema(("b", "a"), ("float64", "float64"), "pandas"))
    >>> match_columns(swapped, fitted).values
    array([[1., 2.]])
    """
    if table.columns is None or schema.columns is None:
        if table.schema.n_columns != schema.n_columns:
            raise InvalidInput(
                f"{name} has {table.schema.n_columns} features, but {estimator} is expecting {schema.n_columns} "
                "features as input: give the columns that it was fitted on."
            )
        return table
    if table.columns == schema.columns:
        return table
    fitted = set(schema.columns)
    names = [column if column in fitted else unescaped(column) for column in table.columns]
    if len(set(names)) < len(names):
        names = list(table.columns)
    position = {column: j for j, column in enumerate(names)}
    missing = [column for column in schema.columns if column not in position]
    unseen = [column for column in names if column not in fitted]
    if missing or unseen:
        found = (("lacks", missing), ("also has", unseen))
        faults = [f"{what} {listed(map(shown, those))}" for what, those in found if those]
        raise InvalidInput(
            f"The feature names should match those that were passed during fit, but {name} {' and '.join(faults)}: "
            "give exactly the columns that the model was fitted on."
        )
    order = [position[column] for column in schema.columns]
    dtypes = tuple(table.schema.dtypes[j] for j in order)
    return Table(table.values[:, order], Schema(schema.columns, dtypes, table.schema.kind))


def frame_dtypes(columns: Sequence[str], dtypes: Sequence[str], name: str) -> tuple[str, ...]:
    """Return the dtypes of a frame's columns. Raises InvalidInput if a column does not hold numbers."""
    refused = [j for j, dtype in enumerate(dtypes) if numpy_dtype(dtype) is None]
    if refused:
        raise InvalidInput(
            f"{name} should hold numbers, but got dtype {shown(dtypes[refused[0]])} in column "
            f"{listed(shown(columns[j]) for j in refused)}: text columns are not supported yet, "
            "so encode them as numbers or leave them out (`fit` and `split` by --drop NAME; dates, empty and nested "
            "columns likewise), and cast decimals to float64."
        )
    return tuple(dtypes)


def _from_frame(frame: nw.DataFrame[Any], name: str) -> tuple[FloatArray, Schema]:
    kind = frame.implementation.name.lower()
    if kind not in _FRAME_KINDS:
        raise InvalidInput(f"{name} should be a pandas, polars or pyarrow table, but got {kind}: convert it to one.")
    _refuse_empty(frame.shape, name)
    columns = _column_names(list(frame.columns), name)
    series = list(frame.iter_columns())
    natives = [column.to_native() for column in series]
    texts = [str(native.type if kind == "pyarrow" else native.dtype) for native in natives]
    dtypes = frame_dtypes(columns or [str(label) for label in frame.columns], texts, name)
    if kind != "pandas":  # pandas has several dtypes for the same kind of number
        dtypes = tuple(cast("str", numpy_dtype(dtype)) for dtype in dtypes)
    schema = Schema(columns, dtypes, cast("Kind", kind))
    values = np.empty(frame.shape)
    for j, column in enumerate(series):
        gaps = column.is_null().to_numpy()
        if gaps.any():
            column = column.fill_null(False if numpy_dtype(dtypes[j]) == "bool" else 0)
        numbers = column.to_numpy()
        _refuse_rounded(numbers, schema.label(j), name)
        values[:, j] = numbers
        values[gaps, j] = np.nan
    return values, schema


def _column_names(labels: list[Any], name: str) -> tuple[str, ...] | None:
    if labels == list(range(len(labels))):
        return None  # a DataFrame made from an array: pandas numbers the columns itself
    for label in labels:
        if not isinstance(label, str):
            raise InvalidInput(
                f"Column names of {name} should be texts, but got {shown(label)}: use X.columns = X.columns.map(str)."
            )
    refuse_duplicates(labels)
    return tuple(labels)


def _from_array(X: Any, name: str) -> tuple[FloatArray, Schema]:
    if scipy.sparse.issparse(X):
        raise NotANumber(f"{name} should be dense, but got sparse data ({type(X).__name__}): use X.toarray().")
    try:
        array = np.asarray(X)
    except (ValueError, TypeError, RuntimeError) as error:
        raise InvalidInput(f"{name} should be an (n, d) array with rows of equal length: {error}") from error
    if array.dtype.kind == "c":
        raise InvalidInput(f"Complex data not supported: {name} has dtype {array.dtype}; give .real and .imag apart.")
    if array.dtype.kind in "USTMmV" or (array.ndim == 0 and array.dtype.kind == "O"):
        what = type(X).__name__ if array.ndim == 0 else f"dtype {array.dtype}"
        raise InvalidInput(
            f"{name} should hold numbers, but got {what}: encode text and dates as numbers, or drop them."
        )
    if array.ndim < 2:
        got = "scalar array" if array.ndim == 0 else f"1D array of shape {array.shape}"
        raise InvalidInput(
            f"Expected 2D array for {name}, got {got} instead. Reshape your data: array.reshape(-1, 1) if it is one "
            "column, or array.reshape(1, -1) if it is one row."
        )
    if array.ndim > 2:
        raise InvalidInput(
            f"Found {name} with dim {array.ndim} and shape {array.shape}, expected 2: use X.reshape(-1, X.shape[-1]) "
            "where the last axis holds the columns, as in chains x draws x parameters, or X.reshape(len(X), -1) where "
            "each X[i] is one row."
        )
    _refuse_empty(array.shape, name)
    if array.dtype.kind == "O":
        values = _from_objects(array, name)
    else:
        for column, numbers in enumerate(array.T if array.dtype.kind in "iu" else ()):
            _refuse_rounded(numbers, f"column {column}", name)
        with np.errstate(over="ignore"):  # overflow gives infinity, which is refused later
            values = array.astype(np.float64, order="C", copy=False)
    if np.ma.isMaskedArray(X):
        values = np.where(np.ma.getmaskarray(X), np.nan, values)
    single = array.dtype.kind == "f" and array.dtype.itemsize == 4
    return values, Schema(None, ("float32" if single else "float64",) * array.shape[1], "numpy")


def _from_objects(array: npt.NDArray[np.object_], name: str) -> FloatArray:
    values = np.empty(array.shape)
    for (row, column), cell in np.ndenumerate(array):
        try:
            if isinstance(cell, (str, bytes)):
                raise TypeError("text columns are not supported yet, encode or drop them")
            values[row, column] = np.nan if cell is None else float(cell)
        except (TypeError, ValueError, OverflowError) as error:
            raise NotANumber(
                f"{name} should hold numbers, but got {shown(cell)} at row {row}, column {column} "
                f"(rows count from 0): {error}."
            ) from error
        if isinstance(cell, (int, np.integer)) and int(values[row, column]) != cell:
            raise InvalidInput(_rounded_words(cell, f"row {row}, column {column}", name))
    return values


def _refuse_empty(shape: tuple[int, ...], name: str) -> None:
    for size, what, remedy in ((shape[0], "sample", "row"), (shape[1], "feature", "column")):
        if size == 0:
            raise InvalidInput(
                f"Found {name} with 0 {what}(s) (shape={shape}) while a minimum of 1 is required: "
                f"give at least one {remedy}."
            )


def _refuse_numbers(values: FloatArray, bad: npt.NDArray[np.bool_], schema: Schema, name: str) -> None:
    """Raise InvalidInput if any number is `bad`, (n, d): infinite or missing."""
    if not bad.any():
        return
    row, column = divmod(int(bad.argmax()), values.shape[1])
    value = "NaN" if np.isnan(values[row, column]) else str(values[row, column])
    n_rows = int(bad.any(axis=1).sum())
    such, remedy = "", "give a finite number, or drop the row"
    if n_rows > 1:
        such = f"; {n_rows:,} of {len(values):,} rows have such numbers"
        remedy = "give finite ones, or drop the rows"
    raise InvalidInput(
        f"{name} should hold finite numbers, but got {value} at row {row}, {schema.label(column)} "
        f"(rows count from 0){such}: {remedy}."
    )


def _refuse_rounded(integers: npt.NDArray[Any], label: str, name: str) -> None:
    """Raise InvalidInput if float64 rounds one of the integers, (n,): it holds only some beyond 2^53."""
    if integers.dtype.kind not in "iu" or (integers.max() <= _EXACT and integers.min() >= -_EXACT):
        return
    rounded = integers.astype(np.float64)
    with np.errstate(invalid="ignore"):
        is_exact = (rounded < float(np.iinfo(integers.dtype).max)) & (rounded.astype(integers.dtype) == integers)
    if not is_exact.all():
        row = int(is_exact.argmin())
        raise InvalidInput(_rounded_words(integers[row], f"row {row}, {label}", name))


def _rounded_words(value: object, place: str, name: str) -> str:
    return (
        f"Integers of {name} should be exact in float64, as those up to 2**53 are, but got {value} at {place} (rows "
        "count from 0): drop the column if it is an identifier, subtract an offset, or give floats to have them "
        "rounded."
    )
