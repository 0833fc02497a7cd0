"""Check the parts of an output against its job and their records, and make bad ones again."""

from __future__ import annotations

from collections import Counter
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from backwalk.fit.progress import row_counter
from backwalk.pieces.engines import Ranges, Watch, choose_engine
from backwalk.pieces.folder import Job, Manifest, PartsFolder

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
    watch: Watch = lambda *_: None,
) -> Verified:
    """Check every part of an output, by the SHA-256 of its file.

    Parameters
    ----------
    folder : str or Path
        A folder in which a job was begun.
    repair : bool, default=False
        Make missing, damaged and foreign parts again, and remove stray ones. Other files stay, and so does a folder or
        a link to a device under a part's name.
    workers, engine, address
        See `make_parts`.
    watch : callable, default=None
        Called with "verifying" or "repairing", the share of the rows for which this is done, and words.

    Returns
    -------
    Verified

    Raises
    ------
    TableFileError
        The folder has no job, or cannot be written; see also `make_parts`.
    """
    make = choose_engine((0, None), workers, engine, address)
    place = PartsFolder(folder)
    job = place.job()
    before = {(part.start, part.stop): part for part in place.parts(job)}
    faults = left = _find_faults(place, job, job.ranges(), watch)
    made: dict[str, list[tuple[int, int]]] = {"restored": [], "changed": [], "made": []}
    if repair and faults:
        with place.errors_named():
            for name in faults.strays:
                (place.path / name).unlink(missing_ok=True)
        bad = [rows for rows in faults.parts if place.path_of(*rows).name not in faults.others]
        count = row_counter(watch, "repairing", sum(stop - start for start, stop in bad))
        with closing(make(folder, bad)) as repaired:
            for part in repaired:
                old = before.get((part.start, part.stop))
                outcome = "made" if old is None else "restored" if old.values == part.values else "changed"
                made[outcome].append((part.start, part.stop))
                count(part.stop - part.start)
        left = _find_faults(place, job, list(faults.parts))
    return Verified(
        job=job,
        faults=faults,
        left=left,
        processors=dict(Counter(part.processor for part in place.parts(job))),
        manifest=None if left.parts else place.gather(job),
        **{outcome: tuple(sorted(ranges)) for outcome, ranges in made.items()},
    )


def _find_faults(place: PartsFolder, job: Job, ranges: Ranges, watch: Watch = lambda *_: None) -> Faults:
    faults = dict[tuple[int, int], Fault]()
    count = row_counter(watch, "verifying", sum(stop - start for start, stop in ranges))
    for start, stop in ranges:
        part = place.part(start, stop)
        if not place.path_of(start, stop).exists():
            faults[start, stop] = "missing"
        elif part is not None and part.job != job.id:
            faults[start, stop] = "foreign"
        elif part is None or not place.is_whole(part):
            faults[start, stop] = "damaged"
        count(stop - start)
    return Faults(faults, tuple(place.strays(job)), tuple(place.others()))
