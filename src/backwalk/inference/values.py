"""Observations and parameters from users as rows of a model's columns, and rows of it as tensors."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from backwalk.errors import InvalidInput
from backwalk.formatting import listed
from backwalk.limits import is_whole
from backwalk.model import DiffusionModel, read_cells, read_given_table, refuse_not_made
from backwalk.table import as_table
from backwalk.table.schema import shown

Array = NDArray[np.float64]


def read_observations(model: DiffusionModel, given: Sequence[int], x: Any) -> Array:
    """Read observations as rows, (m, d), with NaN in columns that are not observed.

    `x` is a tensor or an array, (k,) or (m, k), with the `given` columns in their order; a table that has these columns
    by name, or a pandas Series, which is a row of it; or a mapping from their names to values. A column with labels has
    codes in tensors, its labels elsewhere. A number between two levels counts as the nearest one. Raises
    InvalidInput for other columns and shapes, for other values that the model cannot make, and for a tensor that asks
    for a gradient.
    """
    schema = model.schema
    if asks_for_gradient(x):
        raise InvalidInput("x should ask for no gradient, as densities have one by theta alone: give x.detach().")
    if isinstance(x, Mapping):
        rows = np.full((1, schema.n_columns), np.nan)
        names = {schema.names[j]: j for j in given}
        _refuse_other_columns(x, names, "x")
        for name, value in x.items():
            if isinstance(value, list | tuple | np.ndarray | Tensor) and np.ndim(as_array(value)):
                raise InvalidInput(
                    f"x as a mapping should hold one value for each name, as it is one observation, but got "
                    f"{value!r:.60} for {shown(name)}: give a table for several."
                )
            rows[0, names[name]] = read_cells(schema, names[name], [value], "x")[0]
    else:
        rows = _read_rows(model, given, x, "x")
    may_be_between = [bool(column.levels) and schema.labels[j] is None for j, column in enumerate(model.codec.columns)]
    refuse_not_made(model, np.where(may_be_between, np.nan, rows), "x")
    return rows


def read_parameters(model: DiffusionModel, columns: Sequence[int], theta: Any, *, may_miss: bool = False) -> Array:
    """Read parameters, (..., k), of a tensor or an array of this shape, or of a table with these columns by name, of
    which a pandas Series is a row; a single row is (1, k).

    Raises InvalidInput for other columns and shapes, and for missing values unless they `may_miss`.
    """
    shape, k = tuple(getattr(theta, "shape", ())), len(columns)
    has_leading_axes = len(shape) > 2 and shape[-1] == k
    rows = _read_rows(model, columns, theta.reshape(-1, k) if has_leading_axes else theta, "theta")[:, list(columns)]
    if not may_miss and np.isnan(rows).any():
        raise InvalidInput("theta should have no missing values: give all parameters, or another `given`.")
    return rows.reshape(shape) if has_leading_axes else rows


def asks_for_gradient(values: Any) -> bool:
    """Return whether autograd follows a tensor; other values ask for no gradient."""
    return isinstance(values, Tensor) and values.requires_grad and torch.is_grad_enabled()


def read_shape(sample_shape: int | Sequence[int]) -> tuple[int, ...]:
    """Return the shape of draws, of which an integer is the only axis. Raises InvalidInput for other values."""
    try:
        shape: tuple[Any, ...] = tuple(sample_shape)  # type: ignore[arg-type]
    except TypeError:
        shape = (sample_shape,)
    if not all(is_whole(n) and n >= 0 for n in shape):
        raise InvalidInput(f"sample_shape should hold integers >= 0, but got {sample_shape!r}: (1000,) is usual.")
    return tuple(int(n) for n in shape)


def as_array(values: Any) -> NDArray[Any]:
    """Return a tensor, also one on another device or with a gradient, or what numpy takes, as an array."""
    if isinstance(values, Tensor):
        values = values.detach().cpu()
        values = values.float() if values.dtype == torch.bfloat16 else values  # numpy has none
    return np.asarray(values)


def as_tensor(rows: Array) -> Tensor:
    """Return rows as a tensor, float64: float32 could round a parameter beyond its bound."""
    return torch.from_numpy(np.ascontiguousarray(rows))


def _read_rows(model: DiffusionModel, columns: Sequence[int], values: Any, name: str) -> Array:
    schema = model.schema
    if hasattr(values, "to_frame") and all(isinstance(label, str) for label in getattr(values, "index", ())):
        values = values.to_frame().T.infer_objects()  # a Series with the names of columns
    if not hasattr(values, "columns"):  # no DataFrame, whose columns have names
        values = as_array(values)
        if values.ndim not in (1, 2) or values.shape[-1] != len(columns) or values.shape[0] == 0:
            raise InvalidInput(
                f"{name} should have {len(columns)} columns, {listed(schema.names[j] for j in columns)}, but has shape "
                f"{values.shape}: give one row, or several."
            )
        table = as_table(np.atleast_2d(values), name=name)
        if any(labels is not None for labels in table.schema.labels):
            raise InvalidInput(f"{name} should hold numbers, but holds texts: give a table with the names of columns.")
        rows = np.full((len(table.values), schema.n_columns), np.nan)
        rows[:, list(columns)] = table.values
        return rows
    table = as_table(values, name=name)
    names = [schema.names[j] for j in columns]
    if table.columns is None or schema.columns is None:
        return _read_rows(model, columns, table.values, name)
    _refuse_other_columns([label for label in table.columns if label in names], names, name)
    kept = [table.columns.index(label) for label in names]
    part = replace(table, values=table.values[:, kept], schema=table.schema.taken(kept))
    return read_given_table(schema, part, name)


def _refuse_other_columns(columns: Any, names: Any, name: str) -> None:
    if set(columns) != set(names):
        raise InvalidInput(
            f"{name} should have the columns {listed(map(shown, names))}, but has "
            f"{listed(map(shown, columns)) or 'none'}: give each of them; None or NaN is a missing value."
        )
