"""`backwalk score`."""

from pathlib import Path
from typing import Any

import click

from backwalk.cli.options import (
    device_option,
    drop_missing_option,
    force_option,
    reply_options,
    rows_option,
    seed_option,
    table_output_option,
)
from backwalk.cli.output import observed, print_json, say
from backwalk.limits import BOUND_VARIANCES


@click.command()
@click.argument("model", type=click.Path(path_type=Path))
@click.argument("data")
@table_output_option
@click.option("--id", metavar="NAME", help="Carry this column of DATA through; the model need not have it.")
@click.option(
    "--reference",
    metavar="DATA",
    help="Add a column, rank: the share of these rows, for example the training rows, with no higher log-density.",
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
    log_density     log p by the probability-flow ODE; -inf where a constant
                    column differs from the fitted one
    solver_error    error of the ODE solver
    standard_error  error of the random probes, used beyond 32 columns
    rank            with --reference: near 0, the row is an outlier
    elbo            with --bound: a lower bound on log p of the chain, which
                    is another model than the ODE

    A whole number is scored at the centre of its cell; a report dequantises it, so that the means differ. The means go
    to stderr, or with --json to stdout; the table is then written with -o FILE only. Columns of DATA that MODEL does
    not have are ignored. Of a built-in density, rows are drawn that no fit was given.
    """
    from backwalk.tasks.score import score as run

    target = None if json and output == "-" else output
    with observed(context) as observer:
        result = run(output=target, **options, observer=observer)
    if json:
        print_json(result.record())
    else:
        say(context, result.words())
