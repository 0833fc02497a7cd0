"""Make the parts of a job: in this process, by processes on this machine, or by the workers of a Ray cluster.

Each engine calls `run_piece(folder, start, stop)` for every part, anywhere and in any order, and yields the parts that
are done. Nothing but the folder's path, numbers of rows and the records of parts travels between the processes.
"""

from __future__ import annotations

import importlib.util
import multiprocessing
import os
import signal
from collections.abc import Callable, Generator, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor, as_completed
from concurrent.futures.process import BrokenProcessPool
from contextlib import closing, contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from threading import Thread, current_thread, main_thread
from typing import TypeAlias

import torch

from backwalk.errors import IncompatibleArguments, InvalidInput
from backwalk.fit.progress import row_counter
from backwalk.limits import is_whole
from backwalk.model import UnseenCells, warn_of_unseen
from backwalk.pieces.folder import Job, Manifest, Part, PartsFolder
from backwalk.pieces.ray_engine import make_on_ray
from backwalk.pieces.run import run_piece

ENGINES = ("local", "ray")
Rows: TypeAlias = tuple[int, int | None]
Ranges: TypeAlias = Sequence[tuple[int, int]]
Watch: TypeAlias = Callable[[str, float, str], object]
Engine: TypeAlias = Callable[[str | Path, Ranges], Generator[Part]]

_MOST_DEATHS = 3  # of worker processes in a row, between which no part was made


@dataclass(frozen=True)
class Parts:
    """The parts of an output that were asked for.

    `sample_parts`, `score_parts` and `impute_parts` return it.

    Parameters
    ----------
    job : Job
        What all parts have in common, such as its `seed` and its number of `rows`.
    parts : tuple of Part
        Their records, in order. See `run_piece`.
    n_found : int
        How many of them were known before the call.
    manifest : Manifest or None
        The records of all parts, and the checksum of all `values`; None unless the whole output is there.

    See Also
    --------
    sample_parts : Makes parts of samples.
    PartsFolder : Shows what lies in a folder of parts.

    Examples
    --------
    >>> import tempfile
    >>> import numpy as np
    >>> from backwalk import Diffusion
    >>> from backwalk.pieces import sample_parts
    >>> X = np.random.default_rng(0).normal(size=(200, 2))
    >>> with tempfile.TemporaryDirectory() as place:
    ...     Diffusion(max_steps=20, random_state=0, verbose=False).fit(X).save(f"{place}/model")
    ...     made = sample_parts(f"{place}/model", f"{place}/rows", 3000, part_rows=2048, rows=(0, 2048))
    >>> made.job.rows, [part.rows for part in made.parts], made.manifest is None
    (3000, [2048], True)
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
    watch: Watch = lambda *_: None,
) -> Parts:
    """Make the parts of the job in a folder that are missing or damaged.

    Parameters
    ----------
    folder : str or Path
        A folder in which a job was begun.
    rows, workers, engine, address, watch
        See `Making`.

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
    make, (start, stop) = choose_engine(rows, workers, engine, address), rows
    if start >= job.rows:
        raise InvalidInput(
            f"A range should begin below the number of rows, {job.rows:,}, but begins at {start:,}: give a smaller one."
        )
    ranges = job.ranges(start, stop)
    known = {(part.start, part.stop) for part in place.parts(job)}
    count = row_counter(watch, job.work.activity, sum(stop - start for start, stop in ranges))
    parts = list[Part]()
    with closing(make(folder, ranges)) as made:
        for part in made:
            parts.append(part)
            count(part.stop - part.start)
    in_order = tuple(sorted(parts, key=lambda part: part.start))
    cells = UnseenCells()
    for part in in_order:
        cells.update({(what, column): n for what, column, n in part.unseen})
    warn_of_unseen(cells, "given" if job.work.kind == "sample" else "the data")
    return Parts(job, in_order, len(known & set(ranges)), place.gather(job))


def choose_engine(rows: Rows, workers: int, engine: str, address: str | None) -> Engine:
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
        return partial(_make_here, workers=workers)
    if importlib.util.find_spec("ray") is None:
        raise InvalidInput('The engine "ray" needs Ray, which is not installed: pip install "backwalk[ray]".')
    if address is not None and "://" in address:
        raise IncompatibleArguments(
            f"The address of a Ray cluster should be host:port or auto, but got {address}: run the command on a host "
            "of the cluster."
        )
    return partial(make_on_ray, workers=workers, address=address)


def _make_here(folder: str | Path, ranges: Ranges, *, workers: int) -> Generator[Part]:
    """Make parts in this process, or in several that are spawned, among which torch's threads are divided.

    The parts of a worker that is killed are made by others. Raises the first error of a worker, and InvalidInput if
    three workers in a row end before a part is made.
    """
    if min(workers, len(ranges)) <= 1:
        for start, stop in ranges:
            yield run_piece(folder, start, stop)
        return
    todo, n_deaths = list(ranges), 0
    while todo:
        try:
            with closing(_make_in_pool(folder, todo, min(workers, len(todo)))) as parts:
                for part in parts:
                    todo.remove((part.start, part.stop))
                    n_deaths = 0
                    yield part
        except BrokenProcessPool as error:
            n_deaths += 1
            if n_deaths == _MOST_DEATHS:
                start, stop = todo[0]
                raise InvalidInput(
                    f"Workers should end with their work, but {_MOST_DEATHS} ended at rows {start:,} to {stop:,} or "
                    "after: take fewer workers or smaller parts if memory ran out, and guard a script by `if __name__ "
                    '== "__main__":`.'
                ) from error


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
