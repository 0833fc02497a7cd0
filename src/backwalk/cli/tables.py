"""What commands read and write: rows of files and built-in densities, models, and the places of reports."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from backwalk.cli.output import Console
from backwalk.datasets import DENSITIES, Density
from backwalk.errors import IncompatibleArguments, InvalidInput
from backwalk.estimator import Diffusion
from backwalk.files import check_writable
from backwalk.formatting import listed, one_line
from backwalk.model import DiffusionModel
from backwalk.model_file import is_model
from backwalk.streams import Stream
from backwalk.table import SUFFIXES, Selection, Table, as_table, read_part, read_within

USUALLY_DRAWN, _MOST_DRAWN = 10_000, 10_000_000


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
    console: Console,
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
        n = USUALLY_DRAWN if rows is None else rows
        drawn = density.sample_rows(0, n, stream=stream.child("unseen") if unseen else stream)
        return Data(as_table(drawn), density)
    check_file(source, rows, name=name)
    if model is None:
        selection = Selection(tuple(drop), None, drop_missing, tuple(texts), tuple(numbers))
    else:
        selection = Selection.of_schema(model.schema, only=True, drop=tuple(drop), complete=drop_missing)
    reading = read_part(source, selection)
    say_left_out(source, reading.columns_left_out, int(reading.is_taken.sum()), len(reading.is_taken), console)
    return Data(reading.table, None, reading.is_taken)


def read_training(source: str, model: DiffusionModel, *, drop_missing: bool, console: Console) -> Data:
    """Read the training rows of a model: those of a file, or of a built-in density the draws that `fit` made.

    Of files whose rows did not all fit into memory, these are the rows that the fit had chosen.
    """
    # The model may come from anywhere: the number of rows in its card is limited.
    n = min(model.card["n_rows"] + model.card["n_validation_rows"], _MOST_DRAWN)
    if is_built_in(source):
        return read_data(source, n, model.card["seed"], name="--training", console=console)
    if "n_table_rows" not in model.card:
        return read_data(source, None, 0, name="--training", drop_missing=drop_missing, model=model, console=console)
    selection = Selection.of_schema(model.schema, only=True, complete=drop_missing)
    rows = read_within(source, selection, most=n, watch=console.progress)
    say_left_out(source, rows.columns_left_out, rows.n_rows, rows.n_read, console)
    return Data(rows.table, None)


def check_file(source: str, rows: int | None, *, name: str) -> None:
    """Raise an error unless a source is a file or "-", and `rows` is None."""
    refuse_rows(source, rows)
    check_exists(source, name=name)
    if Path(source).is_dir():
        raise InvalidInput(f"{name} should be a table file, but {source!r} is a folder: name a file of rows.")


def refuse_rows(source: str, rows: int | None) -> None:
    """Raise IncompatibleArguments for a number of rows to draw beside files."""
    if rows is not None:
        raise IncompatibleArguments(f"--rows goes with a built-in density, but {source!r} is a file: it is read whole.")


def say_left_out(source: str, columns: Sequence[str], n_taken: int, n_rows: int, console: Console) -> None:
    """Report the columns and the number of rows of a file that were left out."""
    if columns:
        console.message(f"{source}: left out {listed(columns)}")
    if n_taken < n_rows:
        console.message(f"{source}: left out {n_rows - n_taken:,} of {n_rows:,} rows, in which values are missing")


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


def load_model(path: Path, device: str = "auto", *, data: str | None = None) -> Diffusion:
    """Load a model. Raises InvalidInput if `path` is a table; the message says so if MODEL and `data` are swapped."""
    if path.is_file() and path.name.lower().endswith(SUFFIXES):
        order = " MODEL comes first, then DATA." if data is not None and is_model(data) else ""
        raise InvalidInput(f"MODEL should be a model that `backwalk fit` saved, but {str(path)!r} is a table.{order}")
    return Diffusion.load(path, device=device)


def check_report_target(output: Path, force: bool) -> None:
    """Raise InvalidInput if a report could not be written; to be called before long work."""
    if output.suffix.lower() not in (".html", ".htm"):
        raise InvalidInput(
            f"A report's name should end in .html, but got {str(output)!r}: for its figures as JSON, add --json."
        )
    with report_errors(output):
        check_writable(output, overwrite=force)


@contextmanager
def report_errors(output: Path) -> Iterator[None]:
    """Turn OSErrors of writing a report into InvalidInput that names the file."""
    try:
        yield
    except OSError as error:
        raise InvalidInput(f"{output} cannot be written: {one_line(error)}.") from error


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
