"""`backwalk score`."""

from pathlib import Path
from typing import Any

import click

from backwalk.cli.options import (
    device_option,
    drop_missing_option,
    force_option,
    parts_of,
    parts_options,
    reply_options,
    rows_option,
    seed_option,
    table_output_option,
)
from backwalk.cli.output import observed, print_json, say
from backwalk.cli.stops import parts_stay
from backwalk.limits import BOUND_VARIANCES


@click.command()
@click.argument("model", type=click.Path(path_type=Path))
@click.argument("data")
@table_output_option
@parts_options
@click.option(
    "--given",
    multiple=True,
    metavar="NAMES",
    help="Columns that are known, with commas between: the score is that of the others, given these.",
)
@click.option(
    "--columns", multiple=True, metavar="NAMES", help="Score these columns alone, instead of all that are not given."
)
@click.option("--id", metavar="NAME", help="Copy this column of DATA to the output; the model need not have it.")
@click.option(
    "--reference",
    metavar="DATA",
    help="Add a column, rank: the share of these rows (such as the training rows) whose log-density is no higher.",
)
@click.option(
    "--bound",
    type=click.Choice(BOUND_VARIANCES),
    help="Add a column, elbo: the chain's lower bound on log p, with this reverse variance.",
)
@click.option(
    "--steps",
    type=click.IntRange(min=1),
    metavar="K",
    help="With --bound: bound a shorter chain, of the K steps that give the best bound.",
)
@device_option
@rows_option
@drop_missing_option
@seed_option
@force_option
@reply_options
@click.pass_context
def score(context: click.Context, /, output: str, json: bool, **options: Any) -> None:
    """Write the log-density of each row of DATA.

    It is the density of a saved MODEL, in nats. The columns:

    \b
    NAME            the column named by --id, as it stands in DATA
    row             number of the row in DATA, from 0 (with --drop-missing)
    log_density     log p: levels one after another, then the numbers by
                    the probability-flow ODE; -inf if the model cannot make
                    the row, such as another constant
    solver_error    error of the ODE solver
    standard_error  error of random probes (beyond 32 numbers) and of random
                    places in the cells of rounded numbers
    rank            with --reference: near 0, the row is an outlier
    elbo            with --bound: a lower bound on log p of the chain, which
                    is another model than the ODE

    Labels and other levels, and rounded numbers, are scored by their log-probability, other numbers by their density.
    Missing cells, and columns that are neither in question nor given, are integrated out. The means go to stderr, or
    with --json to stdout; the table is then written only with -o FILE. Columns of DATA that MODEL does not have are
    ignored. If DATA is a built-in density, the rows are new draws, which no fit has seen. With a folder as -o, DATA may
    be larger than memory: a Parquet or CSV file, or a folder of such files, of which each part reads its rows alone.
    """
    from backwalk.tasks.score import ScoreResult
    from backwalk.tasks.score import score as run

    target = None if json and output == "-" else output
    with parts_stay(output), observed(context) as observer:
        result = run(output=target, parts=parts_of(options), **options, observer=observer)
    if json:
        print_json(result.record())
    elif isinstance(result, ScoreResult):
        say(context, result.words())
