"""What is said on stdout and stderr: text, some of which files have brought along, made harmless for a terminal."""

from __future__ import annotations

import json
import math
import sys
from typing import Any

import click

from backwalk.cli.invocation import invocation_of

JSON_VERSION = 1


def print_json(record: dict[str, Any]) -> None:
    """Print one versioned JSON object on stdout, in which a number that is not finite is null."""
    versioned = _finite({**record, "version": JSON_VERSION})
    click.echo(json.dumps(versioned, indent=1, default=str, allow_nan=False))


def _finite(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _finite(item) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [_finite(item) for item in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value


def say(context: click.Context, message: str) -> None:
    """Print a message on stderr, unless --quiet was given."""
    if not invocation_of(context).quiet:
        echo(message, err=True)


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
