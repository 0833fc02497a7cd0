"""Signals deferred to a safe moment: between two training steps, or after a model is saved."""

from __future__ import annotations

import signal
import threading
from contextlib import ExitStack
from types import FrameType
from typing import Self

# Ctrl-C, `kill`, and the closing of the terminal, for which Windows has no signal.
STOPPING = tuple(getattr(signal, name) for name in ("SIGINT", "SIGTERM", "SIGHUP") if hasattr(signal, name))
# For one closed terminal, both the shell and the system send it, so that a second one is not a second request.
HANG_UP = getattr(signal, "SIGHUP", None)


class HeldSignals:
    """A block that defers the first SIGINT, SIGTERM or SIGHUP until `deliver` or the end of the block.

    The signal then goes to the handler that was installed before; Python's own raises KeyboardInterrupt. A second
    signal is delivered at once, except SIGHUP, which is then dropped. Ignored signals stay ignored. In other threads
    than the main thread, which alone receives signals, the block does nothing.
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
        except BaseException:  # raised by the caller's handler of a signal that was not deferred yet
            self._let_through()
            raise
        return self

    @property
    def waiting(self) -> bool:
        """Whether a signal is waiting."""
        return self._waiting is not None

    def deliver(self) -> None:
        """Deliver the waiting signal; if its handler returns, signals are deferred again."""
        if not self.waiting:
            return  # and do not exchange the handlers: a signal in between would be delivered at once
        self._let_through()
        if not self._leaving:
            self._hold()

    def __exit__(self, *_: object) -> None:
        self._leaving = True
        self._let_through()

    def _let_through(self) -> None:
        # Handlers are restored first: a signal that arrives meanwhile is still noted, and none is lost.
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
        with ExitStack() as every_one:  # restores all, even if a signal comes and its handler raises
            for number, handler in self._before.items():
                every_one.callback(signal.signal, number, handler)

    def _note(self, number: int, _: FrameType | None) -> None:
        if self._waiting is None:
            self._waiting = number
        elif number != HANG_UP:
            self.deliver()
