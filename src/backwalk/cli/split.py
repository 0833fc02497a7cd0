"""`backwalk split`."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from backwalk.cli.options import drop_options, force_option, reply_options, rows_option, seed_option
from backwalk.cli.output import Console, open_console, print_json, say

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray


@click.command()
@click.argument("data")
@click.argument("training")
@click.argument("unseen")
@click.option(
    "--share",
    type=click.FloatRange(0.0, 1.0, min_open=True, max_open=True),
    default=0.2,
    show_default=True,
    help="Share of the rows that goes to UNSEEN.",
)
@rows_option
@drop_options
@seed_option
@force_option
@reply_options
@click.pass_context
def split(context: click.Context, /, json: bool, **options: Any) -> None:
    """Split the rows of DATA at random into two files.

    TRAINING is for fit, UNSEEN for score and report. Any table is split, text included; cells of text files are copied
    as they stand. Files end in .csv or .tsv, either with .gz, in .parquet or in .npy.
    """
    with open_console(context) as console:
        record = _split(console, **options)
    if json:
        print_json(record)
    else:
        say(context, "{training}: {training_rows:,} rows; {unseen}: {unseen_rows:,} rows".format(**record))


def _split(
    console: Console,
    data: str,
    training: str,
    unseen: str,
    share: float,
    rows: int | None,
    drop: Sequence[str],
    drop_missing: bool,
    seed: int,
    force: bool,
) -> dict[str, Any]:
    """Split the rows, which keep their order in each file, and return the record of the command."""
    import numpy as np

    from backwalk.cli.tables import check_file, is_built_in, read_data, say_left_out
    from backwalk.errors import InvalidInput
    from backwalk.streams import Stream
    from backwalk.table import Selection, check_table_path, split_table

    places = (training, unseen)
    if "-" in places or len({Path(place).resolve() for place in (data, *places)}) < 3:
        raise InvalidInput(
            f"DATA, TRAINING and UNSEEN should be three different files, but got {data}, {training}, {unseen}."
        )
    for place in places:
        check_table_path(place, overwrite=force)

    def choose_unseen(n: int) -> NDArray[np.bool_]:
        n_unseen = round(share * n)
        if not 0 < n_unseen < n:
            raise InvalidInput(
                f"Each file should get at least one row, but {share:g} of {n:,} rows are {n_unseen:,}: give another "
                "--share."
            )
        is_unseen = np.zeros(n, dtype=bool)
        is_unseen[Stream(seed).child("held back").permutation(n)[:n_unseen]] = True
        return is_unseen

    if is_built_in(data):
        drawn = read_data(data, rows, seed, drop=drop, console=console).table
        result = split_table(drawn, places, choose_unseen, overwrite=force)
    else:
        check_file(data, rows, name="DATA")
        selection = Selection(tuple(drop), complete=drop_missing)
        result = split_table(data, places, choose_unseen, selection=selection, overwrite=force)
        say_left_out(data, result.columns_left_out, int(result.is_taken.sum()), len(result.is_taken), console)
    n_training, n_unseen = result.sizes
    return {"training": training, "training_rows": n_training, "unseen": unseen, "unseen_rows": n_unseen}
