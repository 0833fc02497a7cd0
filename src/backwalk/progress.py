"""Progress of long work: a bar on a terminal, a line in a notebook, and a line every half minute in a log."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from typing import Any, Protocol

from rich.console import Console
from rich.progress import BarColumn, TextColumn, TimeElapsedColumn, TimeRemainingColumn
from rich.progress import Progress as Bar

from backwalk.model import DiffusionModel
from backwalk.training import Progress

Callback = Callable[[Progress], object]


@dataclass(frozen=True)
class FitProgress(Progress):
    """The progress of a fit.

    `model` returns a model with a copy of the (averaged) weights after this step. Its denoising errors are measured at
    few noise levels, and its card is empty.
    """

    model: Callable[[], DiffusionModel] = field(repr=False, compare=False)


_MOMENT = 1.0  # seconds before anything is shown
_REFRESH = 0.1
_REFRESH_IN_A_NOTEBOOK = 0.5  # every update passes through a browser
_BETWEEN_LINES = 30.0  # in a log, where every line stays


class _View(Protocol):
    def draw(self, activity: str, share: float, words: str, seconds: float, /) -> None: ...

    def clear(self) -> None: ...


class Display:
    """Shows the progress of an activity: first after a second, then at a fixed interval, and when it is done."""

    def __init__(self, view: _View, *, first: float, interval: float) -> None:
        self._view, self._first, self._interval = view, first, interval
        self._activity, self._began, self._due, self._is_shown = "", 0.0, 0.0, False

    def show(self, activity: str, share: float, words: str | Callable[[], str]) -> None:
        """Show the share of an activity that is done, and a few words; a function of words is called only if shown."""
        now = time.monotonic()
        if activity != self._activity:
            self._activity, self._began, self._due, self._is_shown = activity, now, now + self._first, False
        if now >= self._due or (self._is_shown and share >= 1.0):
            self._view.draw(activity, share, words if isinstance(words, str) else words(), now - self._began)
            self._due, self._is_shown = time.monotonic() + self._interval, True

    def clear(self) -> None:
        """Remove the bar from the terminal, so that another line can be printed."""
        self._view.clear()


@contextmanager
def progress_display(verbose: bool | int) -> Iterator[Display]:
    """Give a `Display` on stderr, or in a notebook; it shows nothing where `verbose` is False."""
    console = Console(stderr=True)
    if not verbose:
        display = Display(_Nothing(), first=float("inf"), interval=float("inf"))
    elif console.is_jupyter:
        display = Display(_NotebookLine(), first=_MOMENT, interval=_REFRESH_IN_A_NOTEBOOK)
    elif console.is_terminal:
        display = Display(_TerminalBar(console), first=_MOMENT, interval=_REFRESH)
    else:
        display = Display(_LogLines(), first=_BETWEEN_LINES, interval=_BETWEEN_LINES)
    try:
        yield display
    finally:
        display.clear()


@contextmanager
def progress_bar(verbose: bool | int) -> Iterator[Callback]:
    """Give a callback that shows the progress of training: step, loss, and the last validation loss."""
    with progress_display(verbose) as display:
        validation = ""

        def show(progress: Progress) -> None:
            nonlocal validation
            if progress.validation_loss is not None:
                validation = f"  validation {progress.validation_loss:.4f}"
            display.show(
                "training", progress.share, lambda: f"step {progress.step:,}  loss {progress.loss:.4f}{validation}"
            )

        yield show


@contextmanager
def progress_of_rows(verbose: bool | int, activity: str, total: int) -> Iterator[Callable[[int], None]]:
    """Give a function that counts rows, see `row_counter`, and shows the progress."""
    with progress_display(verbose) as display:
        yield row_counter(display.show, activity, total)


def row_counter(show: Callable[[str, float, str], object], activity: str, total: int) -> Callable[[int], None]:
    """Return a function that adds a number of rows to those done, and shows how many of `total` are done."""
    done = 0

    def count(rows: int) -> None:
        nonlocal done
        done += rows
        show(activity, done / total, f"{done:,} of {total:,} rows")

    return count


class _Nothing:
    def draw(self, *_: object) -> None:
        pass

    def clear(self) -> None:
        pass


class _TerminalBar:
    def __init__(self, console: Console) -> None:
        self._bar = Bar(
            TextColumn("{task.description}"),
            BarColumn(),
            TextColumn("{task.fields[words]}"),
            TimeElapsedColumn(),
            TimeRemainingColumn(),
            console=console,
            transient=True,
            auto_refresh=False,
        )
        self._activity = ""

    def draw(self, activity: str, share: float, words: str, _: float) -> None:
        if activity != self._activity:
            for task in self._bar.task_ids:
                self._bar.remove_task(task)
            self._task, self._activity = self._bar.add_task(activity, total=1.0, words=""), activity
        self._bar.update(self._task, completed=share, words=words)
        self._bar.start()  # does nothing if it is started already
        self._bar.refresh()

    def clear(self) -> None:
        if self._bar.live.is_started:
            with suppress(OSError):  # the terminal may be closed, which the program handles elsewhere
                self._bar.stop()
                sys.stderr.flush()


class _NotebookLine:
    """One line that is updated in place. Needs only IPython."""

    def __init__(self) -> None:
        self._activity, self._handle = "", None

    def draw(self, activity: str, share: float, words: str, seconds: float) -> None:
        from IPython.display import display

        line: dict[str, Any] = {"text/plain": _in_a_line(activity, share, words, seconds)}
        if activity != self._activity or self._handle is None:
            self._handle = display(line, raw=True, display_id=True)  # type: ignore[no-untyped-call]
            self._activity = activity
        else:
            self._handle.update(line, raw=True)

    def clear(self) -> None:
        pass


class _LogLines:
    def draw(self, activity: str, share: float, words: str, seconds: float) -> None:
        print(_in_a_line(activity, share, words, seconds), file=sys.stderr, flush=True)

    def clear(self) -> None:
        pass


def _in_a_line(activity: str, share: float, words: str, seconds: float) -> str:
    left = f", {seconds * (1.0 - share) / share:.0f} s left" if 0.0 < share < 1.0 else ""
    return f"{activity} {share:4.0%}  {words}  {seconds:.0f} s{left}"
