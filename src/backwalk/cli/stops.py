"""How Ctrl-C, SIGTERM and SIGHUP end a command: the first one orderly, a second one at once."""

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
    """A signal asked the program to end; `advice` ends the message with what to do next."""

    def __init__(self, number: int) -> None:
        self.number, self.advice = number, ""


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


def how_stopped(number: int) -> str:
    """Return how a signal ended a command, in a word."""
    return {signal.SIGINT: "interrupted", HANG_UP: "hung up"}.get(number, "terminated")


@contextmanager
def parts_stay(output: str) -> Iterator[None]:
    """A block of work whose output may be a folder of parts; a signal's message then says how to go on."""
    try:
        yield
    except Stopped as stopped:
        from backwalk.cli.parts import is_folder

        if is_folder(output):
            stopped.advice = f"; whole parts stay in {output}: the same command makes the others"
        raise


def how_to_continue(checkpoint: Path, arguments: Sequence[str]) -> str:
    """Return the command that continues a stopped fit, for the end of a message."""
    if not checkpoint.exists():
        return " before there was anything to keep"
    from backwalk.training.checkpoint import checkpoint_step

    command = shlex.join(["backwalk", *(argument for argument in arguments if argument != "--resume"), "--resume"])
    try:
        return f"; {checkpoint} keeps step {checkpoint_step(checkpoint)}: continue with {command}"
    except BackwalkError:  # a damaged checkpoint: the next fit reports it
        return ""
