"""The process in which Ray runs for `ray_engine.run_on_ray`: `python -m backwalk.pieces.ray_driver`.

A line of JSON comes in on standard input, and a line goes out for each piece that is done. When standard input ends,
so does the work, and Ray if it was started here.
"""

from __future__ import annotations

import json
import logging
import os
import socket
import sys
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager, suppress
from itertools import islice
from tempfile import TemporaryDirectory
from threading import Event, Thread
from typing import Any

from backwalk.errors import InvalidInput
from backwalk.formatting import one_line
from backwalk.pieces.processor import versions
from backwalk.pieces.ray_engine import make_on_host
from backwalk.pieces.worker import failure

_MOST_LOSSES = 10  # of one piece with its worker or its host, before the work is given up
_STORE_BYTES = 80 * 2**20  # about the least that Ray allows: nothing large goes through its store of objects
_SECONDS_BETWEEN_LOOKS = 0.5
_SECONDS_TO_CONNECT = 10.0


def answers(folder: str, pieces: Sequence[tuple[int, int]], workers: int, is_over: Event) -> Iterator[str]:
    """Yield the answer to each piece as it comes, with at most `workers` pieces under way; stop early if it is over."""
    import ray

    make = ray.remote(num_cpus=1, max_retries=_MOST_LOSSES)(make_on_host)
    todo, expected = iter(pieces), versions()
    running = dict[Any, tuple[int, int]]()
    while not is_over.is_set():
        for start, stop in islice(todo, workers - len(running)):
            running[make.remote(folder, start, stop, expected)] = start, stop
        if not running:
            return
        done, _ = ray.wait(list(running), num_returns=1, timeout=_SECONDS_BETWEEN_LOOKS)
        for each in done:
            yield _answer(each, *running.pop(each))


@contextmanager
def cluster(address: str | None, workers: int) -> Iterator[None]:
    """Join a cluster, or start one of this machine alone with `workers` workers; leave or stop it at the end.

    Raises InvalidInput.
    """
    import ray

    with ExitStack() as stack:
        try:
            if address is None:
                # Ray lets all users into its own folder, but not into one around it.
                place = stack.enter_context(TemporaryDirectory(prefix="backwalk-", ignore_cleanup_errors=True))
                ray.init(
                    "local",
                    num_cpus=workers,
                    num_gpus=0,
                    include_dashboard=False,
                    object_store_memory=_STORE_BYTES,
                    log_to_driver=False,
                    logging_level=logging.ERROR,
                    _temp_dir=f"{place}/ray",
                )
            else:
                _check_listening(address)
                ray.init(address, log_to_driver=False, logging_level=logging.ERROR)
        except (OSError, RuntimeError, ValueError, ray.exceptions.RayError) as error:
            reason = one_line(error)
            if address is None:
                raise InvalidInput(f"Ray could not be started: {reason}.") from error
            raise InvalidInput(
                f"The Ray cluster at {address} cannot be joined: {reason}. Run this on one of its hosts, with "
                "its token (RAY_AUTH_TOKEN_PATH) and its versions of Ray and Python."
            ) from error
        stack.callback(ray.shutdown, wait_for_processes=True)
        yield


def _answer(done: Any, start: int, stop: int) -> str:
    import ray

    try:
        answer: str = ray.get(done)
        return answer
    except ray.exceptions.RayTaskError as error:  # outside of `answer_of`, as where backwalk is missing
        return failure(InvalidInput(f"A worker of Ray failed at rows {start:,} to {stop:,}: {one_line(error)}."))
    except ray.exceptions.RayError as error:
        return failure(
            InvalidInput(
                f"Rows {start:,} to {stop:,} were lost {_MOST_LOSSES + 1} times with their worker "
                f"({type(error).__name__}): make parts smaller if memory ran out."
            )
        )


def _check_listening(address: str) -> None:
    """Raise OSError at once if nothing listens at an address, for which Ray would wait."""
    host, colon, port = address.rpartition(":")
    if address == "auto":
        return
    if not (colon and port.isdecimal()):
        raise ValueError(f"an address should be host:port or auto, but got {address!r}")
    socket.create_connection((host.strip("[]"), int(port)), _SECONDS_TO_CONNECT).close()


def _await_end(is_over: Event) -> None:
    sys.stdin.read()
    is_over.set()


def _main() -> None:
    with suppress(BrokenPipeError), os.fdopen(os.dup(1), "w") as out:  # where nobody reads any more
        os.dup2(2, 1)  # what Ray prints is no answer
        asked = json.loads(sys.stdin.readline())
        is_over = Event()
        Thread(target=_await_end, args=[is_over], daemon=True).start()
        try:
            with cluster(asked["address"], asked["workers"]):
                for answer in answers(asked["folder"], asked["pieces"], asked["workers"], is_over):
                    print(answer, file=out, flush=True)
        except InvalidInput as error:
            print(failure(error), file=out, flush=True)


if __name__ == "__main__":
    _main()
