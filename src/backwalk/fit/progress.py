"""Progress of long work, by tqdm: a bar on a terminal or in a notebook, and a line every half minute in a log."""

from __future__ import annotations

import sys
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Any, Self

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

    `callbacks` of `Diffusion` are called with it after every training step.

    Parameters
    ----------
    step : int
        Training steps so far.
    max_steps : int
        Training steps at most.
    loss : float
        The last recorded loss.
    validation_loss : float or None
        Loss on held-out rows, where it was measured after this step.
    seconds : float
        Time of the training so far.
    share : float
        Share of the training that is done, from 0 to 1: of its steps or of its time, whichever is larger.
    model : callable
        Returns a `DiffusionModel` with a copy of the (averaged) weights after this step. Its denoising errors are
        measured at few noise levels, and its card is empty.

    See Also
    --------
    backwalk.Diffusion : The estimator, with `callbacks`.

    Examples
    --------
    >>> import numpy as np
    >>> from backwalk import Diffusion
    >>> X, seen = np.random.default_rng(0).normal(size=(200, 2)), []
    >>> model = Diffusion(max_steps=20, callbacks=[lambda progress: seen.append(progress.step)], random_state=0).fit(X)
    >>> seen[-1]
    20
    """

    model: Callable[[], DiffusionModel] = field(repr=False, compare=False)


class Display:
    """A `with` block that shows on stderr or in a notebook which share of an activity is done, if `verbose`."""

    def __init__(self, *, verbose: bool | int) -> None:
        self._verbose, self._activity = bool(verbose), ""
        self._bar: Any = None

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.clear()

    def show(self, activity: str, share: float, words: str) -> None:
        """Show the share of an activity that is done, between 0 and 1, and a few words."""
        if not self._verbose:
            return
        if activity != self._activity:
            self.clear()
            self._activity = activity
        self._bar = self._bar or _new_bar(activity)
        self._bar.set_postfix_str(words, refresh=False)
        self._bar.update(share - self._bar.n)

    def counter(self, activity: str, total: int) -> Callable[[int], None]:
        """Return a function that adds a number of rows to those done, see `row_counter`, and shows the progress."""
        return row_counter(self.show, activity, total)

    def training(self) -> Callback:
        """Return a callback that shows the progress of training: step, loss, and the last validation loss."""
        validation = ""

        def show(progress: Progress) -> None:
            nonlocal validation
            if progress.validation_loss is not None:
                validation = f"  validation {progress.validation_loss:.4f}"
            self.show("training", progress.share, f"step {progress.step:,}  loss {progress.loss:.4f}{validation}")

        return show

    def clear(self) -> None:
        """Remove the bar, so that another line can be printed."""
        if self._bar is not None:
            with suppress(OSError):  # the terminal may be closed, which the program handles elsewhere
                self._bar.close()
            self._bar = None


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


def _new_bar(activity: str) -> Any:
    from tqdm.auto import tqdm

    options: dict[str, Any] = {"delay": SECONDS_BEFORE_A_BAR, "bar_format": _BAR}
    if not (sys.stderr.isatty() or "ipykernel" in sys.modules):  # Jupyter's stderr is no terminal, but shows bars
        interval = SECONDS_BETWEEN_LINES
        options = {"delay": interval, "mininterval": interval, "file": _Lines(), "bar_format": _LINE}
    return tqdm(desc=activity, total=1.0, leave=False, miniters=0, smoothing=0.0, **options)
