"""`run_piece`: make one part of a job, unless it is there and whole."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from functools import lru_cache
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet

from backwalk.errors import ModelFileError, TableFileError
from backwalk.estimator import Diffusion
from backwalk.files import atomic_write
from backwalk.formatting import one_line
from backwalk.model import DiffusionModel
from backwalk.model_file import fingerprint
from backwalk.pieces.digests import added, file_sha256, table_checksum
from backwalk.pieces.folder import Entry, PartsFolder, check_piece
from backwalk.pieces.imputed import imputed_blocks
from backwalk.pieces.job import Job, Sampling, Scoring, Source
from backwalk.pieces.processor import processor_kind, versions
from backwalk.pieces.sampled import sampled_tiles
from backwalk.pieces.scored import scored_blocks

_GROUP_CELLS = 2**22  # of a row group: memory holds about one


def run_piece(folder: str | Path, start: int, stop: int) -> Entry:
    """Make rows start..stop-1 of the job in a folder, one part, and return its entry.

    A part that is there and whole is not made again. Another process that makes the same part is waited for. The part's
    file appears whole, and then its entry, so that a process may be killed at any time. Rows have the same bits in any
    process on the same kind of processor.

    Raises InvalidInput if there is no such part, ModelFileError if the model is missing or has changed since the job
    was begun, TableFileError if the folder is no folder of parts or cannot be written, and the errors of the work.
    """
    place = PartsFolder(folder)
    job = place.job()
    check_piece(job, start, stop)
    with place.held(start, stop):
        found = place.entry(start, stop)
        if found is not None and found.job == job.id and place.is_whole(found):
            return found
        model = load_unchanged(job.model, job.device)
        path = place.part(start, stop)
        rows, values = _write(path, rows_of(job, model, start, stop))
        entry = Entry(
            job=job.id,
            start=start,
            stop=stop,
            rows=rows,
            bytes=path.stat().st_size,
            sha256=file_sha256(path),
            values=values,
            processor=processor_kind(model.denoiser.device),
            versions=versions(),
        )
        place.enter(entry)
        return entry


def load_unchanged(source: Source, device: str) -> DiffusionModel:
    """Load the model of a job. Raises ModelFileError if it is not the one with which the job was begun."""
    if fingerprint(source.path) != source.sha256:
        raise ModelFileError(
            f"{source.path} should be the model with which the job was begun, but has changed: put it back, or begin "
            "another folder."
        )
    return _loaded(source.path, source.sha256, device)


@lru_cache(maxsize=1)
def _loaded(path: str, _sha256: str, device: str) -> DiffusionModel:
    return Diffusion.load(path, device=device).model_


def rows_of(job: Job, model: DiffusionModel, start: int, stop: int) -> Iterator[tuple[int, pa.Table]]:
    """Yield the output of rows start..stop-1 in tables, each with the number of the first row that it is of.

    The tables begin at multiples of the rows that are computed together.
    """
    if isinstance(job.work, Sampling):
        return sampled_tiles(job, job.work, model, start, stop)
    if isinstance(job.work, Scoring):
        return scored_blocks(job, job.work, model, start, stop)
    return imputed_blocks(job, job.work, model, start, stop)


def _write(path: Path, tables: Iterable[tuple[int, pa.Table]]) -> tuple[int, str]:
    """Write tables of rows to a Parquet file, and return the number of rows and the checksum of their values."""
    checksums, n_rows = list[str](), 0

    def counted() -> Iterator[pa.Table]:
        nonlocal n_rows
        for first, rows in tables:
            checksums.append(table_checksum(rows, first))
            n_rows += rows.num_rows
            yield rows

    groups = _grouped(counted())
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
    return n_rows, added(checksums)


def _grouped(tables: Iterable[pa.Table]) -> Iterator[pa.Table]:
    """Yield tables of about as many cells as a row group has."""
    waiting, cells = list[pa.Table](), 0
    for rows in tables:
        waiting.append(rows)
        cells += rows.num_rows * rows.num_columns
        if cells >= _GROUP_CELLS:
            yield pa.concat_tables(waiting)
            waiting, cells = [], 0
    if waiting:
        yield pa.concat_tables(waiting)
