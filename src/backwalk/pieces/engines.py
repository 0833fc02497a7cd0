"""Make the parts of a job: in this process, by processes on this machine, or by the workers of a Ray cluster.

Each engine calls `run_piece(folder, start, stop)` for every part, anywhere and in any order, and reports the parts that
are done. Nothing but the folder's path, numbers of rows and the records of parts travels between the processes.
"""

from __future__ import annotations

import importlib.util
import logging
import multiprocessing
import os
import secrets
import signal
import socket
from collections.abc import Callable, Generator, Iterator, Mapping, Sequence
from concurrent.futures import ProcessPoolExecutor, as_completed
from concurrent.futures.process import BrokenProcessPool
from contextlib import ExitStack, closing, contextmanager
from dataclasses import dataclass
from functools import partial
from itertools import islice
from pathlib import Path
from tempfile import TemporaryDirectory
from threading import Thread, current_thread, main_thread
from typing import Any, TypeAlias

import torch

from backwalk.errors import BackwalkError, IncompatibleArguments, InvalidInput
from backwalk.formatting import one_line
from backwalk.limits import is_whole
from backwalk.pieces.folder import Manifest, Part, PartsFolder
from backwalk.pieces.job import Job
from backwalk.pieces.run import run_piece, versions

ENGINES = ("local", "ray")
Rows = tuple[int, int | None]
Ranges: TypeAlias = Sequence[tuple[int, int]]
OnDone: TypeAlias = Callable[[Part], object]

_MOST_DEATHS = 3  # of worker processes in a row, between which no part was made
_MOST_LOSSES = 10  # of one part with its worker or its host of a Ray cluster
_STORE_BYTES = 80 * 2**20  # about the least that Ray allows: nothing large goes through its store of objects
_SECONDS_TO_CONNECT = 10.0


@dataclass(frozen=True)
class Parts:
    """The parts of a job that were asked for, in order, and the manifest if the whole output is there now.

    `n_found` of them were known before.
    """

    job: Job
    parts: tuple[Part, ...]
    n_found: int
    manifest: Manifest | None


def make_parts(
    folder: str | Path,
    *,
    rows: Rows = (0, None),
    workers: int = 1,
    engine: str = "local",
    address: str | None = None,
    on_done: OnDone = lambda _: None,
) -> Parts:
    """Make the parts of the job in a folder that are missing or damaged.

    Parameters
    ----------
    folder : str or Path
        A folder in which a job was begun.
    rows : tuple of int, default=(0, None)
        Make the parts that begin at rows start..stop-1 alone; None is the end. Ranges that follow each other make every
        part once.
    workers : int, default=1
        Processes; one is this process. They are spawned, so that a script should guard its main part by
        `if __name__ == "__main__":`.
    engine : {"local", "ray"}, default="local"
        Where the parts are made: on this machine, or on Ray (`pip install "backwalk[ray]"`).
    address : str, default=None
        Of the Ray cluster, as "host:port" or "auto"; None starts Ray on this machine and stops it at the end.
    on_done : callable, default=None
        Called with the record of each part that is done.

    Returns
    -------
    Parts

    Raises
    ------
    InvalidInput
        An argument cannot be used, or workers keep ending.
    TableFileError, ModelFileError
        See `run_piece`; the errors of the work are raised, too.
    """
    place = PartsFolder(folder)
    job = place.job()
    run = choose_engine(rows, workers, engine, address)
    start, stop = rows
    if start >= job.rows:
        raise InvalidInput(
            f"A range should begin below the number of rows, {job.rows:,}, but begins at {start:,}: give a smaller one."
        )
    ranges = job.ranges(start, stop)
    known = {(part.start, part.stop) for part in place.parts(job) if part is not None}
    parts = list[Part]()

    def done(part: Part) -> None:
        parts.append(part)
        on_done(part)

    run(folder, ranges, done)
    in_order = tuple(sorted(parts, key=lambda part: part.start))
    return Parts(job, in_order, len(known & set(ranges)), place.gather(job))


