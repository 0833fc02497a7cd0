"""The folder of an output in parts: its job, whole Parquet files, and a record of each.

    rows/part-000000000000-000001048576.parquet             rows 0 to 1,048,575
    rows/_backwalk/job.json                                 the job, written once
    rows/_backwalk/part-000000000000-000001048576.json      the record of the part
    rows/_backwalk/manifest.json                            all records, once every part is there

Readers of a folder of Parquet files (pyarrow, pandas, Dask, Spark) ignore names that begin with an underscore or a dot,
so that they read such a folder as one table. Every file is replaced atomically.
"""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Annotated, Any, Final, Literal, TypeVar

from pydantic import Field, ValidationError

from backwalk.errors import TableFileError
from backwalk.files import atomic_write, check_folder_writable, file_lock
from backwalk.formatting import listed, one_line
from backwalk.pieces.digests import add_checksums, file_sha256
from backwalk.pieces.work import Record, Work
from backwalk.sampling import TILE_ROWS
from backwalk.table import FileOfRows

LARGEST_ROW: Final = 10**12 - 1  # names of parts have 12 digits, so that they sort

_INSIDE = "_backwalk"
_PART = re.compile(r"part-(\d{12})-(\d{12})\.(parquet|json)")
_RECORD_BYTES = 2**26

_Hash = Annotated[str, Field(pattern=r"^[0-9a-f]{64}$")]
_Checked = TypeVar("_Checked", bound=Record)


