"""`backwalk fit`."""

from pathlib import Path
from typing import Any

import click

from backwalk.cli.invocation import invocation_of
from backwalk.cli.options import (
    device_option,
    drop_options,
    force_option,
    reply_options,
    rows_option,
    seed_option,
    training_options,
)
from backwalk.cli.output import observed, print_json, say
from backwalk.cli.stops import Stopped, how_to_continue


@click.command()
@click.argument("data")
@click.option(
    "-o",
    "--output",
    type=click.Path(path_type=Path),
    show_default="DATA's name with .backwalk, in the current folder",
    help="Folder for the model; a single file if it ends in .safetensors.",
)
@training_options
@device_option
@rows_option
@drop_options
@seed_option
@force_option
@click.option("--resume", is_flag=True, help="Continue a stopped fit, if there is one.")
@click.option(
    "--checkpoint-every",
    type=click.FloatRange(min=0),
    default=30.0,
    show_default=True,
    help="Seconds between two checkpoints.",
)
@reply_options
@click.pass_context
def fit(context: click.Context, /, data: str, output: Path | None, json: bool, **options: Any) -> None:
    """Fit a model to DATA and save it.

    During training the state is saved in OUTPUT.checkpoint. After an interruption, the same command with --resume
    continues from there and gives the same model, bit for bit, as an uninterrupted fit (except with --max-time). With
    --resume, a fit that is complete is not repeated.
    """
    from backwalk.tasks.fit import checkpoint_of, default_output
    from backwalk.tasks.fit import fit as run

    path = Path(default_output(data)) if output is None else output
    try:
        with observed(context) as observer:
            result = run(data, path, **options, observer=observer)
    except Stopped as stopped:
        stopped.advice = how_to_continue(checkpoint_of(path), invocation_of(context).arguments)
        raise
    if json:
        print_json(result.record())
    else:
        say(context, f"model: {result.path}{' (fitted before)' if result.was_fitted else ''}")
