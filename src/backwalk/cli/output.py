"""What is said on stdout and stderr: text, some of which files have brought along, made harmless for a terminal."""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Callable
from typing import Any

import click

from backwalk.cli.invocation import invocation_of
from backwalk.formatting import as_json

JSON_VERSION = 1
_BETWEEN_LINES = 10.0  # seconds


def print_json(record: dict[str, Any]) -> None:
    """Print one JSON object on stdout, with a version unless it has its own; a number that is not finite is null."""
    versioned = as_json({"version": JSON_VERSION, **record})
    click.echo(json.dumps(versioned, indent=1, default=str, allow_nan=False))


def say(context: click.Context, message: str) -> None:
    """Print a message on stderr, unless --quiet was given."""
    if not invocation_of(context).quiet:
        echo(message, err=True)


def counted(context: click.Context, done: str, n: int) -> Callable[[int], None]:
    """Return a function that is told of every few of n rows, and says now and then, on stderr, how far they are."""
    began = time.monotonic()
    told, passed = began, 0

    def count(rows: int) -> None:
        nonlocal told, passed
        passed += rows
        now = time.monotonic()
        if passed < n and now - told >= _BETWEEN_LINES:
            left = (now - began) * (n - passed) / passed
            say(context, f"{done} {passed:,} of {n:,} rows, some {left:,.0f} s left")
            told = now

    return count


def echo(text: str, *, err: bool = False) -> None:
    """Print text, some of which files have brought along, without what a terminal would take for commands.

    What the stream's encoding does not have is written out too.
    """
    encoding = getattr(sys.stderr if err else sys.stdout, "encoding", None) or "utf-8"
    safe = "\n".join(map(printable, text.split("\n")))
    click.echo(safe.encode(encoding, "backslashreplace").decode(encoding), err=err)


def printable(text: str) -> str:
    """Return text with whatever cannot be printed written out."""
    return "".join(c if c.isprintable() else c.encode("unicode_escape").decode() for c in text)
