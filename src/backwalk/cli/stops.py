"""How Ctrl-C, SIGTERM and SIGHUP end a command: once with what is to be kept kept, twice at once."""

from __future__ import annotations

import os
import shlex
import signal
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from backwalk.errors import BackwalkError
from backwalk.signals import HANG_UP, STOPPING


class Stopped(BaseException):
    """A signal asked the program to end; `advice` says how to go on."""

    def __init__(self, number: int) -> None:
        self.number, self.advice = number, ""


@contextmanager
def signals_raised() -> Iterator[None]:
    """Let SIGINT, SIGTERM and, unless it is ignored, SIGHUP raise `Stopped`.

    Whoever signals again, while it is cleaned up, ends the program at once, but for SIGHUP.
    """

    def stop(number: int, _: object) -> None:
        for other in before:
            signal.signal(other, signal.SIG_IGN if other == HANG_UP else lambda again, _: os._exit(128 + again))
        raise Stopped(number)

    numbers = STOPPING if threading.current_thread() is threading.main_thread() else ()
    before = {
        number: handler
        for number, handler in zip(numbers, map(signal.getsignal, numbers), strict=True)
        if not (number == HANG_UP and handler is signal.SIG_IGN)  # as by nohup
    }
    for number in before:
        signal.signal(number, stop)
    try:
        yield
    finally:
        try:
            for number, handler in before.items():
                signal.signal(number, handler)
        except KeyboardInterrupt:  # a second Ctrl-C, taken by Python's own handler, which is back already
            os._exit(128 + signal.SIGINT)


def how_stopped(number: int) -> str:
    """Return what a signal has done to a command, for the beginning of a message."""
    return {signal.SIGINT: "interrupted", HANG_UP: "hung up"}.get(number, "terminated")


def how_to_go_on(checkpoint: Path, arguments: Sequence[str]) -> str:
    """Return what to do after a fit was stopped, for the end of a message."""
    if not checkpoint.exists():
        return " before there was anything to keep"
    from backwalk.training.checkpoint import checkpoint_step

    command = shlex.join(["backwalk", *(argument for argument in arguments if argument != "--resume"), "--resume"])
    try:
        return f"; {checkpoint} keeps step {checkpoint_step(checkpoint)}: go on with {command}"
    except BackwalkError:  # damaged, which is no answer to a signal; the next fit says so
        return ""