class Job(Record):
    """What all parts of an output have in common, so that any process on any host can make any of them.

    `rows` is the number of rows of the whole output, which of `data`, the files that are scored, filled, or hold given
    values, are all. Each part but the last has `part_rows`, a multiple of the rows that are computed together: a row
    then has the same bits in parts of any size. `model_sha256` is that of the model's file.
    """

    format: Literal["backwalk-job"] = "backwalk-job"
    version: Literal[2] = 2
    model: str
    model_sha256: _Hash
    work: Annotated[Work, Field(discriminator="kind")]
    data: tuple[FileOfRows, ...] = ()
    seed: Annotated[int, Field(ge=0)]
    rows: Annotated[int, Field(ge=1, le=LARGEST_ROW)]
    part_rows: Annotated[int, Field(multiple_of=TILE_ROWS, ge=TILE_ROWS)]
    device: str = "auto"

    @property
    def id(self) -> str:
        """The SHA-256 of all that decides the values."""
        return hashlib.sha256(json.dumps(self._deciding(), sort_keys=True).encode()).hexdigest()

    def ranges(self, start: int = 0, stop: int | None = None) -> list[tuple[int, int]]:
        """Return the (start, stop) of all parts that begin at rows start..stop-1, by default of all parts."""
        first = -(-start // self.part_rows) * self.part_rows
        last = self.rows if stop is None else min(stop, self.rows)
        return [(begin, min(begin + self.part_rows, self.rows)) for begin in range(first, last, self.part_rows)]

    def differences(self, other: Job) -> list[str]:
        """Return the names of what differs between two jobs and decides values, such as "seed" or "work.sampler"."""
        ours, theirs = self._deciding(), other._deciding()
        return [name for name in {**ours, **theirs} if ours.get(name) != theirs.get(name)]

    def _deciding(self) -> dict[str, Any]:
        """Return what decides the values by name: not where and when files were found, nor the device."""
        where: Any = {"model": True, "device": True, "data": {"__all__": {"path", "modified"}}}
        deciding = self.model_dump(mode="json", exclude=where)
        return {**{f"work.{name}": value for name, value in deciding.pop("work").items()}, **deciding}


class Part(Record):
    """The record of one part: the rows of the job that it holds, and how it was made.

    `start` and `stop` are numbers of rows of the job; `rows` is the number of rows of the file, of `bytes` bytes.
    `values` is the checksum of the values (`digests.py`), `processor` the kind of processor that computed them.
    `unseen` counts the cells with values that the fit did not see, by what becomes of them and by column.
    """

    job: _Hash
    start: int
    stop: int
    rows: int
    bytes: int
    sha256: _Hash
    values: _Hash
    processor: str
    versions: dict[str, str]
    unseen: tuple[tuple[str, str, int], ...] = ()


class Manifest(Record):
    """All parts of a job in order, written when every part is there. `values` is the checksum of all values."""

    format: Literal["backwalk-manifest"] = "backwalk-manifest"
    version: Literal[1] = 1
    job: _Hash
    rows: int
    values: _Hash
    parts: tuple[Part, ...]


class PartsFolder:
    """A folder of an output in parts: its job, the records of its parts, and the manifest of all.

    It need not exist yet.

    Parameters
    ----------
    path : str or Path
        The folder.

    See Also
    --------
    run_piece : Makes one part.

    Examples
    --------
    >>> from backwalk.pieces import PartsFolder
    >>> PartsFolder("nowhere").has_job()
    False
    """

    def __init__(self, path: str | Path) -> None:
        self.path: Path = Path(path)
        self._inside = self.path / _INSIDE

    def begin(self, job: Job, free: Sequence[str] = ()) -> Job:
        """Write the job into the folder, or return the one that is there if it is the same.

        The folder is made if it is missing.

        Parameters
        ----------
        job : Job
            The job.
        free : sequence of str, default=()
            Settings in which the jobs may differ, such as the seed, which the caller leaves to the folder.

        Returns
        -------
        Job
            The job of the folder.

        Raises
        ------
        TableFileError
            If the folder holds another job or other files, or cannot be written.
        """
        with self.errors_named():
            check_folder_writable(self._inside)
            others = self.others()
            if others:
                raise TableFileError(
                    f"{self.path} should be empty or hold the parts of one job, but holds {listed(others)}: choose "
                    "another folder."
                )
            self._inside.mkdir(parents=True, exist_ok=True)
            with suppress(FileExistsError):
                self._write("job.json", job, overwrite=False)
        begun = self.job()
        differing = [name for name in job.differences(begun) if name not in free]
        if differing:
            raise TableFileError(
                f"{self.path} holds the parts of another job, which differs in {listed(differing)}: choose another "
                "folder, or begin anew (overwrite=True, --force)."
            )
        return begun

    def clear(self) -> None:
        """Remove the parts and all that is known about them. Other files stay.

        Raises
        ------
        TableFileError
            If the folder cannot be written.
        """
        with self.errors_named():
            for name in ("job.json", "manifest.json"):
                (self._inside / name).unlink(missing_ok=True)
            for path in [*self._inside.glob("part-*"), *self.path.glob("part-*")]:
                if _PART.fullmatch(path.name):
                    path.unlink(missing_ok=True)

    def has_job(self) -> bool:
        """Return whether a job was begun in the folder.

        Returns
        -------
        bool
            Whether there is a job.
        """
        return (self._inside / "job.json").exists()

    def job(self) -> Job:
        """Return the job of the folder.

        Returns
        -------
        Job
            The job, whose `ranges()` are the (start, stop) of its parts.

        Raises
        ------
        TableFileError
            If there is none.
        """
        if not self.has_job():
            raise TableFileError(
                f"{self.path} should be a folder of parts, but has no {_INSIDE}/job.json: give the folder that "
                "`backwalk sample`, `score` or `impute` wrote."
            )
        return self._read("job.json", Job)

    def path_of(self, start: int, stop: int) -> Path:
        """Return the path of a part's file.

        Parameters
        ----------
        start : int
            The number of the part's first row.
        stop : int
            The number after its last one.

        Returns
        -------
        Path
            The path.
        """
        return self.path / f"{_stem(start, stop)}.parquet"

    def part(self, start: int, stop: int) -> Part | None:
        """Return the record of a part.

        Parameters
        ----------
        start : int
            The number of the part's first row.
        stop : int
            The number after its last one.

        Returns
        -------
        Part or None
            The record; None if there is none, or no sound one.
        """
        with suppress(TableFileError):
            part = self._read(f"{_stem(start, stop)}.json", Part)
            if (part.start, part.stop) == (start, stop):
                return part
        return None

    def parts(self, job: Job) -> Iterator[Part]:
        """Yield the record of each part of a job that has one, in order.

        Parameters
        ----------
        job : Job
            The job.

        Yields
        ------
        Part
            The records.
        """
        for start, stop in job.ranges():
            part = self.part(start, stop)
            if part is not None and part.job == job.id:
                yield part

    def is_whole(self, part: Part) -> bool:
        """Return whether the file of a part is there, with the bytes that it was written with.

        Parameters
        ----------
        part : Part
            The record of the part.

        Returns
        -------
        bool
            Whether it is whole.
        """
        path = self.path_of(part.start, part.stop)
        try:
            return path.is_file() and path.stat().st_size == part.bytes and file_sha256(path) == part.sha256
        except OSError:
            return False

    def enter(self, part: Part) -> None:
        """Write the record of a part whose file was written.

        Parameters
        ----------
        part : Part
            The record.

        Raises
        ------
        TableFileError
            If it cannot be written.
        """
        with self.errors_named():
            self._write(f"{_stem(part.start, part.stop)}.json", part)

    def gather(self, job: Job) -> Manifest | None:
        """Write the manifest if each part has its record.

        Parameters
        ----------
        job : Job
            The job.

        Returns
        -------
        Manifest or None
            The manifest; None if a part is missing.
        """
        parts = tuple(self.parts(job))
        if len(parts) < len(job.ranges()):
            return None
        values = add_checksums(part.values for part in parts)
        manifest = Manifest(job=job.id, rows=sum(part.rows for part in parts), values=values, parts=parts)
        with self.errors_named():
            self._write("manifest.json", manifest)
        return manifest

    def strays(self, job: Job) -> list[str]:
        """Return the names of files like parts that are no parts of a job.

        Readers of the folder would take their rows too.

        Parameters
        ----------
        job : Job
            The job.

        Returns
        -------
        list of str
            The names.
        """
        names = {self.path_of(*rows).name for rows in job.ranges()}
        paths = (path for path in self.path.glob("part-*.parquet") if _PART.fullmatch(path.name) and path.is_file())
        return sorted(path.name for path in paths if path.name not in names)

    def others(self) -> list[str]:
        """Return the names of files, folders and links that readers would take for parts, but that are none.

        Returns
        -------
        list of str
            The names.
        """
        if not self.path.exists():
            return []
        has_job = self.has_job()  # first, as another process may begin the job, and then write parts
        paths = [path for path in self.path.iterdir() if not path.name.startswith(("_", "."))]
        return sorted(path.name for path in paths if not (has_job and _may_be_part(path)))

    @contextmanager
    def locked(self, start: int, stop: int) -> Iterator[None]:
        """Lock a part for this process; wait while another process makes it.

        Parameters
        ----------
        start : int
            The number of the part's first row.
        stop : int
            The number after its last one.

        Yields
        ------
        None
            Within the lock.
        """
        with self.errors_named(), file_lock(self._inside / _stem(start, stop), wait=True):
            yield

    @contextmanager
    def errors_named(self) -> Iterator[None]:
        """Turn OSErrors into TableFileErrors that name the folder.

        Yields
        ------
        None
            Within the conversion.
        """
        try:
            yield
        except OSError as error:
            raise TableFileError(f"{self.path} cannot be written: {one_line(error)}.") from error

    def _write(self, name: str, record: Record, *, overwrite: bool = True) -> None:
        text = json.dumps(record.model_dump(mode="json"), indent=1, allow_nan=False)
        with atomic_write(self._inside / name, overwrite=overwrite) as file:
            file.write(text.encode())

    def _read(self, name: str, record: type[_Checked]) -> _Checked:
        path = self._inside / name
        try:
            with path.open("rb") as file:
                return record.model_validate_json(file.read(_RECORD_BYTES))
        except OSError as error:
            raise TableFileError(f"{path} cannot be read: {one_line(error)}.") from error
        except (ValidationError, ValueError) as error:
            raise TableFileError(
                f"{path} is damaged, or from another version of backwalk: {one_line(error)}. Restore it, or make the "
                "parts in another folder."
            ) from error


def _may_be_part(path: Path) -> bool:
    """Return whether a path has the name of a part and is a file, or was one that has gone meanwhile."""
    is_named = path.suffix == ".parquet" and _PART.fullmatch(path.name) is not None
    return is_named and (path.is_file() or (not path.is_symlink() and not path.exists()))


def _stem(start: int, stop: int) -> str:
    return f"part-{start:012d}-{stop:012d}"
