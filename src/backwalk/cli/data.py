"""`backwalk data`."""

from __future__ import annotations

import click

from backwalk.cli import options
from backwalk.cli.console import Console


@click.command()
@click.argument("name", type=click.Choice(["penguins"]))
@click.option(
    "-o",
    "--output",
    metavar="FILE",
    show_default="NAME.csv in the current folder",
    help="A .csv, .tsv or .parquet file, also .csv.gz and .tsv.gz; - is CSV to stdout.",
)
@options.force_option
@options.verbosity_options
@click.pass_obj
def data(console: Console, name: str, output: str | None, force: bool) -> None:
    """Write a table to try the other commands on: 344 penguins of three species, in the public domain.

    Source: Gorman, Williams & Fraser 2014, PLoS ONE 9(3): e90081; Horst, Hill & Gorman 2020, palmerpenguins.
    """
    from backwalk.datasets import penguins
    from backwalk.table import as_table, write_table

    path, table = output or f"{name}.csv", as_table(penguins())
    write_table(path, table, overwrite=force)
    if path != "-":
        console.message(f"{path}: {len(table.values)} rows")
