"""The rows that a command is given: a file's, or draws from a built-in density."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from backwalk.errors import InvalidInput

if TYPE_CHECKING:
    from backwalk.datasets import Density
    from backwalk.model import DiffusionModel
    from backwalk.table import Table

_MOST_DRAWN = 10_000_000


@dataclass(frozen=True)
class Data:
    """Rows, and the density that they were drawn from where it is a built-in one."""

    table: Table
    density: Density | None


def read_data(source: str, rows: int, seed: int, *, unseen: bool = False, name: str = "DATA") -> Data:
    """Return the rows of a file, or so many draws from a built-in density: with `unseen` such as no fit is given.

    `name` is what messages call the source.
    """
    from backwalk.datasets import DENSITIES
    from backwalk.streams import Stream
    from backwalk.table import as_table, read_table

    if source in DENSITIES and not Path(source).is_file():  # a folder, such as a model's, is no table
        density, stream = DENSITIES[source](), Stream(seed)
        drawn = density.sample_rows(0, rows, stream=stream.child("unseen") if unseen else stream)
        return Data(as_table(drawn), density)
    if source != "-" and not Path(source).exists():
        raise InvalidInput(
            f"{name} should be a file that is there or one of {', '.join(DENSITIES)}, but got {source!r}."
        )
    if Path(source).is_dir():
        raise InvalidInput(
            f"{name} should be a table, but {source!r} is a folder, maybe a model's: name a file of rows."
        )
    return Data(read_table(source), None)


def read_training(source: str, model: DiffusionModel) -> Data:
    """Return the rows of a file, or of a built-in density those that `fit` drew for this model."""
    drawn = model.card["n_rows"] + model.card["n_validation_rows"]
    # The numbers of a stranger's file: more rows than these nobody has waited for.
    return read_data(source, min(drawn, _MOST_DRAWN), model.card["seed"], name="--training")
