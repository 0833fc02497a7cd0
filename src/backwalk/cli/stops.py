"""How Ctrl-C, SIGTERM and SIGHUP end a command: the first one orderly, a second one at once."""

from __future__ import annotations

import os
import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager

from backwalk.signals import HANG_UP, STOPPING


class Stopped(BaseException):
    """A signal asked the program to end."""

    def __init__(self, number: int) -> None:
        self.number = number

    def __str__(self) -> str:
        return {signal.SIGINT: "interrupted", HANG_UP: "hung up"}.get(self.number, "terminated")


@contextmanager
def signals_raised() -> Iterator[None]:
    """Make SIGINT, SIGTERM and, unless it is ignored, SIGHUP raise `Stopped`.

    A second signal during cleanup ends the program at once; a second SIGHUP is ignored.
    """

    def stop(number: int, _: object) -> None:
        for other in before:
            signal.signal(other, signal.SIG_IGN if other == HANG_UP else lambda again, _: os._exit(128 + again))
        raise Stopped(number)

    numbers = STOPPING if threading.current_thread() is threading.main_thread() else ()
    before = {
        number: handler
        for number, handler in zip(numbers, map(signal.getsignal, numbers), strict=True)
        if not (number == HANG_UP and handler is signal.SIG_IGN)  # as under nohup
    }
    for number in before:
        signal.signal(number, stop)
    try:
        yield
    finally:
        try:
            for number, handler in before.items():
                signal.signal(number, handler)
        except KeyboardInterrupt:  # a second Ctrl-C, raised by Python's own handler, which is restored already
            os._exit(128 + signal.SIGINT)
