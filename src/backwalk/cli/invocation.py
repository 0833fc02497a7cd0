"""One call of the program: its arguments, and how much it prints."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import click


@dataclass
class Invocation:
    """The arguments, and whether -q and -v are among them, before the command or after it."""

    arguments: Sequence[str] = ()
    quiet: bool = False
    verbose: bool = False


def invocation_of(context: click.Context) -> Invocation:
    """Return the call that a command belongs to."""
    return context.ensure_object(Invocation)
