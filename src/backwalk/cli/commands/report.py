"""`backwalk report`."""

from __future__ import annotations

import shlex
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from backwalk.cli.invocation import invocation_of
from backwalk.cli.options import (
    device_option,
    drop_missing_option,
    force_option,
    reply_options,
    rows_option,
    seed_option,
)
from backwalk.cli.output import echo, observed, print_json

if TYPE_CHECKING:
    from backwalk.tasks.report import ReportResult


@click.command()
@click.argument("model", type=click.Path(path_type=Path))
@click.argument("data")
@click.option("--training", help="The rows of the fit: adds baselines, and looks for copies of training rows.")
@click.option("--target", help="A column of a table: how well do models trained on generated rows predict it?")
@click.option(
    "--given",
    multiple=True,
    metavar="NAMES",
    help="Columns of a simulator's data, with commas between: are posteriors of the other columns calibrated?",
)
@click.option("-o", "--output", type=click.Path(path_type=Path), required=True, help="The report, an .html file.")
@device_option
@rows_option
@drop_missing_option
@seed_option
@force_option
@reply_options
@click.pass_context
def report(context: click.Context, /, json: bool, **options: Any) -> None:
    """Score a saved MODEL on unseen rows, and write a report.

    DATA holds rows that the fit did not see. If DATA is a built-in density, these are --rows new draws, and --training
    with its name gives the rows that `backwalk fit` drew. Columns that MODEL does not have are ignored.
    """
    from backwalk.tasks.report import report as run

    command = shlex.join(["backwalk", *invocation_of(context).arguments])
    with observed(context) as observer:
        result = run(**options, commands=[command], observer=observer)
    if json:
        print_json(result.record())
    else:
        print_verdict(result)


def print_verdict(result: ReportResult) -> None:
    """Print the verdict, the warnings, and where the report is."""
    for line in result.fidelity.lines():
        echo(line)
    echo(f"report: {result.path.resolve()}")
