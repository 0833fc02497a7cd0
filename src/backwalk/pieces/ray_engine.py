"""The Ray engine: parts are made by the workers of a Ray cluster, or of Ray processes on this machine alone.

Ray runs in a process of its own (`ray_driver.py`). It gets the pieces as text and answers each with a line of JSON, so
that this process unpickles nothing and keeps its signal handlers and its environment.
"""

from __future__ import annotations

import importlib.util
import json
import secrets
import socket
import subprocess
import sys
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from tempfile import TemporaryFile
from typing import BinaryIO

import torch

from backwalk.errors import IncompatibleArguments, InvalidInput
from backwalk.formatting import visible
from backwalk.pieces.folder import Entry, PartsFolder
from backwalk.pieces.processor import versions
from backwalk.pieces.run import run_piece
from backwalk.pieces.worker import answer_of, entry_of, worker_environment

_DRIVER = (sys.executable, "-m", "backwalk.pieces.ray_driver")
_LONGEST_NOTE = 300  # characters
_SECONDS_TO_END = 30.0  # of Ray's processes, after their work or when they are asked to
_OF_ONE_MACHINE = {
    "RAY_AUTH_MODE": "token",
    "RAY_USAGE_STATS_ENABLED": "0",
    "RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER": "0",  # on any system: Ray then listens on the loopback alone
}
_OF_A_CLUSTER = {"RAY_AUTH_MODE": "token", "RAY_USAGE_STATS_ENABLED": "0"}


def run_on_ray(
    folder: str,
    pieces: Sequence[tuple[int, int]],
    workers: int,
    on_done: Callable[[Entry], None],
    /,
    *,
    address: str | None = None,
) -> None:
    """Make pieces of the job in a folder by Ray, and call `on_done` in this thread with the entry of each.

    At most `workers` pieces are made at a time, each on one core. Without an address, Ray is started on this machine
    and stopped at the end: it listens on the loopback alone and asks for a random token. An address, "host:port" of the
    head or "auto", is that of a cluster to which this machine belongs; all its hosts need the folder, the model and the
    data at the same paths. Pieces of lost workers and lost hosts are made by others.

    Raises InvalidInput if Ray is missing, the cluster cannot be joined, or a piece keeps losing its worker, and the
    first error of a worker.
    """
    if importlib.util.find_spec("ray") is None:
        raise InvalidInput('The engine "ray" needs Ray, which is not installed: pip install "backwalk[ray]".')
    if address is not None and "://" in address:
        raise IncompatibleArguments(
            f"The address of a Ray cluster should be host:port or auto, but got {address}: run the command on a host "
            "of the cluster."
        )
    with TemporaryFile() as notes:  # what Ray says of lost workers fills screens
        driver = subprocess.Popen(
            _DRIVER,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=notes,
            text=True,
            env=driver_environment(worker_environment(), address),
            start_new_session=True,  # Ctrl-C goes to this process, which then ends Ray
        )
        try:
            _ask(driver, Path(folder).absolute(), pieces, min(workers, len(pieces)), address)
            for done in range(len(pieces)):
                answer = _next_answer(driver)
                if not answer:
                    raise InvalidInput(
                        f"Ray ended with status {driver.wait()} before {len(pieces) - done:,} parts were made "
                        f"({_last_line(notes)}): the same command continues."
                    )
                on_done(entry_of(answer))
        finally:
            _end(driver)


def make_on_host(folder: str, start: int, stop: int, expected: Mapping[str, str]) -> str:
    """Make a piece in a worker of Ray, on one thread, and return its entry or its error as JSON.

    `expected` are the caller's versions: others may give other bits.
    """
    torch.set_num_threads(1)

    def make() -> Entry:
        if versions() != expected:
            raise InvalidInput(
                f"{socket.gethostname()} should have {_listed(expected)}, but has {_listed(versions())}: install the "
                "same versions on all hosts."
            )
        if not PartsFolder(folder).has_job():
            raise InvalidInput(
                f"{folder} should hold the job on every host, but {socket.gethostname()} does not see it: choose a "
                "folder that all hosts share under the same path."
            )
        return run_piece(folder, start, stop)

    return answer_of(make)


def driver_environment(own: Mapping[str, str], address: str | None) -> dict[str, str]:
    """Return the environment of Ray: token authentication is on, and usage statistics are off.

    A cluster's own settings count where the user has set them. Ray on this machine alone takes none of them, and a
    token that nobody else knows.
    """
    if address is not None:
        return {**_OF_A_CLUSTER, **own}
    others = {name: value for name, value in own.items() if not name.startswith("RAY_")}
    return {**others, **_OF_ONE_MACHINE, "RAY_AUTH_TOKEN": secrets.token_hex(32)}


def _ask(
    driver: subprocess.Popen[str], folder: Path, pieces: Sequence[tuple[int, int]], workers: int, address: str | None
) -> None:
    assert driver.stdin is not None
    asked = {"folder": str(folder), "pieces": list(pieces), "workers": workers, "address": address}
    with suppress(BrokenPipeError):  # a driver that has ended; what reads its answers says so
        print(json.dumps(asked), file=driver.stdin, flush=True)


def _next_answer(driver: subprocess.Popen[str]) -> str:
    """Return the next answer, or an empty text if the driver has ended."""
    assert driver.stdout is not None
    answer = driver.stdout.readline()
    return answer if answer.endswith("\n") else ""


def _last_line(notes: BinaryIO) -> str:
    notes.seek(0)
    lines = notes.read().decode(errors="replace").split("\n")
    return visible(next((line for line in reversed(lines) if line.strip()), "without a word")[:_LONGEST_NOTE])


def _end(driver: subprocess.Popen[str]) -> None:
    """Let Ray end: at its work's end, or before, which leaves whole parts alone."""
    assert driver.stdin is not None
    assert driver.stdout is not None
    with suppress(BrokenPipeError):
        driver.stdin.close()
    try:
        driver.wait(_SECONDS_TO_END)
    except subprocess.TimeoutExpired:
        driver.kill()
        driver.wait()
    finally:
        driver.stdout.close()


def _listed(found: Mapping[str, str]) -> str:
    return " and ".join(f"{name} {version}" for name, version in sorted(found.items()))
