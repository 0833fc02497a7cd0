"""Begin an output in parts, or go on with one."""

from __future__ import annotations

import secrets
from collections.abc import Callable
from pathlib import Path
from typing import Any, TypedDict

from backwalk.errors import InvalidInput
from backwalk.estimator import Diffusion
from backwalk.limits import is_whole
from backwalk.model import DiffusionModel
from backwalk.model_file import fingerprint
from backwalk.pieces.folder import Entry, PartsFolder
from backwalk.pieces.job import (
    LARGEST_ROW,
    PART_ROWS,
    Imputing,
    Job,
    Sampling,
    Scoring,
    Source,
    check_part_rows,
    rows_together,
)
from backwalk.pieces.make import Parts, Rows, checked_engine, make_parts
from backwalk.pieces.run import rows_of
from backwalk.table import FileOfRows, files_of_rows, table_files


def _ignore(_: object) -> None:
    pass


class Making(TypedDict, total=False):
    """How an output in parts is made; all may be left out.

    - `part_rows`: rows of a part; 1,048,576 for a new output. A multiple of 2,048 for samples, of 65,536 for others.
    - `rows`, `workers`, `engine`, `address`, `on_done`: see `make_parts`.
    - `device`: "auto", "cpu" or "cuda".
    - `overwrite`: whether to remove the parts of the job that the folder holds, and begin anew.
    - `on_begin`: called with the job before the first part is made.
    - `on_look`: called with numbers of rows of text files that were counted, before the job begins.
    """

    part_rows: int | None
    rows: Rows
    workers: int
    engine: str
    address: str | None
    device: str
    overwrite: bool
    on_begin: Callable[[Job], object]
    on_done: Callable[[Entry], object]
    on_look: Callable[[int], object]


class Output:
    """An output that is begun or continued."""

    def __init__(self, model: str | Path, folder: str | Path, kind: str, making: Making) -> None:
        self._making, self._path, self._place = making, Path(model).absolute(), PartsFolder(folder)
        self._engine: dict[str, Any] = {
            "rows": making.get("rows", (0, None)),
            "workers": making.get("workers", 1),
            "engine": making.get("engine", "local"),
            "address": making.get("address"),
        }
        checked_engine(**self._engine)
        part_rows = making.get("part_rows")
        if part_rows is not None:
            check_part_rows(part_rows, rows_together(kind))
        self._sha256 = fingerprint(self._path)
        self.model: DiffusionModel = Diffusion.load(self._path, device=making.get("device", "auto")).model_
        self._begins_anew = making.get("overwrite", False)
        self._found = self._place.job() if self._place.has_job() and not self._begins_anew else None

    @property
    def _part_rows(self) -> int:
        return self._making.get("part_rows") or (self._found.part_rows if self._found else PART_ROWS)

    def rows_so_far(self) -> int | None:
        """Return the number of rows of the output that is continued."""
        return self._found.rows if self._found else None

    def files(self, data: str | Path) -> tuple[FileOfRows, ...]:
        """Return the files of a table; those of the job that is continued are not looked at again, unless modified."""
        there, found = table_files(data), self._found
        if found and found.part_rows == self._part_rows:
            looked = [(Path(file.path), file.bytes, file.modified) for file in found.data]
            if looked == [(file.path.absolute(), file.n_bytes, file.modified) for file in there]:
                return found.data
        return files_of_rows([file.path for file in there], self._part_rows, self._making.get("on_look", _ignore))

    def make(
        self, work: Sampling | Scoring | Imputing, n: int | None, data: tuple[FileOfRows, ...], seed: int | None
    ) -> Parts:
        """Begin or continue the job of some work, and make the parts that are asked for."""
        if not is_whole(n) or not 1 <= n <= LARGEST_ROW:
            raise InvalidInput(
                f"The number of rows should be an integer >= 1 and below 10^12, but got {n!r}: say how many."
            )
        job = Job(
            model=Source(path=str(self._path), sha256=self._sha256),
            work=work,
            data=data,
            seed=secrets.randbits(32) if seed is None else seed,
            rows=n,
            part_rows=self._part_rows,
            columns=self.model.schema.names,
            device=self._making.get("device", "auto"),
        )
        if self._found is None:
            next(iter(rows_of(job, self.model, 0, 1)))  # so that errors come before a folder is made, or cleared
        if self._begins_anew:
            self._place.clear()
        free = ["seed"] * (seed is None) + ["part_rows"] * (self._making.get("part_rows") is None)
        begun = self._place.begin(job, free)
        self._making.get("on_begin", _ignore)(begun)
        return make_parts(self._place.path, **self._engine, on_done=self._making.get("on_done", _ignore))
