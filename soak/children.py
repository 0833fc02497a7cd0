"""Forked children: to be killed, signalled, starved of memory or disk, and looked at afterwards."""

from __future__ import annotations

import gc
import os
import resource
import select
import signal
import sys
import time
import traceback
import warnings
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

from soak.campaign import outcome_of

SECONDS_A_CASE = 10.0
BYTES_A_CASE = 2 * 2**30


def forked(work: Callable[[], object], output: Path | None = None) -> int:
    """Run a function in a child, which leaves with its exit status: 0, that of SystemExit, or 99 after an exception.

    `output` takes what it writes to stdout and stderr.
    """
    sys.stdout.flush()
    sys.stderr.flush()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)  # of forks in a process with threads
        pid = os.fork()
    if pid:
        return pid
    gc.callbacks.clear()  # hypothesis' own, of campaigns before, in which Python would swallow what a signal raises
    signal.signal(signal.SIGHUP, signal.SIG_DFL)  # whoever runs the campaigns by nohup ignores it
    status = 99
    try:
        if output is not None:
            descriptor = os.open(output, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o644)
            os.dup2(descriptor, 1)
            os.dup2(descriptor, 2)
        work()
        status = 0
    except SystemExit as left:
        status = left.code if isinstance(left.code, int) else 0 if left.code is None else 1
    except BaseException:
        traceback.print_exc()
    finally:
        try:  # where stdout cannot be written, the child must not go on as a second parent
            sys.stdout.flush()
            sys.stderr.flush()
        finally:
            os._exit(status)


def left(pid: int, seconds: float = SECONDS_A_CASE) -> int | None:
    """Wait for a child: its exit status, minus a signal's number, or None where it had to be killed after so long."""
    limit = time.monotonic() + seconds
    while time.monotonic() < limit:
        done, status = os.waitpid(pid, os.WNOHANG)
        if done:
            return os.waitstatus_to_exitcode(status)
        time.sleep(0.002)
    os.kill(pid, signal.SIGKILL)
    os.waitpid(pid, 0)
    return None


def at_most(more_bytes: int) -> None:
    """Let this process take so many bytes more than it has, and no more."""
    pages = int(Path("/proc/self/statm").read_text().split()[0])
    limit = pages * resource.getpagesize() + more_bytes
    resource.setrlimit(resource.RLIMIT_AS, (limit, limit))


def guarded(
    cases: Sequence[Callable[[], object]], seconds: float = SECONDS_A_CASE, more_bytes: int = BYTES_A_CASE
) -> Iterator[str]:
    """Yield the outcome of each case, run in children with a limit of memory, and of time for each case.

    A child runs one case after another; where it dies or hangs, the next child goes on with the next case.
    """
    done = 0
    while done < len(cases):
        reader, writer = os.pipe()
        start = done

        def work(start: int = start, writer: int = writer) -> None:
            at_most(more_bytes)
            for case in cases[start:]:
                outcome = outcome_of(case).encode()
                os.write(writer, len(outcome).to_bytes(4, "little") + outcome)

        pid = forked(work)
        os.close(writer)
        while done < len(cases):
            ready, _, _ = select.select([reader], [], [], seconds)
            length = os.read(reader, 4) if ready else b""
            if len(length) < 4:
                ended = left(pid, 0.0 if not ready else SECONDS_A_CASE)
                yield f"case {done}: {'no end' if ended is None else f'left with {ended}'}"
                done += 1
                break
            size = int.from_bytes(length, "little")
            yield os.read(reader, size).decode() if size else ""
            done += 1
        else:
            left(pid)
        os.close(reader)
