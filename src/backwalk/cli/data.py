"""The rows that a command is given: a file's, or draws from a built-in density."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import click

from backwalk.cli.output import say
from backwalk.errors import InvalidInput
from backwalk.formatting import listed

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from backwalk.datasets import Density
    from backwalk.model import DiffusionModel
    from backwalk.table import Table

_USUALLY_DRAWN, _MOST_DRAWN = 10_000, 10_000_000


@dataclass(frozen=True)
class Data:
    """Rows, the density that they were drawn from where it is a built-in one, and which rows of a file are taken."""

    table: Table
    density: Density | None
    is_taken: NDArray[np.bool_] | None = None


def read_data(
    context: click.Context,
    source: str,
    rows: int | None,
    seed: int,
    *,
    unseen: bool = False,
    name: str = "DATA",
    drop: Sequence[str] = (),
    drop_missing: bool = False,
    model: DiffusionModel | None = None,
) -> Data:
    """Return the rows of a file, or so many draws (10,000) from a built-in density: with `unseen` such as no fit is
    given.

    Of a file the columns to `drop` are left out, those that a `model` does not have, and with `drop_missing` rows
    without a number in each column; what is left out is said. `name` is what messages call the source.
    """
    from backwalk.datasets import DENSITIES
    from backwalk.streams import Stream
    from backwalk.table import Selection, as_table, read_part

    if is_built_in(source):
        if drop:
            raise click.UsageError(f"--drop goes with a file: the columns of {source!r} belong together.")
        density, stream = DENSITIES[source](), Stream(seed)
        n = _USUALLY_DRAWN if rows is None else rows
        drawn = density.sample_rows(0, n, stream=stream.child("unseen") if unseen else stream)
        return Data(as_table(drawn), density)
    if rows is not None:
        raise click.UsageError(f"--rows goes with a built-in density: of {source!r} all rows are taken.")
    check_source(source, name=name)
    only = None if model is None else model.schema.columns
    reading = read_part(source, Selection(tuple(drop), only, drop_missing))
    if reading.columns_left_out:
        say(context, f"{source}: left out {listed(reading.columns_left_out)}")
    n_left_out = int((~reading.is_taken).sum())
    if n_left_out:
        n = len(reading.is_taken)
        say(context, f"{source}: left out {n_left_out:,} of {n:,} rows, in which values are missing")
    return Data(reading.table, None, reading.is_taken)


def read_training(context: click.Context, source: str, model: DiffusionModel, *, drop_missing: bool) -> Data:
    """Return the rows of a file, or of a built-in density those that `fit` drew for this model."""
    if not is_built_in(source):
        return read_data(context, source, None, 0, name="--training", drop_missing=drop_missing, model=model)
    drawn = model.card["n_rows"] + model.card["n_validation_rows"]
    # The numbers of a stranger's file: more rows than these nobody has waited for.
    return read_data(context, source, min(drawn, _MOST_DRAWN), model.card["seed"], name="--training")


def check_source(source: str, *, name: str) -> None:
    """Raise InvalidInput unless a source is a file, or standard input."""
    from backwalk.datasets import DENSITIES

    if source != "-" and not Path(source).exists():
        raise InvalidInput(
            f"{name} should be a file that is there or one of {', '.join(DENSITIES)}, but got {source!r}: look for "
            "another spelling."
        )
    if Path(source).is_dir():
        raise InvalidInput(
            f"{name} should be a table, but {source!r} is a folder, maybe a model's: name a file of rows."
        )


def is_built_in(source: str) -> bool:
    """Return whether a source names a built-in density; a folder of that name, such as a model's, is no table."""
    from backwalk.datasets import DENSITIES

    return source in DENSITIES and not Path(source).is_file()
