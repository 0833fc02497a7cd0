"""`backwalk split`."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import click

from backwalk.cli import options
from backwalk.cli.console import Console
from backwalk.errors import InvalidInput

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
@options.rows_option
@options.text_options
@options.drop_options
@options.seed_option
@options.force_option
@options.reply_options
@click.pass_obj
def split(
    console: Console,
    data: str,
    training: str,
    unseen: str,
    share: float,
    rows: int | None,
    drop: tuple[str, ...],
    drop_missing: bool,
    seed: int,
    force: bool,
    json: bool,
) -> None:
    """Split the rows of DATA at random into two files.

    TRAINING is for fit, UNSEEN for score and report. Any table is split, text included; cells of text files are copied
    as they stand. All files end in .csv or .tsv, either with .gz, or all in
    .parquet.
    """
    import numpy as np

    from backwalk.cli.tables import check_file, draw_rows, is_built_in, say_left_out
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
        result = split_table(draw_rows(data, rows, seed, drop=drop), places, choose_unseen, overwrite=force)
    else:
        check_file(data, rows, name="DATA")
        selection = Selection(drop, complete=drop_missing)
        result = split_table(console.path(data), places, choose_unseen, selection=selection, overwrite=force)
        say_left_out(console, data, result.columns_left_out, int(result.is_taken.sum()), len(result.is_taken))
    n_training, n_unseen = result.sizes
    if json:
        console.print_json(
            {"training": training, "training_rows": n_training, "unseen": unseen, "unseen_rows": n_unseen}
        )
    else:
        console.message(f"{training}: {n_training:,} rows; {unseen}: {n_unseen:,} rows")
