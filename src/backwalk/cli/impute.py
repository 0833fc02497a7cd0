"""`backwalk impute`."""

from __future__ import annotations

import time
from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING, Literal

import click

from backwalk.cli import options
from backwalk.cli.console import Console, refuse_rows_and_json
from backwalk.errors import IncompatibleArguments
from backwalk.limits import Unseen

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray


@click.command()
@options.model_argument
@click.argument("data", metavar="TABLE")
@options.table_output_option
@click.option(
    "--draws",
    type=click.IntRange(min=1),
    metavar="M",
    help="Write M completed copies of TABLE, one after the other, numbered from 1 in a first column, imputation.",
)
@click.option(
    "--statistic",
    type=click.Choice(["mean", "median"]),
    help="Fill each gap with the mean or median given the observed cells, or the most probable label, instead of a "
    "draw.",
)
@options.text_options
@options.unseen_option
@options.run_options
@click.pass_obj
def impute(
    console: Console,
    /,
    model: Path,
    data: str,
    output: str,
    draws: int | None,
    statistic: Literal["mean", "median"] | None,
    unseen: Unseen,
    device: str,
    seed: int,
    force: bool,
    json: bool,
) -> None:
    """Fill the gaps of TABLE from a saved MODEL.

    The gaps of a row are drawn together, given its observed cells. Observed cells are written as they stand in TABLE,
    and so are columns that MODEL does not have; but decimal commas and dates such as 31.12.2021 become 1.5 and
    2021-12-31. One draw varies as data do; several (--draws 20) show how uncertain the filled cells are; a mean is
    nearest to the missing numbers, but varies less than they do. MODEL should be fitted with conditions "any", as
    tables with gaps or levels are by default. TABLE should fit into memory: the page
    "Many rows, many machines" of the documentation says how to fill a larger one.
    """
    import numpy as np

    from backwalk.cli import tables
    from backwalk.estimator.conditionals import N_DRAWS
    from backwalk.model import check_unseen, estimate_rows, impute_rows, warn_of_unseen
    from backwalk.streams import Stream
    from backwalk.table import Selection, check_table_path, match_columns, read_part, write_filled

    refuse_rows_and_json(output, json)
    if draws is not None and statistic is not None:
        raise IncompatibleArguments("--draws and --statistic should not both be given: an estimate is one table.")
    if data == "-":
        raise IncompatibleArguments("TABLE should be a file, because standard input cannot be read twice.")
    check_table_path(output, overwrite=force)
    fitted, began = tables.load_model(model, device, data=data).model_, time.monotonic()
    table = read_part(console.path(data), Selection.of_schema(fitted.schema, only=True)).table
    tables.warn_of_doubts(data, table)
    table = match_columns(table, fitted.schema, name="TABLE", unseen=unseen)
    values, every = table.values, range(fitted.schema.n_columns)
    warn_of_unseen(check_unseen(fitted, values, given=every, unseen=unseen, name="TABLE"), "TABLE")
    n_gaps = int(np.isnan(values).sum())
    stream, n = Stream(seed).child("impute"), draws or 1
    completed: Iterable[NDArray[np.float64]]
    if statistic is not None:
        completed = [estimate_rows(fitted, values, statistic, N_DRAWS, stream=stream)]
    else:
        count = console.counter("imputing", n * len(values))
        completed = tables.count_pieces(impute_rows(fitted, values, n, stream=stream), count)
    write_filled(
        console.path(data),
        output,
        completed,
        table.schema,
        number=None if draws is None else "imputation",
        overwrite=force,
    )
    place = "" if output == "-" else f"{output}: "
    console.message(f"{place}filled {n_gaps:,} gaps in {len(values):,} rows{f', {n:,} times' if n > 1 else ''}")
    if json:
        seconds = time.monotonic() - began
        console.print_json(
            {"output": output, "rows": len(values), "filled": n_gaps, "draws": n, "seed": seed, "seconds": seconds}
        )
