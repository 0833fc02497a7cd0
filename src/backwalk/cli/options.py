"""The options that several commands share."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeVar

import click

from backwalk.cli.invocation import invocation_of

_Command = TypeVar("_Command", bound=Callable[..., Any])


def together(*options: Callable[[_Command], _Command]) -> Callable[[_Command], _Command]:
    """Return several options as one decorator."""

    def decorate(command: _Command) -> _Command:
        for option in reversed(options):
            command = option(command)
        return command

    return decorate


seed_option = click.option(
    "--seed",
    type=click.IntRange(min=0),
    default=0,
    show_default=True,
    help="Seed of all randomness: the same seed gives the same result.",
)
force_option = click.option("--force", is_flag=True, help="Overwrite what is there.")
table_output_option = click.option(
    "-o", "--output", default="-", show_default=True, help="A .csv, .parquet or .npy file; - is CSV to stdout."
)
raw_headers_option = click.option(
    "--raw-headers", is_flag=True, help="No apostrophe before CSV headers that a spreadsheet would take for formulas."
)
rows_option = click.option(
    "--rows",
    type=click.IntRange(min=1),
    show_default="10000",
    help="Rows to draw, where DATA is a built-in density; a file is taken whole.",
)
drop_missing_option = click.option(
    "--drop-missing", is_flag=True, help="Leave out the rows of a file in which values are missing."
)
drop_options = together(
    click.option(
        "--drop", multiple=True, metavar="NAME", help="Leave out a column of a file; give it again for each one."
    ),
    drop_missing_option,
)
device_option = click.option(
    "--device", default="auto", show_default=True, help="cpu, cuda, or auto: CUDA where there is one."
)
training_options = together(
    click.option("--ddpm", is_flag=True, help="The course notebook's settings: 100 steps, beta 0.001 to 0.02."),
    click.option("--epochs", type=click.IntRange(min=1), help="Number of epochs of --ddpm, in place of 5,000."),
    click.option(
        "--max-steps", type=click.IntRange(min=1), help="Number of training steps, in place of what the data suggest."
    ),
    click.option(
        "--max-time",
        type=click.FloatRange(min=0, min_open=True),
        help="Seconds for the whole fit, which are all used: more time gives a better model, until the rows have no "
        "more to tell.",
    ),
)


def _told(name: str) -> Callable[[click.Context, click.Parameter, bool], None]:
    def tell(context: click.Context, _: click.Parameter, value: bool) -> None:
        if value:
            setattr(invocation_of(context), name, True)

    return tell


verbosity_options = together(
    click.option(
        "-q",
        "--quiet",
        is_flag=True,
        expose_value=False,
        callback=_told("quiet"),
        help="No messages on stderr but errors.",
    ),
    click.option(
        "-v",
        "--verbose",
        is_flag=True,
        expose_value=False,
        callback=_told("verbose"),
        help="Show the traceback of an error.",
    ),
)
reply_options = together(
    click.option("--json", is_flag=True, help="Print one JSON object on stdout."), verbosity_options
)
