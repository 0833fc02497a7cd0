"""`backwalk demo`."""

from pathlib import Path
from typing import Any

import click

from backwalk.cli.commands.report import print_verdict
from backwalk.cli.options import device_option, force_option, reply_options, seed_option, training_options
from backwalk.cli.output import observed, print_json


@click.command()
@click.option(
    "-o",
    "--output",
    type=click.Path(path_type=Path),
    default=Path("out/demo"),
    show_default=True,
    help="Folder for model, samples and report.",
)
@training_options
@device_option
@seed_option
@force_option
@reply_options
@click.pass_context
def demo(context: click.Context, /, json: bool, **options: Any) -> None:
    """Fit two moons, draw rows and write a report.

    All steps in one go, in about a minute. --json prints a summary; `backwalk report --json` prints all figures.
    """
    from backwalk.tasks.demo import demo as run

    with observed(context) as observer:
        result = run(**options, observer=observer)
    if json:
        print_json(result.record())
    else:
        print_verdict(result.report)
