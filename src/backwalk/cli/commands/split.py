"""`backwalk split`."""

from typing import Any

import click

from backwalk.cli.options import drop_options, force_option, reply_options, rows_option, seed_option
from backwalk.cli.output import observed, print_json, say


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

    TRAINING is for fit, UNSEEN for score and report. Any table is split, text included; rows of text files are copied
    unchanged. Files end in .csv or .tsv, either with .gz, in .parquet or in .npy.
    """
    from backwalk.tasks.split import split as run

    with observed(context) as observer:
        result = run(**options, observer=observer)
    if json:
        print_json(result.record())
    else:
        words = f"{result.training}: {result.training_rows:,} rows; {result.unseen}: {result.unseen_rows:,} rows"
        say(context, words)
