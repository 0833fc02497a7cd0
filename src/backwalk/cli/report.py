"""`backwalk report`."""

from __future__ import annotations

import shlex
import time
from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from backwalk.cli.options import (
    device_option,
    drop_missing_option,
    force_option,
    reply_options,
    rows_option,
    seed_option,
)
from backwalk.cli.output import Console, echo, invocation_of, open_console, print_json

if TYPE_CHECKING:
    from backwalk.assess import Fidelity
    from backwalk.model import DiffusionModel


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
    commands = [shlex.join(["backwalk", *invocation_of(context).arguments])]
    with open_console(context) as console:
        fidelity, model = assess_and_report(console, **options, commands=commands)
    if json:
        from backwalk.report import report_record

        print_json({"report": str(options["output"]), **report_record(fidelity, model, commands)})
    else:
        print_verdict(fidelity, options["output"])


def assess_and_report(
    console: Console,
    *,
    model: Path,
    data: str,
    output: Path,
    training: str | None,
    target: str | None = None,
    given: Sequence[str] = (),
    device: str,
    rows: int | None = None,
    drop_missing: bool = False,
    seed: int,
    force: bool,
    commands: Sequence[str],
) -> tuple[Fidelity, DiffusionModel]:
    """Score a saved model on unseen rows, and write a page that shows the command lines."""
    from backwalk.assess import assess, matched_rows, rows_to_score
    from backwalk.cli.given import columns_from
    from backwalk.cli.tables import check_report_target, load_model, read_data, read_training, report_errors
    from backwalk.report import write_report
    from backwalk.streams import Stream

    check_report_target(output, force)
    stream = Stream(seed).child("report")
    fitted = load_model(model, device, data=data).model_
    fit_rows = None
    if training is not None:
        fit_rows = read_training(training, fitted, drop_missing=drop_missing, console=console).table
        matched_rows(fit_rows, fitted, "--training")
    unseen = read_data(data, rows, seed, unseen=True, drop_missing=drop_missing, model=fitted, console=console)
    scored, _ = rows_to_score(unseen.table, fitted, "DATA")
    console.message(f"scoring {len(scored):,} unseen rows")
    began = time.monotonic()
    fidelity = assess(
        fitted,
        unseen.table,
        training=fit_rows,
        density=unseen.density,
        target=target,
        given=columns_from(given, fitted.schema) or None,
        stream=stream.child("assess"),
        model_path=str(model),
        watch=partial(console.progress, "scoring"),
    )
    console.message(f"scored in {time.monotonic() - began:.1f} s")
    pictures = stream.child("pictures")
    with report_errors(output):
        write_report(output, fidelity, fitted, stream=pictures, commands=list(commands), overwrite=force)
    return fidelity, fitted


def print_verdict(fidelity: Fidelity, page: Path) -> None:
    """Print the verdict, the warnings, and where the report is."""
    for line in fidelity.lines():
        echo(line)
    echo(f"report: {page.resolve()}")