def choose_engine(
    rows: Rows, workers: int, engine: str, address: str | None
) -> Callable[[str | Path, Ranges, OnDone], None]:
    """Return the function that makes parts. Raises InvalidInput if an argument cannot be used."""
    start, stop = rows
    if not is_whole(workers) or workers < 1:
        raise InvalidInput(f"workers should be an integer >= 1, but got {workers!r}: give 1 at least.")
    if start < 0 or (stop is not None and stop <= start):
        raise InvalidInput(f"A range of rows should be START:STOP with 0 <= START < STOP, but got {start}:{stop}.")
    if engine not in ENGINES:
        raise InvalidInput(f"engine should be one of {', '.join(ENGINES)}, but got {engine!r}.")
    if engine == "local":
        if address is not None:
            raise IncompatibleArguments("--address goes with the engine of a cluster: leave it out.")
        return partial(run_locally, workers=workers)
    if importlib.util.find_spec("ray") is None:
        raise InvalidInput('The engine "ray" needs Ray, which is not installed: pip install "backwalk[ray]".')
    if address is not None and "://" in address:
        raise IncompatibleArguments(
            f"The address of a Ray cluster should be host:port or auto, but got {address}: run the command on a host "
            "of the cluster."
        )
    return partial(run_on_ray, workers=workers, address=address)


def run_locally(folder: str | Path, ranges: Ranges, on_done: OnDone, *, workers: int) -> None:
    """Make parts in this process, or in several that are spawned, among which torch's threads are divided.

    The parts of a worker that is killed are made by others. Raises the first error of a worker, and InvalidInput if
    three workers in a row end before a part is made.
    """
    todo, n_deaths = list(ranges), 0
    while todo and min(workers, len(ranges)) > 1:
        try:
            with closing(_make_in_pool(folder, todo, min(workers, len(todo)))) as parts:
                for part in parts:
                    todo.remove((part.start, part.stop))
                    n_deaths = 0
                    on_done(part)
        except BrokenProcessPool as error:
            n_deaths += 1
            if n_deaths == _MOST_DEATHS:
                start, stop = todo[0]
                raise InvalidInput(
                    f"Workers should end with their work, but {_MOST_DEATHS} ended at rows {start:,} to {stop:,} or "
                    "after: take fewer workers or smaller parts if memory ran out, and guard a script by `if __name__ "
                    '== "__main__":`.'
                ) from error
    for start, stop in todo:
        on_done(run_piece(folder, start, stop))


def _make_in_pool(folder: str | Path, ranges: Ranges, n_workers: int) -> Generator[Part]:
    """Yield parts as processes make them. All end at once if one raises an error or the caller leaves."""
    others = set(multiprocessing.active_children())
    pool = ProcessPoolExecutor(
        n_workers,
        mp_context=multiprocessing.get_context("spawn"),
        initializer=_begin_worker,
        initargs=(max(torch.get_num_threads() // n_workers, 1),),
    )
    try:
        with _interrupts_ignored():
            futures = [pool.submit(run_piece, folder, start, stop) for start, stop in ranges]
        for future in as_completed(futures):
            yield future.result()
    except BaseException:  # a part that a worker was writing does not appear
        for worker in set(multiprocessing.active_children()) - others:
            worker.kill()
        raise
    finally:
        pool.shutdown(cancel_futures=True)


def _begin_worker(n_threads: int) -> None:
    torch.set_num_threads(n_threads)
    Thread(target=_end_with_parent, daemon=True).start()


def _end_with_parent() -> None:
    """End a worker whose parent was killed, which would wait for work for ever."""
    parent = multiprocessing.parent_process()
    assert parent is not None
    parent.join()
    os._exit(1)


@contextmanager
def _interrupts_ignored() -> Iterator[None]:
    """Let processes that are started ignore Ctrl-C, which a terminal sends to all: this process ends them."""
    if current_thread() is not main_thread():
        yield
        return
    handler = signal.signal(signal.SIGINT, signal.SIG_IGN)
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, handler)


def run_on_ray(
    folder: str | Path, ranges: Ranges, on_done: OnDone, *, workers: int, address: str | None = None
) -> None:
    """Make parts by Ray, at most `workers` at a time, each on one core.

    All hosts of a cluster need the folder, the model and the data at the same paths. Parts of lost workers and lost
    hosts are made by others. Raises InvalidInput if Ray cannot be used or a part keeps losing its worker, and the first
    error of a worker.
    """
    with _ray_session(address, min(workers, len(ranges))) as ray:
        make = ray.remote(num_cpus=1, max_retries=_MOST_LOSSES)(_run_on_host)
        todo, running = iter(ranges), dict[Any, tuple[int, int]]()
        while True:
            for start, stop in islice(todo, workers - len(running)):
                running[make.remote(str(Path(folder).absolute()), start, stop, versions())] = start, stop
            if not running:
                return
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
            on_done(part)


def _run_on_host(folder: str, start: int, stop: int, expected: Mapping[str, str]) -> Part:
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
    host, colon, port = address.rpartition(":")
    if address == "auto":
        return
    if not (colon and port.isdecimal()):
        raise ValueError(f"an address should be host:port or auto, but got {address!r}")
    socket.create_connection((host.strip("[]"), int(port)), _SECONDS_TO_CONNECT).close()
