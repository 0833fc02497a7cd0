"""Progress of a fit: on a terminal or in a notebook after a moment, elsewhere in a line now and then."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from typing import Any

from rich.console import Console
from rich.progress import BarColumn, TextColumn, TimeElapsedColumn, TimeRemainingColumn
from rich.progress import Progress as Bar

from backwalk.training import Progress

Callback = Callable[[Progress], object]

_MOMENT = 1.0  # seconds without a word
_REFRESH = 0.1
_REFRESH_IN_A_NOTEBOOK = 0.5  # whose every line goes through a browser
_BETWEEN_LINES = 30.0  # where every line stays: a log's


@contextmanager
def progress_bar(verbose: bool | int) -> Iterator[Callback]:
    """Give a callback that shows training progress: after a second, a bar on a terminal's stderr, a line in a notebook.

    Elsewhere a run that takes longer than half a minute gets a plain line on stderr every half minute. Where `verbose`
    is False, nothing is shown.
    """
    console = Console(stderr=True)
    if verbose and console.is_jupyter:
        yield _line()
    elif verbose and console.is_terminal:
        with _bar(console) as show:
            yield show
    else:
        yield _plain_lines() if verbose else lambda _: None


@contextmanager
def _bar(console: Console) -> Iterator[Callback]:
    bar = Bar(
        TextColumn("training"),
        BarColumn(),
        TextColumn("{task.fields[words]}"),
        TimeElapsedColumn(),
        TimeRemainingColumn(),
        console=console,
        transient=True,
        auto_refresh=False,
    )
    task = bar.add_task("training", total=1.0, words="")

    def draw(progress: Progress, words: str) -> None:
        bar.update(task, completed=progress.share, words=words)
        bar.start()  # does nothing the second time
        bar.refresh()

    try:
        yield _now_and_then(draw, _REFRESH)
    finally:
        if bar.live.is_started:
            with suppress(OSError):  # the terminal may be gone, which is told in another way
                bar.stop()
                sys.stderr.flush()


def _line() -> Callback:
    """Return a callback that shows one line, which stays with what it said last. Nothing but IPython is needed."""
    from IPython.display import display

    handle: Any = None

    def draw(progress: Progress, words: str) -> None:
        nonlocal handle
        line = {"text/plain": _in_a_line(progress, words)}
        if handle is None:
            handle = display(line, raw=True, display_id=True)  # type: ignore[no-untyped-call]
        else:
            handle.update(line, raw=True)

    return _now_and_then(draw, _REFRESH_IN_A_NOTEBOOK)


def _plain_lines() -> Callback:
    def draw(progress: Progress, words: str) -> None:
        print(_in_a_line(progress, words), file=sys.stderr, flush=True)

    return _now_and_then(draw, _BETWEEN_LINES, first=_BETWEEN_LINES)


def _in_a_line(progress: Progress, words: str) -> str:
    return f"training {progress.share:4.0%}  {words}  {progress.seconds:.0f} s"


def _now_and_then(draw: Callable[[Progress, str], None], seconds: float, *, first: float | None = None) -> Callback:
    """Return a callback that draws after a moment (or `first`), then so many seconds apart, and when all is done."""
    due, validation, drawn = time.monotonic() + (_MOMENT if first is None else first), "", False

    def show(progress: Progress) -> None:
        nonlocal due, validation, drawn
        if progress.validation_loss is not None:
            validation = f"  validation {progress.validation_loss:.4f}"
        if time.monotonic() >= due or (drawn and progress.share >= 1.0):
            draw(progress, f"step {progress.step:,}  loss {progress.loss:.4f}{validation}")
            due, drawn = time.monotonic() + seconds, True

    return show
