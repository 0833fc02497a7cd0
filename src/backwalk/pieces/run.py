"""`run_piece`: make one part of a job, unless it is there and whole."""

from __future__ import annotations

import platform
import re
from functools import lru_cache
from itertools import chain
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet
import torch

import backwalk
from backwalk.errors import InvalidInput, ModelFileError, TableFileError
from backwalk.estimator import Diffusion
from backwalk.files import atomic_write, remove_temporaries
from backwalk.formatting import one_line
from backwalk.model import DiffusionModel, UnseenCells
from backwalk.model_file import fingerprint
from backwalk.pieces.digests import add_checksums, file_sha256, table_checksum
from backwalk.pieces.folder import Job, Part, PartsFolder
from backwalk.pieces.work import Tables

_GROUP_CELLS = 2**22  # of a row group: memory holds about one


def run_piece(folder: str | Path, start: int, stop: int) -> Part:
    """Make one part of an output in parts, and return its record.

    A part that is there and whole is not made again. Another process that makes the same part is waited for. A process
    may be killed at any time. Rows have the same bits in any process on the same kind of processor.

    Parameters
    ----------
    folder : str or Path
        The folder of the output, in which a job was begun.
    start : int
        The number of the part's first row.
    stop : int
        The number after its last one.

    Returns
    -------
    Part
        The record of the part: `start` and `stop`, the `rows`, `bytes` and `sha256` of its file, the checksum of its
        `values`, the kind of `processor`, and `versions`.

    Raises
    ------
    InvalidInput
        If there is no such part.
    ModelFileError
        If the model is missing or has changed since the job was begun.
    TableFileError
        If the folder is no folder of parts or cannot be written.

    See Also
    --------
    PartsFolder : The folder, with its job.

    Examples
    --------
    >>> import tempfile
    >>> import numpy as np
    >>> from backwalk import Diffusion
    >>> from backwalk.pieces import PartsFolder, run_piece, sample_parts
    >>> X = np.random.default_rng(0).normal(size=(200, 2))
    >>> with tempfile.TemporaryDirectory() as place:
    ...     Diffusion(max_steps=20, random_state=0, verbose=False).fit(X).save(f"{place}/model")
    ...     _ = sample_parts(f"{place}/model", f"{place}/rows", 3000, seed=1, part_rows=2048, rows=(0, 1))
    ...     ranges = PartsFolder(f"{place}/rows").job().ranges()
    ...     [run_piece(f"{place}/rows", start, stop).rows for start, stop in ranges]
    [2048, 952]
    """
    place = PartsFolder(folder)
    job = place.job()
    if start < 0 or job.ranges(start, start + 1) != [(start, stop)]:
        raise InvalidInput(
            f"Rows {start:,} to {stop:,} should be a part of the job, whose parts have {job.part_rows:,} of its "
            f"{job.rows:,} rows: begin at a multiple of that."
        )
    with place.locked(start, stop):
        part = place.part(start, stop)
        if part is not None and part.job == job.id and place.is_whole(part):
            return part
        model, path = _load_unchanged(job), place.path_of(start, stop)
        remove_temporaries(path)
        cells = UnseenCells()
        n_rows, values = _write(path, job.work.tables(model, job.data, job.seed, start, stop, cells))
        part = Part(
            job=job.id,
            start=start,
            stop=stop,
            rows=n_rows,
            bytes=path.stat().st_size,
            sha256=file_sha256(path),
            values=values,
            processor=processor_kind(model.denoiser.device),
            versions=versions(),
            unseen=tuple((*which, n) for which, n in sorted(cells.items())),
        )
        place.enter(part)
        return part


def processor_kind(device: torch.device) -> str:
    """Return the kind of a device: of a GPU its name, of a CPU its name and the instructions in use.

    The same kind gives the same bits.
    """
    if device.type == "cuda":
        return f"CUDA, {torch.cuda.get_device_name(device)}"
    if device.type != "cpu":
        return device.type
    return ", ".join(filter(None, (platform.machine(), _cpu_name(), torch.backends.cpu.get_cpu_capability())))


def _cpu_name() -> str:
    try:
        facts = Path("/proc/cpuinfo").read_text(errors="replace")
    except OSError:
        return platform.processor()
    name = re.search(r"^model name\s*:\s*(.*\S)", facts, re.MULTILINE)
    return name[1] if name else platform.processor()


def versions() -> dict[str, str]:
    """Return the versions of what decides the bits of a part."""
    return {"backwalk": backwalk.__version__, "torch": str(torch.__version__)}


def _load_unchanged(job: Job) -> DiffusionModel:
    """Load the model of a job. Raises ModelFileError if it is not the one with which the job was begun."""
    if fingerprint(job.model) != job.model_sha256:
        raise ModelFileError(
            f"{job.model} should be the model with which the job was begun, but has changed: put it back, or begin "
            "another folder."
        )
    return _load(job.model, job.model_sha256, job.device)


@lru_cache(maxsize=1)
def _load(path: str, _sha256: str, device: str) -> DiffusionModel:
    return Diffusion.load(path, device=device).model_


def _write(path: Path, tables: Tables) -> tuple[int, str]:
    """Write tables of rows to a Parquet file, and return the number of rows and the checksum of their values."""
    checksums, n_rows, waiting, n_cells = list[str](), 0, list[pa.Table](), 0
    begin = next(tables)  # so that errors of the work come before a file is opened
    try:
        with (
            atomic_write(path, overwrite=True) as file,
            pyarrow.parquet.ParquetWriter(file, begin[1].schema) as writer,
        ):
            for first, rows in chain([begin], tables):
                checksums.append(table_checksum(rows, first))
                n_rows += rows.num_rows
                n_cells += rows.num_rows * rows.num_columns
                waiting.append(rows)
                if n_cells >= _GROUP_CELLS:
                    _write_group(writer, waiting)
                    waiting, n_cells = [], 0
            if waiting:
                _write_group(writer, waiting)
    except OSError as error:
        raise TableFileError(f"{path} cannot be written: {one_line(error)}.") from error
    return n_rows, add_checksums(checksums)


def _write_group(writer: pyarrow.parquet.ParquetWriter, tables: list[pa.Table]) -> None:
    group = pa.concat_tables(tables)
    writer.write_table(group, row_group_size=max(group.num_rows, 1))
