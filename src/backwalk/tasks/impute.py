"""Fill the gaps of a table from a saved model."""

from __future__ import annotations

import time
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from backwalk.errors import IncompatibleArguments
from backwalk.estimator.conditionals import N_DRAWS
from backwalk.model import DiffusionModel, estimate_rows, impute_rows
from backwalk.pieces import NUMBER, impute_parts
from backwalk.streams import Stream
from backwalk.table import Selection, check_table_path, match_columns, read_part, write_filled
from backwalk.tasks.models import begun, load_model
from backwalk.tasks.observer import SILENT, Observer
from backwalk.tasks.parts import PartsOptions, PartsResult, in_parts, is_folder


@dataclass(frozen=True)
class ImputeResult:
    """The output, the numbers of rows, of filled cells and of draws, the seed, and the seconds it took."""

    output: str
    rows: int
    filled: int
    draws: int
    seed: int
    seconds: float

    def record(self) -> dict[str, Any]:
        """Return the result as JSON values."""
        return vars(self).copy()


def impute(
    model: str | Path,
    data: str,
    output: str = "-",
    *,
    draws: int | None = None,
    statistic: Literal["mean", "median"] | None = None,
    device: str = "auto",
    seed: int = 0,
    force: bool = False,
    parts: PartsOptions = PartsOptions(),  # noqa: B008
    observer: Observer = SILENT,
) -> ImputeResult | PartsResult:
    """Write a table file again, with the gaps in the model's columns filled given the observed cells of the same row.

    All gaps of a row are drawn jointly, or with a `statistic` filled with the conditional mean or median, and the most
    probable label. With `draws`, the output has so many completed copies of the table, numbered in a first column,
    imputation. Observed cells, and columns that the model does not have, are written as they stand in the file.

    An `output` that ends in a slash is a folder of parts, made or continued as `parts` says: of a table that may be a
    folder too.
    """
    if draws is not None and statistic is not None:
        raise IncompatibleArguments("--draws and --statistic should not both be given: an estimate is one table.")
    if data == "-":
        raise IncompatibleArguments("TABLE should be a file, because standard input cannot be read twice.")
    if is_folder(output):
        make = partial(impute_parts, model, data, output, n_draws=draws, statistic=statistic, seed=seed)
        return in_parts(output, "imputing", make, parts, device=device, force=force, observer=observer)
    parts.refuse_for_file(output)
    check_table_path(output, overwrite=force)
    own, began = load_model(Path(model), device, data=data).model_, time.monotonic()
    schema = own.schema
    table = read_part(data, Selection.of_schema(schema, only=True)).table
    values = match_columns(table, schema, name="TABLE").values
    n_gaps = int(np.isnan(values).sum())
    stream, n = Stream(seed).child("impute"), draws or 1
    completed: Iterable[NDArray[np.float64]]
    if statistic is not None:
        completed = [estimate_rows(own, values, statistic, N_DRAWS, stream=stream)]
    else:
        completed = begun(_counted(own, values, n, stream, observer))
    write_filled(data, output, completed, schema, number=None if draws is None else NUMBER, overwrite=force)
    place = "" if output == "-" else f"{output}: "
    observer.message(f"{place}filled {n_gaps:,} gaps in {len(values):,} rows{f', {n:,} times' if n > 1 else ''}")
    return ImputeResult(output, len(values), n_gaps, n, seed, time.monotonic() - began)


def _counted(
    model: DiffusionModel, values: NDArray[np.float64], n: int, stream: Stream, observer: Observer
) -> Iterator[NDArray[np.float64]]:
    count = observer.counter("imputing", n * len(values))
    for rows in impute_rows(model, values, n, stream=stream):
        yield rows
        count(len(rows))
