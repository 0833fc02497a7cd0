"""How a task reports messages and progress to its caller."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from backwalk.progress import Callback, row_counter


def _ignore(*_: object) -> None:
    pass


@dataclass(frozen=True)
class Observer:
    """The functions that a task calls while it runs; the default ignores everything.

    `message` receives a line of text; `progress` an activity such as "scoring", the share of it that is done, and a few
    words; each of `callbacks` a `Progress` after every training step. `verbose` lets the library show the progress of
    training itself, on stderr.
    """

    message: Callable[[str], object] = _ignore
    progress: Callable[[str, float, str], object] = _ignore
    callbacks: Sequence[Callback] = ()
    verbose: bool = False

    def counter(self, activity: str, total: int) -> Callable[[int], None]:
        """Return a function that adds a number of rows to those done, and reports the progress."""
        return row_counter(self.progress, activity, total)


SILENT = Observer()
