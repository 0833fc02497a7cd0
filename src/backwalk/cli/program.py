"""The program: its commands, and around them signals, warnings, and errors as one line and an exit status."""

from __future__ import annotations

import os
import sys
import warnings
from collections.abc import Sequence
from contextlib import closing, suppress

import click

from backwalk import __version__, errors
from backwalk.cli.console import Console, echo
from backwalk.cli.course import course
from backwalk.cli.data import data
from backwalk.cli.demo import demo
from backwalk.cli.fit import fit
from backwalk.cli.impute import impute
from backwalk.cli.info import info
from backwalk.cli.options import verbosity_options
from backwalk.cli.playground import playground, web
from backwalk.cli.report import report
from backwalk.cli.sample import sample
from backwalk.cli.score import score
from backwalk.cli.split import split
from backwalk.cli.stops import Stopped, signals_raised
from backwalk.errors import BackwalkError, IncompatibleArguments

_SETTINGS = {"help_option_names": ["-h", "--help"], "auto_envvar_prefix": "BACKWALK", "max_content_width": 100}


@click.group(context_settings=_SETTINGS)
@click.version_option(__version__, "--version", prog_name="backwalk")
@verbosity_options
def cli() -> None:
    """Fit diffusion models to tables, draw new rows from them, score and complete rows, and assess the models.

    DATA is a .csv, .tsv (or .gz) or .parquet file of numbers, texts, dates and times, with or without gaps, - for
    CSV from standard input, or the name of a built-in density such as two_moons (`backwalk info` lists them).

    \b
    Begin with a table that comes along:
      backwalk data penguins
      backwalk fit penguins.csv --max-time 10
      backwalk sample penguins.backwalk --given species=Gentoo -n 5
    """


for _command in (demo, data, split, fit, sample, score, impute, report, info, playground, web, course):
    cli.add_command(_command)


def main(arguments: Sequence[str] | None = None) -> None:
    """Run the command line, and exit with its status."""
    console = Console(tuple(sys.argv[1:] if arguments is None else arguments))
    try:
        with signals_raised(), warnings.catch_warnings():
            for ours in vars(errors).values():
                if isinstance(ours, type) and issubclass(ours, UserWarning):
                    warnings.simplefilter("always", ours)
            warnings.showwarning = lambda message, *_, **__: console.message(f"warning: {message}")
            status = _run(console)
            try:
                sys.stdout.flush()
            except OSError:  # _run reported it; Python flushes again at exit, which would change the status
                with suppress(OSError):
                    os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
    except Stopped as stopped:  # the command had ended
        status = 128 + stopped.number
    sys.exit(status)


def _run(console: Console) -> int:
    try:
        with closing(console):
            result = cli.main(list(console.arguments), prog_name="backwalk", standalone_mode=False, obj=console)
        sys.stdout.flush()
        return result if isinstance(result, int) else 0
    except click.ClickException as error:
        error.show()
        return error.exit_code
    except Stopped as stopped:
        with suppress(OSError):  # the terminal may be closed
            echo(f"{stopped}{console.advice() if console.advice else ''}", err=True)
        return 128 + stopped.number
    except (click.Abort, KeyboardInterrupt):
        click.echo("interrupted", err=True)
        return 130
    except SystemExit:
        return 0  # click exits so only where the reader of our stdout has closed it
    except (BackwalkError, OSError, MemoryError) as error:
        _show_traceback(console)
        text = " ".join(str(error).split()) or "out of memory: ask for fewer rows"
        # Errors of other files name their path; a library that cannot be loaded has no errno.
        if isinstance(error, OSError) and error.filename is None and error.errno is not None:
            text = f"standard output cannot be written: {error.strerror or text}"
        echo(f"error: {text}", err=True)
        return 2 if isinstance(error, IncompatibleArguments) else 1
    except Exception as error:  # a bug of ours, in one line too
        _show_traceback(console)
        text = " ".join(f"{type(error).__name__}: {error}".split())
        remedy = "; --device cpu avoids the GPU" if "CUDA" in text else ""
        echo(f"error: unexpected {text} (-v shows the traceback){remedy}", err=True)
        return 1


def _show_traceback(console: Console) -> None:
    if console.verbose:
        import traceback

        traceback.print_exc()
