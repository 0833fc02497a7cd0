"""`run_piece`: make one part of a job, unless it is there and whole."""

from __future__ import annotations

import platform
from collections.abc import Iterable, Iterator
from functools import lru_cache
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet
import torch

import backwalk
from backwalk.errors import InvalidInput, ModelFileError, TableFileError
from backwalk.estimator import Diffusion
from backwalk.files import atomic_write, remove_temporaries
from backwalk.formatting import one_line
from backwalk.model import DiffusionModel
from backwalk.model_file import fingerprint
from backwalk.pieces.digests import add_checksums, file_sha256, table_checksum
from backwalk.pieces.folder import Part, PartsFolder
from backwalk.pieces.job import Source
from backwalk.pieces.rows import rows_of

_GROUP_CELLS = 2**22  # of a row group: memory holds about one
_PROCESSOR_FACTS = {
    "vendor_id": "",
    "cpu family": "family ",
    "model": "model ",
    "CPU implementer": "implementer ",
    "CPU part": "part ",
}


def run_piece(folder: str | Path, start: int, stop: int) -> Part:
    """Make rows start..stop-1 of the job in a folder, one part, and return its record.

    A part that is there and whole is not made again. Another process that makes the same part is waited for. The part's
    file appears whole, and then its record, so that a process may be killed at any time. Rows have the same bits in any
    process on the same kind of processor.

    Raises InvalidInput if there is no such part, ModelFileError if the model is missing or has changed since the job
    was begun, TableFileError if the folder is no folder of parts or cannot be written, and the errors of the work.
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
        model = _load_unchanged(job.model, job.device)
        path = place.path_of(start, stop)
        remove_temporaries(path)
        n_rows, values = _write(path, rows_of(job, model, start, stop))
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
        )
        place.enter(part)
        return part


def processor_kind(device: torch.device) -> str:
    """Return the kind of a device: of a GPU its name, of a CPU its maker, its model and the instructions in use.

    The same kind gives the same bits.
    """
    if device.type == "cuda":
        return f"CUDA, {torch.cuda.get_device_name(device)}"
    if device.type != "cpu":
        return device.type
    model = _processor_model() or platform.processor()
    return ", ".join(filter(None, (platform.machine(), model, torch.backends.cpu.get_cpu_capability())))


def versions() -> dict[str, str]:
    """Return the versions of what decides the bits of a part."""
    return {"backwalk": backwalk.__version__, "torch": str(torch.__version__)}


def _processor_model() -> str:
    """Return the facts that Linux has about the first processor."""
    try:
        lines = Path("/proc/cpuinfo").read_text(errors="replace").partition("\n\n")[0].splitlines()
    except OSError:
        return ""
    facts = {key.strip(): value.strip() for key, _, value in (line.partition(":") for line in lines)}
    return " ".join(f"{word}{facts[key]}" for key, word in _PROCESSOR_FACTS.items() if key in facts)


def _load_unchanged(source: Source, device: str) -> DiffusionModel:
    """Load the model of a job. Raises ModelFileError if it is not the one with which the job was begun."""
    if fingerprint(source.path) != source.sha256:
        raise ModelFileError(
            f"{source.path} should be the model with which the job was begun, but has changed: put it back, or begin "
            "another folder."
        )
    return _load(source.path, source.sha256, device)


@lru_cache(maxsize=1)
def _load(path: str, _sha256: str, device: str) -> DiffusionModel:
    return Diffusion.load(path, device=device).model_


def _write(path: Path, tables: Iterable[tuple[int, pa.Table]]) -> tuple[int, str]:
    """Write tables of rows to a Parquet file, and return the number of rows and the checksum of their values."""
    checksums, n_rows = list[str](), 0

    def checked() -> Iterator[pa.Table]:
        nonlocal n_rows
        for first, rows in tables:
            checksums.append(table_checksum(rows, first))
            n_rows += rows.num_rows
            yield rows

    groups = _row_groups(checked())
    group = next(groups)  # so that errors of the work come before a file is opened
    try:
        with (
            atomic_write(path, overwrite=True) as file,
            pyarrow.parquet.ParquetWriter(file, group.schema) as writer,
        ):
            while group is not None:
                writer.write_table(group, row_group_size=max(group.num_rows, 1))
                group = next(groups, None)
    except OSError as error:
        raise TableFileError(f"{path} cannot be written: {one_line(error)}.") from error
    return n_rows, add_checksums(checksums)


def _row_groups(tables: Iterable[pa.Table]) -> Iterator[pa.Table]:
    """Join tables to tables of about as many cells as a row group has."""
    waiting, n_cells = list[pa.Table](), 0
    for rows in tables:
        waiting.append(rows)
        n_cells += rows.num_rows * rows.num_columns
        if n_cells >= _GROUP_CELLS:
            yield pa.concat_tables(waiting)
            waiting, n_cells = [], 0
    if waiting:
        yield pa.concat_tables(waiting)
