"""Forked children: to be killed, signalled, starved of memory or disk, and looked at afterwards."""

import gc
import os
import resource
import select
import signal
import sys
import time
import traceback
import warnings
from pathlib import Path

SECONDS_A_CASE = 10.0
BYTES_A_CASE = 2 * 2**30


def forked(work, output=None):
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
    gc.callbacks.clear()  # hypothesis' callbacks, in which Python would swallow what a signal raises
    signal.signal(signal.SIGHUP, signal.SIG_DFL)  # whoever runs the trials by nohup ignores it
    status = 99
    try:
        if output is not None:
            descriptor = os.open(output, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o644)
            os.dup2(descriptor, 1)
            os.dup2(descriptor, 2)
        # Not the files in which pytest captures what tests print.
        sys.stdout, sys.stderr = (open(number, "w", closefd=False) for number in (1, 2))  # noqa: SIM115
        work()
        status = 0
    except SystemExit as end:
        status = end.code if isinstance(end.code, int) else 0 if end.code is None else 1
    except BaseException:
        traceback.print_exc()
    finally:
        try:  # where stdout cannot be written, the child must not go on as a second parent
            sys.stdout.flush()
            sys.stderr.flush()
        finally:
            os._exit(status)


def left(pid, seconds=SECONDS_A_CASE):
    """Wait for a child: its exit status, minus a signal's number, or None where it had to be killed after `seconds`."""
    limit = time.monotonic() + seconds
    while time.monotonic() < limit:
        done, status = os.waitpid(pid, os.WNOHANG)
        if done:
            return os.waitstatus_to_exitcode(status)
        time.sleep(0.002)
    os.kill(pid, signal.SIGKILL)
    os.waitpid(pid, 0)
    return None


def at_most(more_bytes):
    """Let this process take at most this many bytes more than it has."""
    pages = int(Path("/proc/self/statm").read_text().split()[0])
    limit = pages * resource.getpagesize() + more_bytes
    resource.setrlimit(resource.RLIMIT_AS, (limit, limit))


def failures(cases, seconds=SECONDS_A_CASE, more_bytes=BYTES_A_CASE):
    """Run cases in children with limits of memory and of time, and return what went wrong, case by case.

    A child runs one case after another; where it dies or hangs, the next child goes on with the next case.
    """
    found, done = [], 0
    while done < len(cases):
        reader, writer = os.pipe()

        def work(start=done, writer=writer):
            at_most(more_bytes)
            for case in cases[start:]:
                text = _failure(case).encode()
                os.write(writer, len(text).to_bytes(4, "little") + text)

        pid = forked(work)
        os.close(writer)
        while done < len(cases):
            ready, _, _ = select.select([reader], [], [], seconds)
            length = os.read(reader, 4) if ready else b""
            if len(length) < 4:
                ended = left(pid, 0.0 if not ready else SECONDS_A_CASE)
                found.append(f"case {done}: {'no end' if ended is None else f'left with {ended}'}")
                done += 1
                break
            size = int.from_bytes(length, "little")
            if size:
                found.append(f"case {done}: {os.read(reader, size).decode()}")
            done += 1
        else:
            left(pid)
        os.close(reader)
    return found


def _failure(case):
    try:
        case()
    except Exception as error:
        return f"{type(error).__name__}: {' '.join(str(error).split())[:300]}"
    return ""


def resident(name):
    """Return the bytes of memory that this process has (VmRSS), or has had at its peak (VmHWM)."""
    (line,) = [line for line in Path("/proc/self/status").read_text().splitlines() if line.startswith(name)]
    return int(line.split()[1]) * 1024
