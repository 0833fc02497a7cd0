"""The call of the program, and printing on stdout and stderr. Control characters of text from files are escaped."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import click

from backwalk.formatting import as_json

if TYPE_CHECKING:
    from backwalk.fit.progress import Display

JSON_VERSION = 1


@dataclass
class Invocation:
    """The arguments, and whether -q and -v are among them, before the command or after it."""

    arguments: Sequence[str] = ()
    quiet: bool = False
    verbose: bool = False


def invocation_of(context: click.Context) -> Invocation:
    """Return the call that a command belongs to."""
    return context.ensure_object(Invocation)


def print_json(record: dict[str, Any]) -> None:
    """Print one JSON object on stdout, with a version unless it has one; a number that is not finite is null."""
    versioned = as_json({"version": JSON_VERSION, **record})
    click.echo(json.dumps(versioned, indent=1, default=str, allow_nan=False))


def say(context: click.Context, message: str) -> None:
    """Print a message on stderr, unless --quiet was given."""
    if not invocation_of(context).quiet:
        echo(message, err=True)


@dataclass(frozen=True)
class Console:
    """Where a command reports its work: messages and progress go to stderr, and nowhere with --quiet."""

    verbose: bool
    _display: Display

    def message(self, text: str) -> None:
        """Print a message."""
        if self.verbose:
            self._display.clear()
            echo(text, err=True)

    def progress(self, activity: str, share: float, words: str) -> None:
        """Show the share of an activity that is done, and a few words."""
        self._display.show(activity, share, words)

    def counter(self, activity: str, total: int) -> Callable[[int], None]:
        """Return a function that adds a number of rows to those done, and shows the progress."""
        from backwalk.fit.progress import row_counter

        return row_counter(self.progress, activity, total)


@contextmanager
def open_console(context: click.Context) -> Iterator[Console]:
    """Give the console of a command."""
    from backwalk.fit.progress import progress_display

    verbose = not invocation_of(context).quiet
    with progress_display(verbose) as display:
        yield Console(verbose, display)


def echo(text: str, *, err: bool = False) -> None:
    """Print text with control characters, and characters that the stream's encoding lacks, written as escapes."""
    encoding = getattr(sys.stderr if err else sys.stdout, "encoding", None) or "utf-8"
    safe = "\n".join(map(printable, text.split("\n")))
    click.echo(safe.encode(encoding, "backslashreplace").decode(encoding), err=err)


def printable(text: str) -> str:
    """Return text with characters that cannot be printed written as escapes."""
    return "".join(c if c.isprintable() else c.encode("unicode_escape").decode() for c in text)
