"""Begin jobs, and make their parts."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from backwalk.errors import InvalidInput
from backwalk.limits import is_whole
from backwalk.pieces.engines import Engine, engine_of
from backwalk.pieces.folder import Entry, Manifest, PartsFolder
from backwalk.pieces.job import Job

Rows = tuple[int, int | None]


@dataclass(frozen=True)
class Parts:
    """The parts of a job that were asked for, and the manifest if the whole output is there now.

    `n_found` of them had their entry before.
    """

    job: Job
    entries: tuple[Entry, ...]
    n_found: int
    manifest: Manifest | None


def make_parts(
    folder: str | Path,
    *,
    rows: Rows = (0, None),
    workers: int = 1,
    engine: str = "local",
    address: str | None = None,
    on_done: Callable[[Entry], object] = lambda _: None,
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
        Processes; one is this process.
    engine : {"local", "ray"}, default="local"
        Where the parts are made: on this machine, or on Ray (`pip install "backwalk[ray]"`).
    address : str, default=None
        Of the Ray cluster, as "host:port" or "auto"; None starts Ray on this machine and stops it at the end.
    on_done : callable, default=None
        Called with the entry of each part that is done.

    Returns
    -------
    Parts
        The entries in order, and the manifest if all parts of the job are there.
    """
    place = PartsFolder(folder)
    job = place.job()
    run = checked_engine(rows, workers, engine, address)
    start, stop = rows
    pieces = job.pieces(start, stop)
    if start >= job.rows:
        raise InvalidInput(
            f"A range should begin below the number of rows, {job.rows:,}, but begins at {start:,}: give a smaller one."
        )
    before = {(entry.start, entry.stop) for entry in place.entries(job) if entry is not None}
    entries = list[Entry]()

    def done(entry: Entry) -> None:
        entries.append(entry)
        on_done(entry)

    if pieces:
        run(str(place.path), pieces, int(workers), done)
    in_order = tuple(sorted(entries, key=lambda entry: entry.start))
    return Parts(job, in_order, len(before & set(pieces)), place.gather(job))


def checked_engine(rows: Rows, workers: int, engine: str, address: str | None) -> Engine:
    """Return an engine. Raises InvalidInput if it, the range of rows or the number of workers cannot be used."""
    start, stop = rows
    if not is_whole(workers) or workers < 1:
        raise InvalidInput(f"workers should be an integer >= 1, but got {workers!r}: give 1 at least.")
    if start < 0 or (stop is not None and stop <= start):
        raise InvalidInput(f"A range of rows should be START:STOP with 0 <= START < STOP, but got {start}:{stop}.")
    return engine_of(engine, address)
