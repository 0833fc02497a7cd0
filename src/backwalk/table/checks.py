"""Refuse rows that no model can use, with the value, its row and column, and the remedy."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

from backwalk.errors import InvalidInput
from backwalk.table.schema import FloatArray, Schema

_EXACT = 2**53  # all integers up to here are exact in float64


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
