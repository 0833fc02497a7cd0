"""Warnings of the library, given to the thread that they are raised in.

Python's settings of warnings are those of a process. They are set when a fit begins and stay set, because restoring
them would change them for fits in other threads.
"""

from __future__ import annotations

import threading
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

from backwalk import errors

_SINKS = threading.local()
_OURS = [each for each in vars(errors).values() if isinstance(each, type) and issubclass(each, UserWarning)]


@contextmanager
def told_warnings(tell: Callable[[str], object]) -> Iterator[None]:
    """Give the library's warnings of this thread to a function."""
    _SINKS.tell = tell
    for ours in _OURS:
        warnings.simplefilter("always", ours)
    if not isinstance(warnings.showwarning, _ByThread):
        warnings.showwarning = _ByThread(warnings.showwarning)
    try:
        yield
    finally:
        del _SINKS.tell


class _ByThread:
    """Shows warnings of threads without a function as before."""

    def __init__(self, before: Callable[..., object]) -> None:
        self._before = before

    def __call__(self, message: Warning | str, *others: Any, **named: Any) -> None:
        tell = getattr(_SINKS, "tell", None)
        if tell is None:
            self._before(message, *others, **named)
        else:
            tell(str(message))
