"""The terminal: what a command says on stderr, and what it prints on stdout."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import click

from backwalk.formatting import as_json, visible

if TYPE_CHECKING:
    from backwalk.fit.progress import Display
    from backwalk.table import StrPath

JSON_VERSION = 1


class Console:
    """One call of the program: its arguments and its options -q and -v, its messages and its progress.

    Messages and progress go to stderr, and nowhere with --quiet.
    """

    def __init__(self, arguments: tuple[str, ...] = ()) -> None:
        self.arguments = arguments
        self.quiet = self.verbose = False
        self.text_options: dict[str, Any] = {}
        """How text files are written, as `TextPath` takes it."""
        self.advice: Callable[[], str] | None = None
        """Returns what the message of a command that a signal stops adds."""
        self._bar: Display | None = None

    def path(self, source: str) -> StrPath:
        """Return what a command reads with how its text is written, if an option says so."""
        if not self.text_options:
            return source
        from backwalk.table import TextPath

        return TextPath(source, **self.text_options)

    def message(self, text: str) -> None:
        """Print a message on stderr."""
        if not self.quiet:
            self.close()
            echo(text, err=True)

    def progress(self, activity: str, share: float, words: str) -> None:
        """Show the share of an activity that is done, and a few words."""
        self._display().show(activity, share, words)

    def counter(self, activity: str, total: int) -> Callable[[int], None]:
        """Return a function that adds a number of rows to those done, and shows the progress."""
        return self._display().counter(activity, total)

    def print(self, text: str) -> None:
        """Print text on stdout."""
        self.close()
        echo(text)

    def print_json(self, record: dict[str, Any]) -> None:
        """Print one JSON object on stdout, with a version unless it has one; a number that is not finite is null."""
        self.close()
        versioned = as_json({"version": JSON_VERSION, **record})
        click.echo(json.dumps(versioned, indent=1, default=str, allow_nan=False))

    def close(self) -> None:
        """Remove the progress from the terminal."""
        if self._bar is not None:
            self._bar.clear()

    def _display(self) -> Display:
        from backwalk.fit.progress import Display

        self._bar = self._bar or Display(verbose=not self.quiet)
        return self._bar


def echo(text: str, *, err: bool = False) -> None:
    """Print text with control characters, and characters that the stream's encoding lacks, written as escapes."""
    encoding = getattr(sys.stderr if err else sys.stdout, "encoding", None) or "utf-8"
    click.echo(visible(text).encode(encoding, "backslashreplace").decode(encoding), err=err)


def on_one_line(text: str) -> str:
    """Return text with control characters, and line ends too, written as escapes."""
    return visible(text).replace("\n", "\\n")


def refuse_rows_and_json(output: str, json: bool) -> None:
    """Raise UsageError if rows and a JSON object would both go to stdout."""
    if json and output == "-":
        raise click.UsageError("--json goes with -o FILE: the rows would be on stdout too.")
