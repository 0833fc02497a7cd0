"""`backwalk sample`."""

import sys
from pathlib import Path
from typing import Any

import click

from backwalk.cli.options import (
    device_option,
    force_option,
    parts_of,
    parts_options,
    raw_headers_option,
    reply_options,
    table_output_option,
)
from backwalk.cli.output import observed, print_json, printable
from backwalk.cli.stops import parts_stay


class _Solver(click.Choice):  # type: ignore[type-arg]
    """The registered solvers, looked up when they are needed, as they load torch."""

    case_sensitive = True

    def __init__(self) -> None:
        pass  # the base class would set `choices`

    @property
    def choices(self) -> tuple[str, ...]:  # type: ignore[override]
        from backwalk.sampling import SOLVERS

        return tuple(SOLVERS)


@click.command()
@click.argument("model", type=click.Path(path_type=Path))
@click.option(
    "-n",
    "--rows",
    type=click.IntRange(min=1),
    show_default="1000, or one for each row of --given-file",
    help="Rows to draw, in a folder those of all its parts.",
)
@click.option(
    "--given",
    multiple=True,
    metavar="NAME=VALUE",
    help="Draw rows with this value in a column, with one in a range (age=30..40, age=30..) or one of a set "
    "(species=Adelie|Gentoo, in quotes); repeat the option for more columns.",
)
@click.option(
    "--given-file",
    metavar="FILE",
    help="A table with a row of values for each row to draw; an empty cell leaves its column free.",
)
@table_output_option
@parts_options
@click.option(
    "--sampler",
    type=_Solver(),
    help="The solver, instead of the model's own. It takes 20 evaluations, ancestral one for each step of the chain, "
    "distilled one.",
)
@click.option(
    "--evaluations",
    type=click.IntRange(min=1),
    help="Evaluations of the network per row, at most one for each step of the chain. For fewer than 15, and without "
    "--sampler, multistep replaces the default solver.",
)
@click.option(
    "--eta",
    type=click.FloatRange(min=0.0, max=1.0),
    help="With --sampler ddim: its share of fresh noise, from 0 (none) to 1 (that of beta_tilde).",
)
@raw_headers_option
@device_option
@click.option(
    "--seed",
    type=click.IntRange(min=0),
    show_default="a new one, printed",
    help="Seed of the rows: the same seed gives the same rows.",
)
@force_option
@reply_options
@click.pass_context
def sample(context: click.Context, /, output: str, json: bool, **options: Any) -> None:
    """Draw rows from a saved MODEL.

    Each call draws other rows, unless --seed is given. With --given or --given-file, rows are drawn under conditions,
    whose labels, numbers, dates, true and false are written as in the fitted table. CSV headers that begin with = + -
    @ or a tab, which a spreadsheet would run as formulas, get an apostrophe in front; reading removes it.
    """
    from backwalk.tasks.sample import sample as run

    if json and output == "-":
        raise click.UsageError("--json goes with -o FILE: the rows would be on stdout too.")
    header = printable if output == "-" and sys.stdout.isatty() else str
    with parts_stay(output), observed(context) as observer:
        result = run(output=output, parts=parts_of(options), **options, header=header, observer=observer)
    if json:
        print_json(result.record())
