"""The folder of an output in parts: whole Parquet files, and beside them what is known about these.

    rows/part-000000000000-000001048576.parquet             rows 0 to 1,048,575
    rows/_backwalk/job.json                                 the job, written once
    rows/_backwalk/part-000000000000-000001048576.json      the part's entry
    rows/_backwalk/manifest.json                            all entries, once every part is there

Readers of a folder of Parquet files (pyarrow, pandas, Dask, Spark) ignore names that begin with an underscore or a dot,
so that they read such a folder as one table. Every file is replaced atomically.
"""

from __future__ import annotations

import json
import re
import time
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path
from typing import Annotated, Literal, TypeVar

from pydantic import Field, ValidationError

from backwalk.errors import InvalidInput, TableFileError
from backwalk.files import atomic_write, check_folder_writable, file_lock
from backwalk.formatting import listed, one_line
from backwalk.pieces.digests import added, file_sha256
from backwalk.pieces.job import Job, Record, differences

_INSIDE = "_backwalk"
_PART = re.compile(r"part-(\d{12})-(\d{12})\.(parquet|json)")
_SECONDS_BETWEEN_LOOKS = 0.2  # at a part that another process makes
_RECORD_BYTES = 2**26

_Hash = Annotated[str, Field(pattern=r"^[0-9a-f]{64}$")]
_Checked = TypeVar("_Checked", bound=Record)


class Entry(Record):
    """What is known about one part: the rows of the job that it holds, and how it came about.

    `start` and `stop` are numbers of rows of the job; `rows` is the number of rows of the file, of `bytes` bytes.
    `values` is the checksum of the values (`digests.py`), `processor` the kind of processor that computed them.
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

    @property
    def name(self) -> str:
        """The name of the part's file."""
        return f"{_stem(self.start, self.stop)}.parquet"


class Manifest(Record):
    """All parts of a job in order, written when every part is there. `values` is the checksum of all values."""

    format: Literal["backwalk-manifest"] = "backwalk-manifest"
    version: Literal[1] = 1
    job: _Hash
    rows: int
    values: _Hash
    parts: tuple[Entry, ...]


