"""What commands read: rows of files and built-in densities, and models."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from backwalk.cli.console import Console
from backwalk.datasets import DENSITIES
from backwalk.errors import DoubtfulCellsWarning, IncompatibleArguments, InvalidInput
from backwalk.estimator import Diffusion
from backwalk.formatting import listed
from backwalk.model import DiffusionModel
from backwalk.model_file import is_model
from backwalk.streams import Stream
from backwalk.table import (
    SUFFIXES,
    Selection,
    StrPath,
    Table,
    as_table,
    find_doubts,
    is_pattern,
    read_part,
    read_within,
)

USUALLY_DRAWN, _MOST_DRAWN = 10_000, 10_000_000


def is_built_in(source: StrPath) -> bool:
    """Return whether a source names a built-in density; a folder or a model of that name does not hide it."""
    return str(source) in DENSITIES and (is_model(str(source)) or not Path(source).is_file())


def draw_rows(name: str, n: int | None, seed: int, *, unseen: bool = False, drop: Sequence[str] = ()) -> Table:
    """Draw rows, 10,000 by default, from a built-in density.

    With `unseen` they are independent of those that a fit is given, whatever the seed. Raises IncompatibleArguments if
    columns are to be dropped.
    """
    if drop:
        raise IncompatibleArguments(f"--drop goes with a file, but {name!r} is a built-in density.")
    stream = Stream(seed).child("unseen") if unseen else Stream(seed)
    return as_table(DENSITIES[name]().sample_rows(0, n or USUALLY_DRAWN, stream=stream))


def read_unseen(
    console: Console,
    source: str,
    rows: int | None,
    seed: int,
    model: DiffusionModel,
    *,
    drop_missing: bool,
    name: str = "DATA",
) -> tuple[Table, NDArray[np.bool_] | None]:
    """Read the model's columns of a file, or draw `rows` rows of a built-in density, which no fit was given.

    With `drop_missing` rows with missing values are left out; a message reports what was left out. Returns the rows,
    and which of a file's rows these are, (n,). Error messages call the source `name`.
    """
    if is_built_in(source):
        return draw_rows(source, rows, seed, unseen=True), None
    check_file(source, rows, name=name)
    reading = read_part(console.path(source), Selection.of_schema(model.schema, only=True, complete=drop_missing))
    warn_of_doubts(source, reading.table)
    say_left_out(console, source, reading.columns_left_out, int(reading.is_taken.sum()), len(reading.is_taken))
    return reading.table, reading.is_taken


def read_training(console: Console, source: str, model: DiffusionModel, *, drop_missing: bool) -> Table:
    """Read the training rows of a model: those of a file, or of a built-in density the draws that `fit` made.

    Of files whose rows did not all fit into memory, these are the rows that the fit had chosen.
    """
    # The model may come from anywhere: the number of rows in its card is limited.
    n = min(model.card["n_rows"] + model.card["n_validation_rows"], _MOST_DRAWN)
    if is_built_in(source):
        return draw_rows(source, n, model.card["seed"])
    if "n_table_rows" not in model.card:
        return read_unseen(console, source, None, 0, model, drop_missing=drop_missing, name="--training")[0]
    selection = Selection.of_schema(model.schema, only=True, complete=drop_missing)
    rows = read_within(console.path(source), selection, most=n, watch=console.progress)
    say_left_out(console, source, rows.columns_left_out, rows.n_rows, rows.n_read)
    return rows.table


def check_file(source: StrPath, rows: int | None = None, *, name: str, folders: bool = False) -> None:
    """Raise an error unless a source is a file or "-", standard input, and `rows` is None.

    With `folders` it may also be a folder or a pattern.
    """
    if rows is not None:
        raise IncompatibleArguments(
            f"--rows goes with a built-in density, but {str(source)!r} is a file: it is read whole."
        )
    if str(source) != "-" and not (Path(source).exists() or (folders and is_pattern(source))):
        rule = f"{name} should be an existing file"
        if not str(source).lower().endswith(SUFFIXES):
            rule += f" or one of {', '.join(DENSITIES)}"
        raise InvalidInput(f"{rule}, but got {str(source)!r}: check its name and its folder.")
    if Path(source).is_dir() and not folders:
        raise InvalidInput(f"{name} should be a table file, but {str(source)!r} is a folder: name a file of rows.")


def warn_of_doubts(source: str, table: Table) -> None:
    """Warn of likely mistakes in a file, which is read anew and not as the fit read its own."""
    for doubt in find_doubts(table):
        warnings.warn(f"{source}: {doubt}", DoubtfulCellsWarning, stacklevel=2)


def say_left_out(console: Console, source: str, columns: Sequence[str], n_taken: int, n_rows: int) -> None:
    """Report the columns and the number of rows of a file that were left out."""
    if columns:
        console.message(f"{source}: left out {listed(columns)}")
    if n_taken < n_rows:
        console.message(f"{source}: left out {n_rows - n_taken:,} of {n_rows:,} rows, in which values are missing")


def load_model(path: Path, device: str = "auto", *, data: str | None = None) -> Diffusion:
    """Load a model. Raises InvalidInput if `path` is a table; the message says so if MODEL and `data` are swapped."""
    if path.is_file() and path.name.lower().endswith(SUFFIXES):
        order = " MODEL comes first, then DATA." if data is not None and is_model(data) else ""
        raise InvalidInput(f"MODEL should be a model that `backwalk fit` saved, but {str(path)!r} is a table.{order}")
    return Diffusion.load(path, device=device)


def count_pieces(pieces: Iterator[NDArray[np.float64]], count: Callable[[int], None]) -> Iterator[NDArray[np.float64]]:
    """Return an iterator over pieces of rows, which are counted as they come.

    The first piece is made at once, so that its errors come before a file is opened for the others.
    """
    first = next(pieces)

    def counted() -> Iterator[NDArray[np.float64]]:
        yield first
        count(len(first))
        for piece in pieces:
            yield piece
            count(len(piece))

    return counted()
