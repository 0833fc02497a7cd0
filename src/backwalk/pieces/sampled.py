"""The rows of a part of a sample."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from backwalk.model import (
    DiffusionModel,
    Given,
    read_given,
    read_given_table,
    refuse_not_made,
    sample_pieces,
)
from backwalk.pieces.job import Job, Sampling
from backwalk.sampling import TILE_ROWS
from backwalk.streams import Stream
from backwalk.table import Selection, from_values, names_in, row_blocks, rows_numbered_from


def sampled_tiles(
    job: Job, work: Sampling, model: DiffusionModel, start: int, stop: int
) -> Iterator[tuple[int, pa.Table]]:
    """Yield rows start..stop-1 in tiles, each with the number of its first row.

    They are those that `Diffusion.sample` draws with the job's seed.
    """
    schema = model.schema.as_arrow()
    drawn = _given_by_file(job, work, model, start, stop) if job.data else _given(job, work, model, start, stop)
    for values, first in zip(drawn, range(start, stop, TILE_ROWS), strict=True):
        yield first, from_values(values, schema)


def _given(job: Job, work: Sampling, model: DiffusionModel, start: int, stop: int) -> Iterator[NDArray[np.float64]]:
    given = read_given(model, work.conditions(), 1)
    return sample_pieces(model, start, stop, stream=_stream(job), sampler=work.sampler.sampler(), given=given)


def _given_by_file(
    job: Job, work: Sampling, model: DiffusionModel, start: int, stop: int
) -> Iterator[NDArray[np.float64]]:
    for block in row_blocks(job.data, start, stop, names_in(job.data[0])):
        table, _ = block.table(Selection.of_schema(model.schema))
        assert table is not None  # as all rows are taken
        with rows_numbered_from(block.first):
            values = read_given_table(model.schema, table)
            refuse_not_made(model, values)
            pieces = sample_pieces(
                model,
                block.first,
                block.first + len(values),
                stream=_stream(job),
                sampler=work.sampler.sampler(),
                given=Given(values),
            )
        yield from pieces


def _stream(job: Job) -> Stream:
    return Stream(job.seed).child("sample")
