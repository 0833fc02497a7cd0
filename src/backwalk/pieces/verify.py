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

    It is true if there is any fault.

    Parameters
    ----------
    parts : dict of (int, int) to {"missing", "damaged", "foreign"}
        The fault of each bad part by its (start, stop). The file of a damaged part differs from its record or has
        none; a foreign part is one of another job.
    strays : tuple of str
        Files named like parts that the job does not have.
    others : tuple of str
        Files of other names, folders and links to devices, which readers of the folder would meet too.

    See Also
    --------
    verify : Finds them.

    Examples
    --------
    >>> from backwalk.pieces import Faults
    >>> bool(Faults({}, (), ())), bool(Faults({(0, 2048): "missing"}, (), ()))
    (False, True)
    """

    parts: dict[tuple[int, int], Fault]
    strays: tuple[str, ...]
    others: tuple[str, ...]

    def __bool__(self) -> bool:
        return bool(self.parts or self.strays or self.others)


@dataclass(frozen=True)
class Verified:
    """What `verify` found, and made.

    Parts are named by their (start, stop).

    Parameters
    ----------
    job : Job
        What all parts have in common, such as its `seed` and its number of `rows`.
    faults : Faults
        What was wrong.
    left : Faults
        What is still wrong after repair.
    processors : dict of str to int
        Number of parts made on each kind of processor. Values have the same bits on one kind only.
    manifest : Manifest or None
        The records of all parts, and the checksum of all `values`; None unless every part is whole.
    restored : tuple of (int, int)
        Parts that were made again, with the values that were recorded before.
    changed : tuple of (int, int)
        Parts that were made again, with other values.
    made : tuple of (int, int)
        Parts that were made, and had no record before.

    See Also
    --------
    verify : Makes it.

    Examples
    --------
    >>> import tempfile
    >>> import numpy as np
    >>> from backwalk import Diffusion
    >>> from backwalk.pieces import sample_parts, verify
    >>> X = np.random.default_rng(0).normal(size=(200, 2))
    >>> with tempfile.TemporaryDirectory() as place:
    ...     Diffusion(max_steps=20, random_state=0, verbose=False).fit(X).save(f"{place}/model")
    ...     _ = sample_parts(f"{place}/model", f"{place}/rows", 3000, part_rows=2048, rows=(0, 2048))
    ...     found = verify(f"{place}/rows")
    >>> found.faults.parts, found.manifest is None
    ({(2048, 3000): 'missing'}, True)
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
    workers : int, default=1
        See `Making`.
    engine : {"local", "ray"}, default="local"
        See `Making`.
    address : str, default=None
        See `Making`.
    watch : callable, default=None
        Called with "verifying" or "repairing", the share of the rows for which this is done, and words.

    Returns
    -------
    Verified
        The faults, and what was made.

    Raises
    ------
    InvalidInput
        An argument cannot be used, or workers keep ending.
    ModelFileError
        A part is to be made, and the model is missing or has changed.
    TableFileError
        The folder has no job or cannot be written, or the data have changed.

    See Also
    --------
    sample_parts : Makes parts, and continues what was interrupted.

    Examples
    --------
    >>> import tempfile
    >>> import numpy as np
    >>> from backwalk import Diffusion
    >>> from backwalk.pieces import PartsFolder, sample_parts, verify
    >>> X = np.random.default_rng(0).normal(size=(200, 2))
    >>> with tempfile.TemporaryDirectory() as place:
    ...     Diffusion(max_steps=20, random_state=0, verbose=False).fit(X).save(f"{place}/model")
    ...     _ = sample_parts(f"{place}/model", f"{place}/rows", 3000, seed=1, part_rows=2048)
    ...     PartsFolder(f"{place}/rows").path_of(0, 2048).unlink()
    ...     found = verify(f"{place}/rows", repair=True)
    >>> found.faults.parts, found.restored, bool(found.left)
    ({(0, 2048): 'missing'}, ((0, 2048),), False)
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
