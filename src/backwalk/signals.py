"""Signals held back until a moment that suits: between two training steps, or after a model is saved."""

from __future__ import annotations

import signal
import threading
from contextlib import ExitStack
from types import FrameType
from typing import Self

# What asks a program to end: Ctrl-C, `kill`, and the closing of its terminal, which Windows does not tell.
STOPPING = tuple(getattr(signal, name) for name in ("SIGINT", "SIGTERM", "SIGHUP") if hasattr(signal, name))
# Shells and the system both tell of a closed terminal, so that a second one is no sign of impatience.
HANG_UP = getattr(signal, "SIGHUP", None)


class HeldSignals:
    """A block in which the first SIGINT, SIGTERM or SIGHUP is held back until `deliver`, or the end of the block.

    It then goes to whatever handler was there before: Python's own raises KeyboardInterrupt. A second signal is not
    held, but a second that is SIGHUP does nothing. Ignored signals stay ignored; outside the main thread, which alone
    gets signals, nothing is done.
    """

    def __enter__(self) -> Self:
        self._waiting: int | None = None
        self._leaving = False
        before = {number: signal.getsignal(number) for number in STOPPING}
        in_main_thread = threading.current_thread() is threading.main_thread()
        self._before = {
            number: handler
            for number, handler in before.items()
            if in_main_thread and handler not in (signal.SIG_IGN, None)
        }
        try:
            self._hold()
        except BaseException:  # a handler of the caller's, of a signal that was not held yet
            self._let_through()
            raise
        return self

    @property
    def waiting(self) -> bool:
        """Whether a signal came."""
        return self._waiting is not None

    def deliver(self) -> None:
        """Let the signal that waits take effect; if its handler returns, signals are held as before."""
        if not self.waiting:
            return  # handlers stay: a signal that came while they were exchanged would take effect at once
        self._let_through()
        if not self._leaving:
            self._hold()

    def __exit__(self, *_: object) -> None:
        self._leaving = True
        self._let_through()

    def _let_through(self) -> None:
        # The handlers first: a signal that comes while they are put back is one that waits, and none is lost.
        try:
            self._put_back()
        finally:
            number, self._waiting = self._waiting, None
            if number is not None:
                signal.raise_signal(number)

    def _hold(self) -> None:
        for number in self._before:
            signal.signal(number, self._note)

    def _put_back(self) -> None:
        with ExitStack() as every_one:  # also after one whose signal came at once, and whose handler raised
            for number, handler in self._before.items():
                every_one.callback(signal.signal, number, handler)

    def _note(self, number: int, _: FrameType | None) -> None:
        if self._waiting is None:
            self._waiting = number
        elif number != HANG_UP:
            self.deliver()
