"""What is said on stdout and stderr: text, some of which files have brought along, made harmless for a terminal."""

from __future__ import annotations

import json
from typing import Any

import click

JSON_VERSION = 1


def print_json(record: dict[str, Any]) -> None:
    """Print one versioned JSON object on stdout."""
    click.echo(json.dumps({"version": JSON_VERSION, **record}, indent=1, default=str))


def say(context: click.Context, message: str) -> None:
    """Print a message on stderr, unless --quiet was given."""
    if not context.find_root().params["quiet"]:
        echo(message, err=True)


def echo(text: str, *, err: bool = False) -> None:
    """Print text, some of which files have brought along, without what a terminal would take for commands."""
    click.echo("\n".join(map(printable, text.split("\n"))), err=err)


def printable(text: str) -> str:
    """Return text with whatever cannot be printed written out."""
    return "".join(c if c.isprintable() else c.encode("unicode_escape").decode() for c in text)
