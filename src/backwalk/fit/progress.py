"""Progress of long work, by tqdm: a bar on a terminal or in a notebook, and a line every half minute in a log."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from typing import Any

from backwalk.model import DiffusionModel
from backwalk.training import Progress

Callback = Callable[[Progress], object]

SECONDS_BEFORE_A_BAR = 1.0  # nothing is shown of shorter work
SECONDS_BETWEEN_LINES = 30.0  # in a log, where every line stays

_BAR = "{desc} {percentage:3.0f}%|{bar}| {elapsed}<{remaining}{postfix}"
_LINE = "{desc} {percentage:3.0f}% {elapsed}<{remaining}{postfix}"


@dataclass(frozen=True)
class FitProgress(Progress):
    """The progress of a fit.

    `model` returns a model with a copy of the (averaged) weights after this step. Its denoising errors are measured at
    few noise levels, and its card is empty.
    """

    model: Callable[[], DiffusionModel] = field(repr=False, compare=False)


class Display:
    """Shows which share of an activity is done, on stderr or in a notebook."""

    def __init__(self, *, verbose: bool | int) -> None:
        self._verbose, self._activity, self._began = bool(verbose), "", 0.0
        self._bar: Any = None
        # Jupyter shows bars, although its stderr is no terminal.
        self._writes_lines = not (sys.stderr.isatty() or "ipykernel" in sys.modules)

    def show(self, activity: str, share: float, words: str) -> None:
        """Show the share of an activity that is done, between 0 and 1, and a few words."""
        if not self._verbose:
            return
        if activity != self._activity:
            self.clear()
            self._activity, self._began = activity, time.time()
        if self._bar is None:
            delay = SECONDS_BETWEEN_LINES if self._writes_lines else SECONDS_BEFORE_A_BAR
            if time.time() - self._began < delay:
                return
            self._bar = _new_bar(activity, self._began, writes_lines=self._writes_lines)
        self._bar.set_postfix_str(words, refresh=False)
        self._bar.n = share
        if share < 1.0:
            self._bar.update(0.0)
        else:
            self._bar.refresh()

    def clear(self) -> None:
        """Remove the bar, so that another line can be printed."""
        if self._bar is not None:
            with suppress(OSError):  # the terminal may be closed, which the program handles elsewhere
                self._bar.close()
            self._bar = None


@contextmanager
def progress_display(verbose: bool | int) -> Iterator[Display]:
    """Give a `Display`; it shows nothing where `verbose` is False."""
    display = Display(verbose=verbose)
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
            display.show("training", progress.share, f"step {progress.step:,}  loss {progress.loss:.4f}{validation}")

        yield show


@contextmanager
def progress_of_rows(verbose: bool | int, activity: str, total: int) -> Iterator[Callable[[int], None]]:
    """Give a function that counts rows, see `row_counter`, and shows the progress."""
    with progress_display(verbose) as display:
        yield row_counter(display.show, activity, total)


def row_counter(show: Callable[[str, float, str], object], activity: str, total: int) -> Callable[[int], None]:
    """Return a function that adds a number of rows to those done, and shows how many of `total` are done."""
    n_done = 0

    def count(n_rows: int) -> None:
        nonlocal n_done
        n_done += n_rows
        show(activity, n_done / total, f"{n_done:,} of {total:,} rows")

    return count


class _Lines:
    """A stream that writes each text of tqdm as a line on stderr."""

    def write(self, text: str) -> None:
        if text.strip():
            print(text.strip(), file=sys.stderr, flush=True)

    def flush(self) -> None:
        pass


def _new_bar(activity: str, began: float, *, writes_lines: bool) -> Any:
    from tqdm.auto import tqdm

    bar = tqdm(
        desc=activity,
        total=1.0,
        leave=False,
        miniters=0,
        mininterval=SECONDS_BETWEEN_LINES if writes_lines else 0.1,
        smoothing=0.0,
        delay=1e-9,  # so that it is not drawn before the first update
        file=_Lines() if writes_lines else None,
        bar_format=_LINE if writes_lines else _BAR,
    )
    bar.start_t, bar.last_print_t = began, 0.0
    return bar
