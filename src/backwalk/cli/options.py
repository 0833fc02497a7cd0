"""The options that several commands share."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import fields
from pathlib import Path
from typing import Any, TypeVar

import click

from backwalk.cli.console import Console
from backwalk.formatting import byte_words, bytes_of
from backwalk.limits import LEAST_MEMORY, UNSEEN
from backwalk.text_options import TextOptions

_Command = TypeVar("_Command", bound=Callable[..., Any])


def _together(*options: Callable[[_Command], _Command]) -> Callable[[_Command], _Command]:
    """Return several options as one decorator."""

    def decorate(command: _Command) -> _Command:
        for option in reversed(options):
            command = option(command)
        return command

    return decorate


model_argument = click.argument("model", type=click.Path(path_type=Path))
seed_option = click.option(
    "--seed",
    type=click.IntRange(min=0),
    default=0,
    show_default=True,
    help="Seed of all random draws: the same seed gives the same result.",
)
force_option = click.option("--force", is_flag=True, help="Overwrite what is there.")
table_output_option = click.option(
    "-o",
    "--output",
    default="-",
    show_default=True,
    help="A .csv, .tsv or .parquet file, also .csv.gz and .tsv.gz; - is CSV to stdout.",
)
rows_option = click.option(
    "--rows",
    type=click.IntRange(min=1),
    show_default="10000",
    help="Rows to draw if DATA is a built-in density; files are read whole.",
)
unseen_option = click.option(
    "--unseen",
    type=click.Choice(UNSEEN),
    default="nearest",
    show_default=True,
    help="Values that the fit did not see. With nearest, a given number or ordered label counts as the nearest one, "
    "another given label as missing, and a scored row has -inf; a warning counts them. With error, they are refused.",
)
drop_missing_option = click.option("--drop-missing", is_flag=True, help="Leave out rows with missing values.")
drop_options = _together(
    click.option("--drop", multiple=True, metavar="NAME", help="Leave out a column; repeat the option for more."),
    drop_missing_option,
)
device_option = click.option(
    "--device", default="auto", show_default=True, help="cpu, cuda, or auto: CUDA if there is a GPU."
)
training_options = _together(
    click.option("--ddpm", is_flag=True, help="The course notebook's settings: 100 steps, beta from 0.001 to 0.02."),
    click.option("--epochs", type=click.IntRange(min=1), help="With --ddpm: number of epochs (default: 5,000)."),
    click.option(
        "--max-steps",
        type=click.IntRange(min=1),
        help="Training steps after which training stops; without it a fit ends by itself.",
    ),
    click.option(
        "--max-time",
        type=click.FloatRange(min=0, min_open=True),
        help="Seconds after which training stops; without it a fit ends by itself.",
    ),
)


def _set_flag(context: click.Context, option: click.Parameter, value: bool) -> None:
    if value:
        setattr(context.ensure_object(Console), str(option.name), True)


def _set_text_option(context: click.Context, option: click.Parameter, value: Any) -> None:
    if value not in (None, ()):
        context.ensure_object(Console).text_options[str(option.name)] = value


text_options = _together(
    *(
        click.option(
            f"--{each.name}",
            multiple=each.default == (),
            expose_value=False,
            callback=_set_text_option,
            **each.metadata,
        )
        for each in fields(TextOptions)
    )
)

_flag: Any = {"is_flag": True, "expose_value": False, "callback": _set_flag}
verbosity_options = _together(
    click.option("-q", "--quiet", **_flag, help="Print errors only on stderr, no messages."),
    click.option("-v", "--verbose", **_flag, help="Show the traceback of an error."),
)
reply_options = _together(
    click.option("--json", is_flag=True, help="Print one JSON object on stdout."), verbosity_options
)
run_options = _together(device_option, seed_option, force_option, reply_options)


def memory_size(text: str) -> int:
    """Return the number of bytes that a text such as 500MB means, as the type of an option."""
    try:
        n_bytes = bytes_of(text)
    except ValueError as error:
        raise click.BadParameter(f"{error}.") from error
    if n_bytes < LEAST_MEMORY:
        raise click.BadParameter(f"{text!r} should be at least {byte_words(LEAST_MEMORY)}.")
    return n_bytes
