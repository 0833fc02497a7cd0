"""Progress of a fit on the terminal, for runs that take longer than a moment."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from rich.console import Console
from rich.progress import BarColumn, TextColumn, TimeElapsedColumn, TimeRemainingColumn
from rich.progress import Progress as Bar

from backwalk.training import Progress

Callback = Callable[[Progress], object]

_MOMENT = 1.0  # seconds without a word
_REFRESH = 0.1


@contextmanager
def progress_bar(verbose: bool) -> Iterator[Callback]:
    """Give a callback that shows training progress on stderr: only on a terminal, and only after a second."""
    console = Console(stderr=True)
    if not (verbose and console.is_terminal):
        yield _say_nothing
        return
    bar = Bar(
        TextColumn("training"),
        BarColumn(),
        TextColumn("step {task.fields[step]:,}  loss {task.fields[loss]:.4f}{task.fields[held_out]}"),
        TimeElapsedColumn(),
        TimeRemainingColumn(),
        console=console,
        transient=True,
        auto_refresh=False,
    )
    task = bar.add_task("training", total=1.0, step=0, loss=float("nan"), held_out="")
    shown = time.monotonic() + _MOMENT

    def show(progress: Progress) -> None:
        nonlocal shown
        if progress.validation_loss is not None:
            bar.update(task, held_out=f"  validation {progress.validation_loss:.4f} nats")
        if time.monotonic() < shown:
            return
        bar.update(task, completed=progress.share, step=progress.step, loss=progress.loss)
        bar.start()  # does nothing the second time
        bar.refresh()
        shown = time.monotonic() + _REFRESH

    try:
        yield show
    finally:
        if bar.live.is_started:
            bar.stop()
            sys.stderr.flush()


def _say_nothing(progress: Progress) -> None:
    del progress
