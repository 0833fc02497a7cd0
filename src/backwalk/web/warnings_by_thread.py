"""Warnings of the library, each given to the thread that it is raised in."""

from __future__ import annotations

import threading
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

from backwalk import errors

_SINKS = threading.local()


@contextmanager
def told_warnings(tell: Callable[[str], object]) -> Iterator[None]:
    """Give warnings of this thread to a function, where `warnings_by_thread` is in force."""
    _SINKS.tell = tell
    try:
        yield
    finally:
        del _SINKS.tell


@contextmanager
def warnings_by_thread() -> Iterator[None]:
    """Make each of our warnings go to the thread that it is raised in, for the life of a server."""
    with warnings.catch_warnings():
        shown = warnings.showwarning
        for ours in vars(errors).values():
            if isinstance(ours, type) and issubclass(ours, UserWarning):
                warnings.simplefilter("always", ours)

        def show(message: Warning | str, *others: Any, **named: Any) -> None:
            tell = getattr(_SINKS, "tell", None)
            if tell is None:
                shown(message, *others, **named)
            else:
                tell(str(message))

        warnings.showwarning = show
        yield
