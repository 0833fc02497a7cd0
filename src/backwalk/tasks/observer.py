"""How a task reports messages and progress to its caller."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from backwalk.progress import Callback


def _ignore(*_: object) -> None:
    pass


@dataclass(frozen=True)
class Observer:
    """What a task calls while it runs; the default ignores everything.

    `message` receives a line of text; `progress` receives an activity such as "scoring", how much of it is done, and
    the total; each of `callbacks` receives a `Progress` after every training step. `verbose` lets the library show the
    progress of training itself, on stderr.
    """

    message: Callable[[str], object] = _ignore
    progress: Callable[[str, int, int], object] = _ignore
    callbacks: Sequence[Callback] = ()
    verbose: bool = False

    def counter(self, activity: str, total: int) -> Callable[[int], None]:
        """Return a function that adds the rows it is given to those done, and reports the sum as progress."""
        done = 0

        def count(rows: int) -> None:
            nonlocal done
            done += rows
            self.progress(activity, done, total)

        return count


SILENT = Observer()
