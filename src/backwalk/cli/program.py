"""The program around a command: signals, warnings, and every error as one line and an exit status."""

from __future__ import annotations

import os
import signal
import sys
import traceback
import warnings
from collections.abc import Sequence
from contextlib import suppress

import click

from backwalk.cli.commands import cli
from backwalk.cli.output import echo
from backwalk.cli.stops import Stopped, signals_raised
from backwalk.errors import BackwalkError, PriorMismatchWarning


def main(arguments: Sequence[str] | None = None) -> None:
    """Run the command line, and leave with its exit status."""
    given = list(sys.argv[1:] if arguments is None else arguments)
    try:
        with signals_raised(), warnings.catch_warnings():
            warnings.simplefilter("always", PriorMismatchWarning)
            warnings.showwarning = lambda message, *_, **__: echo(f"warning: {message}", err=True)
            status = _run(given)
            try:
                sys.stdout.flush()
            except OSError:  # told by _run; in the end Python would try again, and fail with another status
                with suppress(OSError):
                    os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
    except Stopped as stopped:  # when all was done or told
        status = 128 + stopped.number
    sys.exit(status)


def _run(arguments: list[str]) -> int:
    verbose = bool({"-v", "--verbose"} & set(arguments))
    try:
        result = cli.main(arguments, prog_name="backwalk", standalone_mode=False, obj=arguments)
        sys.stdout.flush()
        return result if isinstance(result, int) else 0
    except click.ClickException as error:
        error.show()
        return error.exit_code
    except Stopped as stopped:
        what = "interrupted" if stopped.number == signal.SIGINT else "terminated"
        echo(f"{what}{stopped.advice}", err=True)
        return 128 + stopped.number
    except (click.Abort, KeyboardInterrupt):
        click.echo("interrupted", err=True)
        return 130
    except SystemExit:
        return 0  # click leaves so, and only so, when whoever reads our stdout has had enough
    except (BackwalkError, OSError, MemoryError) as error:
        if verbose:
            traceback.print_exc()
        text = " ".join(str(error).split()) or "there is not enough memory: ask for fewer rows"
        if isinstance(error, OSError) and error.filename is None:  # whatever else is written names its path
            text = f"standard output cannot be written: {error.strerror or text}"
        echo(f"error: {text}", err=True)
        return 1
