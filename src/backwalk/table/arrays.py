"""Convert arrays and lists of lists to float64 values, and refuse rows that no model can use.

Errors have the value, its row and column, and the remedy.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import scipy.sparse

from backwalk.errors import InvalidInput, NotANumber
from backwalk.table.dtypes import arrow_type
from backwalk.table.schema import FloatArray, Schema, shown
from backwalk.table.values import Coded, coded

_EXACT = 2**53  # all integers up to here are exact in float64


def from_array(X: Any, name: str) -> tuple[FloatArray, Schema]:
    """Return the values, (n, d), and the schema of an array, or of whatever NumPy makes an array of.

    Each column of an array of Python objects or texts is one of numbers, texts, dates or times.
    """
    if scipy.sparse.issparse(X):
        raise NotANumber(f"{name} should be dense, but got sparse data ({type(X).__name__}): use X.toarray().")
    try:
        array = np.asarray(X)
        if array.dtype.kind in "US" and array.ndim == 2 and not isinstance(X, np.ndarray):
            array = np.asarray(X, dtype=object)  # lists of texts and numbers, which NumPy makes all texts
    except (ValueError, TypeError, RuntimeError) as error:
        raise InvalidInput(f"{name} should be an (n, d) array with rows of equal length: {error}") from error
    if array.dtype.kind == "c":
        raise InvalidInput(f"Complex data not supported: {name} has dtype {array.dtype}; give .real and .imag apart.")
    if array.dtype.kind in "SVT" or (array.ndim == 0 and array.dtype.kind in "OUMm"):
        what = type(X).__name__ if array.ndim == 0 else f"dtype {array.dtype}"
        raise InvalidInput(f"{name} should be a table of numbers, texts and dates, but got {what}: convert it to one.")
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
    refuse_empty(array.shape, name)
    if array.dtype.kind in "OUMm":
        values, schema = _from_columns(array, name)
    else:
        for column, numbers in enumerate(array.T if array.dtype.kind in "iu" else ()):
            refuse_rounded(numbers, f"column {column}", name)
        with np.errstate(over="ignore"):  # overflow gives infinity, which is refused later
            values = array.astype(np.float64, order="C", copy=False)
        single = array.dtype.kind == "f" and array.dtype.itemsize == 4
        schema = Schema(None, ("float32" if single else "float64",) * array.shape[1], "numpy")
    if np.ma.isMaskedArray(X):
        values = np.where(np.ma.getmaskarray(X), np.nan, values)
    return values, schema


def _from_columns(array: npt.NDArray[Any], name: str) -> tuple[FloatArray, Schema]:
    columns = [_from_column(array[:, j], j, name) for j in range(array.shape[1])]
    dtypes = [dtype for dtype, _ in columns]
    if all(dtype in ("float64", "object[int64]", "object[double]", "object[bool]") for dtype in dtypes):
        dtypes = ["float64"] * len(dtypes)  # an array of Python numbers
    values = np.stack([column.values for _, column in columns], axis=1)
    labels, units = (tuple(getattr(column, what) for _, column in columns) for what in ("labels", "unit"))
    return values, Schema(None, tuple(dtypes), "numpy", labels, units)


def _from_column(column: npt.NDArray[Any], j: int, name: str) -> tuple[str, Coded]:
    """Return the dtype and the numbers of a column of texts, dates, times or Python objects."""
    dtype = str(column.dtype)
    if column.dtype.kind in "Mm":
        of_type = arrow_type(dtype, "numpy")
        if of_type is None:
            raise InvalidInput(f"Dates of {name} should have a unit of time, but got dtype {dtype}: give it one.")
        stored = column.astype(f"{'M8' if column.dtype.kind == 'M' else 'm8'}[{of_type.unit}]")
        return dtype, coded(pa.chunked_array([pa.array(stored)]), of_type)
    try:
        cells = pa.array(column if column.dtype.kind == "O" else column.tolist(), from_pandas=True)
    except (ValueError, TypeError, OverflowError):
        return "float64", Coded(_numbers_of_objects(column, j, name))
    of_numbers = (pa.types.is_floating, pa.types.is_integer, pa.types.is_boolean, pa.types.is_decimal)
    numbers = any(holds(cells.type) for holds in of_numbers)
    if numbers or (found := arrow_type(f"object[{cells.type}]", "numpy")) is None:
        known = str(cells.type) in ("int64", "double", "bool")
        return f"object[{cells.type}]" if known else "float64", Coded(_numbers_of_objects(column, j, name))
    return "str" if column.dtype.kind == "U" else f"object[{cells.type}]", coded(pa.chunked_array([cells]), found)


def _numbers_of_objects(column: npt.NDArray[Any], j: int, name: str) -> FloatArray:
    values = np.empty(len(column))
    for row, cell in enumerate(column):
        try:
            if isinstance(cell, (str, bytes)):
                raise TypeError("the column holds other values too, make them all texts or all numbers")
            values[row] = np.nan if cell is None else float(cell)
        except (TypeError, ValueError, OverflowError) as error:
            raise NotANumber(
                f"A column of {name} should hold numbers, texts or dates, but got {shown(cell)} at row {row}, column "
                f"{j} (rows count from 0): {error}."
            ) from error
        if isinstance(cell, (int, np.integer)) and int(values[row]) != cell:
            raise InvalidInput(rounded_words(cell, f"row {row}, column {j}", name))
    return values


def refuse_empty(shape: tuple[int, ...], name: str) -> None:
    """Raise InvalidInput if there is no row or no column."""
    for size, what, remedy in ((shape[0], "sample", "row"), (shape[1], "feature", "column")):
        if size == 0:
            raise InvalidInput(
                f"Found {name} with 0 {what}(s) (shape={shape}) while a minimum of 1 is required: "
                f"give at least one {remedy}."
            )


def refuse_infinite(values: FloatArray, schema: Schema, name: str) -> None:
    """Raise InvalidInput if any number, (n, d), is infinite."""
    bad = np.isinf(values)
    if not bad.any():
        return
    row, column = divmod(int(bad.argmax()), values.shape[1])
    n_rows = int(bad.any(axis=1).sum())
    such, remedy = "", "give a finite number, or drop the row"
    if n_rows > 1:
        such = f"; {n_rows:,} of {len(values):,} rows have such numbers"
        remedy = "give finite ones, or drop the rows"
    raise InvalidInput(
        f"{name} should hold finite numbers, but got {values[row, column]} at row {row}, {schema.label(column)} "
        f"(rows count from 0){such}: {remedy}."
    )


def refuse_rounded(integers: npt.NDArray[Any], label: str, name: str) -> None:
    """Raise InvalidInput if float64 rounds one of the integers, (n,): it holds only some beyond 2^53."""
    if integers.dtype.kind not in "iu" or (integers.max() <= _EXACT and integers.min() >= -_EXACT):
        return
    rounded = integers.astype(np.float64)
    with np.errstate(invalid="ignore"):
        is_exact = (rounded < float(np.iinfo(integers.dtype).max)) & (rounded.astype(integers.dtype) == integers)
    if not is_exact.all():
        row = int(is_exact.argmin())
        raise InvalidInput(rounded_words(integers[row], f"row {row}, {label}", name))


def rounded_words(value: object, place: str, name: str) -> str:
    """Return the message about an integer that float64 rounds."""
    return (
        f"Integers of {name} should be exact in float64, as those up to 2**53 are, but got {value} at {place} (rows "
        "count from 0): drop the column if it is an identifier, subtract an offset, or give floats to have them "
        "rounded."
    )
