"""The rows of a task: those of a file, or draws from a built-in density."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from backwalk.datasets import DENSITIES, Density
from backwalk.errors import IncompatibleArguments, InvalidInput
from backwalk.formatting import listed
from backwalk.model import DiffusionModel
from backwalk.model_file import is_model
from backwalk.streams import Stream
from backwalk.table import Selection, Table, as_table, read_part, read_within
from backwalk.tasks.observer import Observer

_USUALLY_DRAWN, _MOST_DRAWN = 10_000, 10_000_000


@dataclass(frozen=True, eq=False)
class Data:
    """Rows; the built-in density that they were drawn from, if any; and which rows of a file were taken, (n,)."""

    table: Table
    density: Density | None
    is_taken: NDArray[np.bool_] | None = None


def read_data(
    source: str,
    rows: int | None,
    seed: int,
    *,
    unseen: bool = False,
    name: str = "DATA",
    drop: Sequence[str] = (),
    drop_missing: bool = False,
    texts: Sequence[str] = (),
    numbers: Sequence[str] = (),
    model: DiffusionModel | None = None,
    observer: Observer,
) -> Data:
    """Read a file, or draw `rows` rows (10,000 by default) from a built-in density.

    With `unseen`, the draws are independent of those that a fit is given, whatever the seed. Of a file, the columns
    named by `drop` and those that `model` does not have are left out, and with `drop_missing` the rows with missing
    values; a message reports what was left out. Columns are read as `model` has them; without one, those named by
    `texts` as texts, and those named by `numbers` as numbers although they have leading zeros. Error messages call the
    source `name`.
    """
    if is_built_in(source):
        if drop:
            raise IncompatibleArguments(f"--drop goes with a file, but {source!r} is a built-in density.")
        density, stream = DENSITIES[source](), Stream(seed)
        n = _USUALLY_DRAWN if rows is None else rows
        drawn = density.sample_rows(0, n, stream=stream.child("unseen") if unseen else stream)
        return Data(as_table(drawn), density)
    check_file(source, rows, name=name)
    if model is None:
        selection = Selection(tuple(drop), None, drop_missing, tuple(texts), tuple(numbers))
    else:
        selection = Selection.of_schema(model.schema, only=True, drop=tuple(drop), complete=drop_missing)
    reading = read_part(source, selection)
    tell_left_out(source, reading.columns_left_out, int(reading.is_taken.sum()), len(reading.is_taken), observer)
    return Data(reading.table, None, reading.is_taken)


def read_training(source: str, model: DiffusionModel, *, drop_missing: bool, observer: Observer) -> Data:
    """Read the training rows of a model: those of a file, or of a built-in density the draws that `fit` made.

    Of files whose rows did not all fit into memory, these are the rows that the fit had chosen.
    """
    # The model may come from anywhere: the number of rows in its card is limited.
    n = min(model.card["n_rows"] + model.card["n_validation_rows"], _MOST_DRAWN)
    if is_built_in(source):
        return read_data(source, n, model.card["seed"], name="--training", observer=observer)
    if "n_table_rows" not in model.card:
        return read_data(source, None, 0, name="--training", drop_missing=drop_missing, model=model, observer=observer)
    selection = Selection.of_schema(model.schema, only=True, complete=drop_missing)
    rows = read_within(source, selection, most=n, watch=observer.progress)
    tell_left_out(source, rows.columns_left_out, rows.n_rows, rows.n_read, observer)
    return Data(rows.table, None)


def check_file(source: str, rows: int | None, *, name: str) -> None:
    """Raise an error unless a source is a file or "-", and `rows` is None."""
    refuse_rows(source, rows)
    check_source(source, name=name)


def refuse_rows(source: str, rows: int | None) -> None:
    """Raise IncompatibleArguments for a number of rows to draw beside files."""
    if rows is not None:
        raise IncompatibleArguments(f"--rows goes with a built-in density, but {source!r} is a file: it is read whole.")


def tell_left_out(source: str, columns: Sequence[str], n_taken: int, n_rows: int, observer: Observer) -> None:
    """Report the columns and the number of rows of a file that were left out."""
    if columns:
        observer.message(f"{source}: left out {listed(columns)}")
    if n_taken < n_rows:
        observer.message(f"{source}: left out {n_rows - n_taken:,} of {n_rows:,} rows, in which values are missing")


def check_source(source: str, *, name: str) -> None:
    """Raise InvalidInput unless a source is a file or "-", standard input."""
    check_exists(source, name=name)
    if Path(source).is_dir():
        raise InvalidInput(f"{name} should be a table file, but {source!r} is a folder: name a file of rows.")


def check_exists(source: str, *, name: str) -> None:
    """Raise InvalidInput unless a source is a file, a folder, or "-", standard input."""
    if source != "-" and not Path(source).exists():
        raise InvalidInput(
            f"{name} should be an existing file or one of {', '.join(DENSITIES)}, but got {source!r}: check the "
            "spelling."
        )


def is_built_in(source: str) -> bool:
    """Return whether a source names a built-in density; a folder or a model of that name does not hide it."""
    return source in DENSITIES and (is_model(source) or not Path(source).is_file())
