"""Check the parts of an output against its job and their entries, and make bad ones again."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from backwalk.pieces.folder import Entry, Manifest, PartsFolder
from backwalk.pieces.job import Job
from backwalk.pieces.make import checked_engine

Fault = Literal["missing", "damaged", "foreign"]


@dataclass(frozen=True)
class Faults:
    """What is wrong with a folder of parts.

    `parts` has the fault of each bad part by its (start, stop): it is missing; it is damaged, as its file differs from
    its entry or has none; or it is foreign, the part of another job. `strays` are files like parts that the job does
    not have, and `others` files and folders of other names, which readers of the folder would meet too.
    """

    parts: dict[tuple[int, int], Fault]
    strays: tuple[str, ...]
    others: tuple[str, ...]

    def __bool__(self) -> bool:
        return bool(self.parts or self.strays or self.others)


@dataclass(frozen=True)
class Verified:
    """What `verify` found, and made.

    - `faults` as found, `left` after repair.
    - `restored`: parts that were made again with the values that were entered before; `changed`: with other values;
      `made`: those of which nothing was known.
    - `processors`: number of parts made on each kind of processor. Values have the same bits on one kind only.
    - `manifest`: None unless every part is whole.
    """

    job: Job
    faults: Faults
    left: Faults
    processors: dict[str, int]
    manifest: Manifest | None
    restored: tuple[tuple[int, int], ...] = ()
    changed: tuple[tuple[int, int], ...] = ()
    made: tuple[tuple[int, int], ...] = ()


def verify(
    folder: str | Path,
    *,
    repair: bool = False,
    workers: int = 1,
    engine: str = "local",
    address: str | None = None,
    on_checked: Callable[[int, int], object] = lambda *_: None,
    on_done: Callable[[Entry], object] = lambda _: None,
) -> Verified:
    """Check every part of an output, by the SHA-256 of its file.

    Parameters
    ----------
    folder : str or Path
        A folder in which a job was begun.
    repair : bool, default=False
        Make missing, damaged and foreign parts again, and remove stray ones. Other files stay.
    workers, engine, address, on_done
        See `make_parts`.
    on_checked : callable, default=None
        Called with the (start, stop) of each part that was checked.

    Returns
    -------
    Verified
    """
    run = checked_engine((0, None), workers, engine, address)
    place = PartsFolder(folder)
    job = place.job()
    before = {piece: place.entry(*piece) for piece in job.pieces()}
    faults = left = _faults(place, job, job.pieces(), on_checked)
    made: dict[str, list[tuple[int, int]]] = {"restored": [], "changed": [], "made": []}
    if repair and faults:
        for name in faults.strays:
            place.remove_stray(name)

        def done(entry: Entry) -> None:
            old = before[entry.start, entry.stop]
            if old is None or old.job != job.id:
                outcome = "made"
            else:
                outcome = "restored" if entry.values == old.values else "changed"
            made[outcome].append((entry.start, entry.stop))
            on_done(entry)

        if faults.parts:
            run(str(place.path), list(faults.parts), workers, done)
        left = _faults(place, job, list(faults.parts), lambda *_: None)
    entries = [entry for entry in place.entries(job) if entry is not None]
    return Verified(
        job=job,
        faults=faults,
        left=left,
        processors=dict(Counter(entry.processor for entry in entries)),
        manifest=None if left.parts else place.gather(job),
        **{outcome: tuple(sorted(pieces)) for outcome, pieces in made.items()},
    )


def _faults(
    place: PartsFolder, job: Job, pieces: Sequence[tuple[int, int]], on_checked: Callable[[int, int], object]
) -> Faults:
    found = dict[tuple[int, int], Fault]()
    for piece in pieces:
        fault = _fault(place, job, piece)
        if fault is not None:
            found[piece] = fault
        on_checked(*piece)
    return Faults(found, tuple(place.strays(job)), tuple(place.others()))


def _fault(place: PartsFolder, job: Job, piece: tuple[int, int]) -> Fault | None:
    if not place.part(*piece).exists():
        return "missing"
    entry = place.entry(*piece)
    if entry is not None and entry.job != job.id:
        return "foreign"
    return None if entry is not None and place.is_whole(entry) else "damaged"
