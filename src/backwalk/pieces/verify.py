"""Check the parts of an output against its job and their records, and make bad ones again."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from backwalk.pieces.engines import OnDone, Ranges, choose_engine
from backwalk.pieces.folder import Manifest, Part, PartsFolder
from backwalk.pieces.job import Job

Fault = Literal["missing", "damaged", "foreign"]


@dataclass(frozen=True)
class Faults:
    """What is wrong with a folder of parts.

    `parts` has the fault of each bad part by its (start, stop): it is missing; it is damaged, as its file differs from
    its record or has none; or it is foreign, the part of another job. `strays` are files like parts that the job does
    not have, and `others` files of other names, folders and links to devices, which readers of the folder would meet
    too.
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
    - `restored`: parts that were made again with the values that were recorded before; `changed`: with other values;
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
    on_done: OnDone = lambda _: None,
) -> Verified:
    """Check every part of an output, by the SHA-256 of its file.

    Parameters
    ----------
    folder : str or Path
        A folder in which a job was begun.
    repair : bool, default=False
        Make missing, damaged and foreign parts again, and remove stray ones. Other files stay, and so does a folder or
        a link to a device under a part's name.
    workers, engine, address, on_done
        See `make_parts`.
    on_checked : callable, default=None
        Called with the (start, stop) of each part that was checked.

    Returns
    -------
    Verified

    Raises
    ------
    TableFileError
        The folder has no job, or cannot be written; see also `make_parts`.
    """
    run = choose_engine((0, None), workers, engine, address)
    place = PartsFolder(folder)
    job = place.job()
    before = {(part.start, part.stop): part for part in place.parts(job) if part is not None}
    faults = left = _find_faults(place, job, job.ranges(), on_checked)
    made: dict[str, list[tuple[int, int]]] = {"restored": [], "changed": [], "made": []}
    if repair and faults:
        for name in faults.strays:
            place.remove_stray(name)

        def done(part: Part) -> None:
            old = before.get((part.start, part.stop))
            outcome = "made" if old is None else "restored" if old.values == part.values else "changed"
            made[outcome].append((part.start, part.stop))
            on_done(part)

        run(folder, [rows for rows in faults.parts if place.path_of(*rows).name not in faults.others], done)
        left = _find_faults(place, job, list(faults.parts), lambda *_: None)
    parts = [part for part in place.parts(job) if part is not None]
    return Verified(
        job=job,
        faults=faults,
        left=left,
        processors=dict(Counter(part.processor for part in parts)),
        manifest=None if left.parts else place.gather(job),
        **{outcome: tuple(sorted(ranges)) for outcome, ranges in made.items()},
    )


def _find_faults(place: PartsFolder, job: Job, ranges: Ranges, on_checked: Callable[[int, int], object]) -> Faults:
    faults = dict[tuple[int, int], Fault]()
    for start, stop in ranges:
        part = place.part(start, stop)
        if not place.path_of(start, stop).exists():
            faults[start, stop] = "missing"
        elif part is not None and part.job != job.id:
            faults[start, stop] = "foreign"
        elif part is None or not place.is_whole(part):
            faults[start, stop] = "damaged"
        on_checked(start, stop)
    return Faults(faults, tuple(place.strays(job)), tuple(place.others()))
