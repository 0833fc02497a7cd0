"""Make the parts of a job by the workers of a Ray cluster, or of Ray on this machine alone."""

from __future__ import annotations

import logging
import os
import secrets
import signal
import socket
import sys
from collections.abc import Generator, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager, redirect_stdout
from pathlib import Path
from tempfile import TemporaryDirectory
from threading import current_thread, main_thread
from typing import Any

import torch

from backwalk.errors import BackwalkError, InvalidInput
from backwalk.formatting import one_line
from backwalk.pieces.folder import Part
from backwalk.pieces.run import run_piece, versions

_MOST_LOSSES = 10  # of one part with its worker or its host
_STORE_BYTES = 80 * 2**20  # about the least that Ray allows: nothing large goes through its store of objects
_SECONDS_TO_CONNECT = 10.0


def make_on_ray(
    folder: str | Path, ranges: Sequence[tuple[int, int]], *, workers: int, address: str | None
) -> Generator[Part]:
    """Make parts by Ray, at most `workers` at a time, each on one core.

    All hosts of a cluster need the folder, the model and the data at the same paths. Parts of lost workers and lost
    hosts are made by others. Raises InvalidInput if Ray cannot be used or a part keeps losing its worker, and the first
    error of a worker.
    """
    with _ray_session(address, min(workers, len(ranges))) as ray:
        make = ray.remote(num_cpus=1, max_retries=_MOST_LOSSES)(_make_on_host)
        todo, running = list(ranges), dict[Any, tuple[int, int]]()
        while todo or running:
            while todo and len(running) < workers:
                start, stop = todo.pop(0)
                running[make.remote(str(Path(folder).absolute()), start, stop, versions())] = start, stop
            done, _ = ray.wait(list(running), num_returns=1)
            start, stop = running.pop(done[0])
            try:
                part = ray.get(done[0])
            except ray.exceptions.RayTaskError as error:
                if isinstance(error.cause, BackwalkError):
                    raise error.cause from None
                raise
            except ray.exceptions.RayError as error:
                raise InvalidInput(
                    f"Rows {start:,} to {stop:,} were lost {_MOST_LOSSES + 1} times with their worker "
                    f"({type(error).__name__}): make parts smaller if memory ran out."
                ) from error
            yield part


def _make_on_host(folder: str, start: int, stop: int, expected: Mapping[str, str]) -> Part:
    """Make a part in a worker of Ray, whose versions should be those of the caller: others may give other bits."""
    if versions() != expected:
        theirs, ours = (" and ".join(map(" ".join, sorted(each.items()))) for each in (versions(), expected))
        raise InvalidInput(
            f"{socket.gethostname()} should have {ours}, but has {theirs}: install the same versions on all hosts."
        )
    torch.set_num_threads(1)
    return run_piece(folder, start, stop)


@contextmanager
def _ray_session(address: str | None, workers: int) -> Iterator[Any]:
    """Join a Ray cluster, or start Ray on this machine alone, and give the module `ray`; leave or stop it at the end.

    A session that the caller has begun is used as it is. Ray on this machine listens on the loopback alone, with a
    token that nobody else knows. Raises InvalidInput.
    """
    environment = {"RAY_AUTH_MODE": "token", "RAY_USAGE_STATS_ENABLED": "0"}
    if address is None:
        environment |= {"RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER": "0", "RAY_AUTH_TOKEN": secrets.token_hex(32)}
    else:
        environment |= {name: os.environ[name] for name in environment if name in os.environ}
    os.environ.update(environment)  # before Ray is imported, as it reads them then
    import ray

    if ray.is_initialized():
        yield ray
        return
    handler = signal.getsignal(signal.SIGTERM)
    with ExitStack() as stack:
        stack.enter_context(redirect_stdout(sys.stderr))  # Ray prints about lost workers, whatever its level of logging
        try:
            if address is None:
                # Ray lets all users into its own folder, but not into one around it.
                place = stack.enter_context(TemporaryDirectory(prefix="backwalk-", ignore_cleanup_errors=True))
                options: dict[str, Any] = {
                    "num_cpus": workers,
                    "num_gpus": 0,
                    "include_dashboard": False,
                    "object_store_memory": _STORE_BYTES,
                    "_temp_dir": f"{place}/ray",
                }
            else:
                _check_listening(address)
                options = {}
            stack.callback(ray.shutdown, wait_for_processes=True)
            ray.init(address or "local", log_to_driver=False, logging_level=logging.ERROR, **options)
        except (OSError, RuntimeError, ValueError, ray.exceptions.RayError) as error:
            if address is None:
                raise InvalidInput(f"Ray could not be started: {one_line(error)}.") from error
            raise InvalidInput(
                f"The Ray cluster at {address} cannot be joined: {one_line(error)}. Run this on one of its hosts, with "
                "its token (RAY_AUTH_TOKEN_PATH) and its versions of Ray and Python."
            ) from error
        finally:
            if current_thread() is main_thread():
                signal.signal(signal.SIGTERM, handler)  # Ray puts its own in place
        yield ray


def _check_listening(address: str) -> None:
    """Raise OSError at once if nothing listens at an address, for which Ray would wait."""
    if address == "auto":
        return
    host, colon, port = address.rpartition(":")
    if not (colon and port.isdecimal()):
        raise ValueError(f"an address should be host:port or auto, but got {address!r}")
    socket.create_connection((host.strip("[]"), int(port)), _SECONDS_TO_CONNECT).close()