class PartsFolder:
    """A folder of parts; it need not exist yet."""

    def __init__(self, path: str | Path) -> None:
        self.path = Path(path)
        self._inside = self.path / _INSIDE

    def begin(self, job: Job, free: Sequence[str] = ()) -> Job:
        """Write the job into the folder, made if it is missing, or return the one that is there if it is the same.

        It may differ in what is `free`, such as the seed: names of what the caller leaves to the folder. Raises
        TableFileError if the folder holds another job or other files, or cannot be written.
        """
        with self._errors():
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
        found = self.job()
        other = [name for name in differences(job, found) if name not in free]
        if other:
            raise TableFileError(
                f"{self.path} holds the parts of another job, which differs in {listed(other)}: choose another folder, "
                "or begin anew (overwrite=True, --force)."
            )
        return found

    def clear(self) -> None:
        """Remove the parts and all that is known about them; other files stay. Raises TableFileError."""
        with self._errors():
            self._unlink("job.json")
            self._unlink("manifest.json")
            for folder in (self._inside, self.path):
                for path in list(folder.glob("part-*")):
                    if _PART.fullmatch(path.name):
                        path.unlink(missing_ok=True)

    def job(self) -> Job:
        """Return the job of the folder. Raises TableFileError if there is none."""
        if not (self._inside / "job.json").exists():
            raise TableFileError(
                f"{self.path} should be a folder of parts, but has no {_INSIDE}/job.json: give the folder that "
                "`backwalk sample`, `score` or `impute` wrote."
            )
        return self._read("job.json", Job)

    def has_job(self) -> bool:
        """Return whether a job was begun in the folder."""
        return (self._inside / "job.json").exists()

    def entry(self, start: int, stop: int) -> Entry | None:
        """Return the entry of a part, or None if there is none, or no sound one."""
        with suppress(TableFileError):
            found = self._read(f"{_stem(start, stop)}.json", Entry)
            if (found.start, found.stop) == (start, stop):
                return found
        return None

    def part(self, start: int, stop: int) -> Path:
        """Return the path of a part's file."""
        return self.path / f"{_stem(start, stop)}.parquet"

    def is_whole(self, entry: Entry) -> bool:
        """Return whether the file of an entry is there, and has the bytes that it was written with."""
        path = self.path / entry.name
        try:
            return path.stat().st_size == entry.bytes and file_sha256(path) == entry.sha256
        except OSError:
            return False

    def enter(self, entry: Entry) -> None:
        """Write the entry of a part that was written. Raises TableFileError."""
        with self._errors():
            self._write(f"{_stem(entry.start, entry.stop)}.json", entry)

    def entries(self, job: Job) -> Iterator[Entry | None]:
        """Yield the entry of every part of the job in order, None where there is none of this job."""
        for piece in job.pieces():
            entry = self.entry(*piece)
            yield entry if entry is not None and entry.job == job.id else None

    def gather(self, job: Job) -> Manifest | None:
        """Return the manifest if every part has its entry, written unless it is there; otherwise return None."""
        entries = [entry for entry in self.entries(job) if entry is not None]
        if len(entries) < len(job.pieces()):
            return None
        values = added(entry.values for entry in entries)
        manifest = Manifest(job=job.id, rows=sum(entry.rows for entry in entries), values=values, parts=tuple(entries))
        with suppress(TableFileError):
            if self._read("manifest.json", Manifest) == manifest:
                return manifest
        with self._errors():
            self._write("manifest.json", manifest)
        return manifest

    def strays(self, job: Job) -> list[str]:
        """Return the names of files like parts that are no parts of the job: readers would take their rows too."""
        own = {f"{_stem(*piece)}.parquet" for piece in job.pieces()}
        names = (path.name for path in self.path.glob("part-*.parquet") if _PART.fullmatch(path.name))
        return sorted(name for name in names if name not in own)

    def remove_stray(self, name: str) -> None:
        """Remove a file that `strays` named. Raises TableFileError."""
        with self._errors():
            (self.path / name).unlink(missing_ok=True)

    def others(self) -> list[str]:
        """Return the names of files and folders that readers would take for parts, but that belong to no job."""
        if not self.path.exists():
            return []
        has_job = self.has_job()  # first, as another process may begin the job, and then write parts
        names = [path.name for path in self.path.iterdir() if not path.name.startswith(("_", "."))]
        return sorted(name for name in names if not (has_job and name.endswith(".parquet") and _PART.fullmatch(name)))

    @contextmanager
    def held(self, start: int, stop: int) -> Iterator[None]:
        """Lock a part for this process; wait while another process makes it."""
        with ExitStack() as stack, self._errors():
            while True:
                try:
                    stack.enter_context(file_lock(self._inside / _stem(start, stop)))
                    break
                except BlockingIOError:
                    time.sleep(_SECONDS_BETWEEN_LOOKS)
            yield

    @contextmanager
    def _errors(self) -> Iterator[None]:
        try:
            yield
        except OSError as error:
            raise TableFileError(f"{self.path} cannot be written: {one_line(error)}.") from error

    def _write(self, name: str, record: Record, *, overwrite: bool = True) -> None:
        text = json.dumps(record.model_dump(mode="json"), indent=1, allow_nan=False)
        with atomic_write(self._inside / name, overwrite=overwrite) as file:
            file.write(text.encode())

    def _unlink(self, name: str) -> None:
        (self._inside / name).unlink(missing_ok=True)

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


def check_piece(job: Job, start: int, stop: int) -> None:
    """Raise InvalidInput unless (start, stop) is a part of a job."""
    if not job.has_piece(start, stop):
        raise InvalidInput(
            f"Rows {start:,} to {stop:,} should be a part of the job, whose parts have {job.part_rows:,} of its "
            f"{job.rows:,} rows: begin at a multiple of that."
        )


def _stem(start: int, stop: int) -> str:
    return f"part-{start:012d}-{stop:012d}"
