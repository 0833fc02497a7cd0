"""`backwalk impute`."""

from pathlib import Path
from typing import Any

import click

from backwalk.cli.options import (
    device_option,
    force_option,
    parts_of,
    parts_options,
    reply_options,
    seed_option,
    table_output_option,
)
from backwalk.cli.output import observed, print_json
from backwalk.cli.stops import parts_stay


@click.command()
@click.argument("model", type=click.Path(path_type=Path))
@click.argument("data", metavar="TABLE")
@table_output_option
@parts_options
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
@device_option
@seed_option
@force_option
@reply_options
@click.pass_context
def impute(context: click.Context, /, output: str, json: bool, **options: Any) -> None:
    """Fill the gaps of TABLE from a saved MODEL.

    The gaps of a row are drawn together, given its observed cells. Observed cells are written as they stand in TABLE,
    and so are columns that MODEL does not have. One draw varies as data do; several (--draws 20) show how uncertain the
    filled cells are; a mean is nearest to the missing numbers, but varies less than they do. MODEL should be fitted
    with conditions "any", as tables with gaps or levels are by default. With a folder as -o, TABLE may be larger than
    memory: a Parquet or CSV file, or a folder of such files, of which each part reads its rows alone.
    """
    from backwalk.tasks.impute import impute as run

    if json and output == "-":
        raise click.UsageError("--json goes with -o FILE: the rows would be on stdout too.")
    with parts_stay(output), observed(context) as observer:
        result = run(output=output, parts=parts_of(options), **options, observer=observer)
    if json:
        print_json(result.record())
