"""`backwalk distil`."""

from pathlib import Path
from typing import Any

import click

from backwalk.cli.options import device_option, reply_options, seed_option
from backwalk.cli.output import observed, print_json, say


@click.command()
@click.argument("model", type=click.Path(path_type=Path))
@click.option("-o", "--output", type=click.Path(path_type=Path), help="Save there instead of into MODEL.")
@click.option("--max-steps", type=click.IntRange(min=1), show_default="3000", help="Number of training steps.")
@click.option(
    "--max-time",
    type=click.FloatRange(min=0, min_open=True),
    help="Time budget in seconds, all of which is used: more time gives a better student.",
)
@device_option
@seed_option
@click.option("--force", is_flag=True, help="Overwrite what is there, even another student.")
@reply_options
@click.pass_context
def distil(context: click.Context, /, json: bool, **options: Any) -> None:
    """Train a student of MODEL, which needs one evaluation per row.

    `sample --sampler distilled` uses it. The student is a small network that maps noise to the rows that the
    probability-flow ODE of MODEL reaches. The model itself does not change: log-density, bound and the other samplers
    stay as they are.
    """
    from backwalk.tasks.distil import distil as run

    with observed(context) as observer:
        result = run(**options, observer=observer)
    if json:
        print_json(result.record())
    else:
        say(context, f"model: {result.path}")
